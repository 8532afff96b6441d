"""Which scalars are fitted at a fixed penalty, and what their out-of-fold fits predict, group by group."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.questions.splits import Split
from layerscout.probe.solve.ridge import LinearMap, PredictionSums, prediction_sums


@dataclass(frozen=True)
class FixedColumns:
    """Scalars to fit at a fixed penalty.

    Attributes
    ----------
    penalty
        Relative to the number of training rows.
    first
        Number of scalars whose penalty is searched; those after them are fitted here only.
    columns
        Scalars whose predictions are wanted group by group, then those of which one sum a fold is enough.
    pooled
        How many of the latter there are.
    """

    penalty: float
    first: int
    columns: Int[np.ndarray, " fixed"]
    pooled: int = 0

    @classmethod
    def none(cls, scalars: int) -> FixedColumns:
        """No column at a fixed penalty: the penalty of every one of the ``scalars`` is searched."""
        return cls(1.0, scalars, np.zeros(0, dtype=np.int64))

    @property
    def by_group(self) -> Int[np.ndarray, " fixed"]:
        """The columns whose predictions are summed group by group; the rest are summed fold by fold."""
        return self.columns[: len(self.columns) - self.pooled]


@dataclass(frozen=True)
class FixedFit:
    """Predictions out of fold, added up: of each group, and of each fold for pooled columns; and the map of every fold.

    The columns are those of ``asked``; the maps hold the first ones only.
    """

    asked: FixedColumns
    width: int
    groups: PredictionSums
    folds: PredictionSums
    maps: list[LinearMap] = field(default_factory=list)

    @classmethod
    def empty(cls, asked: FixedColumns, split: Split, width: int) -> FixedFit:
        """Return the fit before anything is predicted: sums of zeros for every group and fold."""
        kept, pooled = len(asked.by_group), asked.pooled
        of_groups, of_folds = np.zeros((3, split.groups, kept)), np.zeros((3, split.folds, pooled))
        return cls(asked, width, PredictionSums(*of_groups), PredictionSums(*of_folds))

    def add(self, fold: int, fit: LinearMap, tested: MomentSums) -> None:
        """Keep the map that a fit on the other folds found, and add what it predicts of pooled columns."""
        kept = len(self.asked.by_group)
        self.maps.append(fit.select(np.arange(kept)))
        if self.asked.pooled:
            pooled = fit.select(np.arange(kept, kept + self.asked.pooled))
            _put(self.folds, fold, prediction_sums(pooled, tested, self.width + self.asked.columns[kept:]))

    def add_group(self, group: int, forecast: PredictionSums, first: int) -> None:
        """Add the sums of one group's predictions to ``groups``, without the columns before ``first``."""
        _put(self.groups, group, PredictionSums(*(getattr(forecast, name)[first:] for name in PredictionSums.__dataclass_fields__)))


def _put(into: PredictionSums, at: int, found: PredictionSums) -> None:
    for name in PredictionSums.__dataclass_fields__:
        getattr(into, name)[at] = getattr(found, name)
