"""Curves of arms in, what a teacher saved out: iterations and environment steps to a target, and the share that is saved, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from layerscout.cache.records.transfer import TransferArm, TransferRecord, TransferTeacher

WINDOW = 3  # evaluations that are averaged before they count, so that one lucky one does not
RESAMPLES, SEED = 1_000, 0
SHARES = (0.05, 0.5)  # kept shares with which a filter is one


@dataclass(frozen=True)
class Saving:
    """How soon an arm reaches a target score. What was never reached is None, never a number.

    Attributes
    ----------
    iterations, steps
        Until the mean over seeds reaches the target: iterations, and environment steps of student and teacher's play together.
    reduced, reduced_steps
        1 − K / K_baseline, in iterations and in environment steps.
    low, high
        95 % interval of ``reduced`` (percentile bootstrap over both arms' seeds; a target that is the baseline's best is found anew in every
        resample). An end beyond which the target was not reached is None.
    best, last
        Best and last mean score, over ``WINDOW`` evaluations.
    """

    iterations: int | None
    steps: int | None
    reduced: float | None
    reduced_steps: float | None
    low: float | None
    high: float | None
    best: float
    last: float


def smoothed(scores: Float[np.ndarray, "iteration *seed"]) -> Float[np.ndarray, "iteration *seed"]:
    """Return the mean of each evaluation and those before it, ``WINDOW`` together; NaN before there are so many."""
    out = np.full(scores.shape, np.nan)
    if len(scores) >= WINDOW:
        out[WINDOW - 1 :] = np.lib.stride_tricks.sliding_window_view(scores, WINDOW, axis=0).mean(axis=-1)
    return out


def iterations_to(scores: Float[np.ndarray, " iteration"], target: float) -> int | None:
    """Return after how many iterations a smoothed curve first reaches the target, or None."""
    reached = np.flatnonzero(smoothed(scores) >= target)
    return int(reached[0]) + 1 if len(reached) else None


def best_score(arm: TransferArm) -> float | None:
    """Return the best smoothed mean over seeds: of the baseline, the target. None where there are fewer than ``WINDOW`` iterations."""
    return _best(arm.matrix("scores").mean(axis=1))


def last_score(arm: TransferArm) -> float:
    """Return the mean over seeds and over the last ``WINDOW`` evaluations."""
    return float(arm.matrix("scores")[-WINDOW:].mean())


def saving(arm: TransferArm, baseline: TransferArm, target: float | None = None) -> Saving:
    """Hold an arm against the baseline at a target score.

    Parameters
    ----------
    target
        None: the baseline's best. A target that the untrained students reach says nothing, and nothing is counted at it.
    """
    own, other = arm.matrix("scores"), baseline.matrix("scores")
    wanted = best_score(baseline) if target is None else target
    best = _best(own.mean(axis=1))
    plain = (last_score(arm) if best is None else best, last_score(arm))
    if wanted is None or wanted <= float(np.mean(baseline.untrained)):
        return Saving(None, None, None, None, None, None, *plain)
    reached, before = iterations_to(own.mean(axis=1), wanted), iterations_to(other.mean(axis=1), wanted)
    steps = None if reached is None else arm.steps[reached - 1]
    steps_before = None if before is None else baseline.steps[before - 1]
    reduced = _reduced(reached, before)
    low, high = (None, None) if reduced is None else _interval(own, other, target)
    return Saving(reached, steps, reduced, _reduced(steps, steps_before), low, high, *plain)


def kind_of_teacher(teacher: TransferTeacher, target: float, standing: float) -> Literal["similar", "different", "harmful"]:
    """Say what a teacher is by what it earns in the students' task; what its own task looks like tells nothing.

    Parameters
    ----------
    target
        What students are to earn: a similar teacher earns that.
    standing
        What untrained students earn: a harmful teacher earns less.
    """
    if teacher.score >= target:
        return "similar"
    return "different" if teacher.score >= standing else "harmful"


def share_range(arm: TransferArm, name: Literal["kept", "effective"]) -> tuple[float, float] | None:
    """Return the smallest and the largest mean share over seeds, of the iterations in which the teacher played."""
    rows = [float(np.mean(row)) for row in getattr(arm, name) if row is not None]
    return (min(rows), max(rows)) if rows else None


def _best(mean: Float[np.ndarray, " iteration"]) -> float | None:
    return float(np.nanmax(smoothed(mean))) if len(mean) >= WINDOW else None


def _reduced(mine: int | None, before: int | None) -> float | None:
    return None if mine is None or before is None else 1.0 - mine / before


def _interval(
    own: Float[np.ndarray, "iteration seed"], other: Float[np.ndarray, "iteration seed"], target: float | None
) -> tuple[float | None, float | None]:
    generator = np.random.default_rng(SEED)
    mine, before = (
        smoothed(curves[:, generator.integers(0, curves.shape[1], (RESAMPLES, curves.shape[1]))].mean(axis=2)) for curves in (own, other)
    )
    wanted = np.nanmax(before, axis=0) if target is None else np.full(RESAMPLES, target)
    k, k_before = (np.where((curves >= wanted).any(axis=0), 1.0 + (curves >= wanted).argmax(axis=0), np.inf) for curves in (mine, before))
    if np.isinf(k_before).any():
        return None, None
    low, high = (float(end) for end in np.quantile(1.0 - k / k_before, [0.025, 0.975], method="nearest"))
    return (low if np.isfinite(low) else None), (high if np.isfinite(high) else None)


def targets_of(record: TransferRecord) -> tuple[float, ...]:
    """Return the scores that are to be reached: the record's own or the baseline's best, then the stricter ones."""
    baseline = record.arm("baseline", None)
    first = record.target if record.target is not None else None if baseline is None else best_score(baseline)
    return (*([] if first is None else [first]), *record.stricter)


def savings_at(record: TransferRecord, place: int = 0) -> dict[str, Saving]:
    """Return what every arm saved at one of the record's targets; without a baseline nothing is reduced."""
    targets, baseline = targets_of(record), record.arm("baseline", None)
    if not targets:
        return {}
    own = place == 0 and record.target is None
    found = {arm.name: saving(arm, baseline or arm, None if own else targets[place]) for arm in record.arms}
    if baseline:
        return found
    return {name: replace(one, reduced=None, reduced_steps=None, low=None, high=None) for name, one in found.items()}


def standing_score(record: TransferRecord) -> float:
    """Return what untrained students earn: in most tasks, by standing still."""
    arm = record.arm("baseline", None) or record.arms[0]
    return float(np.mean(arm.untrained))


def kinds_of_teachers(record: TransferRecord) -> dict[str, str]:
    """Say of every teacher whether it is similar, different or harmful; n/a where there is no target."""
    targets, standing = targets_of(record), standing_score(record)
    return {one.name: kind_of_teacher(one, targets[0], standing) if targets else "n/a" for one in record.teachers}
