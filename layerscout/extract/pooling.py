"""Token grid in, one vector a clip out: what a layer's activation is reduced to before it leaves the forward pass.

A pooling is named ``WHERE/HOW``. WHERE: ``all`` time slots, the ``last`` slot that holds a real frame, or the
``future`` slots that hold noise (conditioned backbones). HOW: ``mean`` over tokens, or ``gridN``: an N x N grid of
cell means, row-major, which keeps where things are (a mean over all tokens loses it).
"""

from __future__ import annotations

import re
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import TokenGrid

_NAME = re.compile(r"(all|last|future)/(mean|grid([1-9]\d?))")
PIXEL_CELLS = 8  # the raw-pixel control keeps an 8 x 8 picture of every frame of the clip


def parse(name: str, grid: TokenGrid) -> tuple[Literal["all", "last", "future"], int | None]:
    """Split a pooling name into where and cells (None for a mean), checked against the backbone's grid.

    Raises
    ------
    UsageError
        The name is not of the form ``WHERE/HOW``, or this grid cannot be pooled so.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(
            f"unknown pooling '{name}'", hint="WHERE/HOW with WHERE all, last or future and HOW mean or gridN, e.g. last/grid4"
        )
    where, how, cells = match.groups()
    if where == "future" and grid.past == grid.time:
        raise UsageError(f"pooling '{name}' needs future slots, and this backbone has none", hint="use last/… or all/…")
    if cells and (grid.height % int(cells) or grid.width % int(cells)):
        raise UsageError(
            f"pooling '{name}' does not divide the token grid {grid.height}x{grid.width}", hint="choose N that divides both sides"
        )
    return where, int(cells) if how != "mean" else None  # type: ignore[return-value]


def width(name: str, grid: TokenGrid, token_width: int) -> int:
    """Features a row has after pooling: slots x cells x token width, except that a mean also averages over slots."""
    where, cells = parse(name, grid)
    if cells is None:
        return token_width
    slots = {"all": grid.time, "last": 1, "future": grid.time - grid.past}[where]
    return slots * cells * cells * token_width


def pool(tokens: Float[Tensor, "clip token feature"], name: str, grid: TokenGrid) -> Float[Tensor, "clip pooled"]:
    """Reduce video tokens to one float32 vector a clip; the reduction itself is done in float32."""
    where, cells = parse(name, grid)
    slots = {"all": slice(None), "last": slice(grid.past - 1, grid.past), "future": slice(grid.past, None)}[where]
    volume = tokens.to(torch.float32).unflatten(1, (grid.time, grid.height, grid.width))[:, slots]
    if cells is None:
        return volume.mean(dim=(1, 2, 3))
    in_cells = volume.unflatten(2, (cells, grid.height // cells)).unflatten(4, (cells, grid.width // cells))
    return in_cells.mean(dim=(3, 5)).flatten(1)


def pixel_features(clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip pooled"]:
    """The control without a model: every frame of the clip brought to at most 8 x 8 cells by averaging, in [-1, 1]."""
    frames = clip.permute(0, 1, 4, 2, 3).flatten(0, 1).to(torch.float32) / 127.5 - 1.0
    cells = (min(PIXEL_CELLS, frames.shape[-2]), min(PIXEL_CELLS, frames.shape[-1]))
    return torch.nn.functional.adaptive_avg_pool2d(frames, cells).reshape(len(clip), -1)
