"""A study's analysis in, its tables and study.csv out."""

from __future__ import annotations

import math

import numpy as np

from layerscout.cache.records import Estimate, as_table_value
from layerscout.cache.records.study import StudyAnalysis, StudyLayer, StudyRecord
from layerscout.pages.tables import UNDEFINED, Table, as_csv
from layerscout.report.numbers.statistics import mean_interval
from layerscout.report.study.tasks import MEASURES, MIDDLE
from layerscout.report.study.words import percent
from layerscout.report.tables import SPENT, Value, format_number

COLUMN_OF = {
    "S": "score",
    "S-skill": "skill_score",
    "reward R²": "reward_r2",
    "transition R²": "transition_r2",
    "effective rank": "effective_rank",
    "transition skill": "transition_skill",
    "log rank": "log_rank",
    "transition gain": "transition_gain",
    "persistence R²": "persistence_r2",
    "bits of action": "bits_action",
    "state R²": "state_r2",
    "depth alone": "depth",
    "nearness to the middle": "nearness_to_middle",
}
BUDGET = ("environment_steps", "updates", "trainable_parameters", "flops", "wall_seconds", "cpu_seconds")
STUDY_COLUMNS = (
    *("mode", "head", "task", "layer", "kind"),
    *(COLUMN_OF[name] for name in MEASURES),
    *("seeds", "mean_return_last_50", "mean_evaluation", "untrained_mean_return"),
    *BUDGET,
)


def format_share(estimate: Estimate | float | None) -> str:
    """Return a share of the spread as per cent."""
    if estimate is None:
        return UNDEFINED
    if isinstance(estimate, float):
        return percent(estimate)
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value)
    return f"{percent(estimate.value)} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def measures_table(analysis: StudyAnalysis) -> Table:
    """Return every score and component with what it is worth; the last rows are what one has without any."""
    columns = ("Measure", "Finding", "Spearman ρ", "Kendall τ", "p", "p after Holm", "ρ − ρ of " + analysis.primary)
    rows: list[tuple[str, ...]] = [
        (
            *(one.name, one.finding, as_table_value(one.spearman, 2), as_table_value(one.kendall, 2), format_number(one.p, 4)),
            *("–" if place == 0 else format_number(one.p_holm, 4), "–" if place == 0 else as_table_value(one.beside_primary, 2)),
            *(format_share(one.regret_1), format_share(one.regret_3), format_share(one.violation), str(one.tasks), str(one.layers)),
        )
        for place, one in enumerate(analysis.measures)
    ]
    blank = ("–",) * 6
    chance = map(format_share, (analysis.random_regret_1, analysis.random_regret_3, analysis.random_violation))
    rows.append(("a random order", *blank, *chance, "–", "–"))
    rows.append(("the middle layer", *blank, format_share(analysis.middle_regret), "–", "–", "–", "–"))
    return Table((*columns, "Regret@1", "Regret@3", "MMRV", "Tasks", "Layers"), tuple(rows))


def tasks_table(analysis: StudyAnalysis) -> Table:
    """Return each task on its own, in its own units of return."""
    columns = ("Task", "Backbone", "Layers", "Seeds", "Failed", "Spearman ρ", "p", "ρ needed", "Noise ceiling")
    rows = [
        (
            *(one.name, one.backbone, f"{one.layers} of {one.ranked_layers}", str(len(one.seeds)), str(one.failed)),
            *(as_table_value(one.spearman, 2), format_number(one.p, 3), format_number(one.needed, 2) if one.needed else "none suffices"),
            *(
                format_number(noise_ceiling(one.reliability), 2),
                format_number(one.regret_1),
                format_number(one.random_regret_1),
                format_number(one.middle_regret),
            ),
            *(
                format_number(one.regret_3),
                format_number(one.random_regret_3),
                format_number(one.violation),
                format_number(one.random_violation),
            ),
        )
        for one in analysis.tasks
    ]
    regrets = ("Regret@1", "… random", "… middle", "Regret@3", "… random", "MMRV", "… random")
    return Table((*columns, *regrets), tuple(rows))


