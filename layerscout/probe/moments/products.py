"""Rows of one episode group in, in row order; their counts, sums and products out, whenever a buffer of them is full."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import DTypeLike

from layerscout.probe.moments.rows import FeatureRows, StoredRows
from layerscout.probe.moments.sums import ColumnSums, LatentSums
from layerscout.probe.questions.actions import ActionInputs
from layerscout.probe.questions.scalars import Scalars

BUFFER_ROWS = {
    4: 2048,
    8: 1024,
}  # rows of a group multiplied at once, by the bytes of a number: adding the product up costs a few percent of it
EDGE_ROWS = 512  # rows at which runs of transitions begin or end, multiplied at once
MULTIPLE = 8  # of columns: a product with 56 of them takes less time than one with 55
PANEL = 256  # columns: products of a matrix with itself are taken on and above the diagonal only, in panels

# what a row in a buffer is: it begins a transition; nothing leads to it; it ends a run of transitions; zeros after a run,
# whose products with both neighbours add nothing
X, FIRST, END, EMPTY = 1, 2, 4, 0

WantedSums = tuple[LatentSums | None, ColumnSums | None]  # either may be there already
RowLayout = tuple[Int[np.ndarray, " place"], UInt8[np.ndarray, " place"], Int[np.ndarray, " place"]]


def lay_out_rows(row: Int[np.ndarray, " transition"], number: Int[np.ndarray, " transition"]) -> RowLayout:
    """Lay out the rows of some transitions, in row order, for a buffer.

    Returns
    -------
    Row, role and transition (or -1) of every place; a row of zeros has the number of the row before it.
    """
    begins = np.diff(row, prepend=-2) != 1
    ends = np.append(begins[1:], True)
    at = np.arange(len(row)) + 2 * (np.cumsum(ends) - ends)
    rows, transition = np.empty(len(row) + 2 * ends.sum(), dtype=np.int64), np.full(len(row) + 2 * ends.sum(), -1)
    role = np.full(len(rows), EMPTY, dtype=np.uint8)
    rows[at], role[at], transition[at] = row, np.where(begins, X | FIRST, X), number
    after = at[ends] + 1
    rows[after] = rows[after + 1] = row[ends] + 1
    role[after] = END
    return rows, role, transition


class GivenColumns:
    """Actions and targets of transitions, in the precision of the products.

    Parameters
    ----------
    keep
        Hold all of them as numbers, which is quicker and gives the same; else they are made as they are asked for.
    """

    def __init__(self, inputs: ActionInputs, scalars: Scalars, dtype: DTypeLike, keep: bool) -> None:
        self.actions, self.count = inputs.shape[1], inputs.shape[1] + scalars.shape[1]
        self.width = -(-self.count // MULTIPLE) * MULTIPLE
        self._inputs, self._scalars, self._numbers = inputs, scalars.astype(dtype), None
        if keep:
            numbers = np.zeros((len(inputs) + 1, self.width), dtype)  # the last row is that of no transition
            self._make(np.arange(len(inputs)), numbers[:-1])
            self._numbers = numbers

    def write(self, transition: Int[np.ndarray, " place"], out: Float[np.ndarray, "place column"]) -> None:
        """Write the columns of some transitions to ``out``; zeros where there is none (-1)."""
        if self._numbers is not None:
            np.take(self._numbers, transition, axis=0, out=out, mode="wrap")
            return
        out[:] = 0
        begins = np.flatnonzero(transition >= 0)
        found = np.empty((len(begins), self.count), out.dtype)
        self._make(transition[begins], found)
        out[begins, : self.count] = found

    def _make(self, transition: Int[np.ndarray, " some"], out: Float[np.ndarray, "some column"]) -> None:
        out[:, : self.actions] = self._inputs[transition]
        self._scalars.write(transition, out[:, self.actions : self.count])


def add_square(
    rows: FeatureRows, total: Float[np.ndarray, "feature feature"], scratch: FeatureRows, sign: Float[np.ndarray, " row"] | None = None
) -> None:
    """Add rows' rows to ``total``, on and above the diagonal; rows of negative ``sign`` are taken away."""
    left = rows if sign is None else rows * sign[:, None]
    for first in range(0, rows.shape[1], PANEL):
        panel, rest = slice(first, first + PANEL), slice(first + PANEL, None)
        # of a small matrix, numpy's own half product with its transpose pays; of a large one, mirroring the half costs more
        total[panel, panel] += left[:, panel].T @ rows[:, panel]
        total[panel, rest] += np.matmul(left[:, panel].T, rows[:, rest], out=scratch[panel, rest])


