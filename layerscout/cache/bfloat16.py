"""float32 in, bfloat16 as uint16 out, and back: Zarr has no bfloat16, so its upper halves are stored as they are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt16

NAN = 0x7FC0  # the quiet NaN
EXPONENT = 0x7F80  # all ones in infinities and NaN


def to_bfloat16(values: Float32[np.ndarray, "*axes"]) -> UInt16[np.ndarray, "*axes"]:
    """Round to the nearest bfloat16, ties to even; what is too large becomes an infinity."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(NAN), rounded)  # rounding could carry a NaN into an infinity


def from_bfloat16(stored: UInt16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """Return the same values as float32, exactly."""
    return (stored.astype(np.uint32) << 16).view(np.float32)
