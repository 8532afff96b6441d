"""What runs knew at their end, kept; and whether longer ones can go on from there, or why not.

Going on gives what one run of the whole length would have given, bit for bit. So it is possible only where nothing that was done depends on where the end
was: that run would have been evaluated at the points at which this one was (evaluations on the way cannot be made up for), and the last rollout of PPO
was a whole one. Everything else that changes while runs learn, such as the share of random actions, is counted in steps or updates from the beginning.
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

SCHEDULE = frozenset({"evaluations", "evaluate_at"})  # what may differ beside the length where training goes on
FURTHEST = 100  # times as long, when a length that fits is looked for


@dataclass(frozen=True)
class KeptLearners:
    """Learners of some arms and seeds that were trained side by side, ``at`` so many updates or steps. ``added`` is the end of their files' names."""

    path: Path
    added: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    at: int


def course_of(config: TrainConfig, selection: Selection) -> str:
    """Return the digest of everything that decides how a run goes, but not how far, how often it is looked at, and beside which others."""
    open_ends = {"seeds": 1, "evaluations": 1, "evaluate_at": (), "scratch": False, "cnn": False}
    return comparison_key(config.lasting(1).model_copy(update=open_ends | {"random_layers": 0, "all_layers": False}), selection)


def kept_learners(folder: Path, course: str) -> list[KeptLearners]:
    """Return what was kept in a group's folder of runs that went this course; a file that cannot be read is none."""
    found = []
    for path in sorted(folder.glob(f"{LEARNER}*.npz")):
        try:
            state = peek(path)
        except DataError:
            continue
        if state.get("course") == course and "at" in state:
            added = path.stem.removeprefix(LEARNER)
            found.append(KeptLearners(path, added, tuple(state["arms"]), tuple(state["seeds"]), int(state["at"])))
    return found


def left_behind(before: TrainConfig, folder: Path, course: str, arms: Collection[str]) -> bool:
    """Whether learners of a group have yet to reach the length that was asked for, beside an arm that is not asked for now."""
    return any(one.at < before.length and not set(one.arms) <= set(arms) for one in kept_learners(folder, course))


def missed_evaluations(before: TrainConfig, config: TrainConfig) -> list[int]:
    """Return after how many updates or steps a run in one go would have been evaluated where the shorter run was not."""
    made, wanted = evaluation_points(before, before.length), evaluation_points(config, config.length)
    return [at for at, episodes in sorted(wanted.items()) if at < before.length and made.get(at) != episodes]


def fitting_length(before: TrainConfig, config: TrainConfig) -> int | None:
    """Return the next length of runs at which nothing is missed, or None."""
    for times in range(2, FURTHEST):
        further = config.lasting(before.length * times)
        if further.length >= config.length and not missed_evaluations(before, further):
            return further.length
    return None


def why_not(before: TrainConfig, config: TrainConfig, folders: Iterable[Path], course: str, arms: Collection[str], results: str) -> str:
    """Return why longer runs cannot go on from finished groups; empty where they can.

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
        return f"a run of {config.length:,} {config.unit} is evaluated after {points}, where this one was not"
    rollout = before.ppo.length * before.ppo.environments
    if before.algorithm == "ppo" and before.steps % rollout:
        return (
            f"they ended within a rollout, which takes {rollout:,} steps (ppo.length {before.ppo.length:,} times ppo.environments "
            f"{before.ppo.environments}), and learned from what there was of it"
        )
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
