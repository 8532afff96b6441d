"""Observations in which several frames lie on top of each other in, the last frame of each, or a refusal that says so, out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from layerscout.cache.importers.base import Array
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError

LARGEST_STACK = 32  # frames (or channels of frames) that somebody stacks
COLOURS = 3


def looks_stacked(shape: Sequence[int]) -> bool:
    """Tell whether an array of such shape, a frame each, can be a stack of pictures."""
    return (len(shape) == 3 and min(shape[0], shape[2]) <= LARGEST_STACK) or (len(shape) == 4 and shape[0] <= LARGEST_STACK)


def require_no_stack(values: Array, where: str, config: ImportConfig) -> None:
    """Refuse stacks of frames, which would pass for colours: their colours would be moments.

    Two or four channels before height and width are never brightness with alpha. Three, or channels at the end, are a stack
    when every frame has all channels but one from the frame before, moved by one place.

    Raises
    ------
    DataError
        It is a stack; the hint takes its last frame.
    """
    if values.ndim == 3:
        return
    axis = stack_axis(values.shape)
    count = values.shape[axis]
    first = axis == 1
    known = values.ndim == 5 or count > 4 or (first and count in (2, 4))
    if known or (count > 1 and direction(np.moveaxis(values, axis, 1)) is not None):
        message = f"{where}: pictures of shape {values.shape[1:]} are {count} frames or channels stacked, no colours"
        raise DataError(message, hint=config.again("--stack", "last"))


def last_of_stack(values: Array, where: str) -> Array:
    """Return the newest frame of every stack; more than three channels that three divides are frames of three colours.

    Raises
    ------
    DataError
        There is no axis of stacked frames.
    """
    if values.ndim == 3:
        return values
    axis = stack_axis(values.shape)
    count = values.shape[axis]
    if count > LARGEST_STACK:
        message = f"{where}: pictures of shape {values.shape[1:]} have no axis of stacked frames"
        raise DataError(message, hint="leave --stack out, or choose another --camera")
    moved = np.moveaxis(values, axis, 1)
    if values.ndim == 4 and count > COLOURS and count % COLOURS == 0:
        return moved[:, -COLOURS:]
    return moved[:, 0 if direction(moved) == "newest first" else -1]


def stack_axis(shape: Sequence[int]) -> int:
    """Return the axis of ``[frame, ...]`` that holds a frame's channels or earlier frames: the shorter one of first and last."""
    return 1 if len(shape) == 5 or (shape[3] > 4 and shape[1] <= shape[3]) else 3


def direction(stacks: Shaped[np.ndarray, "frame place ..."]) -> Literal["newest last", "newest first"] | None:
    """Tell which way frames move through the places of stacks; None when they do not, or the places are all the same."""
    if len(stacks) < 2 or all((stack == stack[:1]).all() for stack in stacks):
        return None
    pairs = [(stacks[index], stacks[index + 1]) for index in range(len(stacks) - 1)]
    if all(np.array_equal(after[:-1], before[1:]) for before, after in pairs):
        return "newest last"
    return "newest first" if all(np.array_equal(after[1:], before[:-1]) for before, after in pairs) else None
