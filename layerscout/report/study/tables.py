"""A study's analysis in, its tables and study.csv out."""

from __future__ import annotations

import math
import re

import numpy as np

from layerscout.cache.records import Estimate, ReferenceReturn, as_table_value
from layerscout.cache.records.study import StudyAnalysis, StudyLayer, StudyRecord, StudyTask
from layerscout.pages.tables import UNDEFINED, Table, as_csv
from layerscout.report.captions import blocks_words, percent, returns_column, trained_words
from layerscout.report.numbers.gate import REFERENCE_WORDS
from layerscout.report.numbers.statistics import mean_interval
from layerscout.report.study.measures import BITS, CTRL, DEPTH, MEASURES, MIDDLE, REWARD, SKILL, STATE, TRANSITION, S
from layerscout.report.tables import SPENT, Value, format_number, format_p

COLUMN_OF = {
    CTRL: "control_score",
    S: "score",
    SKILL: "skill_score",
    REWARD: "reward_r2",
    TRANSITION: "transition_r2",
    "effective rank": "effective_rank",
    "transition skill": "transition_skill",
    "log rank": "log_rank",
    "transition gain": "transition_gain",
    "persistence R²": "persistence_r2",
    BITS: "bits_action",
    STATE: "state_r2",
    DEPTH: "depth",
    MIDDLE: "nearness_to_middle",
}
BUDGET = ("environment_steps", "updates", "trainable_parameters", "flops", "wall_seconds", "cpu_seconds")
REFERENCES = ("random", "constant", "data", "optimal")
STUDY_COLUMNS = (
    *("mode", "head", "task", "layer", "kind", "backbone", "weights", "pooling", "store_id"),
    *(COLUMN_OF[name] for name in MEASURES),
    *("seeds", "mean_return_last_50", "mean_evaluation", "untrained_mean_return", "learned"),
    *(f"{name}_return" for name in REFERENCES),
    *BUDGET,
)  # followed by the ranking's own measures and by the returns after every budget of updates, where there are any


def format_share(estimate: Estimate | float | None) -> str:
    """A share in per cent, with its interval where it has one: "12 % [8, 16]"."""
    if estimate is None:
        return UNDEFINED
    if isinstance(estimate, float):
        return percent(estimate)
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value)
    return f"{percent(estimate.value)} [{100 * estimate.low:z.0f}, {100 * estimate.high:z.0f}]"


def measures_table(analysis: StudyAnalysis) -> Table:
    """Return every score and component with what it is worth; the last rows are what one has without any."""
    columns = ("Measure", "Finding", "Mean ρ", "Mean τ", "p, t", "p, flips", "p, t, after Holm", "ρ inside groups", "p inside")
    rows: list[tuple[str, ...]] = [
        (
            *(one.name, one.finding, as_table_value(one.spearman, 2), as_table_value(one.kendall, 2), format_p(one.p)),
            *(format_p(one.p_flip), "–" if place == 0 else format_p(one.p_holm)),
            *(as_table_value(one.within_groups, 2), format_p(one.p_within_groups)),
            *("–" if place == 0 else as_table_value(one.beside_primary, 2), format_share(one.regret_1), format_share(one.regret_3)),
            *(format_share(one.violation), str(one.tasks), str(one.layers)),
        )
        for place, one in enumerate(analysis.measures)
    ]
    blank = ("–",) * 9
    chance = map(format_share, (analysis.random_regret_1, analysis.random_regret_3, analysis.random_violation))
    rows.append(("a random pick", *blank, *chance, "–", "–"))
    return Table((*columns, f"ρ − ρ of {analysis.primary}", "Regret@1", "Regret@3", "MMRV", "Tasks", "Cells"), tuple(rows))


def contrasts_table(analysis: StudyAnalysis) -> Table:
    """Return figures compared task by task: correlations of measures, and regrets against choices that need no measure."""
    rows = [
        (
            f"{one.first} − {one.second}",
            one.kind,
            str(one.tasks),
            as_table_value(one.difference, 2) if one.kind == "correlation" else format_share(one.difference),
            format_p(one.p),
            format_p(one.p_flip),
        )
        for one in analysis.contrasts
        if one.tasks
    ]
    return Table(("Compared", "Figure", "Tasks", "Mean difference", "p, t", "p, flips"), tuple(rows))


