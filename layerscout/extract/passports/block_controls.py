"""A passport in, blocks that the trained one is held against out: re-initialised, weight-shuffled, none at all."""

from __future__ import annotations

import copy

from torch import nn

from layerscout.errors import UsageError
from layerscout.extract.backbones.untrained import redraw, shuffle
from layerscout.extract.passports.passport_record import Passport


def reinitialised(passport: Passport, seed: int) -> nn.Module:
    """A copy of the block with all weights drawn anew: the architecture without what training put into it (`untrained.redraw`)."""
    block = copy.deepcopy(passport.block)
    redraw(block, seed)
    return block


def shuffled(passport: Passport, seed: int) -> nn.Module:
    """A copy of the block in which the numbers of every tensor have changed places (`untrained.shuffle`)."""
    block = copy.deepcopy(passport.block)
    shuffle(block, seed)
    return block


def identity(passport: Passport) -> nn.Module:
    """No block at all: tokens come out as they went in.

    Raises
    ------
    UsageError
        The block changes the number or the width of its tokens, so nothing can stand in its place.
    """
    grid, width = passport.grid, len(passport.input_mean)
    if passport.input_shape != (grid.time, grid.height, grid.width) or width != passport.layer.width:
        raise UsageError(
            f"block {passport.layer.name} takes {passport.input_shape} tokens of width {width} and gives "
            f"{(grid.time, grid.height, grid.width)} of width {passport.layer.width}, so the control without a block does not exist",
            hint="choose a layer that keeps its tokens' grid and width",
        )
    return nn.Identity()
