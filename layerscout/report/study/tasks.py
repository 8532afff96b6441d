"""Experiment folders in, every layer with its probe figures beside its agents' returns out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Arm, Estimate, LayerScore, Ranking, Run, RunRecord
from layerscout.report.claims import CANDIDATES
from layerscout.report.experiment import Experiment
from layerscout.report.numbers.pooled import TaskLayers
from layerscout.report.numbers.speed import evaluation_return
from layerscout.report.verdict import OWN_NETWORK

FEWEST = 3  # layers of a task: two have an order, but one that a coin gets right half the time
METRICS = ("final", "evaluation")  # the first decides


def estimate_value(estimate: Estimate | None) -> float | None:
    """Return an estimate's value."""
    return None if estimate is None else estimate.value


S, SKILL, DEPTH, MIDDLE = "S", "S-skill", "depth alone", "nearness to the middle"
PROBED: dict[str, Callable[[LayerScore], float | None]] = {
    S: lambda layer: estimate_value(layer.score),
    SKILL: lambda layer: estimate_value(layer.skill_score),
    "reward R²": lambda layer: estimate_value(layer.reward_r2),
    "transition R²": lambda layer: estimate_value(layer.transition_r2),
    "effective rank": lambda layer: estimate_value(layer.effective_rank),
    "transition skill": lambda layer: estimate_value(layer.transition_skill),
    "log rank": lambda layer: layer.log_rank,
    "transition gain": lambda layer: layer.transition_gain,
    "persistence R²": lambda layer: layer.persistence_r2,
    "bits of action": lambda layer: layer.bits_action,
    "state R²": lambda layer: estimate_value(layer.targets.get("state")),
}
MEASURES = (*PROBED, DEPTH, MIDDLE)


@dataclass(frozen=True)
class TrainedTask:
    """One task as the statistics see it: its layers by depth, each with the arm trained on it and that on its untrained twin."""

    name: str
    experiment: Experiment
    record: RunRecord
    head: str
    layers: tuple[LayerScore, ...]
    arms: tuple[Arm, ...]
    twins: tuple[Arm | None, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some arm was trained with."""
        return tuple(sorted({run.seed for run in self.record.runs}))

    def returns(self, arm: Arm, metric: str = METRICS[0]) -> Float[np.ndarray, " seed"]:
        """Return an arm's returns by seed, NaN where there is none."""
        known = {run.seed: return_in_metric(run, metric) for run in self.record.runs if run.arm == arm.name and run.status == "done"}
        return np.array([np.nan if (found := known.get(seed)) is None else found for seed in self.seeds], dtype=np.float64)

    def measures(self) -> Float[np.ndarray, "measure layer"]:
        """Return what each of ``MEASURES`` says of every layer, NaN where it says nothing."""
        depths = np.array([layer.depth for layer in self.layers], dtype=np.float64)
        rows = [[np.nan if (found := read(layer)) is None else found for layer in self.layers] for read in PROBED.values()]
        table = np.array([*rows, depths, -np.abs(depths - (depths.min() + depths.max()) / 2)], dtype=np.float64)
        table[~np.isfinite(table).all(axis=1)] = np.nan
        return table

    def task(self, metric: str) -> TaskLayers | None:
        """Return the layers as arrays; None when a layer has no figure in this metric."""
        returns = np.stack([self.returns(arm, metric) for arm in self.arms])
        return TaskLayers(self.name, self.measures(), returns) if np.isfinite(returns).any(axis=1).all() else None


def return_in_metric(run: Run, metric: str) -> float | None:
    """Return a run's figure in a metric."""
    return run.final if metric == "final" else evaluation_return(run)


def trained_tasks(experiments: Sequence[Experiment]) -> tuple[TrainedTask, ...]:
    """Return a trained task for every experiment, run record and post-adapter in which at least three ranked layers were trained."""
    found = []
    for experiment in experiments:
        for _, record in experiment.records:
            for head in dict.fromkeys(arm.head for arm in record.arms if arm.kind not in OWN_NETWORK):
                trained = trained_task(experiment, record, head)
                found += [trained] if len(trained.layers) >= FEWEST else []
    return tell_apart(found)


def trained_task(experiment: Experiment, record: RunRecord, head: str) -> TrainedTask:
    """Return the ranking's layers by depth, each with the arm of one record and post-adapter that finished a run on it."""
    ranking, finished = experiment.ranking, {run.arm for run in record.runs if run.final is not None}
    trained: dict[tuple[str, str], Arm] = {}
    for arm in record.arms:
        if arm.head == head and arm.kind in CANDIDATES and arm.name in finished:
            trained.setdefault((arm.store_id or "", arm.layer), arm)
    twins = {arm.layer: arm for arm in record.arms if arm.head == head and arm.kind == "twin" and arm.name in finished}
    pairs = [
        (layer, found) for layer in ranking.candidates if (found := trained.get((store_of_layer(layer, ranking), layer.name))) is not None
    ]
    pairs.sort(key=lambda pair: pair[0].depth)
    return TrainedTask(
        name=record.environment,
        experiment=experiment,
        record=record,
        head=head,
        layers=tuple(layer for layer, _ in pairs),
        arms=tuple(arm for _, arm in pairs),
        twins=tuple(twins.get(layer.name) for layer, _ in pairs),
    )


def store_of_layer(layer: LayerScore, ranking: Ranking) -> str:
    """Return the store that a candidate lies in."""
    return layer.store_id or ranking.store_id


def tell_apart(found: Sequence[TrainedTask]) -> tuple[TrainedTask, ...]:
    """Return the tasks with names that differ: those of one environment, mode and post-adapter get the backbone, else the folder, else a number."""
    result = []
    for trained in found:
        rivals = [other for other in found if pooling_key(other) == pooling_key(trained) and other.name == trained.name]
        place = next(place for place, other in enumerate(rivals, start=1) if other is trained)
        distinctions = [[one.experiment.ranking.backbone for one in rivals], [one.experiment.folder.name for one in rivals]]
        suffix = next((words[place - 1] for words in distinctions if len(set(words)) == len(rivals)), str(place))
        result.append(replace(trained, name=f"{trained.name} ({suffix})" if len(rivals) > 1 else trained.name))
    return tuple(result)


def pooling_key(trained: TrainedTask) -> tuple[str, str]:
    """Return what tasks must share to be pooled: the mode and the post-adapter, whose capacity can turn an order over."""
    return trained.record.mode, trained.head