def gate_table(analysis: StudyAnalysis) -> Table:
    """Return for every task what policies that learn nothing earn, what the best cell earned, and whether the task counts as learned."""
    columns = (
        "Task",
        "Learner",
        *(REFERENCE_WORDS[name] for name in REFERENCES),
        "Best cell",
        "Its return",
        "Seeds above trivial",
        "Learned",
    )
    rows = []
    for one in analysis.tasks:
        level: dict[str, ReferenceReturn] = {reference.name: reference for reference in one.references}
        cells = [_reference_cell(level.get(name)) for name in REFERENCES]
        share = percent(one.seeds_above_trivial)
        rows.append(
            (
                one.name,
                one.algorithm or UNDEFINED,
                *cells,
                one.best or UNDEFINED,
                format_number(one.best_return),
                share,
                one.learned or UNDEFINED,
            )
        )
    return Table(columns, tuple(rows))


def _reference_cell(reference: ReferenceReturn | None) -> str:
    return UNDEFINED if reference is None else as_table_value(Estimate(value=reference.mean, low=reference.low, high=reference.high))


def hypotheses_table(study: StudyRecord) -> Table:
    """One row a hypothesis and number of updates: outcome, and the sentence with the figures that decided."""
    rows = [
        (one.name, one.statement, f"{one.updates:,}" if one.updates else "the end", one.outcome, one.sentence)
        for analysis in study.analyses
        for one in analysis.hypotheses
    ]
    return Table(("Hypothesis", "In words", "Updates", "Outcome", "Figures"), tuple(rows), words=True)


def _done_on(task: StudyTask) -> str:
    stores = ", ".join(task.stores) or UNDEFINED
    return f"{task.folder}: {task.environment}, {format_number(task.rows, 0)} rows of {task.dataset_digest or UNDEFINED}, stores {stores}"


def data_table(analysis: StudyAnalysis) -> Table:
    """Return on what every task was done, so that a re-creation can be checked: data, stores, rows."""
    rows = tuple((one.name, _done_on(one)) for one in analysis.tasks)
    return Table(("Task", "Measured and trained on"), rows, words=True)


def tasks_table(analysis: StudyAnalysis) -> Table:
    """One row a task: how many cells, layers and seeds it has, and how well the score foretells its returns."""
    columns = (
        "Task",
        "Backbone",
        "Learned",
        "Cells",
        "Layers",
        "Seeds",
        "Failed",
        "Spearman ρ",
        "p, series",
        "ρ needed",
        "ρ inside groups",
    )
    rows = [
        (
            *(one.name, one.backbone, one.learned or UNDEFINED, str(one.layers), trained_words(one), str(len(one.seeds)), str(one.failed)),
            *(as_table_value(one.spearman, 2), format_number(one.p, 3), format_number(one.needed, 2), format_number(one.within_groups, 2)),
            *(format_number(noise_ceiling(one.reliability), 2), format_number(one.regret_1), format_number(one.random_regret_1)),
            *(format_number(one.middle_regret), format_number(one.regret_3), format_number(one.random_regret_3)),
            *(format_number(one.violation), format_number(one.random_violation)),
        )
        for one in analysis.tasks
    ]
    regrets = ("Noise ceiling", "Regret@1", "… random", "… middle", "Regret@3", "… random", "MMRV", "… random")
    return Table((*columns, *regrets), tuple(rows))


def noise_ceiling(reliability: float | None) -> float | None:
    """Return the largest correlation that a perfect score would be expected to show."""
    return None if reliability is None else math.sqrt(reliability)


def savings_table(analysis: StudyAnalysis) -> Table:
    """Return the CPU time that probing saves when only the best-scored layers are trained."""
    columns = ("Task", "Layers trained", "Training all ranked layers, CPU s", "Probing, CPU s", "Saved by top 1", "Saved by top 3")
    rows = [
        (
            one.name,
            trained_words(one),
            format_number(one.training_seconds, 1),
            format_number(one.probing_seconds, 1),
            *(format_saving(value, one.training_seconds) for value in (one.saved_1, one.saved_3)),
        )
        for one in analysis.tasks
    ]
    return Table(columns, tuple(rows))


def format_saving(seconds: float | None, whole: float) -> str:
    """Seconds saved and, in brackets, their share of the whole; "n/a" where either cannot be had."""
    return UNDEFINED if seconds is None or whole <= 0 else f"{seconds:,.1f} ({percent(seconds / whole)})"