class RunEnds:
    """Rows at which runs of transitions begin or end: all that the squares of next rows and of rows differ by.

    Rows are taken in the order of the layer, whatever their group, so that the sum does not depend on how they were read.
    """

    def __init__(self, row: Int[np.ndarray, " transition"], width: int, dtype: DTypeLike) -> None:
        self.row = row
        self.rows, self.sign = np.empty((EDGE_ROWS, width), dtype), np.empty(EDGE_ROWS, dtype)
        self.filled = 0
        # the last row taken: only the next one tells whether a transition begins there
        self.last, self.last_fine, self.last_sign = np.zeros((1, width), dtype), False, 0

    def take(
        self, start: int, rows: StoredRows, bad: Bool[np.ndarray, " row"] | None, total: Float[np.ndarray, "f f"], scratch: FeatureRows
    ) -> None:
        """Take the rows that begin at ``start``."""
        count = len(rows)
        fine, sign = np.ones(count + 1, dtype=bool), np.zeros(count + 1, dtype=np.int64)  # of the row before, then of these
        fine[0], sign[0] = self.last_fine, self.last_sign
        if bad is not None:
            fine[1:] = ~bad
        begin = self.row[slice(*np.searchsorted(self.row, [start - 1, start + count - 1]))] - (start - 1)
        begin = begin[fine[begin] & fine[begin + 1]]
        sign[begin] -= 1
        sign[begin + 1] += 1
        if sign[0]:
            self._put(self.last, sign[:1], total, scratch)
        edges = np.flatnonzero(sign[1:count])
        self._put(rows.some(edges), sign[1 + edges], total, scratch)
        self.last, self.last_fine, self.last_sign = rows.some(np.array([count - 1])), bool(fine[count]), int(sign[count])

    def flush(self, total: Float[np.ndarray, "f f"], scratch: FeatureRows) -> None:
        """Add what is waiting; no row comes after."""
        if self.last_sign:
            self._put(self.last, np.array([self.last_sign]), total, scratch)
            self.last_sign = 0
        add_square(self.rows[: self.filled], total, scratch, self.sign[: self.filled])
        self.filled = 0

    def _put(self, rows: FeatureRows, sign: Int[np.ndarray, " row"], total: Float[np.ndarray, "f f"], scratch: FeatureRows) -> None:
        taken = 0
        while taken < len(rows):
            count = min(len(rows) - taken, EDGE_ROWS - self.filled)
            place, part = slice(self.filled, self.filled + count), slice(taken, taken + count)
            self.rows[place], self.sign[place] = rows[part], sign[part]
            self.filled, taken = self.filled + count, taken + count
            if self.filled == EDGE_ROWS:
                add_square(self.rows, total, scratch, self.sign)
                self.filled = 0


