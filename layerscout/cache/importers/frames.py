"""Pictures of any common layout in, frames [frame, height, width, channel] of uint8 out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from layerscout.cache.importers.base import Array, require_memory
from layerscout.errors import DataError

Frames = UInt8[np.ndarray, "frame height width channel"]
Frame = UInt8[np.ndarray, "height width channel"]
CHANNELS = (1, 2, 3, 4)
LARGEST_PICTURE = 2**26  # pixels: what a picture from a stranger may make us allocate at once


def as_frames(values: Array, where: str) -> Frames:
    """Bring pictures to channels-last; one channel (grey) is repeated to three, because video models see colour.

    Parameters
    ----------
    values
        uint8 [frame, height, width], [frame, height, width, channel] or [frame, channel, height, width].

    Raises
    ------
    DataError
        Another type or shape.
    """
    if values.dtype != np.uint8 or values.ndim not in (3, 4) or 0 in values.shape:
        raise DataError(f"{where}: pictures are {values.dtype} {values.shape}, expected uint8 pictures", hint="choose another --camera")
    frames = values[..., None] if values.ndim == 3 else values
    if frames.shape[3] not in CHANNELS:
        if frames.shape[1] not in CHANNELS:
            raise DataError(
                f"{where}: pictures of shape {values.shape[1:]} have no axis of 1 to 4 channels", hint="choose another --camera"
            )
        frames = frames.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.repeat(frames, 3, axis=3) if frames.shape[3] == 1 else frames)


def picture_shape(shape: Sequence[int]) -> bool:
    """Tell whether an array of such shape, a frame each, can be pictures."""
    return len(shape) == 2 or (len(shape) == 3 and (shape[2] in CHANNELS or shape[0] in CHANNELS))


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


def decode(pictures: Iterable[bytes], count: int, where: str) -> Frames:
    """Decode JPEG or PNG pictures, which must all have the shape of the first.

    Raises
    ------
    DataError
        One is damaged, of another shape, or not JPEG or PNG.
    """
    out: Frames | None = None
    number = -1
    for number, content in enumerate(pictures):
        try:
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
                if picture.width * picture.height > LARGEST_PICTURE:
                    raise ValueError(f"{picture.width} x {picture.height} pixels")
                if picture.mode not in ("L", "RGB", "RGBA"):  # the numbers of others are not brightness
                    raise ValueError(f"pixels of the kind {picture.mode}")
                values = as_frames(np.asarray(picture)[None], where)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{where}: picture {number} is damaged: {error}", hint="fetch or record the source again") from None
        if out is None:
            require_memory(count * values.size, where)
            out = np.empty((count, *values.shape[1:]), dtype=np.uint8)
        if number >= count or values.shape[1:] != out.shape[1:]:
            raise DataError(
                f"{where}: picture {number} has shape {values.shape[1:]}, the first {out.shape[1:]}", hint="fetch the source again"
            )
        out[number] = values[0]
    if out is None or number + 1 != count:
        raise DataError(f"{where} has {number + 1} pictures, expected {count}", hint="the source is incomplete; fetch it again")
    return out
