"""Scores and returns of the layers of several tasks in; their pooled rank correlation, its p and what p could be at all out.

Returns of different tasks have different units, so only the order *within* a task counts: scores and mean returns become
ranks inside each task, and one correlation is taken over all of them.

References
----------
Spearman 1904; Kendall 1945 (tau-b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from layerscout.report.numbers.association import EXACT_LAYERS, rank_orders, smallest_significant_spearman

ORDERS = 20_000  # random orders of a permutation test over several tasks


@dataclass(frozen=True)
class TaskLayers:
    """One task's layers. A measure that is not known for every layer is NaN throughout: the task then says nothing about it.

    ``returns`` is NaN where a layer has no finished run of a seed; every layer has at least one.
    """

    name: str
    measures: Float[np.ndarray, "measure layer"]
    returns: Float[np.ndarray, "layer seed"]

    @property
    def means(self) -> Float[np.ndarray, " layer"]:
        """Mean return of each layer over its finished seeds."""
        return np.nanmean(self.returns, axis=1)

    @property
    def known(self) -> Bool[np.ndarray, " measure"]:
        """Which measures this task knows."""
        return np.isfinite(self.measures).all(axis=1)


def centred_ranks(values: Float[np.ndarray, "*draw layer"]) -> Float[np.ndarray, "*draw layer"]:
    """Return ranks along the last axis as shares of its length, ties at their mean, centred: the same scale for any number of layers."""
    ranked = stats.rankdata(values, axis=-1)
    return (ranked - ranked.mean(axis=-1, keepdims=True)) / values.shape[-1]


@dataclass
class RankSums:
    """Products and squares added up over tasks, from which a pooled correlation follows; NaN where a side never varies."""

    product: Float[np.ndarray, "*shape"]
    first: Float[np.ndarray, "*shape"]
    second: Float[np.ndarray, "*shape"]

    @classmethod
    def zeros(cls, *shape: int) -> RankSums:
        """Return the sums over no task."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def correlation(self) -> Float[np.ndarray, "*shape"]:
        """Return the correlation Σ ab / √(Σ a² Σ b²)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.product / np.sqrt(self.first * self.second)


def rank_sums(
    measures: Float[np.ndarray, "measure *draw layer"], means: Float[np.ndarray, "*draw layer"]
) -> tuple[Float[np.ndarray, "measure *draw"], Float[np.ndarray, "measure *draw"], Float[np.ndarray, "measure *draw"]]:
    """Return Σab, Σa², Σb² of the within-task ranks of one task, for Spearman's ρ."""
    a, b = centred_ranks(measures), centred_ranks(means)
    return (a * b).sum(axis=-1), (a * a).sum(axis=-1), np.broadcast_to((b * b).sum(axis=-1), a.shape[:-1])


def sign_sums(
    measures: Float[np.ndarray, "measure *draw layer"], means: Float[np.ndarray, "*draw layer"]
) -> tuple[Float[np.ndarray, "measure *draw"], Float[np.ndarray, "measure *draw"], Float[np.ndarray, "measure *draw"]]:
    """Return the same sums of the signs over all pairs of layers of one task, for Kendall's τ_b."""
    above, below = np.triu_indices(means.shape[-1], 1)
    b = np.sign(means[..., above] - means[..., below])
    product, first = np.zeros(measures.shape[:-1]), np.zeros(measures.shape[:-1])
    for row, values in enumerate(measures):  # one at a time: pairs times draws times measures would not fit
        a = np.sign(values[..., above] - values[..., below])
        product[row], first[row] = (a * b).sum(axis=-1), (a * a).sum(axis=-1)
    return product, first, np.broadcast_to((b * b).sum(axis=-1), first.shape)


def pooled_correlations(tasks: Sequence[TaskLayers]) -> tuple[Float[np.ndarray, " measure"], Float[np.ndarray, " measure"]]:
    """Return Spearman's ρ and Kendall's τ_b of every measure with mean return, over the layers (and pairs of layers) within tasks.

    With one task they are the textbook's. NaN for a measure that no task knows, or that never varies.
    """
    found = []
    for sums_of in (rank_sums, sign_sums):
        total = RankSums.zeros(len(tasks[0].measures))
        for task in tasks:
            add_task(total, sums_of(task.measures[task.known], task.means), task.known)
        found.append(total.correlation())
    return found[0], found[1]


def add_task(
    total: RankSums,
    part: tuple[Float[np.ndarray, "..."], ...],
    known: Bool[np.ndarray, " measure"],
    at: Int[np.ndarray, " draw"] | None = None,
) -> None:
    """Add one task's sums for the measures that it knows, in all draws or in some."""
    where = np.ix_(known, at) if at is not None else (known,)
    for whole, own in zip((total.product, total.first, total.second), part, strict=True):
        whole[where] += own


def permutation_p(tasks: Sequence[TaskLayers], *, seed: int = 0) -> Float[np.ndarray, " measure"]:
    """Return the two-sided p of every measure's pooled ρ: returns change places among the layers of each task, never between tasks.

    Exact for one task of up to eight layers, from 20,000 random orders (and the observed one) otherwise. NaN where ρ is.
    """
    observed, _ = pooled_correlations(tasks)
    exact = len(tasks) == 1 and len(tasks[0].returns) <= EXACT_LAYERS
    generator, null = np.random.default_rng(seed), None
    for task in tasks:
        b = centred_ranks(task.means)
        shuffled = b[rank_orders(len(b)).astype(np.int64)] if exact else random_orders(b, generator)
        total = RankSums.zeros(len(observed), len(shuffled)) if null is None else null
        a = centred_ranks(task.measures[task.known])
        parts = (a @ shuffled.T, (a * a).sum(axis=-1)[:, None], np.full((len(a), 1), (b * b).sum()))
        add_task(total, parts, task.known)
        null = total
    assert null is not None
    reached = np.abs(null.correlation()) >= np.abs(observed)[:, None] - 1e-9
    return np.where(np.isfinite(observed), reached.mean(axis=1), np.nan)


def random_orders(values: Float[np.ndarray, " layer"], generator: np.random.Generator) -> Float[np.ndarray, "order layer"]:
    """Return the values as they are, then 20,000 times in a random order."""
    return np.concatenate([values[None], generator.permuted(np.tile(values, (ORDERS, 1)), axis=1)])


def needed_correlation(layers: Sequence[int], level: float = 0.05, *, seed: int = 0) -> float | None:
    """Return the smallest |ρ| that tasks with these numbers of layers could show at ``level``; None when no value could.

    Only 2 of all Π nₜ! orders agree or disagree everywhere, so no p below 2 / Π nₜ! exists.
    """
    if len(layers) == 1:
        return smallest_significant_spearman(layers[0], level)
    if not layers or 2 / math.prod(math.factorial(count) for count in layers) >= level:
        return None
    generator, total = np.random.default_rng(seed), RankSums.zeros(ORDERS + 1)
    for count in layers:
        a = centred_ranks(np.arange(float(count)))
        parts = (random_orders(a, generator) @ a, np.full(1, (a * a).sum()), np.full(1, (a * a).sum()))
        add_task(total, parts, np.ones(ORDERS + 1, dtype=bool))
    values, counts = np.unique(np.abs(total.correlation()).round(9), return_counts=True)
    p_values = counts[::-1].cumsum()[::-1] / counts.sum()
    reached = values[p_values < level]
    return float(reached[0]) if len(reached) else None
