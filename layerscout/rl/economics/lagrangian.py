"""Profit, errors and a target in, a penalised reward and the next multiplier out: the constraint on errors as a price."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from layerscout.errors import UsageError
from layerscout.rl.economics.wages import above_zero, at_least_zero

Penalty = Literal["linear", "hinge"]
PENALTIES = ("linear", "hinge")


def violation(
    errors: Float[np.ndarray, "*place"],
    attempts: Float[np.ndarray, "*place"],
    target: float,
    usual_attempts: float | Float[np.ndarray, "*place"],
) -> Float[np.ndarray, "*place"]:
    """Return a step's share of the hour's violation: (errors − e* attempts) / usual attempts a step, an error rate.

    A ratio errors / attempts of one step with one or two attempts is biased, so the errors that were allowed are taken from those
    that were made; the mean over an hour is (err − e*) · attempts / usual attempts.

    Parameters
    ----------
    errors, attempts
        Counts of one step.
    target
        e*, in (0, 1).
    usual_attempts
        Attempts of a usual step, above 0: it makes a rate of the count, so that λ is in dollars an hour and unit of error rate.
    """
    return (errors - _rate("target", target) * attempts) / _each(above_zero, "usual_attempts", usual_attempts)


def hinged_violation(
    errors: Float[np.ndarray, "*place"],
    attempts: Float[np.ndarray, "*place"],
    errors_before: Float[np.ndarray, "*place"],
    attempts_before: Float[np.ndarray, "*place"],
    target: float,
    usual_attempts: float | Float[np.ndarray, "*place"],
) -> Float[np.ndarray, "*place"]:
    """Return a step's share of the hour's hinge: what max(0, errors − e* attempts) of the hour until now gained in it, over usual attempts.

    The steps of an hour add up to its own hinge. The hinge of the rate until now would not do in its place: a late minute moves that
    rate by a sixtieth, and a discount of 0.9 hears of it for ten minutes, so that λ would have to be several times as large.

    Parameters
    ----------
    errors, attempts
        Counts of one step.
    errors_before, attempts_before
        Counts of its hour until that step.
    target
        e*, in (0, 1).
    usual_attempts
        As of `violation`.
    """
    before = violation(errors_before, attempts_before, target, usual_attempts)
    return np.maximum(0.0, before + violation(errors, attempts, target, usual_attempts)) - np.maximum(0.0, before)


def penalise(
    profit: Float[np.ndarray, "*place"],
    violations: Float[np.ndarray, "*place"],
    multiplier: float | Float[np.ndarray, "*place"],
    penalty: Penalty = "linear",
) -> Float[np.ndarray, "*place"]:
    """r = profit − λ · v with v = err − e* (``linear``) or max(0, err − e*) (``hinge``), in dollars an hour.

    The multiplier of the linear form is the shadow price of the target. The hinge of a noisy rate has a slope of P(err > e*), about a half
    where the target binds, so that its multiplier must be about twice as large for the same effect.
    """
    return profit - _each(at_least_zero, "multiplier", multiplier) * (
        np.maximum(violations, 0.0) if _known(penalty) == "hinge" else violations
    )


def ascend(
    multiplier: Float[np.ndarray, " run"] | float, error: Float[np.ndarray, " run"] | float, target: float, step_size: float
) -> Float[np.ndarray, " run"]:
    """λ ← max(0, λ + η (err − e*)), once an episode.

    Parameters
    ----------
    multiplier
        λ, dollars an hour and unit of error rate, one a run.
    error
        The episode's errors an attempt; not finite (no attempts): the multiplier stays.
    target
        e*, in (0, 1).
    step_size
        η, dollars an hour and squared unit of error rate an episode, at least 0.
    """
    multipliers, errors = np.broadcast_arrays(np.asarray(multiplier, np.float64), np.asarray(error, np.float64))
    moved = np.maximum(0.0, multipliers + at_least_zero("step_size", step_size) * (errors - _rate("target", target)))
    return np.where(np.isfinite(errors), moved, multipliers)


def time_constant(step_size: float, response: float) -> float:
    """Episodes in which λ comes within 1/e of where it settles: 1 / (η |d err / dλ|).

    Parameters
    ----------
    step_size
        η of `ascend`, above 0.
    response
        |d err / dλ|: how much the error rate falls for one more dollar of λ, above 0. At the sink without damage, at 6 %: 0.0019.
    """
    return 1.0 / (above_zero("step_size", step_size) * above_zero("response", response))


@dataclass(frozen=True)
class Curriculum:
    """An error target that tightens linearly: e*(episode) from ``first`` to ``last`` over ``episodes``, then ``last``.

    Raises
    ------
    UsageError
        A target is outside (0, 1), the last is looser than the first, or ``episodes`` is negative.
    """

    first: float = 0.10
    last: float = 0.06
    episodes: int = 600

    def __post_init__(self) -> None:
        _rate("the first error target", self.first)
        _rate("the last error target", self.last)
        if self.last > self.first:
            raise UsageError(
                f"the error target goes from {self.first} up to {self.last}",
                hint="a curriculum tightens: give a last target at most the first",
            )
        if self.episodes < 0:
            raise UsageError(f"a curriculum of {self.episodes} episodes", hint="give 0 or more")

    def target(self, episode: int) -> float:
        """e* of an episode, counted from 0: on a line from the first to the last limit, and constant after it."""
        share = min(1.0, episode / self.episodes) if self.episodes else 1.0
        return self.first + share * (self.last - self.first)


def _rate(name: str, value: float) -> float:
    if not (math.isfinite(value) and 0.0 < value < 1.0):
        raise UsageError(f"{name} is {value}", hint="an error target is a share in (0, 1)")
    return value


def _each(
    check: Callable[[str, float], float], name: str, values: float | Float[np.ndarray, "*place"]
) -> float | Float[np.ndarray, "*place"]:
    """Return one number or many, if ``check`` lets all of them pass."""
    if np.size(values):
        check(name, float(np.min(values)))  # a NaN is the least and the largest
        check(name, float(np.max(values)))
    return values


def _known(penalty: str) -> str:
    if penalty not in PENALTIES:
        raise UsageError(f"unknown penalty '{penalty}'", hint=f"penalty is one of: {', '.join(PENALTIES)}")
    return penalty
