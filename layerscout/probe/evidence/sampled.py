"""A layer's reader, its leading directions and fits in; coordinates and predictions of some thousand transitions out.

What only single rows can tell, such as how often a forecast hits, needs rows and not their sums. A few thousand say it well
enough, so that what is read again does not grow with the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from layerscout.errors import DataError
from layerscout.probe.evidence.bits import Bits, bits
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.moments.rows import Reader, widen
from layerscout.probe.questions.splits import CONFIRMATION, Split
from layerscout.probe.questions.targets import Transitions
from layerscout.probe.solve.ridge import LinearMap
from layerscout.probe.solve.scaling import feature_scaling, standardise

ROWS, BLOCK = 8192, 1024  # rows that are read at most; rows that lie side by side


@dataclass(frozen=True)
class SampledRows:
    """Transitions both of whose rows were read: those that rank, and beside them those of the confirmation set.

    Attributes
    ----------
    chosen
        Number of each among all transitions, rising.
    coordinates, following
        Coordinates of z_t and of z_{t+1} on the leading directions.
    predicted
        What the fixed fit of the other folds predicts at z_t.
    extra
        z_t, and z_{t+1}, times the matrices that were asked for.
    held, extra_held
        Number of each transition of the confirmation set among all, and ``extra`` of those.
    group, fold
        Of each transition.
    places
        Place of every row of the layer in ``rows``; -1 for one that was not read or is not finite.
    rows
        Coordinates of all rows that were read.
    width
        Of the layer.
    """

    chosen: Int[np.ndarray, " some"]
    coordinates: Float[np.ndarray, "some direction"]
    following: Float[np.ndarray, "some direction"]
    predicted: Float[np.ndarray, "some column"]
    extra: tuple[Float[np.ndarray, "some other"], Float[np.ndarray, "some other"]]
    held: Int[np.ndarray, " few"]
    extra_held: tuple[Float[np.ndarray, "few other"], Float[np.ndarray, "few other"]]
    group: Int[np.ndarray, " some"]
    fold: Int[np.ndarray, " some"]
    places: Int[np.ndarray, " row"]
    rows: Float[np.ndarray, "read direction"]
    width: int


def blocks_to_read(rows: int) -> list[tuple[int, int]]:
    """Ranges of rows, evenly spread, in order and side by side or apart; of a short layer, all rows."""
    if rows <= ROWS:
        return [(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)]
    starts = np.linspace(0, rows - BLOCK, ROWS // BLOCK).astype(int).tolist()
    return [(start, start + BLOCK) for start in starts]


def sample_rows(
    reader: Reader,
    shift: Float[np.ndarray, " feature"],
    leading: Float[np.ndarray, "feature direction"],
    maps: Sequence[LinearMap],
    transitions: Transitions,
    split: Split,
    extra: tuple[Float[np.ndarray, "feature other"], ...] = (),
) -> SampledRows:
    """Read rows, take ``shift`` off, and multiply them.

    Parameters
    ----------
    leading
        Directions, in columns.
    maps
        One a fold.
    extra
        A matrix for z_t and one for z_{t+1}, if wanted.
    """
    width, directions = leading.shape
    weights = [one.weights[:width] for one in maps]
    matrix = np.hstack([leading, *weights, *extra]).astype(shift.dtype)
    places, parts, taken = np.full(reader.shape[0], -1), [], 0
    for start, stop in blocks_to_read(reader.shape[0]):
        rows = np.empty((stop - start, width), shift.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            widen(reader.read(start, stop), shift, rows)
            values = rows @ matrix
        finite = np.isfinite(values).all(axis=1)
        places[start:stop][finite] = taken + np.flatnonzero(finite)
        parts.append(values)
        taken += stop - start
    values = np.concatenate(parts)
    fold = split.fold_of_group[split.group_of_episode[transitions.episode]]
    known = (places[transitions.row] >= 0) & (places[transitions.row + 1] >= 0)
    chosen, held = (np.flatnonzero(known & part) for part in (fold != CONFIRMATION, fold == CONFIRMATION))
    now, fold = places[transitions.row[chosen]], fold[chosen]
    columns = weights[0].shape[1] if weights else 0
    predicted = np.zeros((len(chosen), columns))
    for number, one in enumerate(maps):
        own = fold == number
        predicted[own] = values[now[own], directions + columns * number : directions + columns * (number + 1)] + one.intercept
    rows, after = values[:, :directions], places[transitions.row[chosen] + 1]
    others = values[:, directions + columns * len(maps) :].astype(np.float64)
    beyond = extra[0].shape[1] if extra else 0
    group = split.group_of_episode[transitions.episode[chosen]]
    both = others[now, :beyond], others[after, beyond:]
    apart = others[places[transitions.row[held]], :beyond], others[places[transitions.row[held] + 1], beyond:]
    return SampledRows(chosen, rows[now], rows[after], predicted, both, held, apart, group, fold, places, rows, width)


def pairs_apart(sample: SampledRows, transitions: Transitions, steps: int) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Transitions t of the sample, by their place in it, with place in ``rows`` of z_{t+steps} of the same episode."""
    last = sample.chosen + steps - 1
    there = np.minimum(last, len(transitions) - 1)
    row, episode = transitions.row, transitions.episode
    end = np.minimum(row[sample.chosen].astype(np.int64) + steps, len(sample.places) - 1)
    inside = (last == there) & (row[there] == row[sample.chosen] + steps - 1) & (episode[there] == episode[sample.chosen])
    pair = np.flatnonzero(inside & (sample.places[end] >= 0))
    return pair, sample.places[end[pair]]


def sums_of(x: Float[np.ndarray, "row feature"], y: Float[np.ndarray, "row target"]) -> MomentSums:
    """Moments of rows; products in their precision."""
    totals = x.sum(axis=0, dtype=np.float64), y.sum(axis=0, dtype=np.float64), x.T @ x, x.T @ y, np.einsum("ij,ij->j", y, y)
    return MomentSums(len(x), *(np.asarray(each, dtype=np.float64) for each in totals))


def bits_of_pairs(x: np.ndarray, y: np.ndarray, discrete: bool) -> Bits | None:
    """Return the bits of pairs of rows; None where rounding leaves their sums without a factor."""
    # about their mean: squares of far-off rows would leave float32 nothing of their differences
    x, y = (part - part.mean(axis=0, dtype=np.float64).astype(part.dtype) for part in (x, y))
    total = sums_of(x, y)
    by = feature_scaling(total, np.zeros(y.shape[1], y.dtype))
    moved = (y.T @ y).astype(np.float64) - total.xx[: y.shape[1], : y.shape[1]]
    try:
        return bits(total, standardise(total, by), moved, (by.y_variance > 0).astype(np.float64), discrete, by)
    except DataError:
        return None


def share_of_rows(sample: SampledRows, transitions: Transitions, split: Split) -> float:
    """Share of the transitions that rank which were read."""
    return len(sample.chosen) / max(int(np.sum(split.fold_of_group[split.group_of_episode[transitions.episode]] >= 0)), 1)
