"""The figures of a study in, the sentences that they allow out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Estimate
from layerscout.cache.records.study import StudyAnalysis, StudyMeasure
from layerscout.report.numbers import decisions
from layerscout.report.numbers.pooled import TaskLayers
from layerscout.report.numbers.statistics import seed_warning
from layerscout.report.study.tasks import TrainedTask
from layerscout.report.tables import format_estimate
from layerscout.report.verdict import SIGNIFICANCE

StudyOutcome = Literal["supported", "contradicted", "not supported", "cannot be tested"]
PILOT_LAYERS, PILOT_TASKS = 12, 3  # below these an interval of ρ spans almost everything
METRIC_WORDS = {"final": "mean of the last 50 returns", "evaluation": "deterministic evaluation"}


def plural(count: int, word: str) -> str:
    """Return "1 task", "3 tasks"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share as per cent: "12 %"."""
    return f"{100 * share:.0f} %"


def excludes_zero(spearman: Estimate) -> bool:
    """Return whether the interval of a correlation leaves 0 out."""
    return spearman.low is not None and spearman.high is not None and (spearman.low > 0 or spearman.high < 0)


def study_outcome(main: StudyMeasure, returns: Sequence[Float[np.ndarray, " layer"]], tasks: int) -> tuple[StudyOutcome, str]:
    """Return the outcome for the score that ordered the layers, and its sentence; ``returns`` are shares of each task's spread."""
    where = f"{plural(main.layers, 'layer')} in {plural(tasks, 'task')}"
    if main.spearman is None or main.p is None:
        return (
            "cannot be tested",
            f"Over {where}, {main.name} or the return never differs, or {main.name} is undefined: there is nothing to correlate.",
        )
    found = f"Spearman ρ = {format_estimate(main.spearman, 2)} within tasks, permutation p = {main.p:.3g}"
    if main.needed is None:
        return "cannot be tested", f"With {where} no correlation, however strong, can be significant at 5 % ({found})."
    if main.p >= SIGNIFICANCE:
        bound = f"only |ρ| ≥ {main.needed:.2f} could have been significant at 5 %"
        return (
            "not supported",
            f"Over {where}, it was not shown that {main.name} goes with return: {found}; {bound}. {cost_of_choosing(main, returns)}",
        )
    if not excludes_zero(main.spearman):
        doubt = "the order within these tasks is no accident, but with other tasks, layers and seeds it could vanish: the interval holds 0"
        return (
            "not supported",
            f"Over {where}, it was not shown that {main.name} goes with return: {found}; {doubt}. {cost_of_choosing(main, returns)}",
        )
    relation, outcome = ("goes with", "supported") if main.spearman.value > 0 else ("goes against", "contradicted")
    return outcome, f"Over {where}, {main.name} {relation} return: {found}. {cost_of_choosing(main, returns)}"  # type: ignore[return-value]


def cost_of_choosing(main: StudyMeasure, returns: Sequence[Float[np.ndarray, " layer"]]) -> str:
    """Return what trusting the score costs against a random pick, in words."""
    if main.regret_1 is None:
        return ""
    chance = float(np.mean([decisions.random_regret(one, 1) for one in returns]))
    return (
        f"Taking the best-scored layer gave up {percent(main.regret_1.value)} of the way from the worst layer to the best; one picked at "
        f"random gives up {percent(chance)}."
    )


def cautions(
    group: Sequence[TrainedTask], tasks: Sequence[TaskLayers], measures: Sequence[StudyMeasure], reliability: float | None
) -> tuple[str, ...]:
    """Return what a reader must know before believing the figures."""
    found = []
    layers = sum(len(task.returns) for task in tasks)
    if len(tasks) == 1:
        found.append("One task: the interval covers other layers and seeds of this task and says nothing about other tasks.")
    if layers < PILOT_LAYERS or len(tasks) < PILOT_TASKS:
        found.append(f"A pilot: a narrow answer takes at least {PILOT_LAYERS} layers over at least {PILOT_TASKS} tasks.")
    for trained in group:
        ranked = len(trained.experiment.ranking.candidates)
        if len(trained.layers) < ranked:
            found.append(
                f"{trained.name}: {len(trained.layers)} of {ranked} ranked layers were trained. If they were picked by score, a correlation flatters it."
            )
    if plain := seed_warning(max(int(np.isfinite(task.returns).sum(axis=1).max()) for task in tasks)):
        found.append(plain)
    if reliability is None:
        found.append("The noise ceiling is n/a: it takes at least two finished seeds a layer.")
    elif (main := measures[0].spearman) is not None and math.sqrt(reliability) < abs(main.value):
        found.append("The correlation reaches its noise ceiling: with these seeds no score could do better.")
    short = [f"{measure.name} ({measure.tasks})" for measure in measures if 0 < measure.tasks < len(tasks)]
    if short:
        found.append(f"Known in some of the {len(tasks)} tasks only: {', '.join(short)}.")
    if absent := [measure.name for measure in measures if measure.tasks == 0]:
        found.append(f"Not in these rankings: {', '.join(absent)}.")
    failed = sum(run.status == "failed" for trained in group for run in trained.record.runs)
    if failed:
        found.append(f"Failed runs: {failed}. They are missing from the means.")
    return tuple(found)


def findings_in_words(analysis: StudyAnalysis) -> tuple[str, ...]:
    """Return a sentence for the measures that earn their keep, one for those that mislead, one for the rest."""
    groups = (
        ("goes with return", "Goes with return", "after Holm over all measures but the first"),
        ("misleads", "Misleads: the higher it is, the lower the return", "after Holm"),
        ("undecided", "Undecided", "not significant at 5 %, or the interval holds 0"),
        ("cannot be tested", "Cannot be tested", "too few layers for any value to be significant"),
    )
    found = []
    for finding, words, why in groups:
        own = [f"{one.name} (ρ = {one.spearman.value:+.2f})" for one in analysis.measures if one.finding == finding and one.spearman]
        found += [f"{words}: {', '.join(own)} ({why})."] if own else []
    return tuple(found)