def noise_ceiling(reliability: float | None) -> float | None:
    """Return the largest correlation that a perfect score would be expected to show."""
    return None if reliability is None else math.sqrt(reliability)


def savings_table(analysis: StudyAnalysis) -> Table:
    """Return the CPU time that probing saves when only the best-scored layers are trained."""
    columns = ("Task", "Training all layers, CPU s", "Probing, CPU s", "Saved by top 1", "Saved by top 3")
    rows = [
        (
            one.name,
            format_number(one.training_seconds, 1),
            format_number(one.probing_seconds, 1),
            *(format_saving(value, one.training_seconds) for value in (one.saved_1, one.saved_3)),
        )
        for one in analysis.tasks
    ]
    return Table(columns, tuple(rows))


def format_saving(seconds: float | None, whole: float) -> str:
    """Return seconds saved with their share of the whole."""
    return UNDEFINED if seconds is None or whole <= 0 else f"{seconds:,.1f} ({percent(seconds / whole)})"


def untrained_table(analysis: StudyAnalysis) -> Table:
    """Return blocks against the same blocks without training."""
    rows = [
        (
            one.task,
            one.layer or "all layers",
            str(one.seeds),
            as_table_value(one.difference),
            format_number(one.p),
            format_number(one.p_holm) if one.layer is None else "–",
        )
        for one in analysis.untrained
    ]
    return Table(("Task", "Block", "Seeds", "Pretrained − untrained", "p", "p after Holm"), tuple(rows))


def layers_table(analysis: StudyAnalysis) -> Table:
    """Return every layer with its measures, its returns and its budget."""
    known = [name for name in MEASURES if name != MIDDLE and any(layer.measures[name] is not None for layer in analysis.layers)]
    rows = [
        (
            *(layer.task, layer.layer, layer.kind),
            *(format_number(layer.measures[name], 0 if name == "depth alone" else 3) for name in known),
            *(
                as_table_value(mean_of(layer.returns)),
                as_table_value(mean_of(layer.evaluations)),
                as_table_value(mean_of(layer.untrained_returns)),
            ),
            *budget_cells(layer),
        )
        for layer in analysis.layers
    ]
    returned = ("Mean return (last 50)", "Evaluation", "Untrained block")
    return Table(("Task", "Layer", "Arm", *known, *returned, *SPENT), tuple(rows))


def mean_of(returns: tuple[float | None, ...]) -> Estimate | None:
    """Return the mean over finished seeds with Student's interval."""
    return mean_interval(np.array([value for value in returns if value is not None], dtype=np.float64))


def budget_cells(layer: StudyLayer) -> tuple[str, ...]:
    """Return a layer's budget under ``SPENT``."""
    counts = (f"{layer.environment_steps:,}", f"{layer.updates:,}", f"{layer.trainable_parameters:,}")
    return (*counts, format_number(layer.flops / 1e9, 2), format_number(layer.wall_seconds, 1), format_number(layer.cpu_seconds, 1))


def study_csv(study: StudyRecord) -> str:
    """Return one line a mode, post-adapter, task and layer; each appears once, whatever the number of metrics."""
    rows: dict[tuple[str, str, str, str], tuple[Value, ...]] = {}
    for analysis in study.analyses:
        for layer in analysis.layers:
            means = [
                None if (one := mean_of(values)) is None else one.value
                for values in (layer.returns, layer.evaluations, layer.untrained_returns)
            ]
            seeds = sum(value is not None for value in layer.returns)
            head = (analysis.mode, analysis.head, layer.task, layer.layer)
            measures = (layer.measures[name] for name in MEASURES)
            rows.setdefault(head, (*head, layer.kind, *measures, seeds, *means, *(getattr(layer, name) for name in BUDGET)))
    return as_csv(STUDY_COLUMNS, rows.values())
