"""JPEG or PNG pictures as bytes in, frames [frame, height, width, channel] of uint8, upright, out."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageOps

from layerscout.cache.importers.needs import require_memory
from layerscout.cache.importers.pictures.frames import LARGEST_PICTURE, Frame, Frames
from layerscout.errors import DataError

FORMATS = ("JPEG", "PNG")
SAME = {"1": "L", "P": "RGB", "LA": "RGBA"}  # kinds of pixels that another kind spells without loss


def decode_pictures(pictures: Iterable[bytes], count: int, where: str) -> Frames:
    """Decode JPEG or PNG pictures, which must all have the shape of the first.

    Raises
    ------
    DataError
        One is damaged, of another shape, or not JPEG or PNG.
    """
    out: Frames | None = None
    number = -1
    for number, content in enumerate(pictures):
        values = decode_picture(content, f"{where}: picture {number}")
        if out is None:
            require_memory(count * values.size, where)
            out = np.empty((count, *values.shape), dtype=np.uint8)
        if number >= count or values.shape != out.shape[1:]:
            message = f"{where}: picture {number} has shape {values.shape}, the first {out.shape[1:]}"
            raise DataError(message, hint="fetch the source again")
        out[number] = values
    if out is None or number + 1 != count:
        raise DataError(f"{where} has {number + 1} pictures, expected {count}", hint="the source is incomplete; fetch it again")
    return out


def decode_picture(content: bytes, where: str) -> Frame:
    """Decode one JPEG or PNG picture; grey becomes three equal channels, and a turn that its EXIF data asks for is made.

    Raises
    ------
    DataError
        It is damaged, not JPEG or PNG, or its numbers are not brightness.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise ValueError(f"{picture.width} x {picture.height} pixels")
            kind = SAME.get(picture.mode, picture.mode)
            if kind not in ("L", "RGB", "RGBA"):  # the numbers of others are not brightness
                raise ValueError(f"pixels of the kind {picture.mode}")
            upright = ImageOps.exif_transpose(picture)
            values = np.asarray(upright if upright.mode == kind else upright.convert(kind))
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"{where} is damaged: {error}", hint="fetch or record the source again") from None
    return np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values
