"""Learned tasks in; measures against each other, and against choices that need no measure, task by task, out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from layerscout.cache.records import none_if_nan
from layerscout.cache.records.study import StudyContrast
from layerscout.report.numbers import decisions
from layerscout.report.numbers.over_tasks import over_tasks
from layerscout.report.numbers.within import TaskCells, task_correlations
from layerscout.report.study.measures import BITS, BLIND, CTRL, DEPTH, MIDDLE, TRANSITION, S

RANDOM = "a random pick"
PAIRS = ((CTRL, S), (BITS, TRANSITION))  # differences of correlations that were asked for before any number was seen
RIVALS = (DEPTH, MIDDLE, RANDOM)
WORDS: dict[int, Literal["regret@1", "regret@3"]] = {1: "regret@1", 3: "regret@3"}


def regret_of(task: TaskCells, names: Sequence[str], name: str, best: int) -> float:
    """Return the share that is given up by choosing the ``best`` first cells by a measure, or blindly; NaN where the task does not know it.

    Who chooses by depth, the middle or at random has no measure, and knows which network was trained: they choose among pretrained cells.
    """
    if name == RANDOM:
        return decisions.blind_regret(task, best)
    row = names.index(name)
    scores = task.measures[row]
    if not task.known[row] or (np.ptp(scores) == 0 and name not in BLIND):
        return math.nan  # a measure that never differs chooses nothing
    return decisions.regret(task, scores, best, task.pretrained if name in BLIND else None)


def contrasts_of(tasks: Sequence[TaskCells], names: Sequence[str]) -> tuple[StudyContrast, ...]:
    """Return the planned differences of correlations, then every measure's regrets against those of choices that need none."""
    table = [task_correlations(task)[0] for task in tasks]
    found = []
    for first, second in PAIRS:
        differences = [row[names.index(first)] - row[names.index(second)] for row in table]
        found.append(_contrast("correlation", first, second, differences))
    for best, kind in WORDS.items():
        blind = {rival: [regret_of(task, names, rival, best) for task in tasks] for rival in RIVALS}
        for name in (name for name in names if name not in BLIND):
            own = [regret_of(task, names, name, best) for task in tasks]
            if any(math.isfinite(value) for value in own):
                found += [
                    _contrast(kind, name, rival, [a - b for a, b in zip(own, theirs, strict=True)]) for rival, theirs in blind.items()
                ]
    return tuple(found)


def _contrast(kind: Literal["correlation", "regret@1", "regret@3"], first: str, second: str, differences: Sequence[float]) -> StudyContrast:
    whole = over_tasks(differences)
    return StudyContrast(
        kind=kind,
        first=first,
        second=second,
        tasks=whole.tasks if whole else 0,
        difference=whole.mean if whole else None,
        p=none_if_nan(whole.p) if whole and whole.p is not None else None,
        p_flip=whole.p_flip if whole else None,
    )