class GroupBuffer:
    """Rows of one group that wait to be multiplied.

    ``row``, ``role`` and ``transition`` list what will come: every row of the group's transitions in order, and a row of
    zeros after each run of them. So neighbours in the buffer either are a transition or add nothing, and one product of
    the buffer with itself, moved by a row, holds them all.
    """

    def __init__(self, group: int, layout: RowLayout, width: int, columns: GivenColumns, dtype: DTypeLike) -> None:
        self.group = group
        self.row, self.role, self.transition = layout
        capacity = min(BUFFER_ROWS[np.dtype(dtype).itemsize], len(self.row))
        self.z, self.c = np.empty((capacity, width), dtype), np.zeros((capacity, columns.width), dtype)
        self.columns = columns
        self.roles = np.zeros(capacity, dtype=np.uint8)
        self.filled = 0
        self.broken = False  # the last row taken was not finite
        self.ones = np.ones(capacity, dtype)

    def take(
        self,
        start: int,
        rows: StoredRows,
        bad: Bool[np.ndarray, " row"] | None,
        sums: WantedSums,
        scratch: FeatureRows,
    ) -> None:
        """Take what belongs here of the rows that begin at ``start``."""
        here = slice(*np.searchsorted(self.row, [start, start + len(rows)]))
        role, transition, at = self.role[here], self.transition[here], self.row[here] - start
        if len(role) and (bad is not None or self.broken):
            role = self._repaired(role, bad[at] if bad is not None else np.zeros(len(role), dtype=bool))
        taken = 0
        while taken < len(role):
            if self.filled == len(self.z):
                self.flush(sums, scratch)
            count = min(len(role) - taken, len(self.z) - self.filled)
            part, place = slice(taken, taken + count), slice(self.filled, self.filled + count)
            rows.write(at[part], self.z[place])
            self.z[place][role[part] == EMPTY] = 0
            self.roles[place] = role[part]
            if sums[1] is not None:
                self.columns.write(np.where(role[part] & X, transition[part], -1), self.c[place])
            taken, self.filled = taken + count, self.filled + count

    def _repaired(self, role: UInt8[np.ndarray, " place"], bad: Bool[np.ndarray, " place"]) -> UInt8[np.ndarray, " place"]:
        """Leave out the transitions from and to bad rows, also the one that a bad row would have ended in the buffer."""
        before, after = np.append(self.broken, bad[:-1]), np.append(bad[1:], False)
        begins = (role & X > 0) & ~bad & ~after
        ends = (role > 0) & (role & FIRST == 0) & ~bad & ~before
        last = self.filled - 1
        if bad[0] and self.filled and self.roles[last] & X:
            self.c[last] = 0
            if self.roles[last] & FIRST:
                self.z[last] = 0
            self.roles[last] = EMPTY if self.roles[last] & FIRST else END
        self.broken = bool(bad[-1])
        return np.select([begins & ends, begins, ends], [X, X | FIRST, END], EMPTY).astype(np.uint8)

    def flush(self, sums: WantedSums, scratch: FeatureRows) -> None:
        """Multiply what is in the buffer and add it to the sums; a row whose transition is not complete stays."""
        if not self.filled:
            return
        group, last = self.group, self.filled - 1
        z, c, role, ones = self.z[: self.filled], self.c[:last], self.roles[: self.filled], self.ones[:last]
        pending, kept = role[last] & X, z[last].copy()
        now, following = z[:last], z[1:]
        latents, columns = sums
        if columns is not None:
            actions = self.columns.actions
            _add_columns(columns, group, now, following, c, slice(actions), slice(actions, self.columns.count))
        if latents is not None and last:
            latents.count[group] += np.count_nonzero(role[:last] & X)
            latents.latent_next[group] += np.matmul(now.T, following, out=scratch)
            first, end = np.flatnonzero(role & FIRST), np.flatnonzero(role & END)
            firsts = z[first]
            z[first] = 0  # what is left of ``following`` is the transitions' ends
            latents.next[group] += ones @ following
            latents.next_squares[group] += np.einsum("ij,ij->j", following, following)
            z[first] = firsts
            z[end] = 0  # and of ``now`` their beginnings
            latents.latent[group] += ones @ now
            add_square(now, latents.latent_latent[group], scratch)
        self.filled = 0
        if pending:
            self.z[0], self.c[0], self.roles[0], self.filled = kept, self.c[last], role[last], 1


def _add_columns(
    sums: ColumnSums, group: int, now: FeatureRows, following: FeatureRows, c: FeatureRows, actions: slice, scalars: slice
) -> None:
    exact = c.astype(np.float64)
    a, s = exact[:, actions], exact[:, scalars]
    product = now.T @ c
    sums.latent_action[group] += product[:, actions]
    sums.latent_scalar[group] += product[:, scalars]
    sums.action_next[group] += c[:, actions].T @ following
    level = np.ones(len(exact)) @ exact
    sums.action[group] += level[actions]
    sums.scalar[group] += level[scalars]
    sums.action_action[group] += a.T @ a
    sums.action_scalar[group] += a.T @ s
    sums.scalar_squares[group] += np.einsum("ij,ij->j", s, s)
