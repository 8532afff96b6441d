"""The figures of a study in, the sentences that they allow out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from layerscout.cache.records.study import StudyAnalysis, StudyMeasure, StudyRegistration, StudyVerdict
from layerscout.report.captions import SHARED_EPISODES, metric_name, percent
from layerscout.report.numbers.gate import Gate
from layerscout.report.numbers.over_tasks import FEWEST_TASKS
from layerscout.report.numbers.statistics import seed_warning
from layerscout.report.numbers.within import TaskCells
from layerscout.report.study.rows import failed_runs
from layerscout.report.study.tasks import TrainedTask
from layerscout.report.tables import format_estimate, p_words
from layerscout.showing import counted


def analysis_title(analysis: StudyAnalysis) -> str:
    """Return what an analysis is of: the mode, the post-adapter, the figure that agents are judged by, and the budget."""
    metric = f"evaluation after {analysis.updates:,} updates" if analysis.updates else metric_name(analysis.mode, analysis.metric)
    return f"{analysis.mode} mode, {analysis.head} post-adapter, {metric}"


def study_outcome(main: StudyMeasure, gates: Sequence[Gate]) -> tuple[StudyVerdict, str]:
    """Return the outcome for the score that ordered the layers, and its sentence."""
    learned = sum(gate.learned == "learned" for gate in gates)
    failed = sum(gate.learned == "not learned" for gate in gates)
    where = f"{counted(main.layers, 'cell')} in {counted(main.tasks, 'learned task')}"
    if not learned and failed:
        return (
            "not learned",
            f"Not learned: in none of {counted(len(gates), 'task')} did agents learn, so no return can be foretold. {advice_of_gates(gates)}".strip(),
        )
    if not learned:
        found = "" if main.spearman is None else f" For the record: Spearman ρ = {format_estimate(main.spearman, 2)} within tasks."
        why = f"in {counted(len(gates), 'task')} nobody can tell whether agents learned at all ({gates[0].why.partition(': ')[2]})"
        return "cannot be judged", f"Cannot be judged: {why}. A number that cannot be verified is described, not claimed.{found}"
    if main.spearman is None:
        return (
            "cannot be tested",
            f"Over {counted(learned, 'learned task')}, {main.name} or the return never differs, or {main.name} is undefined: there is nothing to correlate.",
        )
    found = f"mean Spearman ρ = {format_estimate(main.spearman, 2)} within tasks"
    cost = cost_of_choosing(main)
    if main.tasks < FEWEST_TASKS or main.p is None or main.p_flip is None:
        return (
            "cannot be tested",
            f"Over {where} {main.name} shows {found}. The unit of a test is the task, and it takes at least {FEWEST_TASKS} of them: "
            f"layers of one backbone are no independent witnesses. {cost}".strip(),
        )
    tests = f"{found}, t test over tasks {p_words(main.p)}, sign flips {p_words(main.p_flip)}"
    if main.finding == "undecided":
        bound = "" if main.needed is None else f"; with the tasks' own spread a mean of {main.needed:.2f} would have been needed"
        return "not supported", f"Over {where}, it was not shown that {main.name} goes with return: {tests}{bound}. {cost}".strip()
    if main.finding == "goes with return":
        return "supported", f"Over {where}, {main.name} goes with return: {tests}. {cost}".strip()
    return "contradicted", f"Over {where}, {main.name} goes against return: {tests}. {cost}".strip()


def advice_of_gates(gates: Sequence[Gate]) -> str:
    """Return what to try for tasks that were not learned, each advice once."""
    return " ".join(dict.fromkeys(gate.advice for gate in gates if gate.learned == "not learned" and gate.advice))


def cost_of_choosing(main: StudyMeasure) -> str:
    """Sentence on the regret of taking the best-scored cell, as a share of best minus worst; "" where it is not known."""
    if main.regret_1 is None:
        return ""
    return f"Taking the best-scored cell gave up {percent(main.regret_1.value)} of the way from the best cell to the worst."


def cautions(
    group: Sequence[TrainedTask],
    tasks: Sequence[TaskCells],
    gates: Sequence[Gate],
    measures: Sequence[StudyMeasure],
    reliability: float | None,
) -> tuple[str, ...]:
    """Return what a reader must know before believing the figures."""
    found = []
    for word in ("not learned", "cannot be judged"):
        names = [trained.name for trained, gate in zip(group, gates, strict=True) if gate.learned == word]
        if names and len(names) < len(group):
            why = "they were not learned" if word == "not learned" else "nobody can judge whether they were learned"
            found.append(f"Left out of every correlation, because {why}: {', '.join(names)}.")
    if len(tasks) == 1:
        found.append("One task: it describes this task, its interval is over seeds, and it says nothing about other tasks.")
    for trained in group:
        count = sum(cell.score.role == "layer" for cell in trained.cells)
        if count < len(trained.ranked):
            found.append(
                f"{trained.name}: {count} of {len(trained.ranked)} ranked layers were trained. If they were picked by score, a correlation flatters it."
            )
    if plain := seed_warning(max(int(np.isfinite(task.returns).sum(axis=1).max()) for task in tasks)):
        found.append(plain)
    if not all(trained.apart for trained in group):
        found.append(SHARED_EPISODES)
    if reliability is None:
        found.append("The noise ceiling is n/a: it takes at least two finished seeds a cell.")
    elif (main := measures[0].spearman) is not None and math.sqrt(reliability) < abs(main.value):
        found.append("The correlation reaches its noise ceiling: with these seeds no score could do better.")
    used = max((measure.tasks for measure in measures), default=0)
    short = [f"{measure.name} ({measure.tasks})" for measure in measures if 0 < measure.tasks < used]
    if short:
        found.append(f"Known in some of the {used} tasks only: {', '.join(short)}.")
    absent = [measure.name for measure in measures if measure.tasks == 0]
    if used and absent:
        found.append(f"Not in these rankings, or the same for every cell: {', '.join(absent)}.")
    if failed := sum(failed_runs(trained) for trained in group):
        found.append(f"Failed runs: {failed}. They are missing from the means.")
    return tuple(found)


def findings_in_words(analysis: StudyAnalysis) -> tuple[str, ...]:
    """Return a sentence for the measures that earn their keep, one for those that mislead, one for the rest."""
    if analysis.outcome in ("not learned", "cannot be judged"):
        return ()
    groups = (
        ("goes with return", "Goes with return", "t over tasks, after Holm over all measures but the first, and sign flips"),
        ("misleads", "Misleads: the higher it is, the lower the return", "the same tests"),
        ("undecided", "Undecided", "not significant at 5 %"),
        ("cannot be tested", "Cannot be tested", f"fewer than {FEWEST_TASKS} tasks"),
    )
    found = []
    for finding, words, why in groups:
        own = [f"{one.name} (ρ = {one.spearman.value:+.2f})" for one in analysis.measures if one.finding == finding and one.spearman]
        found += [f"{words}: {', '.join(own)} ({why})."] if own else []
    return tuple(found)


def registered_sentence(registration: StudyRegistration | None, short: bool = False) -> str:
    """Return in a sentence whether the study was fixed before it was run, with the proof, or why it may not say so.

    ``short``: digest and commit by their first characters.
    """
    if registration is None:
        return "Exploratory: nothing here was fixed before it was run, so it suggests and does not prove."
    digest, commit = registration.digest, registration.commit or ""
    where = f"{registration.path} ({digest[:19] if short else digest})"
    if registration.holds:
        return f"Registered: {where} was first kept in commit {commit[:12] if short else commit} on {registration.committed}, before any of these runs."
    shown = registration.reasons[:2] if short else registration.reasons
    more = len(registration.reasons) - len(shown)
    return f"Not registered, although {where} says so: {'; '.join(shown)}{f'; and {more} more' if more else ''}."
