"""The episodes of all seeds of an arm in, one learning curve with a bootstrap band out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Run, RunRecord
from layerscout.report.numbers.statistics import CONFIDENCE, DRAWS

WINDOW = 50  # training episodes in a running mean, the same as in the final return
WORK = {"offline": "updates", "online": "environment steps", "in-loop": "environment steps"}  # what evaluations are counted in
POINTS = 200  # on a curve over episodes


@dataclass(frozen=True)
class LearningCurve:
    """Mean return over seeds against ``axis``; the band is None with fewer than two seeds."""

    arm: str
    axis: str
    x: Float[np.ndarray, " point"]
    mean: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"] | None
    high: Float[np.ndarray, " point"] | None
    seeds: int


def learning_curves(record: RunRecord) -> tuple[LearningCurve, ...]:
    """Return one curve an arm: greedy evaluations over the work done where every run has them, else training returns over episodes.

    All arms share one kind of axis, so that they can stand in one figure; failed runs are left out.
    """
    done = [run for run in record.runs if run.status == "done"]
    evaluated = bool(done) and all(run.evaluations for run in done)
    curves = []
    for arm in record.arms:
        runs = [run for run in done if run.arm == arm.name and (evaluated or run.returns)]
        if runs:
            x, values = over_work(runs) if evaluated else over_episodes(runs)
            curves.append(average_curve(arm.name, WORK[record.mode] if evaluated else f"episodes (running mean of {WINDOW})", x, values))
    return tuple(one for one in curves if len(one.x))


def is_curve(curves: Sequence[LearningCurve]) -> bool:
    """True where some arm was looked at more than once; a single point is its final return again."""
    return any(len(curve.x) > 1 for curve in curves)


def over_work(runs: list[Run]) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "seed point"]]:
    """Return the points at which every run was evaluated, and each run's mean return there."""
    tables = [{at: float(np.mean(values)) for at, values in run.evaluations if values} for run in runs]
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    return np.array(shared, dtype=np.float64), np.array([[table[at] for at in shared] for table in tables])


def over_episodes(runs: list[Run]) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "seed point"]]:
    """Return running means of the training returns, as far as the shortest run goes."""
    length = min(len(run.returns) for run in runs)
    smooth = np.array([running_mean(np.array(run.returns[:length])) for run in runs])
    at = np.unique(np.linspace(0, length - 1, min(length, POINTS)).astype(np.int64))
    return (at + 1).astype(np.float64), smooth[:, at]


def running_mean(values: Float[np.ndarray, " episode"], window: int = WINDOW) -> Float[np.ndarray, " episode"]:
    """Return the mean of the last ``window`` values, or of all so far while there are fewer; never of later ones."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - window)
    return (total[end] - total[start]) / (end - start)


def average_curve(arm: str, axis: str, x: Float[np.ndarray, " point"], values: Float[np.ndarray, "seed point"]) -> LearningCurve:
    """Average over seeds; the band resamples whole seeds, so a run's own history stays together."""
    centre = values.mean(axis=0) if len(x) else np.zeros(0)
    if len(values) < 2 or not len(x):
        return LearningCurve(arm, axis, x, centre, None, None, len(values))
    picks = np.random.default_rng(0).integers(len(values), size=(DRAWS // 4, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return LearningCurve(arm, axis, x, centre, low, high, len(values))
