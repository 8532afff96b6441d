"""A folder in, how far what one command made there by itself is out: students of a teacher, pretrained models, a study of many tasks, pages over several folders."""

from __future__ import annotations

import shlex
from itertools import takewhile
from pathlib import Path

from pydantic import ValidationError

from layerscout.cache.records import load, load_object
from layerscout.cache.records.making import load_command
from layerscout.cache.records.transfer import TRANSFER_NAME, TransferRecord
from layerscout.commands.following import after_model
from layerscout.commands.study.ledger import LEDGER_NAME, Ledger
from layerscout.commands.study.standing import CONTINUES, Standing, page_standing
from layerscout.errors import LayerscoutError, shell
from layerscout.misfits import describe_misfit
from layerscout.rl.transfer.config import TransferConfig
from layerscout.rl.transfer.folders import CHECKPOINT, IMPORTED
from layerscout.showing import counted

MODELS = {"apv": "apv.json", "pvdr": "pvdr.json"}  # what is pretrained → what a finished model says about itself
PAGES = ("study.html", "report.html")  # over several folders: of a study, of agents that plan towards a picture


def is_alone(place: Path) -> bool:
    """True for a folder that one command wrote by itself: not a stage of a folder of results, which stands beside others."""
    return bool(alone_standings(place))


def alone_standings(place: Path) -> list[Standing]:
    """Return the rows of a folder that one command wrote by itself; none for any other."""
    return [*_students(place), *_model(place), *_tasks(place), *_pages(place)]


def _students(place: Path) -> list[Standing]:
    command, page = load_command("transfer", place), place / "transfer.html"
    if command is None and not (place / TRANSFER_NAME).is_file():
        return []
    try:
        config = TransferConfig.model_validate(load_object(place / "settings.json"))
        record = load(TransferRecord, place / TRANSFER_NAME, warn=False) if (place / TRANSFER_NAME).is_file() else None
    except ValidationError as error:
        return [Standing("transfer", "stale", str(place), why=f"settings.json: {describe_misfit(error.errors()[0])}", command=command)]
    except (LayerscoutError, ValueError) as error:
        return [Standing("transfer", "stale", str(place), why=str(error), command=command)]
    finished = len(list(place.glob("arms/*/result.json")))
    if record is None:
        return [Standing("transfer", "begun", str(place), f"{finished} arms finished", CONTINUES, command=command)]
    what = f"{counted(len(record.arms), 'arm')}, {counted(record.seeds, 'seed')}"
    if max(finished, config.arms_asked) > len(record.arms) or not {arm.kind for arm in record.arms} >= set(config.arms):
        return [Standing("transfer", "begun", str(place), what, f"more arms were asked for, {CONTINUES}", command=command)]
    shown = page_standing(page, [place / TRANSFER_NAME], shell("report", place))
    return [Standing("transfer", "done", str(place), what), shown]


def _model(place: Path) -> list[Standing]:
    """A model is done when what it says about itself, which is written last, is as new as the last checkpoint."""
    for kind, name in MODELS.items():
        command, told, saved = load_command(f"pretrain {kind}", place), place / name, place / CHECKPOINT
        if told.is_file() and not (saved.is_file() and saved.stat().st_mtime > told.stat().st_mtime):
            return [Standing("pretrain", "done", str(place), kind, command=_looking(kind, place, command))]
        if command is not None or told.is_file():
            return [Standing("pretrain", "begun", str(place), kind, CONTINUES, command=command)]
    return []


def _looking(kind: str, place: Path, command: str | None) -> str | None:
    """Return the command that looks with a model at what it learned from; None where nobody knows what that was, or where it went."""
    data = place / IMPORTED if command is None else Path(shlex.split(command)[3])
    return after_model(kind, place, data) if data.exists() else None


def _tasks(folder: Path) -> list[Standing]:
    """A study of many tasks: a row a task, then its page."""
    command = load_command("study", folder)
    tasks = sorted(path.parent for path in folder.glob("*/settings.json") if command is not None or (path.parent / LEDGER_NAME).is_file())
    tasks = [task for task in tasks if _stages(task)]
    if command is None and not tasks:
        return []
    found = [_task(task, command) for task in tasks]
    page, runs = folder / "study" / PAGES[0], sorted(folder.glob("*/train/runs.json"))
    if page.is_file() or (runs and command is not None and all(one.state == "done" for one in found)):
        found.append(page_standing(page, runs, command))
    return found or [Standing("study", "begun", str(folder), why=CONTINUES, command=command)]


def _stages(task: Path) -> list[str]:
    """The stages of a task, as the settings that the runner keeps in its folder name them; none where it keeps none."""
    try:
        settings = load_object(task / "settings.json")
    except LayerscoutError:
        return []
    return list(settings) if {"collect", "probe", "train"} <= set(settings) else []


def _task(task: Path, command: str | None) -> Standing:
    stages = _stages(task)
    try:
        spent = Ledger.open(task).stages
    except LayerscoutError as error:
        return Standing("study", "stale", str(task), why=str(error), command=command)
    done = [stage for stage in stages if stage in spent and spent[stage].key is not None]
    left = [stage for stage in stages if stage not in done]
    if not left:
        return Standing("study", "done", str(task), spent[stages[-1]].result)
    state = "begun" if spent else "missing"
    return Standing("study", state, str(task), ", ".join(done), f"{', '.join(left)} left, {CONTINUES}", command=command)  # type: ignore[arg-type]


def _pages(folder: Path) -> list[Standing]:
    """A page over several folders knows them by the command that wrote it."""
    command = load_command("report", folder)
    page = next((folder / name for name in PAGES if (folder / name).is_file()), None)
    if command is None or page is None:
        return []
    told = [Path(word) for word in takewhile(lambda word: not word.startswith("--"), shlex.split(command)[2:])]
    patterns = ("ranking.json", "probe*/ranking.json", "runs.json", "train*/**/runs.json")
    return [page_standing(page, [path for one in told for pattern in patterns for path in sorted(one.glob(pattern))], command)]
