"""The runs of two arms that are not paired in; the chance that one beats the other, with its interval, and Welch's test out.

References
----------
Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (arXiv 2108.13264), §4.3.
Welch 1947, "The generalization of Student's problem when several different population variances are involved", Biometrika 34.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from layerscout.cache.records import Estimate
from layerscout.report.numbers.statistics import CONFIDENCE, DRAWS

Strata = Sequence[Float[np.ndarray, " seed"]]


def probability_of_improvement(
    first: Float[np.ndarray, "*draw seed"], second: Float[np.ndarray, "*draw other"]
) -> Float[np.ndarray, "*draw"]:
    """Return the chance that a random run of ``first`` beats a random run of ``second``; a tie counts one half.

    References
    ----------
    Agarwal et al. 2021, §4.3: the Mann–Whitney statistic over the number of pairs.
    """
    apart = first[..., :, None] - second[..., None, :]
    return (apart > 0).mean(axis=(-2, -1)) + 0.5 * (apart == 0).mean(axis=(-2, -1))


def improvement(first: Strata, second: Strata, *, draws: int = DRAWS, seed: int = 0) -> Estimate | None:
    """Return P(first > second), averaged over tasks, with its stratified bootstrap interval.

    Parameters
    ----------
    first, second
        One array of final returns a task, the tasks in the same order; numbers of seeds may differ. Both sides' seeds are
        resampled independently within each task.

    Returns
    -------
    None when a side has no value in some task; without interval when a side has fewer than two.
    """
    pairs = [(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)) for a, b in zip(first, second, strict=True)]
    if not pairs or not all(len(a) and len(b) for a, b in pairs):
        return None
    value = float(np.mean([probability_of_improvement(a, b) for a, b in pairs]))
    if any(len(a) < 2 or len(b) < 2 for a, b in pairs):
        return Estimate(value=value)
    generator = np.random.default_rng(seed)
    drawn = np.zeros(draws)
    for a, b in pairs:
        ours, theirs = (side[generator.integers(len(side), size=(draws, len(side)))] for side in (a, b))
        drawn += probability_of_improvement(ours, theirs) / len(pairs)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def welch(first: Float[np.ndarray, " seed"], second: Float[np.ndarray, " other"]) -> tuple[Estimate | None, float | None]:
    """Return the difference of means with Welch's interval, and the two-sided p of Welch's t test.

    For arms whose seeds are not paired and whose spreads may differ (Colas et al. 2018, arXiv 1806.08295).

    Returns
    -------
    (None, None) when a side is empty. Without interval and p when a side has one run or neither side varies.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not len(first) or not len(second):
        return None, None
    difference = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return Estimate(value=difference), None
    shares = np.array([side.var(ddof=1) / len(side) for side in (first, second)])
    error = math.sqrt(shares.sum())
    if error == 0:
        return Estimate(value=difference), None
    freedom = shares.sum() ** 2 / float((shares**2 / np.array([len(first) - 1, len(second) - 1])).sum())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(difference) / error, freedom))
    return Estimate(value=difference, low=difference - half, high=difference + half), p
