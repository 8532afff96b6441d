"""A folder of agents in, how far their comparison is out: read from the files, without torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from layerscout.cache.records import RunRecord, Selection, load, load_object
from layerscout.cache.records.goals import GOALS_NAME
from layerscout.cache.records.making import load_command
from layerscout.cache.records.work import WORK_NAME, WorkRecord
from layerscout.commands.study.standing import CONTINUES, Standing
from layerscout.errors import LayerscoutError
from layerscout.misfits import describe_misfit
from layerscout.rl.config import KEY_NAME, TrainConfig, comparison_key
from layerscout.showing import counted

OWN_PAGES = (WORK_NAME, GOALS_NAME)  # records of agents that need no ranking: each folder of them has a page of its own


def is_agents(place: Path) -> bool:
    """True for a folder that ``train`` wrote."""
    return (place / "settings.json").is_file() and load_command("train", place) is not None


def agents_standing(place: Path) -> Standing:
    """Return how far a comparison of agents is, and whether its settings and its selection are still those that it was made with."""
    command = load_command("train", place)
    try:
        config = TrainConfig.model_validate(load_object(place / "settings.json"))
        if config.work is not None:
            return _work(place, config, command)
        record = load(RunRecord, place / "runs.json", warn=False) if (place / "runs.json").is_file() else None
        alone = config.algorithm == "pvdr"
        selected = load(Selection, config.selection, warn=False) if config.selection.is_file() and not alone else None
    except ValidationError as error:
        return Standing("train", "stale", str(place), why=f"settings.json: {describe_misfit(error.errors()[0])}")
    except (LayerscoutError, ValueError) as error:
        return Standing("train", "stale", str(place), why=str(error))
    groups = sorted(path.parent for path in place.glob(f"*/{KEY_NAME}"))
    finished = [group for group in groups if (group / "result.json").is_file()]
    what = config.mode if alone else f"{config.mode}: {len(finished)} groups finished"
    if record is not None:
        failed = sum(run.status == "failed" for run in record.runs)
        what = f"{config.mode}: {counted(len(record.arms), 'arm')}, {counted(len(record.runs), 'run')}" + (
            f", {failed} failed" if failed else ""
        )
    if selected is not None and groups:
        key = comparison_key(config, selected)
        if any((group / KEY_NAME).read_text(encoding="utf-8").strip() != key for group in groups):
            return Standing("train", "stale", str(place), what, "the selection, or layerscout itself, is another one now")
    if record is None or (alone and not (place / GOALS_NAME).is_file()):
        left = CONTINUES if alone else f"{len(groups) - len(finished)} begun, {CONTINUES}"
        return Standing("train", "begun", str(place), what, left, alone, command)
    if more := _more(config, record, place):
        return Standing("train", "begun", str(place), what, f"{more}, {CONTINUES}", alone, command)
    gone = "" if selected or alone else f"its selection {config.selection} is not here"
    return Standing("train", "done", str(place), what, gone, alone)


def _more(config: TrainConfig, record: RunRecord, place: Path) -> str:
    """Say what was asked for beyond what is there: a comparison that is extended, and was stopped meanwhile."""
    if len(record.runs) < config.seeds * len(record.arms):
        return f"{config.seeds} seeds were asked for"
    if config.algorithm == "pvdr":
        return f"{len(config.pvdr.arms)} arms were asked for" if len(record.arms) < len(config.pvdr.arms) else ""
    return "a group is being gone on with" if any(place.glob("*/checkpoint*.npz")) else ""


def _work(place: Path, config: TrainConfig, command: str | None) -> Standing:
    assert config.work is not None, "agents that earn a wage"
    there = len(list(place.glob(f"*/{KEY_NAME}")))
    if not (place / WORK_NAME).is_file():
        return Standing("train", "begun", str(place), f"work: {there} arms finished", CONTINUES, True, command)
    arms = len(load(WorkRecord, place / WORK_NAME, warn=False).arms)
    wanted = max(1, len(config.work.arms)) + sum(map(len, config.work.sweep.values()))
    if arms < wanted or any(place.glob("*/checkpoint*.npz")):
        return Standing("train", "begun", str(place), f"work: {counted(arms, 'arm')}", f"more were asked for, {CONTINUES}", True, command)
    return Standing("train", "done", str(place), f"work: {counted(arms, 'arm')}", alone=True)
