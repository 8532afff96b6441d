"""What a study was to decide in, with its correlations and regrets; what became of every hypothesis out.

The rules were fixed before any run. H1: the mean over learned tasks of the within-task correlation between the score and the return is
above 0 (t over tasks, p < .05), *and* the mean regret of the best-scored cell is below that of choosing by depth, by the middle and at
random (paired over tasks, sign flips, p < .05 each). H2: the same with ranks inside each backbone with its weights. H3: the score's
correlation is above that of S (t over tasks, p < .05). Refuted: the 95 % interval of the mean correlation ends below +.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Estimate
from layerscout.cache.records.study import HypothesisVerdict, StudyHypothesis
from layerscout.report.numbers.over_tasks import FEWEST_TASKS, OverTasks, over_tasks
from layerscout.report.numbers.within import TaskCells, correlations_within_groups, task_correlations
from layerscout.report.study.contrasts import RIVALS, regret_of
from layerscout.report.study.measures import S
from layerscout.report.tables import format_estimate, p_words
from layerscout.report.verdict import SIGNIFICANCE
from layerscout.showing import counted

REFUTED_BELOW = 0.3
STATEMENTS = {
    "H1": "{score} goes with return, and its first choice gives up less than depth's, the middle's and a random pick's",
    "H2": "the same inside each backbone with its weights",
    "H3": "{score} goes with return more than S does",
}
_OPEN = "Too few tasks were learned to test it."
PLAIN: dict[str, dict[HypothesisVerdict, str]] = {
    "H1": {
        "supported": "Over {tasks} tasks {score} tells on which layers agents do better, and taking its first choice costs less than choosing blindly.",
        "partly supported": "Over {tasks} tasks {score} tells on which layers agents do better, but its first choice was not shown to cost less than every blind choice.",
        "not supported": "Over {tasks} tasks it was not shown that {score} tells on which layers agents do better.",
        "refuted": "Over {tasks} tasks {score} does not tell on which layers agents do better: its correlation with return is below +{bound}.",
        "cannot be tested": _OPEN,
    },
    "H2": {
        "supported": "It does so among the layers of one backbone with its weights, too.",
        "partly supported": "Among the layers of one backbone with its weights it orders them as agents do, but its first choice was not shown to cost less than every blind one.",
        "not supported": "It was not shown to do so among the layers of one backbone with its weights.",
        "refuted": "Among the layers of one backbone with its weights it does not.",
        "cannot be tested": _OPEN,
    },
    "H3": {
        "supported": "{score} tells more than S does.",
        "partly supported": "{score} tells more than S does.",
        "not supported": "It was not shown that {score} tells more than S does.",
        "refuted": "{score} tells no more than S does.",
        "cannot be tested": _OPEN,
    },
}


def judge_hypotheses(
    tasks: Sequence[TaskCells], names: Sequence[str], score: str, updates: int | None = None, statements: Mapping[str, str] | None = None
) -> tuple[StudyHypothesis, ...]:
    """Judge H1, H2 and H3 by their rules.

    Parameters
    ----------
    tasks
        The learned tasks.
    names
        Of the measures, in the order of the tasks' rows.
    score
        The measure that is tested.
    updates
        The budget, for the record.
    statements
        The hypotheses in the words of the registration, by name.
    """
    words = {name: text.format(score=score) for name, text in STATEMENTS.items()} | dict(statements or {})
    row = names.index(score)
    plain, inside = ([float(one(task)[row]) for task in tasks] for one in (_correlations, correlations_within_groups))
    found = {
        "H1": _choice_rule(plain, _regret_contrasts(tasks, names, score)),
        "H2": _choice_rule(inside, _regret_contrasts(tasks, names, score, inside=True)),
        "H3": _difference_rule([float(_correlations(task)[row] - _correlations(task)[names.index(S)]) for task in tasks]),
    }
    return tuple(
        StudyHypothesis(
            name=name,
            statement=words[name],
            updates=updates,
            outcome=outcome,
            plain=PLAIN[name][outcome].format(score=score, tasks=len(tasks), bound=REFUTED_BELOW),
            sentence=sentence,
        )
        for name, (outcome, sentence) in found.items()
    )


def _correlations(task: TaskCells) -> Float[np.ndarray, " measure"]:
    return task_correlations(task)[0]


def _regret_contrasts(tasks: Sequence[TaskCells], names: Sequence[str], score: str, inside: bool = False) -> dict[str, OverTasks | None]:
    """Return the score's regret@1 minus each rival's over tasks; ``inside``: the mean over the groups of each task."""

    def regret(task: TaskCells, name: str) -> float:
        parts = task.apart if inside else (task,)
        values = [regret_of(part, names, name, 1) for part in parts]
        return sum(values) / len(values) if values else math.nan

    return {rival: over_tasks(regret(task, score) - regret(task, rival) for task in tasks) for rival in RIVALS}


def _choice_rule(correlations: Sequence[float], regrets: Mapping[str, OverTasks | None]) -> tuple[HypothesisVerdict, str]:
    whole = over_tasks(correlations)
    if whole is None or whole.p is None or whole.tasks < FEWEST_TASKS:
        return "cannot be tested", _too_few(whole)
    goes = whole.p < SIGNIFICANCE and whole.mean.value > 0
    worse = [rival for rival, one in regrets.items() if not _below(one)]
    figures = (
        f"mean ρ = {format_estimate(whole.mean, 2)} over {whole.tasks} tasks, t test {p_words(whole.p)}, sign flips {p_words(whole.p_flip)}"
    )
    given = "; ".join(f"regret@1 against {rival} {_difference_in_words(one)}" for rival, one in regrets.items())
    if _refuted(whole.mean):
        return "refuted", f"Refuted: the interval ends below +{REFUTED_BELOW:.1f} ({figures}; {given})."
    if goes and not worse:
        return "supported", f"Supported: {figures}; {given}."
    if goes:
        return (
            "partly supported",
            f"Partly supported: {figures}, but its first choice was not shown to give up less than {', '.join(worse)} ({given}).",
        )
    return "not supported", f"Not supported: {figures}; {given}."


def _difference_rule(differences: Sequence[float]) -> tuple[HypothesisVerdict, str]:
    whole = over_tasks(differences)
    if whole is None or whole.p is None or whole.tasks < FEWEST_TASKS:
        return "cannot be tested", _too_few(whole)
    figures = f"difference {format_estimate(whole.mean, 2, '+')} over {whole.tasks} tasks, t test {p_words(whole.p)}, sign flips {p_words(whole.p_flip)}"
    if whole.p < SIGNIFICANCE and whole.mean.value > 0:
        return "supported", f"Supported: {figures}."
    return "not supported", f"Not supported: {figures}."


def _below(one: OverTasks | None) -> bool:
    return one is not None and one.mean.value < 0 and one.p_flip is not None and one.p_flip < SIGNIFICANCE


def _refuted(mean: Estimate) -> bool:
    return mean.high is not None and mean.high < REFUTED_BELOW


def _difference_in_words(one: OverTasks | None) -> str:
    if one is None:
        return "n/a"
    return f"{format_estimate(one.mean, 2, '+')}" + (f", p = {one.p_flip:.3g}" if one.p_flip is not None else "")


def _too_few(whole: OverTasks | None) -> str:
    count = whole.tasks if whole else 0
    return f"Cannot be tested: {counted(count, 'learned task')} know{'s' if count == 1 else ''} the score, and a test over tasks takes at least {FEWEST_TASKS}."
