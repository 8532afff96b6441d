"""A wide layer in; what its probes got wrong and its spectra, from products of rows or from a sketch, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.components import squares_of
from layerscout.probe.evidence.controls import Diagonals
from layerscout.probe.moments.moments import Moments, MomentSums, accumulate
from layerscout.probe.moments.rows import Reader, pilot_mean
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import REWARD, Transitions
from layerscout.probe.solve.crossfit import OutOfFold
from layerscout.probe.solve.rank import effective_rank
from layerscout.probe.solve.scaling import DEAD, rounding
from layerscout.probe.wide import dual, sketch
from layerscout.probe.wide.dual import FewRows, spread
from layerscout.probe.wide.sketch import Axes, SketchScale
from layerscout.probe.wide.spectra import Spectra, feature_sums, membership, spectrum_of_rows, spectrum_of_sketch

CHECK_ROWS = 1024  # of a sketched layer, on which the exact answer is computed too


@dataclass(frozen=True)
class HeldOutFit:
    """What a fit on all rows that rank got wrong on the confirmation set; see ``components.Errors``."""

    transition: Float[np.ndarray, " feature"]
    transition_share: Float[np.ndarray, " group"]
    reward: Float[np.ndarray, " group"] | None
    live: Float[np.ndarray, " feature"]
    spectra: Spectra


@dataclass(frozen=True)
class WideFit:
    """What either method finds.

    Attributes
    ----------
    error
        Largest difference of an R² to the exact one on a part of the rows; None for an exact method.
    features, sums
        Moments of each feature with its own next value, and counts and squares of y = [z_{t+1}, scalars]; of all groups.
    live
        1 for a feature of z_{t+1} that varies over the rows that rank.
    """

    method: Literal["dual", "sketch"]
    error: float | None
    nonfinite: int
    features: Diagonals
    sums: MomentSums
    live: Float[np.ndarray, " feature"]
    fitted: OutOfFold
    spectra: Spectra
    held: HeldOutFit | None


def measure_by_rows(name: str, reader: Reader, transitions: Transitions, split: Split, config: ProbeConfig) -> WideFit:
    """Fit a layer with more features than rows exactly, in the dual: by products of rows with rows, not of features."""
    rows, bad = load_rows(name, reader, transitions, split, np.ones(len(transitions), dtype=bool), config.max_nonfinite)
    ranks, first, width = rows.fold >= 0, len(split.ranking), reader.shape[1]
    shift = rows.stored[rows.now].mean(axis=0, dtype=np.float64)
    features = feature_sums(rows.stored, rows.now, rows.group, split.groups, shift)
    of = membership(rows.group, split.groups)
    sums = squares_only(features, of @ rows.scalars, of @ rows.scalars**2)
    live = varying_targets(sums, width, slice(first))
    grid = raised_penalties(config, width, "float64")
    fitted = dual.cross_fit_rows(rows, first, grid, config.inner, live)
    spectra = _spectra_of_rows(rows, ranks, select_groups(features, slice(first)))
    held = None
    if not ranks.all():
        penalty, reward = best_penalties(fitted, grid, transitions)
        kept = replace(rows, scalars=rows.scalars[:, : len(reward)])
        varies = live * varying_targets(sums, width, slice(first, None))
        tested = dual.evaluate_rows(kept, ranks, ~ranks, penalty, reward, dual.row_target_share(rows, ~ranks, varies))
        group = rows.group[~ranks] - first
        held = HeldOutFit(
            tested.transition,
            np.bincount(group, tested.of_row, split.groups - first),
            np.bincount(group, tested.scalars[:, 0], split.groups - first) if len(reward) else None,
            varies,
            _spectra_of_rows(rows, ~ranks, select_groups(features, slice(first, None))),
        )
    return WideFit("dual", None, bad, features, sums, live, fitted, spectra, held)


def measure_by_sketch(name: str, reader: Reader, transitions: Transitions, split: Split, config: ProbeConfig) -> WideFit:
    """Measure through a sketch, and its error on a part of the rows."""
    first, width, dtype = len(split.ranking), reader.shape[1], np.dtype(config.precision)
    shift = pilot_mean(reader, np.float64)
    features = sketch.measure_features(reader, transitions, split, shift)
    ranking = select_groups(features, slice(first))
    count, mean = ranking.count.sum(), ranking.x.sum(axis=0) / ranking.count.sum()
    variance = np.maximum(ranking.xx.sum(axis=0) / count - mean**2, 0.0)
    varies = variance > np.maximum(DEAD * (mean + shift) ** 2, 10 * np.finfo(np.float64).eps * ranking.xx.sum(axis=0) / count)
    scale = SketchScale(shift + mean, varies / np.sqrt(np.where(varies, variance, 1.0)))
    axes = sketch.find_axes(reader, scale, transitions, split, config.seed, dtype)
    moments = accumulate(name, sketch.NarrowReader(reader, scale, axes.matrix), transitions, split, config.precision, config.max_nonfinite)
    beyond = slice(moments.width, None)
    sums = squares_only(features, moments.groups.y[:, beyond], moments.groups.yy[:, beyond])
    live = varying_targets(sums, width, slice(first))
    grid = raised_penalties(config, width, config.precision)
    fitted = sketch.sketched_fit(moments, axes, split, grid, config.inner)
    held = None
    if len(split.confirmation):
        rest = slice(first, None)
        penalty, reward = best_penalties(fitted, grid, transitions)
        share, squares = sketch.sketched_test(moments, axes, split, penalty, reward)
        alive = live * varying_targets(sums, width, rest)
        held = HeldOutFit(
            share.sum() * total_squares(sums, rest)[:width] * alive,
            share,
            squares[:, 0] if len(reward) else None,
            alive,
            _spectra_of_sketch(moments, scale, axes, features, rest),
        )
    error = sketch_error(name, reader, scale, axes, transitions, split, config)
    ratio = fitted.transition_share.sum()  # of all squares, taken to be that of every feature
    fitted = replace(fitted, transition=ratio * total_squares(sums, slice(first))[:width] * live)
    spectra = _spectra_of_sketch(moments, scale, axes, features, slice(first))
    return WideFit("sketch", error, moments.nonfinite_rows, features, sums, live, fitted, spectra, held)


def sketch_error(
    name: str,
    reader: Reader,
    scale: SketchScale,
    axes: Axes,
    transitions: Transitions,
    split: Split,
    config: ProbeConfig,
) -> float:
    """Largest |R² - exact R²|, of reward and transition, on the first few rows of each fold, with the same sketch."""
    fold = split.fold_of_group[split.group_of_episode[transitions.episode]]
    picked = np.zeros(len(transitions), dtype=bool)
    for number in range(split.folds):
        picked[np.flatnonzero(fold == number)[: CHECK_ROWS // split.folds]] = True
    rows, _ = load_rows(name, reader, transitions, split, picked, 1.0)
    first, grid = len(split.ranking), raised_penalties(config, reader.shape[1], config.precision)
    every = np.ones(len(rows.now), dtype=bool)
    live = (spread(rows.stored, rows.next).deviation > 0).astype(np.float64)
    exact = dual.cross_fit_rows(rows, first, grid, config.inner, live)
    sketched = sketch.sketched_fit(sketch.narrow_rows(rows, scale, axes, split.groups), axes, split, grid, config.inner)
    squares = np.sum((rows.scalars - rows.scalars.mean(axis=0)) ** 2, axis=0)
    pairs = [(exact.transition @ dual.row_target_share(rows, every, live), sketched.transition_share.sum())]
    if REWARD in transitions.target_names and squares[0] > 0:
        pairs.append((exact.scalars[:, 0].sum() / squares[0], sketched.scalars[:, 0].sum() / squares[0]))
    return float(max(abs(one - other) for one, other in pairs))


def load_rows(
    name: str, reader: Reader, transitions: Transitions, split: Split, chosen: Bool[np.ndarray, " transition"], max_nonfinite: float
) -> tuple[FewRows, int]:
    """Read the rows of some transitions; those with a NaN or an infinity are counted, and their transitions left out.

    Raises
    ------
    DataError
        More than a share of ``max_nonfinite`` of the rows is not finite.
    """
    row = transitions.row[chosen]
    needed = np.unique(np.concatenate([row, row + 1]))
    runs = np.split(needed, np.flatnonzero(np.diff(needed) != 1) + 1)
    stored = np.concatenate([reader.read(int(run[0]), int(run[-1]) + 1) for run in runs])
    finite = np.isfinite(stored).all(axis=1)
    if (bad := int(np.sum(~finite))) > max_nonfinite * len(stored):
        raise DataError(
            f"layer '{name}' has NaN or infinite values in {bad} of {len(stored)} rows, first in row {needed[np.argmin(finite)]}; "
            f"probe.max_nonfinite allows {max_nonfinite:g} of them",
            hint="extract the store again (float32 if the layer overflows float16), or name the other layers in probe.layers",
        )
    now = np.searchsorted(needed, row)
    kept = finite[now] & finite[now + 1]
    group = split.group_of_episode[transitions.episode[chosen]][kept]
    few = FewRows(stored, now[kept], transitions.inputs[chosen][kept], transitions.scalars[chosen][kept], group, split.fold_of_group[group])
    return few, bad


def raised_penalties(config: ProbeConfig, width: int, precision: str) -> list[float]:
    """The penalties, raised by the rounding of products as those of other layers are."""
    return [penalty + rounding(precision, width) for penalty in config.penalties]


def best_penalties(fitted: OutOfFold, grid: Sequence[float], transitions: Transitions) -> tuple[float, Float[np.ndarray, " reward"]]:
    """Penalties of the best mean validation R²: of the transition, and of the reward if there is one."""
    reward = fitted.scalar_path[:, : int(REWARD in transitions.target_names)]
    return grid[int(np.argmax(fitted.transition_path))], np.asarray(grid)[np.argmax(reward, axis=0)]


def select_groups(features: Diagonals, groups: slice) -> Diagonals:
    """The diagonals of the groups in this slice, as views."""
    return Diagonals(*(getattr(features, name)[groups] for name in features.__dataclass_fields__))


def squares_only(features: Diagonals, scalars: Float[np.ndarray, "group scalar"], squares: Float[np.ndarray, "group scalar"]) -> MomentSums:
    """Counts, sums and squares of y = [z_{t+1}, scalars]: all that total sums of squares need. There is no x."""
    groups = len(scalars)
    y, yy = np.hstack([features.y, scalars]), np.hstack([features.yy, squares])
    return MomentSums(features.count[:, 0], np.zeros((groups, 0)), y, np.zeros((groups, 0, 0)), np.zeros((groups, 0, y.shape[1])), yy)


def select_sums(sums: MomentSums, groups: slice) -> MomentSums:
    """The sums of the groups in this slice, as views."""
    return MomentSums(*(getattr(sums, name)[groups] for name in sums.__dataclass_fields__))


def total_squares(sums: MomentSums, groups: slice) -> Float[np.ndarray, " target"]:
    """Σ (target − mean)² over all rows of the groups in this slice, about their common mean."""
    return squares_of(select_sums(sums, groups).pool(np.arange(len(sums.count[groups]))))


def varying_targets(sums: MomentSums, width: int, groups: slice) -> Float[np.ndarray, " feature"]:
    """1 for a feature of z_{t+1} that varies over some groups."""
    count, y, yy = (part[groups].sum(axis=0) for part in (sums.count, sums.y[:, :width], sums.yy[:, :width]))
    noise = np.maximum(DEAD * y**2 / count, 10 * np.finfo(np.float64).eps * yy)
    return (total_squares(sums, groups)[:width] > noise).astype(np.float64)


def _spectra_of_rows(rows: FewRows, which: Bool[np.ndarray, " row"], features: Diagonals) -> Spectra:
    now, group = rows.now[which], rows.group[which] - rows.group[which].min()
    over, width = spread(rows.stored, now), rows.stored.shape[1]
    by = np.where(over.deviation > 0, over.inverse, 0.0)
    covariance, products = spectrum_of_rows(rows.stored, now, group, over.mean, np.ones(width))
    correlation, _ = spectrum_of_rows(rows.stored, now, group, over.mean, by, features)
    # the mean as one more row: together they have the singular values of the rows as they are
    count, across = len(now), np.zeros(len(now))
    for panel in dual.panels(width):
        across += (rows.stored[now, panel].astype(np.float64) - over.mean[panel]) @ over.mean[panel]
    bordered = np.block([[products / count, across[:, None] / np.sqrt(count)], [across / np.sqrt(count), np.array(over.mean @ over.mean)]])
    values, noise = np.linalg.eigvalsh(bordered), rounding("float64", width)
    largest = float(covariance.shares[0]) * np.trace(products) / count
    centred = np.where(covariance.shares > noise * covariance.shares[0], covariance.shares, 0.0)
    rankme = effective_rank(np.sqrt(np.where(values > noise * largest, values, 0.0))), effective_rank(np.sqrt(centred))
    return Spectra(covariance, correlation, rankme)


def _spectra_of_sketch(moments: Moments, scale: SketchScale, axes: Axes, features: Diagonals, groups: slice) -> Spectra:
    size, some, those = moments.width, select_sums(moments.groups, groups), select_groups(features, groups)
    deviation = np.where(scale.by > 0, 1 / np.where(scale.by > 0, scale.by, 1.0), 0.0)
    metric = np.zeros((size, size))
    for panel in dual.panels(len(deviation)):
        scaled = axes.matrix[panel].astype(np.float64) * deviation[panel, None]
        metric += scaled.T @ scaled
    covariance = spectrum_of_sketch(some, size, metric, (deviation > 0).astype(np.float64), those)
    return Spectra(covariance, spectrum_of_sketch(some, size, np.eye(size), scale.by, those))
