"""A task's layers with the arms on their untrained twins in; what pretraining adds, block by block, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import none_if_nan
from layerscout.cache.records.study import StudyLayer, StudyPair
from layerscout.report.numbers.statistics import holm, mean_interval, sign_flip_p
from layerscout.report.study.tasks import MEASURES, TrainedTask


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


def twin_differences(trained: TrainedTask, metric: str) -> TwinDifferences | None:
    """Return every block's returns minus those of its untrained twin; None when no twin was trained."""
    both = [
        (layer.name, arm, twin) for layer, arm, twin in zip(trained.layers, trained.arms, trained.twins, strict=True) if twin is not None
    ]
    if not both:
        return None
    table = np.stack([trained.returns(arm, metric) - trained.returns(twin, metric) for _, arm, twin in both])
    return TwinDifferences(trained.name, tuple(name for name, _, _ in both), table)


def twin_pairs(group: Sequence[TrainedTask], metric: str) -> tuple[StudyPair, ...]:
    """Return for each task the mean over its blocks, tested by sign flips on seeds and corrected over tasks, then every block.

    Blocks of one task share seeds and data, so they are no independent witnesses: the unit of the test is the seed.
    """
    found = [own for trained in group if (own := twin_differences(trained, metric)) is not None]
    p_values = [sign_flip_p(own.by_seed) for own in found]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    rows = []
    for own, p in zip(found, p_values, strict=True):
        seeds = own.by_seed
        rows.append(
            StudyPair(
                task=own.task,
                layer=None,
                seeds=len(seeds),
                difference=mean_interval(seeds),
                p=p,
                p_holm=None if p is None else next(adjusted),
            )
        )
        for layer, row in zip(own.layers, own.table, strict=True):
            finished = row[np.isfinite(row)]
            rows.append(
                StudyPair(
                    task=own.task,
                    layer=layer,
                    seeds=len(finished),
                    difference=mean_interval(finished),
                    p=sign_flip_p(finished),
                    p_holm=None,
                )
            )
    return tuple(rows)


def layer_rows(trained: TrainedTask) -> tuple[StudyLayer, ...]:
    """Return the table of observations: every layer with its measures, its returns and its budget."""
    table = trained.measures()
    rows = []
    for place, (layer, arm, twin) in enumerate(zip(trained.layers, trained.arms, trained.twins, strict=True)):
        budget = arm.budget
        rows.append(
            StudyLayer(
                task=trained.name,
                layer=layer.name,
                depth=layer.depth,
                kind=arm.kind,
                measures={name: none_if_nan(float(value)) for name, value in zip(MEASURES, table[:, place], strict=True)},
                returns=tuple(map(none_if_nan, trained.returns(arm).tolist())),
                evaluations=tuple(map(none_if_nan, trained.returns(arm, "evaluation").tolist())),
                untrained_returns=() if twin is None else tuple(map(none_if_nan, trained.returns(twin).tolist())),
                environment_steps=budget.environment_steps,
                updates=budget.updates,
                trainable_parameters=budget.trainable_parameters,
                flops=budget.flops,
                wall_seconds=budget.wall_seconds,
                cpu_seconds=budget.cpu_seconds,
            )
        )
    return tuple(rows)
