"""Probe scores and returns of the same layers in; their rank correlation with its interval over seeds, and the regret of choosing, out.

References
----------
Spearman 1904; Kendall 1945 (tau-b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from layerscout.cache.records import Estimate
from layerscout.report.numbers.statistics import CONFIDENCE, DRAWS

FEWEST_LAYERS = 4  # below this a rank correlation is an anecdote


@dataclass(frozen=True)
class Association:
    """How a score goes with a return over layers.

    A description of these layers, never a test: layers of one backbone are smooth in depth, so no order of them is evidence by itself.
    Intervals are over seeds. ``regret`` is what the best-scored layer lost against the best layer, in return.
    """

    layers: int
    spearman: Estimate
    kendall: Estimate
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


def regret_at(scores: Float[np.ndarray, " layer"], returns: Float[np.ndarray, " layer"], best: int = 1) -> float:
    """Return what is lost by training only the ``best`` best-scored layers: best return of all minus best return of those.

    Where equal scores compete for the last places, the mean over which of them get in.
    """
    count = min(best, len(scores))
    edge = np.sort(scores)[::-1][count - 1]
    sure, tied = returns[scores > edge], np.sort(returns[scores == edge])
    heights = np.maximum(tied, sure.max()) if len(sure) else tied
    places = count - len(sure)
    shares = np.array([math.comb(place, places - 1) for place in range(len(tied))]) / math.comb(len(tied), places)
    return max(0.0, float(returns.max() - heights @ shares))


def seed_intervals(
    scores: Float[np.ndarray, " layer"], returns: Sequence[Float[np.ndarray, " seed"]], draws: int = DRAWS, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """Return Spearman's and Kendall's correlation with percentile intervals over resampled seeds; the layers stay as they are.

    So the interval says how far the figure of *these* layers moves with other seeds. It says nothing about other layers: those of one
    backbone are no independent witnesses, and resampling them would pretend that they are. A resample in which all returns are equal is left out.
    """
    generator = np.random.default_rng(seed)
    means = np.stack([values[generator.integers(len(values), size=(draws, len(values)))].mean(axis=-1) for values in returns], axis=-1)
    point = np.array([values.mean() for values in returns])
    wide = np.broadcast_to(scores, means.shape)
    edges = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    found = []
    for statistic in (spearman, kendall):
        low, high = np.nanquantile(statistic(wide, means), edges)
        found.append(widened_to_value(float(statistic(scores, point)), (float(low), float(high))))
    return found[0], found[1]


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
    rho, tau = seed_intervals(scores, returns, draws, seed)
    return Association(layers=len(scores), spearman=rho, kendall=tau, regret=regret_at(scores, means))
