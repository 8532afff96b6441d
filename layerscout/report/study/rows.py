"""A trained task in, its row and those of its cells in study.json out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from layerscout.cache.records import none_if_nan
from layerscout.cache.records.study import StudyLayer, StudyTask
from layerscout.report.numbers import decisions
from layerscout.report.numbers.association import seed_intervals
from layerscout.report.numbers.blocks import block_test
from layerscout.report.numbers.gate import Gate
from layerscout.report.numbers.reliability import reliability
from layerscout.report.numbers.within import TaskCells, correlations_within_groups
from layerscout.report.study.contrasts import RANDOM, regret_of
from layerscout.report.study.measures import MIDDLE
from layerscout.report.study.tasks import TrainedTask
from layerscout.report.study.untrained import twin_of_cell
from layerscout.text import visible


def task_row(trained: TrainedTask, task: TaskCells, names: Sequence[str], primary: str, gate: Gate, counted: bool) -> StudyTask:
    """Return what one task says on its own.

    Parameters
    ----------
    trained, task
        The task, and its cells as arrays.
    names, primary
        Of the measures, and of the one that ordered the layers.
    gate
        Whether it was learned.
    counted
        Whether figures of score and return are given at all.
    """
    row = names.index(primary)
    scores, means = task.measures[row], task.means
    spread = float(np.ptp(means))
    known = counted and bool(task.known[row])
    differs = known and np.ptp(scores) > 0 and spread > 0
    seconds, probing = training_seconds(trained), probing_seconds(trained)
    test = block_test(scores, means, task.series) if differs else None

    def regret(name: str, best: int) -> float | None:
        share = regret_of(task, names, name, best) if counted else np.nan
        return none_if_nan(share * spread)

    def saved(best: int) -> float | None:
        return (
            None if probing is None or not known else seconds * (1 - min(best, len(trained.ranked)) / max(len(trained.ranked), 1)) - probing
        )

    finished = [values[np.isfinite(values)] for values in task.returns]
    return StudyTask(
        name=trained.name,
        folder=", ".join(visible(experiment.folder.as_posix()) for experiment in trained.experiments),
        environment=trained.record.environment,
        backbone=", ".join(dict.fromkeys(cell.backbone for cell in trained.cells)),
        seeds=trained.seeds,
        layers=len(means),
        ranked_layers=len(trained.ranked),
        trained_layers=sum(cell.score.role == "layer" for cell in trained.cells),
        failed=failed_runs(trained),
        learned=gate.learned,
        learned_why=gate.why,
        advice=gate.advice,
        best=gate.best,
        best_return=float(means.max()),
        seeds_above_trivial=gate.share,
        references=trained.references,
        episodes_apart=trained.apart,
        algorithm=trained.record.algorithm,
        algorithm_reason=trained.record.algorithm_reason,
        dataset_digest=trained.rankings[0].dataset_digest,
        stores=tuple(dict.fromkeys(cell.store_id for cell in trained.cells)),
        rows=trained.rankings[0].rows,
        settings=settings_digests(trained),
        spearman=seed_intervals(scores, finished)[0] if differs else None,
        p=test.p if test else None,
        needed=test.needed if test else None,
        within_groups=none_if_nan(float(correlations_within_groups(task)[row])) if known else None,
        reliability=reliability([task]) if counted else None,
        regret_1=regret(primary, 1),
        regret_3=regret(primary, 3),
        random_regret_1=regret(RANDOM, 1),
        random_regret_3=regret(RANDOM, 3),
        middle_regret=regret(MIDDLE, 1),
        violation=float(decisions.rank_violation(scores, means)) if known else None,
        random_violation=decisions.random_violation(means) if counted else None,
        training_seconds=seconds,
        probing_seconds=probing,
        saved_1=saved(1),
        saved_3=saved(3),
    )


def training_seconds(trained: TrainedTask) -> float:
    """Return the CPU seconds of training on every ranked layer; a layer that was not trained on counts as the mean of those that were."""
    seconds = [cell.arm.budget.cpu_seconds for cell in trained.cells if cell.score.role == "layer"]
    return float(np.mean(seconds) * len(trained.ranked)) if seconds else 0.0


def probing_seconds(trained: TrainedTask) -> float | None:
    """Return the CPU seconds of probing all rankings; None where one was not measured in one go."""
    costs = [experiment.cost for experiment in trained.experiments]
    return sum(cost.cpu_seconds for cost in costs if cost) if costs and all(costs) else None


def failed_runs(trained: TrainedTask) -> int:
    """Return how many runs on the task's cells failed."""
    arms = {(id(cell.record), cell.arm.name) for cell in trained.cells}
    return sum(run.status == "failed" and (id(record), run.arm) in arms for record in trained.records for run in record.runs)


def settings_digests(trained: TrainedTask) -> dict[str, str]:
    """Return the digest of every file of saved settings of the task, places included."""
    found = {}
    for experiment in trained.experiments:
        for path, values in experiment.settings:
            text = json.dumps(values, sort_keys=True, separators=(",", ":"))
            found[visible(f"{experiment.folder.name}/{path}")] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return found


def layer_rows(trained: TrainedTask, names: Sequence[str], budgets: Sequence[int] = ()) -> tuple[StudyLayer, ...]:
    """Return the table of observations: every cell with its measures, its returns and its budget."""
    table = trained.measures(names)
    rows = []
    for place, cell in enumerate(trained.cells):
        budget, twin = cell.arm.budget, twin_of_cell(trained, cell)
        rows.append(
            StudyLayer(
                task=trained.name,
                layer=cell.score.name,
                depth=cell.score.depth,
                kind=cell.arm.kind,
                backbone=cell.backbone,
                weights=cell.weights,
                pooling=cell.pooling,
                store_id=cell.store_id,
                measures={name: none_if_nan(float(value)) for name, value in zip(names, table[:, place], strict=True)},
                returns=tuple(map(none_if_nan, trained.returns(cell).tolist())),
                evaluations=tuple(map(none_if_nan, trained.returns(cell, "evaluation").tolist())),
                budgets={at: tuple(map(none_if_nan, trained.returns(cell, updates=at).tolist())) for at in budgets},
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
