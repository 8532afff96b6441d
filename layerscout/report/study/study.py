"""Experiments in; how their rankings go with what agents earned, over all tasks and for every component of the score, out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Estimate, none_if_nan
from layerscout.cache.records.study import Finding, StudyAnalysis, StudyMeasure, StudyRecord, StudyTask
from layerscout.report.experiment import Experiment
from layerscout.report.numbers import decisions
from layerscout.report.numbers.association import widened_to_value
from layerscout.report.numbers.nested import DRAWS, PERCENTILES, correlation_intervals, nested_bootstrap, reliability, resampled_means
from layerscout.report.numbers.pooled import TaskLayers, needed_correlation, permutation_p, pooled_correlations
from layerscout.report.numbers.statistics import holm
from layerscout.report.study.tasks import DEPTH, MEASURES, METRICS, SKILL, S, TrainedTask, pooling_key, trained_tasks
from layerscout.report.study.untrained import layer_rows, twin_pairs
from layerscout.report.study.words import cautions, excludes_zero, study_outcome
from layerscout.report.verdict import SIGNIFICANCE
from layerscout.text import visible


def study_experiments(experiments: Sequence[Experiment], metrics: Sequence[str] = METRICS) -> StudyRecord:
    """Return an analysis for every mode, post-adapter and metric; the one with the most tasks in the primary metric first."""
    found = trained_tasks(experiments)
    groups = [[trained for trained in found if pooling_key(trained) == shared] for shared in dict.fromkeys(map(pooling_key, found))]
    groups.sort(key=lambda group: -len(group))  # stable: otherwise in the order of the folders
    # offline there are no training returns: both metrics are the last greedy evaluation
    parts = [
        analyse_group(group, metric) for group in groups for metric in (metrics[:1] if pooling_key(group[0])[0] == "offline" else metrics)
    ]
    return StudyRecord(analyses=tuple(part for part in parts if part is not None))


def analyse_group(group: Sequence[TrainedTask], metric: str) -> StudyAnalysis | None:
    """Return the analysis of tasks that share mode and post-adapter, in one metric; None when some layer has no figure in the metric."""
    tasks = [task for trained in group if (task := trained.task(metric)) is not None]
    if len(tasks) < len(group):
        return None
    primary = SKILL if all(trained.experiment.ranking.score_kind == "S-skill/1" for trained in group) else S
    measures = measure_rows(tasks, primary)
    main = next(row for row in measures if row.name == primary)
    ceiling, chance = reliability(tasks), [return_shares(task) for task in tasks]
    outcome, sentence = study_outcome(main, chance, len(tasks))
    return StudyAnalysis(
        mode=group[0].record.mode,
        head=group[0].head,
        metric="final" if metric == METRICS[0] else "evaluation",
        primary=primary,
        outcome=outcome,
        sentence=sentence,
        notes=cautions(group, tasks, measures, ceiling),
        tasks=tuple(task_row(trained, task, primary) for trained, task in zip(group, tasks, strict=True)),
        measures=measures,
        reliability=ceiling,
        random_regret_1=float(np.mean([decisions.random_regret(returns, 1) for returns in chance])),
        random_regret_3=float(np.mean([decisions.random_regret(returns, 3) for returns in chance])),
        middle_regret=float(
            np.mean([decisions.middle_regret(layer_depths(task), returns) for task, returns in zip(tasks, chance, strict=True)])
        ),
        random_violation=float(np.mean([decisions.random_violation(returns) for returns in chance])),
        untrained=twin_pairs(group, metric),
        layers=tuple(row for trained in group for row in layer_rows(trained)),
    )


def layer_depths(task: TaskLayers) -> Float[np.ndarray, " layer"]:
    """Return the layers' depths."""
    return task.measures[MEASURES.index(DEPTH)]


def return_shares(task: TaskLayers) -> Float[np.ndarray, " layer"]:
    """Return mean returns as shares of the way from the task's worst layer to its best."""
    return decisions.as_shares(task.means)


def measure_rows(tasks: Sequence[TaskLayers], primary: str) -> tuple[StudyMeasure, ...]:
    """Return every measure's evidence, the primary one first."""
    rho, tau = pooled_correlations(tasks)
    drawn_rho, drawn_tau = nested_bootstrap(tasks)
    spearmans, kendalls = correlation_intervals(rho, drawn_rho), correlation_intervals(tau, drawn_tau)
    p_values = [none_if_nan(p) for p in permutation_p(tasks).tolist()]
    names = [primary, *(name for name in MEASURES if name != primary)]
    rows = [MEASURES.index(name) for name in names]
    others = [row for row in rows[1:] if p_values[row] is not None]
    adjusted = dict(zip(others, holm([p for row in others if (p := p_values[row]) is not None]), strict=True)) | {
        rows[0]: p_values[rows[0]]
    }
    known = [[task for task in tasks if task.known[row]] for row in range(len(MEASURES))]
    choices = ChoiceCosts(tasks)
    found = []
    for name, row in zip(names, rows, strict=True):
        sizes = [len(task.returns) for task in known[row]]
        needed = needed_correlation(sizes)
        beside = correlation_intervals(rho[[row]] - rho[rows[0]], drawn_rho[[row]] - drawn_rho[rows[0]])[0] if row != rows[0] else None
        found.append(
            StudyMeasure(
                name=name,
                tasks=len(sizes),
                layers=sum(sizes),
                spearman=spearmans[row],
                kendall=kendalls[row],
                p=p_values[row],
                p_holm=adjusted.get(row),
                needed=needed,
                beside_primary=beside if len(known[row]) == len(known[rows[0]]) else None,
                regret_1=choices.regret(row, 1) if spearmans[row] else None,  # a measure that never differs chooses nothing
                regret_3=choices.regret(row, 3) if spearmans[row] else None,
                violation=choices.violation(row) if spearmans[row] else None,
                finding=finding_of(spearmans[row], adjusted.get(row), needed),
            )
        )
    return tuple(found)


