"""Pictures of any common layout in, frames [frame, height, width, channel] of uint8 out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from layerscout.cache.importers.base import Array
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.needs import require_memory
from layerscout.cache.importers.pictures.scaling import PictureScale
from layerscout.cache.importers.pictures.stacks import last_of_stack, looks_stacked, require_no_stack
from layerscout.errors import DataError, UsageError, suggest

Frames = UInt8[np.ndarray, "frame height width channel"]
Frame = UInt8[np.ndarray, "height width channel"]
CHANNELS = (1, 2, 3, 4)
LARGEST_PICTURE = 2**26  # pixels: what a picture from a stranger may make us allocate at once
SMALLEST_SIDE = 8  # pixels: real numbers of a smaller shape are a matrix rather than a picture


def as_frames(values: Array, where: str, config: ImportConfig, scale: PictureScale | None = None) -> Frames:
    """Bring pictures to channels-last and bytes; one channel (grey) is repeated to three, because video models see colour.

    Parameters
    ----------
    values
        [frame, height, width], [frame, height, width, channel] or [frame, channel, height, width]; with ``--stack last`` also
        stacks of earlier frames in the place of channels, or along an axis of their own.
    scale
        How numbers other than uint8 become brightness: found out from the first pictures and kept for all others.

    Raises
    ------
    DataError
        Another type or shape, a stack of frames, or values that are no brightness.
    """
    if values.ndim not in (3, 4, 5) or 0 in values.shape or values.dtype.kind not in "fiub":
        message = f"{where}: pictures are {values.dtype} {values.shape}, expected [frame, height, width, channel]"
        raise DataError(message, hint="choose another --camera")
    if config.stack is not None:
        values = last_of_stack(values, where)
    else:
        require_no_stack(values, where, config)
    frames = values[..., None] if values.ndim == 3 else values
    if frames.shape[3] not in CHANNELS:
        if frames.shape[1] not in CHANNELS:
            message = f"{where}: pictures of shape {values.shape[1:]} have no axis of 1 to 4 channels"
            raise DataError(message, hint="choose another --camera")
        frames = frames.transpose(0, 2, 3, 1)
    if frames.dtype != np.uint8 or frames.shape[3] == 1 or not frames.flags.c_contiguous:  # what follows makes a copy
        require_memory(frames.size * (4 if frames.shape[3] == 1 else 1), where)
    if frames.dtype != np.uint8:
        frames = (scale or PictureScale()).apply(frames, where)
    return np.ascontiguousarray(np.repeat(frames, 3, axis=3) if frames.shape[3] == 1 else frames)


def picture_shape(shape: Sequence[int]) -> bool:
    """Tell whether an array of such shape, a frame each, can be pictures."""
    return len(shape) == 2 or (len(shape) == 3 and (shape[2] in CHANNELS or shape[0] in CHANNELS))


@dataclass(frozen=True)
class FieldKind:
    """The type of a field's numbers and its shape a frame."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def find_cameras(fields: Mapping[str, FieldKind], config: ImportConfig) -> list[str]:
    """Return the fields that can be pictures: bytes of a picture's shape, else stacks of them, else other numbers of that shape.

    What was asked for by name counts as soon as it can be pictures at all.
    """
    whole = {name: kind for name, kind in fields.items() if kind.dtype == np.uint8}
    plain = [name for name, kind in whole.items() if picture_shape(kind.shape)]
    stacked = [name for name, kind in whole.items() if name not in plain and looks_stacked(kind.shape)]
    real = [
        name
        for name, kind in fields.items()
        if kind.dtype != np.uint8 and kind.dtype.kind in "fiub" and picture_shape(kind.shape) and _sides(kind.shape) >= SMALLEST_SIDE
    ]
    tiers = [plain + stacked, real] if config.stack is not None else [plain, stacked, real]
    found = next((tier for tier in tiers if tier), [])
    every = [*plain, *stacked, *real]
    return found if config.camera is None or _named(config.camera, found) or not _named(config.camera, every) else every


def choose_camera(asked: str | None, found: Sequence[str], where: Path, otherwise: str) -> str:
    """Return which of the image fields to read; the last part of a name is enough when it tells which one is meant.

    Raises
    ------
    DataError
        There is none; ``otherwise`` says what there is instead.
    UsageError
        There are several and none was asked for, or the one asked for is not there.
    """
    hint = f"--camera takes one of: {', '.join(sorted(found))}"
    if not found:
        render = "layerscout looks at pixels: record the dataset with rendered frames, or choose a version that has images"
        raise DataError(f"{where} has no images, {otherwise}", hint=render)
    if asked is None and len(found) > 1:
        raise UsageError(f"{where} has images from {len(found)} cameras and none was chosen", hint=hint)
    if asked is None:
        return found[0]
    named = _named(asked, found)
    if len(named) != 1:
        message = f"no camera '{asked}'{suggest(asked, found)}" if not named else f"{len(named)} cameras whose names end in '{asked}'"
        raise UsageError(f"{where} has {message}", hint=hint)
    return named[0]


def resize(frames: Frames, size: tuple[int, int] | None) -> Frames:
    """Bring frames to a height and width: each new pixel is the mean of those it covers (pillow's box filter)."""
    if size is None or frames.shape[1:3] == size:
        return frames
    require_memory(len(frames) * size[0] * size[1] * frames.shape[3], "the resized episode")
    out = np.empty((len(frames), *size, frames.shape[3]), dtype=np.uint8)
    for number, frame in enumerate(frames):
        for channel in range(frames.shape[3]):  # a picture with alpha would be blended, were it resized as one
            plane = Image.fromarray(np.ascontiguousarray(frame[..., channel]))
            out[number, ..., channel] = np.asarray(plane.resize((size[1], size[0]), Image.Resampling.BOX))
    return out


def _named(asked: str, found: Sequence[str]) -> list[str]:
    """The field of that very name, else those whose names end in it."""
    return [asked] if asked in found else [name for name in found if name.replace("/", ".").endswith(f".{asked}")]


def _sides(shape: Sequence[int]) -> int:
    """The shorter side of a picture of that shape; an axis of channels is no side."""
    return min(shape) if len(shape) == 2 else sorted(shape)[1] if math.prod(shape) else 0
