"""A wide layer with many rows in; a narrow layer that stands for it, and the errors of its probes, out.

The standardised features are rotated to new axes: those of their leading directions, and a few random ones out of all others.
Inputs are the coordinates on both. So are targets; there each random axis stands for as many as were left out, so that the
sum of squared errors is that of all features, on average.

References
----------
Halko, Martinsson and Tropp (2011), Finding structure with randomness, Algorithm 4.4 with one power iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Shaped

from layerscout.probe.evidence.components import divide, squares_of
from layerscout.probe.evidence.controls import Diagonals
from layerscout.probe.moments.moments import Moments, MomentSums
from layerscout.probe.moments.rows import Reader
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import Transitions
from layerscout.probe.solve.crossfit import OutOfFold, cross_fit, pool_folds
from layerscout.probe.solve.ridge import fit_ridge, squared_errors, weighted_errors
from layerscout.probe.solve.scaling import target_weights
from layerscout.probe.wide.dual import FewRows
from layerscout.probe.wide.spectra import feature_sums

LEADING = 1024  # axes
RANDOM = 256
BLOCK_ROWS = 2048  # rows read and multiplied at once, from fixed places on: the store's chunks change no bit
FEWEST_BLOCKS = 8  # read for the leading directions, evenly spread

AxesMatrix = Float[np.ndarray, "feature coordinate"]


@dataclass(frozen=True)
class SketchScale:
    """What standardises a layer: feature means, and 1 / standard deviations (0 for a feature that does not vary)."""

    mean: Float[np.ndarray, " feature"]
    by: Float[np.ndarray, " feature"]


class NarrowReader:
    """A layer's rows, standardised and multiplied with a matrix. A row with a NaN or an infinity becomes one of NaN."""

    def __init__(self, reader: Reader, scale: SketchScale, matrix: AxesMatrix) -> None:
        self.reader, self.scale, self.matrix = reader, scale, matrix
        self.shape = (reader.shape[0], matrix.shape[1])
        self.dtype = matrix.dtype

    def read(self, start: int, stop: int) -> Float[np.ndarray, "row coordinate"]:
        """Rows ``[start, stop)``, computed in whole blocks."""
        first = start // BLOCK_ROWS * BLOCK_ROWS
        parts = [self._block(at) for at in range(first, stop, BLOCK_ROWS)]
        return np.concatenate(parts)[start - first : stop - first]

    def _block(self, start: int) -> Float[np.ndarray, "row coordinate"]:
        rows, finite = standardised(self.reader, self.scale, start, min(start + BLOCK_ROWS, self.shape[0]), self.matrix.dtype)
        found = rows @ self.matrix
        found[~finite] = np.nan
        return found


def standardised(
    reader: Reader, scale: SketchScale, start: int, stop: int, dtype: Any
) -> tuple[Shaped[np.ndarray, "row feature"], Bool[np.ndarray, " row"]]:
    """Read rows and standardise them; rows with a NaN or an infinity become 0; the second array says which are finite."""
    stored = reader.read(start, stop)
    finite = np.isfinite(stored).all(axis=1)
    rows = np.where(finite[:, None], stored, 0).astype(dtype)
    rows -= scale.mean.astype(dtype)
    rows *= scale.by.astype(dtype)
    rows[~finite] = 0
    return rows, finite


def measure_features(reader: Reader, transitions: Transitions, split: Split, shift: Float[np.ndarray, " feature"]) -> Diagonals:
    """Read a layer once and add up each feature's moments, group by group."""
    rows, width = reader.shape
    total = [np.zeros((split.groups, 1)), *np.zeros((5, split.groups, width))]
    group = split.group_of_episode[transitions.episode]
    for start in range(0, rows, BLOCK_ROWS):
        stored = reader.read(start, min(start + BLOCK_ROWS + 1, rows))
        finite = np.isfinite(stored).all(axis=1)
        here = slice(*np.searchsorted(transitions.row, [start, min(start + BLOCK_ROWS, rows - 1)]))
        now = transitions.row[here] - start
        kept = finite[now] & finite[now + 1]
        part = feature_sums(stored, now[kept], group[here][kept], split.groups, shift)
        for amount, name in zip(total, part.__dataclass_fields__, strict=True):
            amount += getattr(part, name)
    return Diagonals(*total)


@dataclass(frozen=True)
class Axes:
    """Orthonormal axes, the leading ones first; and how many of all directions each stands for."""

    matrix: AxesMatrix
    stands_for: Float[np.ndarray, " coordinate"]


