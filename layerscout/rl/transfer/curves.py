"""Curves of arms in, what a teacher saved out: iterations and environment steps to a target, and the share that is saved, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerscout.rl.transfer.students import ArmCurves

WINDOW = 3  # evaluations that are averaged before they count, so that one lucky one does not
RESAMPLES, SEED = 1_000, 0


@dataclass(frozen=True)
class Saving:
    """How soon an arm reaches a target score. What was never reached is None, never a number.

    Attributes
    ----------
    iterations, steps, training_steps
        Until the mean over seeds reaches the target: iterations, environment steps of student and teacher's play together, and the steps that
        made the teacher apart.
    reduced, reduced_steps
        1 − K / K_baseline, in iterations and in environment steps.
    low, high
        95 % interval of ``reduced`` over seeds (percentile bootstrap of both arms' seeds); None where a resample does not reach the target.
    best, last
        Best and last mean score, over ``WINDOW`` evaluations.
    """

    iterations: int | None
    steps: int | None
    training_steps: int | None
    reduced: float | None
    reduced_steps: float | None
    low: float | None
    high: float | None
    best: float
    last: float


def smoothed(scores: Float[np.ndarray, "iteration *seed"]) -> Float[np.ndarray, "iteration *seed"]:
    """Return the mean of each evaluation and those before it, ``WINDOW`` together; NaN before there are so many."""
    out = np.full(scores.shape, np.nan)
    for late in range(WINDOW - 1, len(scores)):
        out[late] = scores[late - WINDOW + 1 : late + 1].mean(axis=0)
    return out


def iterations_to(scores: Float[np.ndarray, " iteration"], target: float) -> int | None:
    """Return after how many iterations a smoothed curve first reaches the target, or None."""
    reached = np.flatnonzero(smoothed(scores) >= target)
    return int(reached[0]) + 1 if len(reached) else None


def best_score(curves: ArmCurves) -> float:
    """Return the best smoothed mean over seeds: of the baseline, the target."""
    return float(np.nanmax(smoothed(np.array(curves.scores).mean(axis=1))))


def saving(arm: ArmCurves, baseline: ArmCurves, target: float) -> Saving:
    """Hold an arm against the baseline at a target score."""
    own, other = np.array(arm.scores), np.array(baseline.scores)
    reached, before = iterations_to(own.mean(axis=1), target), iterations_to(other.mean(axis=1), target)
    steps, steps_before = _steps(arm, reached), _steps(baseline, before)
    low, high = _interval(own, other, target)
    smooth = smoothed(own.mean(axis=1))
    return Saving(
        reached,
        steps,
        arm.teacher_training_steps,
        _reduced(reached, before),
        _reduced(steps, steps_before),
        low,
        high,
        float(np.nanmax(smooth)),
        float(smooth[-1]),
    )


def _steps(curves: ArmCurves, iterations: int | None) -> int | None:
    return None if iterations is None else sum(curves.student_steps[:iterations]) + sum(curves.teacher_steps[:iterations])


def _reduced(mine: int | None, before: int | None) -> float | None:
    return None if mine is None or before is None else 1.0 - mine / before


def _interval(
    own: Float[np.ndarray, "iteration seed"], other: Float[np.ndarray, "iteration seed"], target: float
) -> tuple[float | None, float | None]:
    generator, found = np.random.default_rng(SEED), []
    for _ in range(RESAMPLES):
        drawn = [curves[:, generator.integers(0, curves.shape[1], curves.shape[1])].mean(axis=1) for curves in (own, other)]
        share = _reduced(iterations_to(drawn[0], target), iterations_to(drawn[1], target))
        if share is None:
            return None, None
        found.append(share)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
