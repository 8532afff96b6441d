"""Numbers of any type that mean brightness in, bytes from 0 to 255 out, by one rule for the whole dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8

from layerscout.errors import DataError

AT_ONCE = 64  # frames: a copy of all of them as real numbers would take eight times their memory
BRIGHT = 64  # real numbers that nowhere reach this are no brightness of 0 to 255, but some other measure
OTHERWISE = "choose another --camera, or record pictures as bytes"


@dataclass
class PictureScale:
    """How numbers become brightness: ``unit`` (0 to 1, times 255) or ``byte`` (0 to 255, rounded); None until the first pictures.

    The first pictures decide, and what does not fit them later is an error: one dataset has one scale.
    """

    kind: Literal["unit", "byte"] | None = None
    note: str = ""

    def apply(self, frames: Shaped[np.ndarray, "frame *axes"], where: str) -> UInt8[np.ndarray, "frame *axes"]:
        """Return pictures as bytes.

        Raises
        ------
        DataError
            They hold values that are no brightness, or are not of the scale of those before.
        """
        low, high = float(frames.min()), float(frames.max())
        kind = self.kind or self._find(frames, low, high)
        if kind is None or not (low >= 0 and high <= (1 if kind == "unit" else 255)):  # NaN compares to nothing
            expected = "0 to 1 or 0 to 255" if self.kind is None else f"0 to {1 if kind == 'unit' else 255} as in those before"
            message = f"{where}: pictures are {frames.dtype} with values from {low:g} to {high:g}, expected {expected}"
            raise DataError(message, hint=OTHERWISE)
        if self.kind is None:
            self.kind = kind
            self.note = f"pictures are {frames.dtype} and were {'multiplied by 255' if kind == 'unit' else 'rounded'} to bytes"
        factor = 255.0 if self.kind == "unit" else 1.0
        out = np.empty(frames.shape, dtype=np.uint8)
        for start in range(0, len(frames), AT_ONCE):
            part = frames[start : start + AT_ONCE]
            out[start : start + AT_ONCE] = np.rint(part.astype(np.float64) * factor)
        return out

    @staticmethod
    def _find(frames: Shaped[np.ndarray, "frame *axes"], low: float, high: float) -> Literal["unit", "byte"] | None:
        if frames.dtype.kind == "b" or (frames.dtype.kind == "f" and high <= 1):
            return "unit"
        whole = frames.dtype.kind in "iu" or high >= BRIGHT or all((part == np.rint(part)).all() for part in frames)
        return "byte" if whole else None
