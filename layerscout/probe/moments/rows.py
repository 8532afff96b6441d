"""Stored rows in; rows less the pilot mean, in the precision of the products, out, with the rows that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import DTypeLike

PILOT_ROWS = 2000
READ_ROWS = 4096  # rows read at once, at least: enough that choosing the rows of each group costs little
SLAB_ROWS = 64  # rows converted at once: they stay in the processor's cache until the shift is subtracted

FeatureRows = Float[np.ndarray, "row feature"]


class Reader(Protocol):
    """What is needed of a stored layer. If it has ``chunk_rows``, reading any row costs as much as reading so many."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, features) of the layer."""

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "row feature"]:
        """Rows ``[start, stop)`` in the type in which they are stored."""


def pilot_rows(reader: Reader) -> int:
    """How many rows the pilot mean is taken over."""
    return min(PILOT_ROWS, reader.shape[0])


def pilot_mean(reader: Reader, dtype: DTypeLike) -> Float[np.ndarray, " feature"]:
    """Mean of the finite ones of a layer's first rows; 0 when there are none.

    Products of rows less this mean stay exact to the products' precision, whatever the features' mean.
    """
    rows = reader.read(0, pilot_rows(reader)).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    return (rows.mean(axis=0) if len(rows) else np.zeros(reader.shape[1])).astype(dtype)


def blocks(reader: Reader, start: int, stop: int) -> Iterator[tuple[int, Shaped[np.ndarray, "row feature"]]]:
    """Yield ``(first row, rows)`` of rows ``[start, stop)``; no chunk of the store is read twice."""
    chunk = min(getattr(reader, "chunk_rows", 1), reader.shape[0])
    step = -(-READ_ROWS // chunk) * chunk
    while start < stop:
        end = min((start // step + 1) * step, stop)
        yield start, reader.read(start, end)
        start = end


def widen(rows: Shaped[np.ndarray, "row feature"], shift: Float[np.ndarray, " feature"], out: FeatureRows) -> None:
    """Write ``rows - shift`` to ``out``, in the type of ``shift``."""
    if rows.dtype != np.float16:
        np.subtract(rows, shift, out=out, dtype=shift.dtype)
        return
    # numpy converts float16 one by one; looking each of the 65,536 up takes half the time, and is exact too
    table, codes = _half_table(shift.dtype.name), rows.view(np.uint16)
    for first in range(0, len(rows), SLAB_ROWS):
        slab = out[first : first + SLAB_ROWS]
        np.take(table, codes[first : first + SLAB_ROWS], out=slab, mode="clip")
        slab -= shift


@cache
def _half_table(dtype: str) -> Float[np.ndarray, " code"]:
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(dtype)


def bad_rows(rows: FeatureRows) -> Bool[np.ndarray, " row"] | None:
    """Which rows have a NaN or an infinity, or None when none has."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.dot(rows.reshape(-1), rows.reshape(-1))
    if np.isfinite(squares):  # nearly free, and enough: a square that is not finite makes the sum so
        return None
    bad = ~np.isfinite(rows).all(axis=1)
    return bad if bad.any() else None
