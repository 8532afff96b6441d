"""What learners knew at the end of their updates, kept; and whether more updates can go on from there, or why not.

Going on gives what one run of all the updates would have given, bit for bit. So it is possible only where that run would have been evaluated at the
points at which this one was: evaluations on the way cannot be made up for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from layerscout.cache.records import RunRecord, Selection, load
from layerscout.errors import DataError
from layerscout.rl.comparison.closed_form import GROUP as CLOSED_FORM
from layerscout.rl.config import TrainConfig, comparison_key
from layerscout.rl.loops.checkpoint import peek
from layerscout.rl.loops.learning import LEARNER, evaluation_points

SCHEDULE = frozenset({"updates", "evaluations", "evaluate_at"})  # what may differ where training goes on
FURTHEST = 100  # times as many updates, when a number that fits is looked for


@dataclass(frozen=True)
class KeptLearners:
    """Learners of some arms and seeds that were trained side by side, after so many updates. ``added`` is the end of their files' names."""

    path: Path
    added: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    updates: int


def course_of(config: TrainConfig, selection: Selection) -> str:
    """Return the digest of everything that decides how a run goes, but not how far, how often it is looked at, and beside which others."""
    open_ends = {"seeds": 1, "updates": 1, "evaluations": 1, "evaluate_at": (), "scratch": False, "cnn": False}
    return comparison_key(config.model_copy(update=open_ends | {"random_layers": 0, "all_layers": False}), selection)


def kept_learners(folder: Path, course: str) -> list[KeptLearners]:
    """Return what was kept in a group's folder of runs that went this course; a file that cannot be read is none."""
    found = []
    for path in sorted(folder.glob(f"{LEARNER}*.npz")):
        try:
            state = peek(path)
        except DataError:
            continue
        if state.get("course") == course:
            added = path.stem.removeprefix(LEARNER)
            found.append(KeptLearners(path, added, tuple(state["arms"]), tuple(state["seeds"]), int(state["updates"])))
    return found


def left_behind(before: TrainConfig, folder: Path, course: str, arms: Collection[str]) -> bool:
    """Whether learners of a group have yet to reach the updates that were asked for, beside an arm that is not asked for now."""
    return any(one.updates < before.updates and not set(one.arms) <= set(arms) for one in kept_learners(folder, course))


def missed_evaluations(before: TrainConfig, config: TrainConfig) -> list[int]:
    """Return after how many updates a run in one go would have been evaluated where the shorter run was not."""
    made, wanted = evaluation_points(before, before.updates), evaluation_points(config, config.updates)
    return [at for at, episodes in sorted(wanted.items()) if at < before.updates and made.get(at) != episodes]


def fitting_updates(before: TrainConfig, config: TrainConfig) -> int | None:
    """Return the next number of updates from which nothing is missed, or None."""
    for times in range(2, FURTHEST):
        further = config.model_copy(update={"updates": before.updates * times})
        if further.updates >= config.updates and not missed_evaluations(before, further):
            return further.updates
    return None


def why_not(before: TrainConfig, config: TrainConfig, folders: Iterable[Path], course: str, arms: Collection[str], results: str) -> str:
    """Return why more updates cannot go on from finished groups; empty where they can.

    Parameters
    ----------
    before, config
        What was asked for then and now.
    folders
        Of the groups.
    course
        Of ``course_of``, now.
    arms
        Names of the arms that are asked for now.
    results
        Name of the file of a finished group.
    """
    if missed := missed_evaluations(before, config):
        points = ", ".join(f"{at:,}" for at in missed)
        return f"a run of {config.updates:,} updates is evaluated after {points}, where this one was not"
    for folder in folders:
        if folder.name == CLOSED_FORM or not (folder / results).is_file():
            continue
        parts = kept_learners(folder, course)
        kept = {(arm, seed) for part in parts for arm in part.arms for seed in part.seeds}
        if lost := sorted({run.arm for run in load(RunRecord, folder / results).runs if (run.arm, run.seed) not in kept}):
            return f"what {', '.join(lost)} had learned was not kept in {folder}"
        if gone := sorted({arm for arm, _ in kept} - set(arms)):
            return f"{', '.join(gone)} learned side by side with the others and is not asked for now"
    return ""
