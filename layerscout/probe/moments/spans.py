"""One span of a layer's rows in; counts, sums and products of its transitions, group by group, out.

The borders of spans lie at fixed rows, and every sum inside a span is taken in an order that depends on the rows alone. So
the same rows give the same bits, however the store is cut into chunks, and wherever and in which order spans are added up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from layerscout.probe.moments.products import GivenColumns, GroupBuffer, RunEnds, lay_out_rows
from layerscout.probe.moments.rows import Reader, StoredRows, blocks, widen
from layerscout.probe.moments.sums import ColumnSums, LatentSums
from layerscout.probe.questions.actions import ActionInputs
from layerscout.probe.questions.scalars import Scalars
from layerscout.probe.questions.splits import CONFIRMATION, Split
from layerscout.probe.questions.targets import Transitions

SPAN_ROWS_A_FEATURE = 512  # the partials of a span then take 0.3 of its rows in float16, at 25 groups
LEAST_SPAN_ROWS = 65_536
DIGEST_ROWS = 65_536  # turned into numbers at once
KEPT_BYTES = 32 * 2**20  # actions and targets of all transitions, in float32, that are held as numbers from layer to layer
ALIGNMENT = 4096  # rows of a chunk, as stores are written by default: a chunk that lies on a border is read twice


@dataclass(frozen=True)
class Borders:
    """First and last row of a span, less the shift; how many of its rows are not finite, and the first such row or -1."""

    first: Float[np.ndarray, " feature"]
    last: Float[np.ndarray, " feature"]
    nonfinite: int
    first_nonfinite: int


@dataclass(frozen=True)
class SpanTransitions:
    """The transitions inside the rows ``[start, stop)``, in row order; ``ranks`` tells which groups do, ``keep`` whether there are few."""

    start: int
    stop: int
    row: Int[np.ndarray, " transition"]
    group: Int[np.ndarray, " transition"]
    inputs: ActionInputs
    scalars: Scalars
    ranks: Bool[np.ndarray, " group"]
    keep: bool = False
    _columns: dict[np.dtype[Any], GivenColumns] = field(default_factory=dict, compare=False, repr=False)

    def columns(self, dtype: np.dtype[Any]) -> GivenColumns:
        """Return actions and targets in some precision; the same each time."""
        if dtype not in self._columns:
            self._columns[dtype] = GivenColumns(self.inputs, self.scalars, dtype, self.keep)
        return self._columns[dtype]

    @cached_property
    def digests(self) -> tuple[str, str]:
        """Names of what the sums depend on besides the rows: which transitions there are, and their actions and targets."""
        return _digest(self.row.astype(np.int64) - self.start, self.group, self.ranks), _digest(self.inputs, self.scalars)


def _digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        for first in range(0, len(array), DIGEST_ROWS):  # targets are not kept as a whole
            found.update(np.ascontiguousarray(np.asarray(array[first : first + DIGEST_ROWS])).data)
    return found.hexdigest()


def span_rows(width: int) -> int:
    """Rows of a span of a layer: a property of its width alone, never of the machine."""
    rows = max(LEAST_SPAN_ROWS, SPAN_ROWS_A_FEATURE * width)
    return -(-rows // ALIGNMENT) * ALIGNMENT


def spans(rows: int, width: int) -> list[tuple[int, int]]:
    """Cut the rows of a layer into spans, first row and one past the last; the cuts depend on nothing but its width."""
    size = span_rows(width)
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def transitions_in_span(transitions: Transitions, split: Split, start: int, stop: int) -> SpanTransitions:
    """Pick the transitions both of whose rows lie in ``[start, stop)``."""
    here = slice(*np.searchsorted(transitions.row, [start, stop - 1]))
    group = split.group_of_episode[transitions.episode[here]]
    ranks = split.fold_of_group != CONFIRMATION
    columns = transitions.inputs.shape[1] + transitions.scalars.shape[1]
    keep = 4 * len(transitions) * columns <= KEPT_BYTES
    return SpanTransitions(start, stop, transitions.row[here], group, transitions.inputs[here], transitions.scalars[here], ranks, keep)


def add_up(
    reader: Reader, chosen: SpanTransitions, shift: Float[np.ndarray, " feature"], latents: LatentSums | None, columns: ColumnSums | None
) -> Borders:
    """Read a span once and add what its transitions give to ``latents`` and ``columns``; either may be left out.

    Rows with a NaN or an infinity are counted, and the transitions from and to them left out.
    """
    width, given = len(shift), chosen.columns(shift.dtype)
    scratch = np.empty((width, width), shift.dtype)
    places = [np.flatnonzero(chosen.group == group) for group in range(len(chosen.ranks))]
    buffers = [
        GroupBuffer(group, lay_out_rows(chosen.row[own], own), width, given, shift.dtype) for group, own in enumerate(places) if len(own)
    ]
    run_ends = RunEnds(chosen.row[chosen.ranks[chosen.group]], width, shift.dtype)
    sums = latents, columns
    first, last = np.empty_like(shift), np.empty_like(shift)
    nonfinite, first_nonfinite = 0, -1
    with np.errstate(over="ignore", invalid="ignore"):  # told apart later, when the sums are not finite
        for start, stored in blocks(reader, chosen.start, chosen.stop):
            rows = StoredRows(stored, shift)
            bad = rows.bad()
            if bad is not None:
                first_nonfinite = start + int(bad.argmax()) if not nonfinite else first_nonfinite
                nonfinite += int(bad.sum())
            if start == chosen.start:
                widen(stored[:1], shift, first[None])
            widen(stored[-1:], shift, last[None])
            if latents is not None:
                run_ends.take(start, rows, bad, latents.next_minus_latent, scratch)
            for buffer in buffers:
                buffer.take(start, rows, bad, sums, scratch)
        if latents is not None:
            run_ends.flush(latents.next_minus_latent, scratch)
        for buffer in buffers:
            buffer.flush(sums, scratch)
    return Borders(first, last, nonfinite, first_nonfinite)
