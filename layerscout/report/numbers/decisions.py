"""Scores and returns of the same layers in; what choosing by score costs, and what it saves, out.

References
----------
Dong et al. 2026 (arXiv 2602.04880): mean maximum rank violation (MMRV).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from layerscout.report.numbers.association import regret_at
from layerscout.report.numbers.within import TaskCells


def as_shares(returns: Float[np.ndarray, "*draw layer"]) -> Float[np.ndarray, "*draw layer"]:
    """Return the way from the worst layer (0) to the best (1), so that tasks can be averaged; 1 for all where they are equal."""
    low, high = returns.min(axis=-1, keepdims=True), returns.max(axis=-1, keepdims=True)
    spread = np.where(high > low, high - low, 1.0)
    return 1.0 - (high - returns) / spread


def regret(task: TaskCells, scores: Float[np.ndarray, " cell"], best: int, among: Bool[np.ndarray, " cell"] | None = None) -> float:
    """Return what is given up by training only the ``best`` best-scored cells, as a share of the way from the worst cell to the best.

    Parameters
    ----------
    task
        The cells with their returns.
    scores
        Which come first; ties share the last places by chance.
    best
        How many are trained.
    among
        Which cells may be chosen; all by default. The best of *all* cells is what the choice is held against.
    """
    shares, among = as_shares(task.means), np.ones(len(scores), dtype=bool) if among is None else among
    return 1.0 - (shares[among].max() - regret_at(scores[among], shares[among], best))


def blind_regret(task: TaskCells, best: int) -> float:
    """Return the regret of ``best`` pretrained cells picked at random, as a share: what a choice without any measure gives up."""
    shares = as_shares(task.means)[task.pretrained]
    return 1.0 - (shares.max() - random_regret(shares, best))


def random_regret(returns: Float[np.ndarray, " layer"], best: int) -> float:
    """Return the expected regret of ``best`` layers picked at random: best return minus the expected maximum of that many.

    E max = Σᵢ r₍ᵢ₎ C(i − 1, k − 1) / C(n, k) over the ascending returns r₍₁₎ … r₍ₙ₎.
    """
    ordered = np.sort(returns)
    count = len(ordered)
    best = min(best, count)
    shares = np.array([math.comb(place, best - 1) for place in range(count)]) / math.comb(count, best)
    return max(0.0, float(ordered[-1] - ordered @ shares))


def rank_violation(scores: Float[np.ndarray, " layer"], returns: Float[np.ndarray, "*draw layer"]) -> Float[np.ndarray, "*draw"]:
    """Return the mean maximum rank violation: how much return the worst wrongly ordered pair of each layer differs by, on average.

    MMRV = meanᵢ maxⱼ |Rᵢ − Rⱼ| · 1[(Sᵢ < Sⱼ) ≠ (Rᵢ < Rⱼ)]; 0 when scores put the layers in the order of their returns.

    References
    ----------
    Dong et al. 2026 (arXiv 2602.04880), the metric of their comparison of proxies.
    """
    apart = np.abs(returns[..., :, None] - returns[..., None, :])
    wrong = (scores[:, None] < scores[None, :]) != (returns[..., :, None] < returns[..., None, :])
    return (apart * wrong).max(axis=-1).mean(axis=-1)


def random_violation(returns: Float[np.ndarray, " layer"], *, draws: int = 1000, seed: int = 0) -> float:
    """Return the mean `rank_violation` of scores in random order: what to hold a score's against."""
    shuffled = np.random.default_rng(seed).permuted(np.tile(returns, (draws, 1)), axis=1)
    return float(rank_violation(np.arange(float(len(returns))), shuffled).mean())


def seconds_saved(scores: Float[np.ndarray, " layer"], seconds: Float[np.ndarray, " layer"], best: int, probing: float) -> float:
    """Return the CPU seconds that training only the ``best`` best-scored layers saves against training all, minus probing."""
    chosen = np.argsort(-scores, kind="stable")[:best]
    return float(seconds.sum() - seconds[chosen].sum() - probing)
