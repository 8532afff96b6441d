"""The cells of one task in; how every measure goes with return among them, and inside each backbone with its weights, out.

Returns of different tasks have different units, so only the order *within* a task counts: scores and mean returns become ranks inside
each task. What the figures of several tasks say together is in `over_tasks`.

References
----------
Spearman 1904; Kendall 1945 (tau-b).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from layerscout.report.numbers.association import kendall, spearman


def _zeros() -> Int[np.ndarray, " cell"]:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class TaskCells:
    """One task's cells: a layer of a backbone, pretrained or not, in one pooling, with the agents that were trained on it.

    A measure that is not known for every cell is NaN throughout: the task then says nothing about it. ``returns`` is NaN where a cell has
    no finished run of a seed; every cell has at least one. Cells of one series (one store in one pooling) stand next to each other by depth.

    Parameters
    ----------
    name
        Of the task.
    measures, returns
        What every measure says of every cell, and what each seed earned there.
    series
        Which cells form one smooth series: the number of each cell's backbone, weights and pooling. One series where it is not given.
    groups
        The number of each cell's backbone and weights.
    pretrained
        Which cells a person would choose from without any measure. All where it is not given.
    """

    name: str
    measures: Float[np.ndarray, "measure cell"]
    returns: Float[np.ndarray, "cell seed"]
    series: Int[np.ndarray, " cell"] = field(default_factory=_zeros)
    groups: Int[np.ndarray, " cell"] = field(default_factory=_zeros)
    pretrained: Bool[np.ndarray, " cell"] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        count = len(self.returns)
        for name, fill in (
            ("series", np.zeros(count, np.int64)),
            ("groups", np.zeros(count, np.int64)),
            ("pretrained", np.ones(count, bool)),
        ):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, fill)

    @property
    def means(self) -> Float[np.ndarray, " cell"]:
        """Mean return of each cell over its finished seeds."""
        return np.nanmean(self.returns, axis=1)

    @property
    def known(self) -> Bool[np.ndarray, " measure"]:
        """True for a measure that is finite in every cell of this task: only such ones can be correlated."""
        return np.isfinite(self.measures).all(axis=1)

    def part(self, chosen: Bool[np.ndarray, " cell"]) -> TaskCells:
        """The cells that are chosen as a task of their own, in the same order; measures keep their rows."""
        kept = {name: getattr(self, name)[chosen] for name in ("returns", "series", "groups", "pretrained")}
        return replace(self, measures=self.measures[:, chosen], **kept)

    @property
    def apart(self) -> tuple[TaskCells, ...]:
        """The cells of each backbone with its weights, all of them to choose from; groups of a single cell have no order and are left out."""
        parts = [self.part(self.groups == group) for group in np.unique(self.groups)]
        return tuple(replace(part, pretrained=np.ones(len(part.returns), dtype=bool)) for part in parts if len(part.returns) > 1)


def task_correlations(task: TaskCells) -> tuple[Float[np.ndarray, " measure"], Float[np.ndarray, " measure"]]:
    """Return Spearman's ρ and Kendall's τ_b of every measure with mean return; NaN where one is not known or does not differ."""
    rho, tau = np.full(len(task.measures), np.nan), np.full(len(task.measures), np.nan)
    if task.known.any():
        measures = task.measures[task.known]
        means = np.broadcast_to(task.means, measures.shape)
        rho[task.known], tau[task.known] = spearman(measures, means), kendall(measures, means)
    return rho, tau


def correlations_within_groups(task: TaskCells) -> Float[np.ndarray, " measure"]:
    """Return the rank correlation of every measure with mean return when ranks are taken inside each backbone with its weights.

    Σ ab / √(Σ a² Σ b²) over all cells, where a and b are centred ranks as shares of the size of their group. What tells one backbone
    from another, or pretrained from untrained weights, counts for nothing here. NaN where a measure is not known or never differs.
    """
    product, first, second = (np.zeros(len(task.measures)) for _ in range(3))
    for part in task.apart:
        a, b = centred_ranks(part.measures), centred_ranks(part.means)
        product += np.where(task.known, (a * b).sum(axis=1), np.nan)
        first += np.where(task.known, (a * a).sum(axis=1), np.nan)
        second += (b * b).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return product / np.sqrt(first * second)


def centred_ranks(values: Float[np.ndarray, "*draw cell"]) -> Float[np.ndarray, "*draw cell"]:
    """Return ranks along the last axis as shares of its length, ties at their mean, centred: the same scale for any number of cells."""
    ranked = stats.rankdata(values, axis=-1)
    return (ranked - ranked.mean(axis=-1, keepdims=True)) / values.shape[-1]