def find_axes(reader: Reader, scale: SketchScale, transitions: Transitions, split: Split, seed: int, dtype: Any) -> Axes:
    """Leading directions of the standardised rows that rank, those of X'(X Ω) with Ω random, and random ones beside them."""
    width, varying = reader.shape[1], int(np.sum(scale.by > 0))
    leading = min(LEADING, max(varying, 1))
    random = min(RANDOM, varying - leading) if varying > leading else 0
    draws = np.random.default_rng([seed, width]).standard_normal((width, leading + random)) * (scale.by > 0)[:, None]
    ranks = split.fold_of_group[split.group_of_episode[transitions.episode]] >= 0
    starts = np.arange(0, reader.shape[0], BLOCK_ROWS)
    wanted = min(len(starts), max(FEWEST_BLOCKS, -(-4 * leading // BLOCK_ROWS)))
    first = draws[:, :leading].astype(dtype)
    draws[:, :leading] = 0.0
    for start in starts[np.unique(np.linspace(0, len(starts) - 1, wanted).astype(int))]:
        stop = min(start + BLOCK_ROWS, reader.shape[0])
        rows, finite = standardised(reader, scale, start, stop, dtype)
        here = slice(*np.searchsorted(transitions.row, [start, stop]))
        used = np.zeros(stop - start, dtype=bool)
        used[transitions.row[here][ranks[here]] - start] = True
        rows = rows[used & finite]
        draws[:, :leading] += rows.T @ (rows @ first)
    matrix, _ = scipy.linalg.qr(draws, mode="economic", overwrite_a=True, check_finite=False)
    weight = (varying - leading) / max(random, 1)
    return Axes(matrix.astype(dtype), np.r_[np.ones(leading), np.full(random, weight)])


def narrow_rows(rows: FewRows, scale: SketchScale, axes: Axes, groups: int) -> Moments:
    """Moments of rows in memory after projection on the sketch's axes, group by group."""
    z, n = (((rows.stored[at].astype(np.float64) - scale.mean) * scale.by) @ axes.matrix for at in (rows.now, rows.next))
    x, y = np.hstack([z, rows.inputs]), np.hstack([n, rows.scalars])
    parts = []
    for group in range(groups):
        a, b = x[rows.group == group], y[rows.group == group]
        parts.append((len(a), a.sum(axis=0), b.sum(axis=0), a.T @ a, a.T @ b, np.sum(b**2, axis=0)))
    sums = MomentSums(*(np.array(each) for each in zip(*parts, strict=True)))
    return Moments(z.shape[1], sums, np.zeros((0, 0)), np.zeros(z.shape[1], dtype=axes.matrix.dtype))


def sketched_fit(moments: Moments, axes: Axes, split: Split, penalties: Sequence[float], inner: str) -> OutOfFold:
    """Cross-fit the projected latents; each coordinate counts by the features it stands for."""
    groups, _ = divide(moments.groups, split)
    ranking = replace(moments, groups=groups)
    dealt = Split(split.group_of_episode, split.fold_of_group[split.ranking])
    total, folds = pool_folds(ranking, dealt)
    return cross_fit(ranking, dealt, total, folds, penalties, inner, axes.stands_for, scaled=False)


def sketched_test(
    moments: Moments, axes: Axes, split: Split, penalty: float, reward_penalties: Float[np.ndarray, " reward"]
) -> tuple[Float[np.ndarray, " group"], Float[np.ndarray, "group reward"]]:
    """Fit on all groups that rank; each held-out group's share of the latents' error, and its squared errors of the reward."""
    size, count = moments.width, len(reward_penalties)
    groups, held = divide(moments.groups, split)
    assert held is not None, "there is a confirmation set"
    total = groups.pool(np.arange(len(groups.count)))
    kept = slice(0, size + count)
    total = replace(total, y=total.y[kept], xy=total.xy[:, kept], yy=total.yy[kept])
    with_action, _, reward = fit_ridge(total, moments.shift, penalty, reward_penalties, scaled=False)
    each = [held[group] for group in range(len(held.count))]
    weights = target_weights(squares_of(held.pool(np.arange(len(each))))[:size], axes.stands_for, scaled=False)
    shares = weighted_errors(with_action, each, slice(0, size), weights)
    return np.array(shares), np.array([squared_errors(reward, one, slice(size, size + count)) for one in each])
