"""Returns of a few seeds in, estimates with 95 % intervals and paired tests out.

The aggregate is the interquartile mean, the interval a percentile bootstrap that resamples seeds within each task, and the
comparison a sign-flip test on seed-level differences. How a layer's score goes with its return is in `association`.

References
----------
Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (arXiv 2108.13264), §4.
Colas, Sigaud & Oudeyer 2018, "How many random seeds?" (arXiv 1806.08295).
Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
Berger 1982, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from layerscout.cache.records import Estimate

CONFIDENCE = 0.95  # of every interval
DRAWS = 2000  # bootstrap resamples; the percentiles' own error is then about a tenth of the interval's half width
EXACT_SEEDS = 12  # up to 2^12 = 4,096 sign patterns are enumerated
FLIPS = 20_000  # random sign patterns when there are more seeds than that

Statistic = Callable[[Float[np.ndarray, "*draw seed"]], Float[np.ndarray, "*draw"]]


def interquartile_mean(values: Float[np.ndarray, "*draw seed"]) -> Float[np.ndarray, "*draw"]:
    """Return the mean of the middle half along the last axis: the lowest and the highest ⌊n/4⌋ values are left out.

    Robust against one lucky or broken seed, yet less wasteful than the median. With fewer than four values it is the mean.

    References
    ----------
    Agarwal et al. 2021, §4.3; equal to ``scipy.stats.trim_mean(values, 0.25)``.
    """
    count = values.shape[-1]
    cut = count // 4
    return np.sort(values, axis=-1)[..., cut : count - cut].mean(axis=-1)


def mean_over_seeds(values: Float[np.ndarray, "*draw seed"]) -> Float[np.ndarray, "*draw"]:
    """Return the mean along the last axis, in the shape that `bootstrap` wants."""
    return values.mean(axis=-1)


def resample_seeds(
    strata: Sequence[Float[np.ndarray, " seed"]], draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draw seed"]:
    """Draw seeds with replacement inside each stratum; the strata are laid side by side along the last axis."""
    return np.concatenate([stratum[generator.integers(len(stratum), size=(draws, len(stratum)))] for stratum in strata], axis=1)


def bootstrap(
    strata: Sequence[Float[np.ndarray, " seed"]],
    statistic: Statistic = interquartile_mean,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate | None:
    """Return a statistic of all values with its stratified percentile interval.

    Parameters
    ----------
    strata
        One array of final returns a task (one task: a list of one array). Seeds are resampled within their task, so that
        the tasks' own differences do not widen the interval.
    statistic
        From ``[draw, seed]`` to ``[draw]``; the interquartile mean by default.

    Returns
    -------
    None when there is no value at all; without interval when a stratum has fewer than two values.

    References
    ----------
    Agarwal et al. 2021, §4.1 (stratified bootstrap), percentile method.
    """
    strata = [np.asarray(stratum, dtype=np.float64) for stratum in strata if len(stratum)]
    if not strata:
        return None
    value = float(statistic(np.concatenate(strata)[None])[0])
    if min(len(stratum) for stratum in strata) < 2:
        return Estimate(value=value)
    drawn = statistic(resample_seeds(strata, draws, np.random.default_rng(seed)))
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def mean_interval(values: Float[np.ndarray, " seed"]) -> Estimate | None:
    """Return the mean with Student's t interval, ``mean ± t₀.₉₇₅,ₙ₋₁ · s / √n``.

    With fewer than ten seeds a percentile bootstrap of a mean is too narrow; Student's interval keeps its level there as
    long as the values are not wildly skewed (Colas et al. 2018, §3).
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return None
    centre = float(values.mean())
    if len(values) < 2:
        return Estimate(value=centre)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Estimate(value=centre, low=centre - half, high=centre + half)


def sign_patterns(count: int, seed: int = 0) -> Int[np.ndarray, "pattern seed"]:
    """Return every pattern of +1 and −1 for up to 12 seeds, otherwise 20,000 random ones with the identity first."""
    if count <= EXACT_SEEDS:
        return 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    random = np.random.default_rng(seed).choice(np.array([-1, 1]), size=(FLIPS, count))
    return np.concatenate([np.ones((1, count), dtype=random.dtype), random])


def sign_flip_p(differences: Float[np.ndarray, " seed"], *, seed: int = 0) -> float | None:
    """Return the two-sided p of the paired sign-flip permutation test on the mean difference.

    If an arm and its control were exchangeable on each seed, every difference could as well have had the other sign; p is
    the share of sign patterns whose mean is at least as far from zero as the observed one. Exact up to 12 seeds.

    Returns
    -------
    p in (0, 1], at best 2/2ⁿ; None without differences.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if not len(differences):
        return None
    means = np.abs(sign_patterns(len(differences), seed) @ differences)
    # sums of the same numbers in another order differ in the last bits: a tie must count as a tie
    return float(np.mean(means >= abs(differences.sum()) - 1e-9 * np.abs(differences).sum()))


def smallest_p(seeds: int, comparisons: int = 1) -> float:
    """Return the smallest two-sided p that ``seeds`` pairs can give, after Holm's correction over ``comparisons``.

    2/2ⁿ: .25 for three seeds, .0625 for five, .031 for six. An experiment with fewer than six seeds cannot be
    significant at 5 %, whatever happens in it.
    """
    return min(1.0, comparisons * 2.0 ** (1 - seeds))


def seeds_needed(comparisons: int = 1, level: float = 0.05) -> int:
    """Return the fewest paired seeds with which ``comparisons`` claims can all be significant after Holm's correction."""
    return next(seeds for seeds in range(1, 64) if smallest_p(seeds, comparisons) <= level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted so that the chance of even one false claim among them stays below the level.

    The smallest is multiplied by m, the next by m − 1, …, and made monotone (Holm 1979).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def p_of_all(p_values: Sequence[float]) -> float:
    """Return the p of "every one of these holds": the largest of them, without correction.

    A claim that needs all comparisons at once (an intersection–union test) is wrong only if the weakest one is, so it
    keeps its level without dividing it (Berger 1982).
    """
    return max(p_values)


def seed_warning(seeds: int, level: float = 0.05) -> str | None:
    """Return a plain sentence when ``seeds`` paired runs can never reach ``level``, whatever happens in them; None otherwise."""
    if smallest_p(seeds) <= level:
        return None
    runs = "one seed" if seeds == 1 else f"{seeds} seeds"
    return (
        f"With {runs} no comparison can reach p < {level:g}: the smallest p of a paired test is {smallest_p(seeds):.3g}. "
        f"At least {seeds_needed(level=level)} seeds are needed."
    )
