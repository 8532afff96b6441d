"""A task's cells in; what pretraining adds, block by block, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerscout.cache.records.study import StudyPair
from layerscout.report.numbers.statistics import holm, mean_interval, sign_flip_p
from layerscout.report.study.cells import StudyCell
from layerscout.report.study.tasks import TrainedTask


@dataclass(frozen=True)
class TwinDifferences:
    """Return on a block minus that on its untrained twin, NaN where one of the two runs is missing."""

    task: str
    layers: tuple[str, ...]
    table: Float[np.ndarray, "layer seed"]

    @property
    def by_seed(self) -> Float[np.ndarray, " seed"]:
        """Mean over layers, for the seeds that every pair finished."""
        return self.table[:, np.isfinite(self.table).all(axis=0)].mean(axis=0)


def twin_of_cell(trained: TrainedTask, cell: StudyCell) -> StudyCell | None:
    """Return the cell of the same block without training; None where none was trained on."""
    same = [one for one in trained.cells if one.weights == "untrained" and (one.backbone, one.pooling) == (cell.backbone, cell.pooling)]
    return next((one for one in same if cell.weights == "pretrained" and one.score.name == cell.score.name), None)


def twin_differences(trained: TrainedTask, metric: str, updates: int | None = None) -> TwinDifferences | None:
    """Return every block's returns minus those of its untrained twin; None when no twin was trained."""
    both = [(cell, twin) for cell in trained.cells if (twin := twin_of_cell(trained, cell)) is not None]
    if not both:
        return None
    table = np.stack([trained.returns(cell, metric, updates) - trained.returns(twin, metric, updates) for cell, twin in both])
    several = len({cell.backbone for cell, _ in both}) > 1
    return TwinDifferences(trained.name, tuple(f"{cell.score.name}{f' of {cell.backbone}' if several else ''}" for cell, _ in both), table)


def twin_pairs(group: Sequence[TrainedTask], metric: str, updates: int | None = None) -> tuple[StudyPair, ...]:
    """Return for each task the mean over its blocks, tested by sign flips on seeds and corrected over tasks, then every block.

    Blocks of one task share seeds and data, so they are no independent witnesses: the unit of the test is the seed. Single blocks are
    described and not tested; nor is a mean over one block, which a report of one experiment has among its controls already.
    """
    found = [own for trained in group if (own := twin_differences(trained, metric, updates)) is not None]
    p_values = [sign_flip_p(own.by_seed) if len(own.layers) > 1 else None for own in found]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    rows = []
    for own, p in zip(found, p_values, strict=True):
        if len(own.layers) > 1:
            rows.append(
                StudyPair(
                    task=own.task,
                    layer=None,
                    seeds=len(own.by_seed),
                    blocks=len(own.layers),
                    difference=mean_interval(own.by_seed),
                    p=p,
                    p_holm=None if p is None else next(adjusted),
                )
            )
        for layer, row in zip(own.layers, own.table, strict=True):
            finished = row[np.isfinite(row)]
            rows.append(StudyPair(task=own.task, layer=layer, seeds=len(finished), difference=mean_interval(finished), p=None, p_holm=None))
    return tuple(rows)
