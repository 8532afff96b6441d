"""Experiments in; how their rankings go with what agents earned, over all learned tasks and for every measure, out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from layerscout import __version__
from layerscout.cache.records import Estimate
from layerscout.cache.records.study import Finding, StudyAnalysis, StudyMeasure, StudyRecord, StudyRegistration
from layerscout.report.experiment import Experiment
from layerscout.report.numbers import decisions
from layerscout.report.numbers.over_tasks import FEWEST_TASKS, OverTasks, over_tasks
from layerscout.report.numbers.reliability import reliability
from layerscout.report.numbers.statistics import holm
from layerscout.report.numbers.within import TaskCells, correlations_within_groups, task_correlations
from layerscout.report.study.contrasts import RANDOM, contrasts_of, regret_of
from layerscout.report.study.hypotheses import judge_hypotheses
from layerscout.report.study.measures import MIDDLE, primary_of
from layerscout.report.study.registration import Registration
from layerscout.report.study.rows import layer_rows, task_row
from layerscout.report.study.tasks import METRICS, TrainedTask, names_of, pooling_key, trained_tasks
from layerscout.report.study.untrained import twin_pairs
from layerscout.report.study.words import cautions, study_outcome
from layerscout.report.verdict import SIGNIFICANCE


def study_experiments(
    experiments: Sequence[Experiment],
    metrics: Sequence[str] = METRICS,
    registration: Registration | None = None,
    registered: StudyRegistration | None = None,
) -> StudyRecord:
    """Return an analysis for every mode, post-adapter and metric; the one with the most tasks in the primary metric first.

    Parameters
    ----------
    experiments
        What lies in the folders of results.
    metrics
        Names of ``METRICS``; offline both are the last greedy evaluation, and the first stands alone.
    registration
        What was promised; its budgets get an analysis each, the largest first, and its hypotheses are judged in them.
    registered
        Whether what was run is what was promised.

    Raises
    ------
    DataError
        Cells of one task were measured on different rows, or agents learned from other data than their ranking.
    """
    found = trained_tasks(experiments)
    groups = [[trained for trained in found if pooling_key(trained) == shared] for shared in dict.fromkeys(map(pooling_key, found))]
    groups.sort(key=lambda group: -len(group))  # stable: otherwise in the order of the folders
    parts: list[StudyAnalysis | None] = []
    for place, group in enumerate(groups):
        promised = sorted(registration.promise.budgets, reverse=True) if registration is not None and place == 0 else []
        judged = {at: analyse_group(group, METRICS[0], registration, at) for at in promised}
        if registered is not None and (missing := [f"{at:,}" for at, part in judged.items() if part is None]):
            reason = f"not every cell was evaluated after {' and '.join(missing)} updates"
            registered = registered.model_copy(update={"holds": False, "reasons": (*registered.reasons, reason)})
        if any(part is not None for part in judged.values()):
            parts += judged.values()
        else:
            shown = metrics[:1] if group[0].record.mode == "offline" else metrics
            parts += [analyse_group(group, metric) for metric in shown]
    return StudyRecord(analyses=tuple(part for part in parts if part is not None), registration=registered, version=__version__)


def analyse_group(
    group: Sequence[TrainedTask], metric: str, registration: Registration | None = None, updates: int | None = None
) -> StudyAnalysis | None:
    """Return the analysis of tasks that share mode and post-adapter, in one metric; None when some cell has no figure in the metric."""
    names = names_of(group)
    tasks = [task for trained in group if (task := trained.task(names, metric, updates)) is not None]
    if len(tasks) < len(group):
        return None
    gates = [trained.gate(metric, updates) for trained in group]
    blind_records = all(gate.learned == "cannot be judged" for gate in gates)
    counted = [blind_records or gate.learned == "learned" for gate in gates]
    used = [task for task, counts in zip(tasks, counted, strict=True) if counts]
    primary = registration.promise.score if registration else primary_of([one for trained in group for one in trained.rankings])
    measures = measure_rows(used, names, primary, described=blind_records)
    ceiling = reliability(used)
    outcome, sentence = study_outcome(measures[0], gates)
    budgets = registration.promise.budgets if registration else ()
    statements = registration.promise.hypotheses if registration else None
    return StudyAnalysis(
        mode=group[0].record.mode,
        head=group[0].head,
        metric="final" if metric == METRICS[0] else "evaluation",
        updates=updates,
        primary=primary,
        outcome=outcome,
        sentence=sentence,
        notes=cautions(group, tasks, gates, measures, ceiling),
        tasks=tuple(
            task_row(trained, task, names, primary, gate, counts)
            for trained, task, gate, counts in zip(group, tasks, gates, counted, strict=True)
        ),
        measures=measures,
        contrasts=() if blind_records else contrasts_of(used, names),
        hypotheses=() if registration is None else judge_hypotheses([] if blind_records else used, names, primary, updates, statements),
        reliability=ceiling,
        random_regret_1=_mean(regret_of(task, names, RANDOM, 1) for task in used),
        random_regret_3=_mean(regret_of(task, names, RANDOM, 3) for task in used),
        middle_regret=_mean(regret_of(task, names, MIDDLE, 1) for task in used),
        random_violation=_mean(decisions.random_violation(decisions.as_shares(task.means)) for task in used),
        untrained=twin_pairs(group, metric, updates),
        layers=tuple(row for trained in group for row in layer_rows(trained, names, budgets)),
    )


def measure_rows(tasks: Sequence[TaskCells], names: Sequence[str], primary: str, described: bool = False) -> tuple[StudyMeasure, ...]:
    """Return every measure's evidence, the primary one first.

    ``described``: nobody knows whether these tasks were learned, so their figures are given and nothing is tested.
    """
    table = [task_correlations(task) for task in tasks]
    rho, tau = (np.array([pair[which] for pair in table]).reshape(len(tasks), len(names)) for which in (0, 1))
    inside = np.array([correlations_within_groups(task) for task in tasks]).reshape(len(tasks), len(names))
    order = [names.index(primary), *(row for row, name in enumerate(names) if name != primary)]
    whole = {row: over_tasks(rho[:, row]) for row in order}
    p_values = {row: found.p if found and not described else None for row, found in whole.items()}
    others = [row for row in order[1:] if p_values[row] is not None]
    adjusted = dict(zip(others, holm([p for row in others if (p := p_values[row]) is not None]), strict=True))
    adjusted[order[0]] = p_values[order[0]]  # type: ignore[assignment]
    found = []
    for row in order:
        name, known = names[row], [task for task, value in zip(tasks, rho[:, row], strict=True) if math.isfinite(value)]
        within, beside = over_tasks(inside[:, row]), over_tasks(rho[:, row] - rho[:, order[0]])
        p_flip = None if described or (one := whole[row]) is None else one.p_flip
        found.append(
            StudyMeasure(
                name=name,
                tasks=len(known),
                layers=sum(len(task.returns) for task in known),
                spearman=_estimate(whole[row]),
                kendall=_estimate(over_tasks(tau[:, row])),
                p=p_values[row],
                p_flip=p_flip,
                p_holm=adjusted.get(row),
                needed=None if described or (one := whole[row]) is None or one.tasks < FEWEST_TASKS else one.needed,
                within_groups=_estimate(within),
                p_within_groups=None if described or within is None else within.p,
                beside_primary=beside.mean if beside is not None and row != order[0] else None,
                regret_1=_estimate(over_tasks(regret_of(task, names, name, 1) for task in known), 0.0),
                regret_3=_estimate(over_tasks(regret_of(task, names, name, 3) for task in known), 0.0),
                violation=_estimate(
                    over_tasks(float(decisions.rank_violation(task.measures[row], decisions.as_shares(task.means))) for task in known), 0.0
                ),
                finding=finding_of(whole[row], adjusted.get(row), p_flip),
            )
        )
    return tuple(found)


def finding_of(whole: OverTasks | None, p: float | None, p_flip: float | None) -> Finding:
    """Return in a word what a measure is worth as a forecast; never more than the number of tasks allows.

    Both tests over tasks must speak: the t test, whose ``p`` is corrected after Holm, and the sign flips, which need no distribution.
    """
    if whole is None:
        return "n/a"
    if p is None or p_flip is None or whole.tasks < FEWEST_TASKS:
        return "cannot be tested"
    if p >= SIGNIFICANCE or p_flip >= SIGNIFICANCE:
        return "undecided"
    return "goes with return" if whole.mean.value > 0 else "misleads"


def _estimate(whole: OverTasks | None, low: float = -1.0) -> Estimate | None:
    """Return the mean with its interval, which ends where the figure does: at 1, and at -1 for a correlation, 0 for a share."""
    if whole is None or whole.mean.low is None or whole.mean.high is None:
        return whole.mean if whole else None
    return Estimate(value=whole.mean.value, low=max(whole.mean.low, low), high=min(whole.mean.high, 1.0))


def _mean(values: Iterable[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None
