"""Probe scores and returns of the same layers in; rank correlation with interval, its power, and the regret of choosing out.

References
----------
Spearman 1904; Kendall 1945 (tau-b). Davison & Hinkley 1997, "Bootstrap methods and their application", §3.8 (nested resampling).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from layerscout.cache.records import Estimate
from layerscout.report.numbers.statistics import CONFIDENCE, DRAWS

FEWEST_LAYERS = 4  # below this a rank correlation is an anecdote
EXACT_LAYERS = 8  # 8! = 40,320 orders are enumerated; beyond that, random orders
ORDERS = 50_000


@dataclass(frozen=True)
class Association:
    """How a score goes with a return over layers.

    ``p`` is two-sided, by permuting the layers. ``needed`` is the smallest |Spearman| that this number of layers could
    show at 5 % (None: no value could). ``regret`` is what the best-scored layer lost against the best layer, in return.
    """

    layers: int
    spearman: Estimate
    kendall: Estimate
    p: float
    needed: float | None
    regret: float


def spearman(first: Float[np.ndarray, "*draw layer"], second: Float[np.ndarray, "*draw layer"]) -> Float[np.ndarray, "*draw"]:
    """Return Spearman's rank correlation along the last axis, in [−1, 1], ties at their mean rank; NaN where one side is constant."""
    ranks = [stats.rankdata(values, axis=-1) for values in (first, second)]
    a, b = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def kendall(first: Float[np.ndarray, "*draw layer"], second: Float[np.ndarray, "*draw layer"]) -> Float[np.ndarray, "*draw"]:
    """Return Kendall's tau-b along the last axis; NaN where one side is constant."""
    a, b = (np.sign(values[..., :, None] - values[..., None, :]) for values in (first, second))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=(-2, -1)) / np.sqrt((a * a).sum(axis=(-2, -1)) * (b * b).sum(axis=(-2, -1)))


def rank_orders(layers: int, seed: int = 0) -> Float[np.ndarray, "order layer"]:
    """Return every order of ``layers`` ranks up to 8, otherwise 50,000 random ones with the identity first."""
    ranks = np.arange(layers, dtype=np.float64)
    if layers <= EXACT_LAYERS:
        return np.array(list(itertools.permutations(ranks)))
    return np.concatenate([ranks[None], np.random.default_rng(seed).permuted(np.tile(ranks, (ORDERS, 1)), axis=1)])


def spearman_p(first: Float[np.ndarray, " layer"], second: Float[np.ndarray, " layer"]) -> float:
    """Return the two-sided permutation p of Spearman's correlation, in (0, 1]; exact up to 8 layers, ties included."""
    observed = abs(float(spearman(first, second)))
    shuffled = second[rank_orders(len(second)).astype(np.int64)]
    null = spearman(np.broadcast_to(first, shuffled.shape), shuffled)
    return float(np.mean(np.abs(null) >= observed - 1e-9))


def smallest_significant_spearman(layers: int, level: float = 0.05) -> float | None:
    """Return the smallest |Spearman| whose two-sided permutation p is below ``level``; None when even 1 is not.

    Examples
    --------
    Four layers: None. Five: 1.0. Six: 0.886. Eight: 0.738. Sixteen: about 0.50.
    """
    if layers < 2:
        return None
    null = np.sort(np.abs(spearman(np.broadcast_to(np.arange(float(layers)), rank_orders(layers).shape), rank_orders(layers))))
    # p of a value is the share of orders at least as correlated; values are compared after rounding away the last bits
    values, counts = np.unique(null.round(9), return_counts=True)
    p_values = counts[::-1].cumsum()[::-1] / len(null)
    reached = values[p_values < level]
    return float(reached[0]) if len(reached) else None


def regret_at(scores: Float[np.ndarray, " layer"], returns: Float[np.ndarray, " layer"], best: int = 1) -> float:
    """Return what is lost by training only the ``best`` best-scored layers: best return of all minus best return of those."""
    chosen = np.argsort(-scores, kind="stable")[:best]
    return float(returns.max() - returns[chosen].max())


def nested_interval(
    scores: Float[np.ndarray, " layer"], returns: Sequence[Float[np.ndarray, " seed"]], draws: int, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the percentile intervals of Spearman and Kendall under resampling of layers, and of the seeds inside each layer.

    A resample in which one side is constant has no correlation and is left out.
    """
    generator = np.random.default_rng(seed)
    picks = [generator.integers(len(values), size=(draws, len(values))) for values in returns]
    means = np.stack([values[pick].mean(axis=-1) for values, pick in zip(returns, picks, strict=True)], axis=-1)
    drawn = generator.integers(len(scores), size=(draws, len(scores)))
    # a layer that is drawn twice keeps one draw of seeds, so that it ties with itself in score and in return
    resampled = np.take_along_axis(means, drawn, axis=1)
    edges = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    rho, tau = (np.nanquantile(statistic(scores[drawn], resampled), edges) for statistic in (spearman, kendall))
    return (float(rho[0]), float(rho[1])), (float(tau[0]), float(tau[1]))


def widened_to_value(value: float, interval: tuple[float, float]) -> Estimate:
    """Return the estimate with its interval, widened where the estimate itself lies outside.

    Redrawn seeds add their noise a second time and pull a correlation towards zero, so that the percentiles can miss an
    estimate near ±1.
    """
    return Estimate(value=value, low=min(interval[0], value), high=max(interval[1], value))


def associate(
    scores: Float[np.ndarray, " layer"], returns: Sequence[Float[np.ndarray, " seed"]], *, draws: int = DRAWS, seed: int = 0
) -> Association | None:
    """Return how a layer's score correlates with its mean return over seeds.

    Parameters
    ----------
    scores
        One probe figure a layer.
    returns
        The final returns of each layer's seeds; at least one a layer.

    Returns
    -------
    None with fewer than four layers, or when all scores or all mean returns are equal.
    """
    scores = np.asarray(scores, dtype=np.float64)
    returns = [np.asarray(values, dtype=np.float64) for values in returns]
    if len(scores) < FEWEST_LAYERS:
        return None
    means = np.array([values.mean() for values in returns])
    if np.ptp(scores) == 0 or np.ptp(means) == 0:
        return None
    rho, tau = nested_interval(scores, returns, draws, seed)
    return Association(
        layers=len(scores),
        spearman=widened_to_value(float(spearman(scores, means)), rho),
        kendall=widened_to_value(float(kendall(scores, means)), tau),
        p=spearman_p(scores, means),
        needed=smallest_significant_spearman(len(scores)),
        regret=regret_at(scores, means),
    )