def untrained_table(analysis: StudyAnalysis) -> Table:
    """Return blocks against the same blocks without training."""
    rows = [
        (
            one.task,
            blocks_words(one),
            str(one.seeds),
            as_table_value(one.difference),
            format_number(one.p) if one.layer is None else "–",
            format_number(one.p_holm) if one.layer is None else "–",
        )
        for one in analysis.untrained
    ]
    return Table(("Task", "Block", "Seeds", "Pretrained − untrained", "p", "p after Holm"), tuple(rows))


def layers_table(analysis: StudyAnalysis) -> Table:
    """Return every cell with its measures, its returns and its budget; below, what policies earn that learn nothing."""
    names = list(analysis.layers[0].measures) if analysis.layers else []
    known = [
        name for name in names if name not in (MIDDLE, DEPTH) and any(layer.measures.get(name) is not None for layer in analysis.layers)
    ]
    rows = [
        (
            *(layer.task, layer.layer, layer.backbone, layer.weights or UNDEFINED, str(layer.depth)),
            *(format_number(layer.measures.get(name)) for name in known),
            *(as_table_value(mean_of(layer.returns)), as_table_value(mean_of(layer.evaluations))),
            *budget_cells(layer),
        )
        for layer in analysis.layers
    ]
    for task in analysis.tasks:
        blank = ("–",) * (len(known) + 2)
        rows += [
            (task.name, REFERENCE_WORDS[one.name], *blank, "–", _reference_cell(one), "–", *("–",) * len(SPENT)) for one in task.references
        ]
    returned = (returns_column(analysis.mode), "Evaluation")
    quiet = frozenset(range(len(analysis.layers), len(rows)))
    return Table(("Task", "Layer", "Backbone", "Weights", "Depth", *known, *returned, *SPENT), tuple(rows), quiet=quiet)


def mean_of(returns: tuple[float | None, ...]) -> Estimate | None:
    """Return the mean over finished seeds with Student's interval."""
    return mean_interval(np.array([value for value in returns if value is not None], dtype=np.float64))


def budget_cells(layer: StudyLayer) -> tuple[str, ...]:
    """Steps, updates, parameters, GFLOP, wall and CPU seconds of a layer's arm, in the columns of ``SPENT``."""
    counts = (f"{layer.environment_steps:,}", f"{layer.updates:,}", f"{layer.trainable_parameters:,}")
    return (*counts, format_number(layer.flops / 1e9, 2), format_number(layer.wall_seconds, 1), format_number(layer.cpu_seconds, 1))


def own_measures(study: StudyRecord) -> tuple[str, ...]:
    """Return the names of the measures that only some rankings have."""
    return tuple(sorted({name for part in study.analyses for layer in part.layers for name in layer.measures} - set(MEASURES)))


def study_csv(study: StudyRecord) -> str:
    """Return one line a mode, post-adapter, task and cell; each appears once, whatever the number of metrics and budgets."""
    own = own_measures(study)
    budgets = sorted({at for part in study.analyses for layer in part.layers for at in layer.budgets})
    rows: dict[tuple[object, ...], tuple[Value, ...]] = {}
    for analysis in study.analyses:
        tasks = {task.name: task for task in analysis.tasks}
        for layer in analysis.layers:
            task = tasks[layer.task]
            level: dict[str, float] = {one.name: one.mean for one in task.references}
            means = [_value(values) for values in (layer.returns, layer.evaluations, layer.untrained_returns)]
            head = (
                analysis.mode,
                analysis.head,
                layer.task,
                layer.layer,
                layer.kind,
                layer.backbone,
                layer.weights,
                layer.pooling,
                layer.store_id,
            )
            rows.setdefault(
                head,
                (
                    *(*head, *(layer.measures.get(name) for name in MEASURES)),
                    *(sum(value is not None for value in layer.returns), *means, task.learned),
                    *(*(level.get(name) for name in REFERENCES), *(getattr(layer, name) for name in BUDGET)),
                    *(*(layer.measures.get(name) for name in own), *(_value(layer.budgets.get(at, ())) for at in budgets)),
                ),
            )
    columns = (
        *STUDY_COLUMNS,
        *(re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in own),
        *(f"mean_return_at_{at}" for at in budgets),
    )
    return as_csv(columns, rows.values())


def _value(returns: tuple[float | None, ...]) -> float | None:
    found = mean_of(returns)
    return None if found is None else found.value
