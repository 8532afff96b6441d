"""One layer's rows in, one pass, the first and second moments of every episode group out.

Everything the probe reports is a function of these moments, so no penalty, fold or interval reads the rows again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int, Shaped

from layerscout.errors import DataError
from layerscout.probe.splits import Split
from layerscout.probe.targets import Transitions

PILOT_ROWS = 2000
SPAN_BYTES = 64 * 2**20  # rows worked on at once: enough for full-speed products, and independent of the store's chunks


class Reader(Protocol):
    """What is needed of a stored layer."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "row feature"]: ...

    def chunks(self) -> Iterator[tuple[int, Shaped[np.ndarray, "row feature"]]]: ...


@dataclass(frozen=True)
class Sums:
    """Raw moments of some rows, with x = [z_t - c, one-hot action] and y = [z_{t+1} - c, scalars], all float64."""

    count: Any  # int, or int[group]
    x: Float[np.ndarray, "*group feature"]
    y: Float[np.ndarray, "*group target"]
    xx: Float[np.ndarray, "*group feature feature"]
    xy: Float[np.ndarray, "*group feature target"]
    yy: Float[np.ndarray, "*group target"]  # squares only: products between targets are never needed

    def __getitem__(self, group: int) -> Sums:
        return Sums(self.count[group], self.x[group], self.y[group], self.xx[group], self.xy[group], self.yy[group])

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __sub__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))

    def pool(self, groups: Int[np.ndarray, " chosen"]) -> Sums:
        """Add up some groups, in the order given."""
        total = [np.array(getattr(self, name)[groups[0]]) for name in self.__dataclass_fields__]
        for group in groups[1:]:
            for part, name in zip(total, self.__dataclass_fields__, strict=True):
                part += getattr(self, name)[group]
        return Sums(*total)


@dataclass(frozen=True)
class Moments:
    """All moments of one layer.

    Attributes
    ----------
    groups
        Moments of each episode group.
    edges
        Sum of z_{t+1} z_{t+1}' minus sum of z_t z_t' over all transitions: only episode ends differ, so it costs nothing.
    shift
        The pilot mean c, in the precision of the products. With it, they stay exact to that precision whatever the features'
        mean.
    """

    width: int
    groups: Sums
    edges: Float[np.ndarray, "feature feature"]
    shift: Float[np.ndarray, " feature"]


def moment_bytes(width: int, actions: int, scalars: int, groups: int, folds: int, precision: str) -> int:
    """Bytes that probing one layer takes at its peak: group and fold moments, one span, and the solver's work."""
    features, targets = width + actions, width + scalars
    moments = 8 * (groups + folds + 2) * features * (features + targets)
    return moments + 2 * SPAN_BYTES + 8 * 12 * features * targets + (SPAN_BYTES if precision == "float64" else 0)


def accumulate(name: str, reader: Reader, transitions: Transitions, split: Split, precision: str = "float64") -> Moments:
    """Read a layer once, in row order, and add up its moments group by group.

    The result does not depend on how the store is cut into chunks, to the last bit.

    Raises
    ------
    DataError
        An activation is NaN or infinite; the layer and row are named.
    """
    width = reader.shape[1]
    dtype = np.dtype(precision)
    pilot = reader.read(0, min(PILOT_ROWS, reader.shape[0])).astype(np.float64)
    _require_finite(name, pilot, 0)
    shift = pilot.mean(axis=0).astype(dtype)
    group_of_transition = split.group_of_episode[transitions.episode]
    features, targets = width + transitions.actions, width + transitions.scalars.shape[1]
    shapes = [(split.groups, *shape) for shape in ((), (features,), (targets,), (features, features), (features, targets), (targets,))]
    sums = Sums(np.zeros(shapes[0], dtype=np.int64), *(np.zeros(shape) for shape in shapes[1:]))
    edges = np.zeros((width, width))
    for base, rows in _spans(name, reader, shift, max(2, SPAN_BYTES // (dtype.itemsize * width))):
        first, last = np.searchsorted(transitions.row, [base, base + len(rows) - 1])
        _add_span(sums, edges, rows, base, transitions, group_of_transition, slice(first, last))
    return Moments(width, sums, edges, shift)


def _spans(
    name: str, reader: Reader, shift: Float[np.ndarray, " feature"], capacity: int
) -> Iterator[tuple[int, Float[np.ndarray, "row feature"]]]:
    """Cut the layer into shifted spans of ``capacity`` rows; each begins with the last row of the one before."""
    capacity = min(capacity, reader.shape[0])
    buffer = np.empty((capacity, reader.shape[1]), dtype=shift.dtype)
    base = filled = 0
    for start, chunk in reader.chunks():
        taken = 0
        while taken < len(chunk):
            take = min(len(chunk) - taken, capacity - filled)
            piece = buffer[filled : filled + take]
            np.subtract(chunk[taken : taken + take], shift, out=piece, dtype=shift.dtype)
            _require_finite(name, piece, start + taken)
            filled, taken = filled + take, taken + take
            if filled == capacity:
                yield base, buffer
                buffer[0] = buffer[-1]
                base, filled = base + capacity - 1, 1
    if filled > 1:
        yield base, buffer[:filled]


def _add_span(
    sums: Sums,
    edges: Float[np.ndarray, "feature feature"],
    rows: Float[np.ndarray, "row feature"],
    base: int,
    transitions: Transitions,
    group_of_transition: Int[np.ndarray, " transition"],
    span: slice,
) -> None:
    at, groups = transitions.row[span] - base, group_of_transition[span]
    width = rows.shape[1]
    for group in np.unique(groups):
        chosen = np.flatnonzero(groups == group)
        x = np.zeros((len(chosen), sums.x.shape[-1]), dtype=rows.dtype)
        y = np.empty((len(chosen), sums.y.shape[-1]), dtype=rows.dtype)
        x[:, :width], y[:, :width] = rows[at[chosen]], rows[at[chosen] + 1]
        y[:, width:] = transitions.scalars[span][chosen]
        if transitions.actions:
            x[np.arange(len(chosen)), width + transitions.action[span][chosen]] = 1
        sums.count[group] += len(chosen)
        sums.x[group] += x.sum(axis=0, dtype=np.float64)
        sums.y[group] += y.sum(axis=0, dtype=np.float64)
        sums.xx[group] += x.T @ x
        sums.xy[group] += x.T @ y
        sums.yy[group] += np.einsum("ij,ij->j", y, y, dtype=np.float64)
    begins, ends = rows[at[transitions.begins[span]]], rows[at[transitions.ends[span]] + 1]
    edges += ends.T @ ends
    edges -= begins.T @ begins


def _require_finite(name: str, rows: Float[np.ndarray, "row feature"], start: int) -> None:
    if np.isfinite(rows).all():
        return
    row, feature = np.argwhere(~np.isfinite(rows))[0]
    raise DataError(
        f"layer '{name}' has the value {rows[row, feature]} in row {start + row}, feature {feature}",
        hint="extract the store again (float32 if the layer overflows float16), or name the other layers in probe.layers",
    )
