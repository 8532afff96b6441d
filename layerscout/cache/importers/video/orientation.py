"""A decoded picture with its display matrix in, the picture as it is meant to be seen out."""

from __future__ import annotations

import struct
from typing import Any

from layerscout.cache.importers.pictures.frames import Frame
from layerscout.errors import DataError

Matrix = tuple[int, ...]  # nine numbers, row by row: (x, y, 1) times it is where a pixel is shown


def display_matrix(picture: Any) -> Matrix | None:
    """Return the display matrix that a frame of PyAV carries, or None when it is shown as it was recorded."""
    found = picture.side_data.get("DISPLAYMATRIX")
    return None if found is None else struct.unpack("=9i", bytes(found)[:36])


def upright(values: Frame, matrix: Matrix | None) -> Frame:
    """Turn and mirror a picture as its display matrix says, as FFmpeg's own command does.

    Raises
    ------
    DataError
        It is turned by something else than quarters, which would leave corners without a picture.
    """
    if matrix is None:
        return values
    across, down, back, along = matrix[0], matrix[1], matrix[3], matrix[4]  # x' = across x + back y, y' = down x + along y
    sideways = abs(down) > abs(across)
    small = max(abs(across), abs(along)) if sideways else max(abs(down), abs(back))
    if small * 50 > max(abs(across), abs(down)) or 0 in ((down, back) if sideways else (across, along)):
        raise DataError(f"its display matrix {matrix} turns pictures by no quarter of a circle", hint="encode the video upright")
    if sideways:
        values = values.transpose(1, 0, 2)
        return values[:: -1 if down < 0 else 1, :: -1 if back < 0 else 1]
    return values[:: -1 if along < 0 else 1, :: -1 if across < 0 else 1]
