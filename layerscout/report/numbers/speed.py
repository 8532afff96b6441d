"""One run's returns in; the area under its learning curve and the work until it first reached a level out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Run, RunRecord
from layerscout.report.numbers.curves import running_mean
from layerscout.report.numbers.statistics import interquartile_mean

LEARNED_SHARE = 0.75  # of the way from a random policy to the best: where an agent counts as having learned the task


@dataclass(frozen=True)
class Arrival:
    """When an arm's runs reached a level. ``median`` is None when half of them or more never did (they are censored)."""

    median: float | None
    reached: int
    runs: int


def performance_over_work(run: Run) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return where a run was looked at and how high it stood: greedy evaluations over work, else training returns over episodes."""
    points = sorted((at, float(np.mean(returns))) for at, returns in run.evaluations if returns)
    if points:
        at, height = zip(*points, strict=True)
        return np.array(at, dtype=np.float64), np.array(height)
    return np.arange(1.0, len(run.returns) + 1), np.array(run.returns, dtype=np.float64)


def area_under_curve(run: Run) -> float | None:
    """Return the area under a run's learning curve over its span, in units of return: early learning counts.

    ∫ height d(work) / ∫ d(work), by trapezoids; with a single point, its height. None without any.
    """
    at, height = performance_over_work(run)
    if not len(at):
        return None
    return float(np.trapezoid(height, at) / (at[-1] - at[0])) if len(at) > 1 else float(height[0])


def work_to_level(run: Run, level: float) -> float | None:
    """Return the work (updates, steps or, without evaluations, episodes) at which a run first stood at ``level``; None if never.

    Training returns are smoothed by their running mean over 50 episodes first, so that one lucky episode is no arrival.
    """
    at, height = performance_over_work(run)
    if not any(returns for _, returns in run.evaluations) and len(height):
        height = running_mean(height)
    reached = np.flatnonzero(height >= level)
    return float(at[reached[0]]) if len(reached) else None


def median_arrival(runs: Sequence[Run], level: float) -> Arrival:
    """Return the median arrival over runs. A run that never arrived counts as later than all others, never as absent."""
    when = [work_to_level(run, level) for run in runs]
    known = [value for value in when if value is not None]
    median = float(np.median([np.inf if value is None else value for value in when])) if when else np.inf
    return Arrival(median if np.isfinite(median) else None, len(known), len(when))


def learned_level(record: RunRecord) -> float | None:
    """Return the level at which the task counts as learned: ¾ of the way from a random policy's return to the best.

    The best is ``best_possible`` where it is known, else the highest interquartile mean of final returns among the arms; so all
    arms of a comparison are held to one level. None when the random policy's return is unknown or no arm is above it.
    """
    start = record.random_policy_return
    finals = [[run.final for run in record.runs if run.arm == arm.name and run.final is not None] for arm in record.arms]
    heights = [float(interquartile_mean(np.array(values))) for values in finals if values]
    top = record.best_possible if record.best_possible is not None else max(heights, default=None)
    return None if start is None or top is None or top <= start else start + LEARNED_SHARE * (top - start)


def evaluation_return(run: Run) -> float | None:
    """Return the mean of a run's last greedy evaluation, the policy without exploration; None when there was none."""
    return next((float(np.mean(returns)) for _, returns in reversed(run.evaluations) if returns), None)
