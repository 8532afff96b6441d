"""Experiment folders in, every task out: its cells, each a layer with its probe figures beside the returns of the agents on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from layerscout.cache.records import Arm, LayerScore, Ranking, ReferenceReturn, Run, RunRecord
from layerscout.errors import DataError
from layerscout.report.claims import CANDIDATES
from layerscout.report.experiment import Experiment
from layerscout.report.numbers.gate import Gate, judge_learning, references_of
from layerscout.report.numbers.speed import evaluation_return
from layerscout.report.numbers.within import TaskCells
from layerscout.report.study.cells import StudyCell, cell_of, store_of_layer
from layerscout.report.study.measures import BITS, CTRL, DEPTH, MIDDLE, STATE, measure_names, measure_of
from layerscout.report.verdict import OWN_NETWORK
from layerscout.showing import counted

FEWEST = 3  # layers of a task: two have an order, but one that a coin gets right half the time
METRICS = ("final", "evaluation")  # the first decides


@dataclass(frozen=True)
class TrainedTask:
    """One task as the statistics see it. ``rankings`` are those that its cells come from; all are of the same rows of one dataset."""

    name: str
    experiments: tuple[Experiment, ...]
    rankings: tuple[Ranking, ...]
    records: tuple[RunRecord, ...]
    head: str
    cells: tuple[StudyCell, ...]
    repeat: int = 0  # the how-manieth time these cells were trained on in this way; repeats are never pooled

    @property
    def record(self) -> RunRecord:
        """The record that stands for the task where it was trained in several: the first."""
        return self.records[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The union of the seeds of all arms, sorted; an arm may lack some."""
        return tuple(sorted({run.seed for record in self.records for run in record.runs}))

    @property
    def ranked(self) -> tuple[LayerScore, ...]:
        """The layers that compete in the rankings, trained on or not."""
        return tuple(layer for ranking in self.rankings for layer in ranking.candidates)

    @property
    def apart(self) -> bool:
        """Whether every seed was evaluated on episodes of its own; returns of training are always a seed's own."""
        return all(record.episodes_apart or record.mode != "offline" for record in self.records)

    @property
    def references(self) -> tuple[ReferenceReturn, ...]:
        """What policies that learn nothing earn: from the record that tells most of them."""
        return max((references_of(record) for record in self.records), key=len)

    def returns(self, cell: StudyCell, metric: str = METRICS[0], updates: int | None = None) -> Float[np.ndarray, " seed"]:
        """Return a cell's returns by seed, NaN where there is none."""
        runs = [run for run in cell.record.runs if run.arm == cell.arm.name and run.status == "done"]
        known = {run.seed: return_in_metric(run, metric, updates) for run in runs}
        return np.array([np.nan if (found := known.get(seed)) is None else found for seed in self.seeds], dtype=np.float64)

    def measures(self, names: Sequence[str]) -> Float[np.ndarray, "measure cell"]:
        """Return what each measure says of every cell; NaN throughout where it says nothing of some cell."""
        places = np.array([cell.place for cell in self.cells])
        blind = {DEPTH: places, MIDDLE: -np.abs(places - 0.5)}
        rows = [
            blind[name] if name in blind else [np.nan if (found := measure_of(cell.score, name)) is None else found for cell in self.cells]
            for name in names
        ]
        table = np.array(rows, dtype=np.float64)
        table[~np.isfinite(table).all(axis=1)] = np.nan
        table[list(names).index(CTRL)] = control_ranks(table[list(names).index(BITS)], table[list(names).index(STATE)])
        return table

    def task(self, names: Sequence[str], metric: str, updates: int | None = None) -> TaskCells | None:
        """Return the cells as arrays; None when a cell has no figure in this metric."""
        returns = np.stack([self.returns(cell, metric, updates) for cell in self.cells])
        if not np.isfinite(returns).any(axis=1).all():
            return None
        return TaskCells(
            self.name,
            self.measures(names),
            returns,
            _numbered(cell.series for cell in self.cells),
            _numbered((cell.backbone, cell.weights) for cell in self.cells),
            _chosen_blind(self.cells),
        )

    def gate(self, metric: str, updates: int | None = None) -> Gate:
        """Judge whether the task was learned, by the returns of this analysis."""
        found = [self.returns(cell, metric, updates) for cell in self.cells]
        finished = [values[np.isfinite(values)] for values in found]
        return judge_learning([cell.name for cell in self.cells], finished, self.references, self.record.algorithm, self.record.mode)


