"""Folders of agents that plan towards a picture in; success with its interval, differences paired by seed, and what differs between folders out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.records import Estimate, RunRecord, load, load_object
from layerscout.cache.records.goals import GOALS_NAME, GoalRecord
from layerscout.pages.tables import flatten_settings
from layerscout.report.numbers.statistics import mean_interval, sign_flip_p

FIGURES = ("tokenizer", "dynamics", "layerscout", "format")  # of a model's description: what it does, not what it was made with
PLACES = ("out", "pvdr.model", "threads", "selection", "root")  # settings that decide no number


@dataclass(frozen=True)
class GoalResults:
    """One folder of agents: their runs, what they planned with, and the settings."""

    folder: Path
    record: RunRecord
    goals: GoalRecord
    settings: dict[str, Any]


def load_results(folder: Path) -> GoalResults:
    """Read what ``layerscout train --algorithm pvdr`` wrote into a folder.

    Raises
    ------
    DataError
        A file is missing or damaged.
    """
    record, goals = load(RunRecord, folder / "runs.json"), load(GoalRecord, folder / GOALS_NAME)
    return GoalResults(folder, record, goals, load_object(folder / "settings.json"))


def successes(record: RunRecord, arm: str) -> dict[int, float]:
    """Return the share of goals that every run of an arm reached in its last evaluation, by seed."""
    return {run.seed: float(np.mean(run.evaluations[-1][1])) for run in record.runs if run.arm == arm and run.evaluations}


def success(record: RunRecord, arm: str) -> Estimate | None:
    """Return the mean success over seeds with Student's interval, cut to [0, 1]; None without a run."""
    found = mean_interval(np.array(list(successes(record, arm).values())))
    if found is None or found.low is None or found.high is None:
        return found
    return Estimate(value=found.value, low=max(0.0, found.low), high=min(1.0, found.high))


def reached(record: RunRecord, arm: str) -> tuple[int, int]:
    """Return how many goals all runs of an arm reached in their last evaluations together, and of how many."""
    last = [run.evaluations[-1][1] for run in record.runs if run.arm == arm and run.evaluations]
    return int(sum(map(sum, last))), sum(map(len, last))


def paired(record: RunRecord, arm: str, other: str) -> tuple[Estimate | None, float | None]:
    """Return how much more often ``arm`` succeeds than ``other``, paired by seed, and p of a two-sided sign-flip test; None without a pair."""
    ours, theirs = successes(record, arm), successes(record, other)
    apart = np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])
    return mean_interval(apart), sign_flip_p(apart)


def fit_of(goals: GoalRecord, arm: str, which: str) -> Estimate | None:
    """Return the mean R² of actions over an arm's seeds; ``which`` is ``aligned`` or ``linear``. None where no run has one."""
    values = [getattr(one, which) for one in goals.alignment if one.arm == arm]
    return mean_interval(np.array([value for value in values if value is not None]))


def told_of(model: dict[str, Any], part: str) -> dict[str, Any]:
    """Return what a pretrained model says of one of its parts; nothing where it says nothing, or nonsense."""
    found = model.get(part)
    return found if isinstance(found, dict) else {}


def nats(results: GoalResults, name: str) -> float | None:
    """Return a figure of the dynamics in nats for each future frame, so that horizons can be compared."""
    value, future = told_of(results.goals.model, "dynamics").get(name), told_of(results.goals.model, "shape").get("future")
    return value / future if isinstance(value, int | float) and isinstance(future, int) and future > 0 else None


def differing(several: tuple[GoalResults, ...]) -> dict[str, tuple[str, ...]]:
    """Return in what the folders' models and settings differ: name → a value for each folder. What says only where things lie is left out."""
    told = [_made(one) for one in several]
    names = dict.fromkeys(name for one in told for name in one)
    columns = {name: tuple(one.get(name, "–") for one in told) for name in names}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def _made(results: GoalResults) -> dict[str, str]:
    model = {name: value for name, value in results.goals.model.items() if name not in FIGURES}
    found = {name: str(value) for name, value in flatten_settings(model)}
    settings = {f"train.{name}": str(value) for name, value in flatten_settings(results.settings) if name not in PLACES}
    return found | settings