def finding_of(spearman: Estimate | None, p: float | None, needed: float | None) -> Finding:
    """Return in a word what a measure is worth as a forecast; never more than the number of layers allows.

    Both must speak: p for these layers of these tasks, and the interval for others like them.
    """
    if spearman is None or p is None:
        return "n/a"
    if needed is None:
        return "cannot be tested"
    if p >= SIGNIFICANCE or not excludes_zero(spearman):
        return "undecided"
    return "goes with return" if spearman.value > 0 else "misleads"


class ChoiceCosts:
    """What choosing by each measure costs, averaged over tasks, with resamples of tasks and of seeds; the layers stay as they are."""

    def __init__(self, tasks: Sequence[TaskLayers], *, draws: int = DRAWS, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.tasks = tasks
        self.drawn = [decisions.as_shares(resampled_means(task.returns, draws, generator)) for task in tasks]
        self.generator = generator.spawn(1)[0]

    def regret(self, row: int, best: int) -> Estimate | None:
        """Return the regret of the ``best`` best-scored layers as a share of each task's spread."""
        known = [place for place, task in enumerate(self.tasks) if task.known[row]]
        point = [decisions.regrets(self.tasks[place].measures[row], return_shares(self.tasks[place])[None], best) for place in known]
        drawn = [decisions.regrets(self.tasks[place].measures[row], self.drawn[place], best) for place in known]
        return self.estimate(point, drawn)

    def violation(self, row: int) -> Estimate | None:
        """Return the mean maximum rank violation as a share of each task's spread."""
        known = [place for place, task in enumerate(self.tasks) if task.known[row]]
        point = [decisions.rank_violation(self.tasks[place].measures[row], return_shares(self.tasks[place])[None]) for place in known]
        drawn = [decisions.rank_violation(self.tasks[place].measures[row], self.drawn[place]) for place in known]
        return self.estimate(point, drawn)

    def estimate(self, point: Sequence[Float[np.ndarray, " one"]], drawn: Sequence[Float[np.ndarray, " draw"]]) -> Estimate | None:
        """Average over tasks; None when no task knows the measure."""
        if not point:
            return None
        table = np.stack(drawn)
        chosen = self.generator.integers(len(table), size=table.T.shape)
        low, high = np.quantile(np.take_along_axis(table.T, chosen, axis=1).mean(axis=1), PERCENTILES)
        return widened_to_value(float(np.mean(point)), (float(low), float(high)))


def task_row(trained: TrainedTask, task: TaskLayers, primary: str) -> StudyTask:
    """Return what one task says on its own."""
    row = MEASURES.index(primary)
    scores, means = task.measures[row], task.means
    own = TaskLayers(task.name, task.measures[[row]], task.returns)
    seconds = np.array([arm.budget.cpu_seconds for arm in trained.arms])
    probing = trained.experiment.cost.cpu_seconds if trained.experiment.cost else None
    known = bool(task.known[row])

    def saved(best: int) -> float | None:
        return decisions.seconds_saved(scores, seconds, best, probing) if known and probing is not None else None

    def regret(best: int) -> float | None:
        return float(decisions.regrets(scores, means[None], best)[0]) if known else None

    return StudyTask(
        name=trained.name,
        folder=visible(trained.experiment.folder.as_posix()),
        environment=trained.record.environment,
        backbone=trained.experiment.ranking.backbone,
        seeds=trained.seeds,
        layers=len(means),
        ranked_layers=len(trained.experiment.ranking.candidates),
        failed=sum(run.status == "failed" for run in trained.record.runs if run.arm in {arm.name for arm in trained.arms}),
        spearman=correlation_intervals(pooled_correlations([own])[0], nested_bootstrap([own])[0])[0],
        p=none_if_nan(float(permutation_p([own])[0])),
        needed=needed_correlation([len(means)]),
        reliability=reliability([task]),
        regret_1=regret(1),
        regret_3=regret(3),
        random_regret_1=decisions.random_regret(means, 1),
        random_regret_3=decisions.random_regret(means, 3),
        middle_regret=decisions.middle_regret(layer_depths(task), means),
        violation=float(decisions.rank_violation(scores, means)) if known else None,
        random_violation=decisions.random_violation(means),
        training_seconds=float(seconds.sum()),
        probing_seconds=probing,
        saved_1=saved(1),
        saved_3=saved(3),
    )
