"""Stored rows in; rows less the pilot mean, in the precision of the products, out, with the rows that are not finite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Int, Shaped
from numpy.typing import DTypeLike

PILOT_ROWS = 2000
READ_ROWS = 4096  # rows read at once, at least: enough that choosing the rows of each group costs little
SLAB_ROWS = 64  # rows converted at once: they stay in the processor's cache until the shift is subtracted
HALF_INFINITY = 0xF800  # in float16, moved by a bit to the left, so that the sign is gone
SIGN_AND_DIGITS = np.int32(-0x70002000)  # of a float16 that was moved by 13 bits in 32: not the copies of its sign

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
    for part in slabs(len(rows)):
        np.subtract(_single(rows[part]), shift, out=out[part], dtype=shift.dtype)


def _single(half: Float16[np.ndarray, "row feature"]) -> Float32[np.ndarray, "row feature"]:
    """Convert float16 to float32: moving the bits of all numbers at once takes a third of the time of numpy's conversion, one by one.

    Sign and digits go to their places, and a product with 2 to the difference of the exponents' origins, 112, which is exact, does the rest.
    """
    codes = half.view(np.int16)
    if np.left_shift(half.view(np.uint16), 1).max(initial=0) >= HALF_INFINITY:
        return half.astype(np.float32)  # the largest exponent of float16 stands for no number
    bits = codes.astype(np.int32)
    bits <<= 13
    bits &= SIGN_AND_DIGITS
    values = bits.view(np.float32)
    values *= np.float32(2.0**112)
    return values


def slabs(rows: int) -> Iterator[slice]:
    """Cut rows into slabs that stay in the processor's cache."""
    return (slice(first, first + SLAB_ROWS) for first in range(0, rows, SLAB_ROWS))


@dataclass(frozen=True)
class StoredRows:
    """Rows as they are stored. They are widened where they are needed, so that no widened copy of all of them is made."""

    rows: Shaped[np.ndarray, "row feature"]
    shift: Float[np.ndarray, " feature"]

    def __len__(self) -> int:
        return len(self.rows)

    def write(self, at: Int[np.ndarray, " some"], out: FeatureRows) -> None:
        """Write some rows less the shift to ``out``."""
        for part in slabs(len(at)):
            widen(np.take(self.rows, at[part], axis=0), self.shift, out[part])

    def some(self, at: Int[np.ndarray, " some"]) -> FeatureRows:
        """Return some rows less the shift."""
        found = np.empty((len(at), self.rows.shape[1]), self.shift.dtype)
        self.write(at, found)
        return found

    def bad(self) -> Bool[np.ndarray, " row"] | None:
        """Which rows have a NaN or an infinity when they are widened, or None when none has."""
        if self.rows.dtype == np.float16:
            if np.left_shift(self.rows.view(np.uint16), 1).max(initial=0) < HALF_INFINITY:
                return None
            return ~np.isfinite(self.rows).all(axis=1)
        found = np.zeros(len(self), dtype=bool)
        for part in slabs(len(self)):
            bad = bad_rows(np.subtract(self.rows[part], self.shift, dtype=self.shift.dtype))
            if bad is not None:
                found[part] = bad
        return found if found.any() else None


def bad_rows(rows: FeatureRows) -> Bool[np.ndarray, " row"] | None:
    """Which rows have a NaN or an infinity, or None when none has."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.dot(rows.reshape(-1), rows.reshape(-1))
    if np.isfinite(squares):  # nearly free, and enough: a square that is not finite makes the sum so
        return None
    bad = ~np.isfinite(rows).all(axis=1)
    return bad if bad.any() else None
