"""A run record in, one summary an arm out: what its finished runs earned, how fast, and how far from the best possible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from layerscout.cache.records import Arm, Estimate, Run, RunRecord, none_if_nan
from layerscout.report.numbers.profiles import optimality_gap
from layerscout.report.numbers.speed import Arrival, area_under_curve, evaluation_return, learned_level, median_arrival
from layerscout.report.numbers.statistics import bootstrap


@dataclass(frozen=True)
class ArmSummary:
    """One arm over its seeds. A figure without data is None.

    ``last`` is the mean over seeds of each run's final return (its last 50 episodes), ``spread`` the sample standard
    deviation of those, ``overall`` the mean over seeds of each run's `overall_return`, ``iqm`` the interquartile
    mean of the final returns with its bootstrap interval. ``evaluation`` and ``evaluation_iqm`` are of the last greedy
    evaluation, ``auc`` is the interquartile mean of the areas under the learning curves.
    """

    arm: Arm
    last: float | None
    spread: float | None
    overall: float | None
    iqm: Estimate | None
    seeds: int
    failed: int
    evaluation: float | None
    evaluation_iqm: Estimate | None
    auc: Estimate | None
    level: float | None
    arrival: Arrival | None
    gap: Estimate | None


def summarise_arm(record: RunRecord, arm: Arm, level: float | None) -> ArmSummary:
    """Aggregate the finished runs of one arm; failed runs are counted, never averaged in. ``level`` counts as learned."""
    runs = [run for run in record.runs if run.arm == arm.name]
    done = [run for run in runs if run.status == "done"]
    final = np.array([run.final for run in done if run.final is not None], dtype=np.float64)
    overall = [value for run in done if (value := overall_return(run)) is not None]
    greedy = np.array([value for run in done if (value := evaluation_return(run)) is not None], dtype=np.float64)
    areas = np.array([value for run in done if (value := area_under_curve(run)) is not None], dtype=np.float64)
    return ArmSummary(
        arm=arm,
        last=float(final.mean()) if len(final) else None,
        spread=none_if_nan(float(final.std(ddof=1))) if len(final) > 1 else None,
        overall=float(np.mean(overall)) if overall else None,
        iqm=bootstrap([final]),
        seeds=len(runs),
        failed=len(runs) - len(done),
        evaluation=float(greedy.mean()) if len(greedy) else None,
        evaluation_iqm=bootstrap([greedy]),
        auc=bootstrap([areas]),
        level=level,
        arrival=median_arrival(done, level) if level is not None and done else None,
        gap=optimality_gap([final], record.best_possible),
    )


def arm_summaries(record: RunRecord) -> tuple[ArmSummary, ...]:
    """Aggregate every arm, in the record's order."""
    level = learned_level(record)
    return tuple(summarise_arm(record, arm, level) for arm in record.arms)


def most_seeds(record: RunRecord) -> int:
    """Return the largest number of finished runs of an arm: what a paired test could have at best."""
    return max((sum(run.arm == arm.name and run.final is not None for run in record.runs) for arm in record.arms), default=0)


def episodes_of(run: Run) -> Iterable[tuple[float, str, int | None]]:
    """Yield every episode of a run once, as (return, phase, at): training in the order it ended, then greedy rollouts.

    ``at`` is when a rollout was made: updates done when learning offline, environment steps of the run otherwise.

    A run that learned offline has no training episodes; its returns are those of its last rollouts and are not repeated.
    """
    rollouts = [(value, at) for at, values in run.evaluations for value in values]
    tail = tuple(value for value, _ in rollouts[len(rollouts) - len(run.returns) :])
    if len(run.returns) > len(rollouts) or tail != run.returns:
        yield from ((value, "train", None) for value in run.returns)
    yield from ((value, "eval", at) for value, at in rollouts)


def overall_return(run: Run) -> float | None:
    """Return the mean over all training episodes, or over all rollouts of a run that had none."""
    trained = [value for value, phase, _ in episodes_of(run) if phase == "train"]
    values = trained or [value for value, _, _ in episodes_of(run)]
    return float(np.mean(values)) if values else None
