"""What a folder of agents holds and what is asked for in; what is missing, or which settings really differ, out.

A run depends on its arm, its seed and the settings, and on no other run. So more seeds and more arms are trained beside what is there, and longer runs
go on from what was learned; anything else would mix results of different settings, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layerscout.cache.records import Arm, Run, RunRecord, Selection
from layerscout.errors import UsageError
from layerscout.rl.comparison.going_on import SCHEDULE, course_of, fitting_length, left_behind, missed_evaluations, why_not
from layerscout.rl.config import KEY_NAME, RUN_ONLY, TrainConfig, comparison_key
from layerscout.rl.differences import differing, elsewhere, kept_settings, told_differences
from layerscout.settings import command_of

RESULT_NAME = "result.json"
GROWS = frozenset({"seeds"})  # more of it is more runs
ADDS = frozenset({"scratch", "cnn", "random_layers", "all_layers"})  # they decide which arms there are, and nothing about an arm


def require_same_or_more(config: TrainConfig, selection: Selection, key: str, arms: Sequence[str]) -> int:
    """Refuse a folder whose results were made under other settings, naming what differs; more seeds, arms, updates or steps are no difference.

    Parameters
    ----------
    arms
        Names of the arms that are asked for.

    Returns
    -------
    The updates or steps from which learning goes on: 0 where there is nothing to go on from.

    Raises
    ------
    UsageError
        Something differs that decides a run's numbers, or a group of fewer seeds or arms was begun and has not finished.
    """
    foreign = [path.parent for path in sorted(config.out.glob(f"*/{KEY_NAME}")) if path.read_text(encoding="utf-8").strip() != key]
    if not foreign:
        return 0
    before = kept_settings(config.out, TrainConfig)
    differ = [] if before is None else differing(before, config, RUN_ONLY)
    real = [name for name in differ if name not in GROWS | ADDS or (name == "seeds" and before is not None and config.seeds < before.seeds)]
    longer = before is not None and before.mode == config.mode and config.length > before.length
    obstacle = ""
    if before is not None and longer and set(real) <= SCHEDULE | {config.unit}:
        obstacle = why_not(before, config, foreign, course_of(config, selection), arms, RESULT_NAME)
        real = real if obstacle else []
    if before is not None and obstacle:
        further = fitting_length(before, config) if missed_evaluations(before, config) else None
        other = config.lasting(further) if further else None
        hint = (
            f"so many {config.unit} can be gone on to: {command_of('train', other)}"
            if other
            else f"train anew: {elsewhere('train', config)}"
        )
        message = f"{config.out} holds runs of {before.length:,} {config.unit}, and {config.length:,} cannot go on from them: {obstacle}"
        raise UsageError(message, hint=hint)
    if before is not None and real:
        told = told_differences(before, config, real)
        raise UsageError(
            f"{config.out} holds results of other settings: {told}", hint=f"keep them, and train anew: {elsewhere('train', config)}"
        )
    if before is None or any(_read(folder) != comparison_key(before, selection) for folder in foreign):
        what = "another selection, or another version of layerscout"
        raise UsageError(f"{foreign[0]} holds results of {what}", hint=f"keep them, and train anew: {elsewhere('train', config)}")
    if unfinished := [folder for folder in foreign if not (folder / RESULT_NAME).is_file()]:
        raise UsageError(
            f"{unfinished[0]} was begun with fewer runs and has not finished", hint=f"finish it first: {command_of('train', before)}"
        )
    if waiting := [folder for folder in foreign if left_behind(before, folder, course_of(config, selection), arms)]:
        message = (
            f"{waiting[0]} was going on to {before.length:,} {before.unit}, with arms that are not asked for now, and has not finished"
        )
        raise UsageError(message, hint=f"finish it first: {command_of('train', before)}")
    return before.length if longer else 0


def seeds_of(record: RunRecord, arm: str) -> int:
    """Return how many seeds of an arm a record has; seeds are counted from 0 without a gap."""
    return len({run.seed for run in record.runs if run.arm == arm})


def merged(before: RunRecord | None, after: RunRecord, order: Sequence[str]) -> RunRecord:
    """Return two records of one group as one: runs by arm and seed, and what both spent; arms in ``order``."""
    if before is None:
        return after
    arms = {arm.name: arm for arm in before.arms}
    for arm in after.arms:
        arms[arm.name] = _together(arms[arm.name], arm) if arm.name in arms else arm
    runs: dict[tuple[str, int], Run] = {(run.arm, run.seed): run for run in (*before.runs, *after.runs)}
    names = [*(name for name in order if name in arms), *(name for name in arms if name not in order)]
    sorted_runs = sorted(runs.values(), key=lambda run: (names.index(run.arm), run.seed))
    return after.model_copy(update={"arms": tuple(arms[name] for name in names), "runs": tuple(sorted_runs)})


def _together(first: Arm, second: Arm) -> Arm:
    """Times add up; what a single run was allowed and used stays."""
    spent = {name: round(getattr(first.budget, name) + getattr(second.budget, name), 2) for name in ("wall_seconds", "cpu_seconds")}
    return second.model_copy(update={"budget": second.budget.model_copy(update=spent)})


def _read(folder: Path) -> str:
    return (folder / KEY_NAME).read_text(encoding="utf-8").strip()