def control_ranks(bits: Float[np.ndarray, " cell"], state: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
    """Return S-ctrl of every cell: its rank by bits of action, or ½ of that and ½ of its rank by state R² where the state is known.

    Ranks are taken among the cells of the task, ties at their mean, as shares of their number: in (0, 1], 1 for the best. NaN throughout
    where the bits of some cell are unknown.
    """
    parts = [stats.rankdata(part) / len(part) for part in (bits, state) if np.isfinite(part).all()]
    return np.mean(parts, axis=0) if np.isfinite(bits).all() else np.full(len(bits), np.nan)


def _numbered(keys: Iterable[object]) -> np.ndarray:
    order: dict[object, int] = {}
    return np.array([order.setdefault(key, len(order)) for key in keys], dtype=np.int64)


def _chosen_blind(cells: Sequence[StudyCell]) -> np.ndarray:
    """Return which cells somebody without any measure would choose from: the pretrained ones, or all where there is none."""
    pretrained = np.array([cell.weights == "pretrained" for cell in cells])
    return pretrained if pretrained.any() else np.ones(len(cells), dtype=bool)


def return_in_metric(run: Run, metric: str, updates: int | None = None) -> float | None:
    """Return a run's figure in a metric, or its mean return in the evaluation after so many updates; None where there was none."""
    if updates is not None:
        return next((float(np.mean(returns)) for at, returns in run.evaluations if at == updates and returns), None)
    return run.final if metric == "final" else evaluation_return(run)


def trained_tasks(experiments: Sequence[Experiment]) -> tuple[TrainedTask, ...]:
    """Return every task in which at least three ranked layers were trained.

    Records of one environment, on one dataset, with one mode and post-adapter are one task, in whatever folder they lie: else one task
    would count for two. A record that trains again on cells which the task has already is a task of a second analysis.

    Raises
    ------
    DataError
        Cells of one task were measured on different rows, or agents learned from other data than the ranking was made of.
    """
    found: list[TrainedTask] = []
    for experiment in experiments:
        for _, record in experiment.records:
            for head in dict.fromkeys(arm.head for arm in record.arms if arm.kind not in OWN_NETWORK):
                part = trained_part(experiment, record, head)
                if part is not None:
                    found = _joined(found, part)
    return tell_apart([one for one in found if sum(cell.score.role == "layer" for cell in one.cells) >= FEWEST])


def trained_part(experiment: Experiment, record: RunRecord, head: str) -> TrainedTask | None:
    """Return the cells of one record and post-adapter on which a run finished; None without any."""
    finished = {run.arm for run in record.runs if run.final is not None}
    arms: dict[tuple[str, str], Arm] = {}
    for arm in record.arms:
        if arm.head == head and arm.kind in (*CANDIDATES, "twin") and arm.name in finished:
            arms.setdefault((arm.store_id or "", arm.layer), arm)
    cells, used = [], []
    for ranking in experiment.rankings:
        own = []
        for layer in ranking.layers:
            key = store_of_layer(layer, ranking), layer.name
            if layer.role != "control" and key in arms:
                own.append(cell_of(layer, ranking, record, arms.pop(key)))
        cells += own
        used += [ranking] if own else []
    if not cells:
        return None
    _require_same_data(record.environment, used, [record])
    return TrainedTask(record.environment, (experiment,), tuple(used), (record,), head, tuple(sorted(cells, key=_order)))


def _order(cell: StudyCell) -> tuple[str, str, str, str, int]:
    return *cell.series, cell.score.depth


def _joined(found: list[TrainedTask], part: TrainedTask) -> list[TrainedTask]:
    """Add a part to the task that it belongs to, or as a task of its own."""
    repeat = 0
    for place, other in enumerate(found):
        if _identity(other) == _identity(part):
            if {_key(cell) for cell in other.cells} & {_key(cell) for cell in part.cells}:
                repeat += 1
                continue
            rankings = (*other.rankings, *(one for one in part.rankings if one not in other.rankings))
            _require_same_data(part.name, rankings, part.records)
            whole = replace(
                other,
                experiments=(*other.experiments, *(one for one in part.experiments if one not in other.experiments)),
                rankings=rankings,
                records=(*other.records, *part.records),
                cells=tuple(sorted((*other.cells, *part.cells), key=_order)),
            )
            return [*found[:place], whole, *found[place + 1 :]]
    return [*found, replace(part, repeat=repeat)]


def _identity(trained: TrainedTask) -> tuple[str, str, str, str]:
    return trained.record.environment, trained.rankings[0].dataset_digest, trained.record.mode, trained.head


def _key(cell: StudyCell) -> tuple[str, str]:
    return cell.store_id, cell.score.name


def _require_same_data(name: str, rankings: Sequence[Ranking], records: Sequence[RunRecord]) -> None:
    first = rankings[0]
    for other in rankings[1:]:
        if (other.dataset_digest, other.rows) != (first.dataset_digest, first.rows):
            what = (
                f"{counted(first.rows, 'row')} and {other.rows:,}"
                if other.rows != first.rows
                else f"data {first.dataset_digest} and {other.dataset_digest}"
            )
            raise DataError(
                f"layers of {name} were measured on {what}: R² on different rows cannot be compared, more rows alone lift it",
                hint="probe all stores of a task in one ranking, or from the same dataset with the same settings",
            )
    for record in records:
        if record.dataset_digest is not None and record.dataset_digest != first.dataset_digest:
            raise DataError(
                f"agents of {name} learned from {record.dataset_digest}, the ranking is of {first.dataset_digest}",
                hint="train from the selection that belongs to the ranking",
            )


def tell_apart(found: Sequence[TrainedTask]) -> tuple[TrainedTask, ...]:
    """Return the tasks with names that differ: those of one environment and analysis get the backbone, else the folder, else a number."""
    result = []
    for trained in found:
        rivals = [other for other in found if pooling_key(other) == pooling_key(trained) and other.name == trained.name]
        place = next(place for place, other in enumerate(rivals, start=1) if other is trained)
        distinctions = [[one.rankings[0].backbone for one in rivals], [one.experiments[0].folder.name for one in rivals]]
        suffix = next((words[place - 1] for words in distinctions if len(set(words)) == len(rivals)), str(place))
        result.append(replace(trained, name=f"{trained.name} ({suffix})" if len(rivals) > 1 else trained.name))
    return tuple(result)


def pooling_key(trained: TrainedTask) -> tuple[str, str, int]:
    """Return what tasks must share to be pooled: the mode, and the post-adapter, whose capacity can turn an order over."""
    return trained.record.mode, trained.head, trained.repeat


def names_of(group: Sequence[TrainedTask]) -> tuple[str, ...]:
    """Return every measure that some task of a group could know."""
    return measure_names(cell.score for trained in group for cell in trained.cells)
