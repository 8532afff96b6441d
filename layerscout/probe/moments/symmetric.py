"""Half of a symmetric matrix in, the whole of it out."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Float

BLOCK = 32  # columns copied at once: a square of them and its transpose stay in the processor's cache


def mirror(square: Float[np.ndarray, "size size"]) -> None:
    """Copy what lies above the diagonal below it, in place."""
    mask = _below_diagonal()
    for first in range(0, len(square), BLOCK):
        block, rest = slice(first, first + BLOCK), slice(first + BLOCK, None)
        corner = square[block, block]
        np.copyto(corner, corner.T, where=mask[: len(corner), : len(corner)])
        square[rest, block] = square[block, rest].T


@cache
def _below_diagonal() -> Bool[np.ndarray, "block block"]:
    return np.tri(BLOCK, k=-1, dtype=bool)
