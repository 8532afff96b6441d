"""A folder of results in, what is done, left, stale and next out: the ``status`` command; it needs no torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscout.cache.identity import STORE_ID
from layerscout.cache.records.making import load_command
from layerscout.commands.console import Call, table
from layerscout.commands.study import by_file
from layerscout.commands.study.init import NAME
from layerscout.commands.words import Root, Sources, command
from layerscout.errors import shell
from layerscout.paths import expand, require_folder

if TYPE_CHECKING:
    from layerscout.commands.study.results import Study
    from layerscout.commands.study.standing import Standing

STAGES = ("collect", "pretrain", "extract", "probe", "train", "transfer", "study", "report")
Folder = Annotated[
    Path | None, typer.Argument(metavar="FOLDER", parser=expand, help="Results of a study (default: this folder, or outputs in it).")
]


@command("layerscout status outputs")
def status(call: Call, folder: Folder = None, root: Root = None) -> None:
    """Tell what a folder of results holds, and what comes next.

    A result is stale when what it was made of is another one now: it is then made again, by the command that comes next.
    """
    from layerscout.commands.study.results import Study

    place = folder or _default()
    require_folder(place, "give the folder that the stages wrote to; layerscout init begins one")
    study = Study.at(place, root)
    found = study.standings()
    after = next_command(study, found)
    rows = [(one.stage, one.state, _short(one, place), "; ".join(part for part in (one.what, one.why) if part)) for one in found]
    text = f"{table(('stage', 'state', 'where', 'what'), rows, last=('where',))}\nnext: {after or 'nothing is left to do'}"
    call.emit({"folder": str(place), "stages": [asdict(one) for one in found], "next": after}, text)


def next_command(study: Study, found: Sequence[Standing]) -> str | None:
    """Return the command that goes on with what is begun, else the one for the first stage that is not done; None when all are.

    What is missing is not missed where a later stage is done, or has begun, without it. A stale store or stale agents beside ones that are not are history.
    """
    left = [one for one in found if one.state != "done" and not _needless(one, found)]
    first = next((one for one in left if one.state == "begun"), next(iter(left), None))
    if first is None:
        return None
    from layerscout.cache.dataset.looking import looking_command
    from layerscout.cache.root import root_words

    if first.state in ("begun", "missing") and (whole := load_command("demo", study.folder)) is not None:
        return whole
    if first.command is not None:
        return first.command  # to the letter: what one command was told stands nowhere else
    if first.stage == "extract" and (model := next((one.command for one in found if one.stage == "pretrain" and one.command), None)):
        return model
    if (said := _by_file(first.stage, study.folder)) is not None:
        return _into(study.folder) + said
    data = next(iter(study.datasets.values()), Path(first.path))
    roots = () if len(study.roots) != 1 else root_words(study.roots[0])
    trained = [one for one in study.stores.values() if "untrained" not in (one.backbone or "")] or list(study.stores.values())
    selection = (next(iter(study.rankings), study.folder / "probe")) / "selection.json"
    if first.stage == "extract":
        return f"{looking_command(data)} {shlex.join(map(str, roots))}".strip()
    commands = {
        "collect": ("collect", "layerscout/Intercept-v0", "--steps", 30_000, "--out", data),
        "probe": ("probe", trained[0].store_id if trained else "STORE", "--out", first.path, *roots),
        "train": ("train", environment_of(study), "--selection", selection, "--out", _free(first), *roots),
        "report": ("report", Path(first.path).parent),
    }
    return shell(*commands[first.stage])


def _by_file(stage: str, folder: Path) -> str | None:
    """Return the command for a stage by the study's own settings file, which says the rest; a probe waits for the stores that it names."""
    if stage not in by_file.MODELS or not (folder / NAME).is_file():
        return None
    sources = Sources(Path(NAME))
    if stage == "probe":
        return by_file.probing(sources, folder)
    return None if by_file.settings_of(sources, stage, folder) is None else shell(stage, *sources.as_words())


def _needless(standing: Standing, found: Sequence[Standing]) -> bool:
    done = {one.stage for one in found if one.state == "done"}
    if standing.stage in ("extract", "train") and standing.stage in done:
        return True
    later = STAGES[STAGES.index(standing.stage) + 1 :]
    alone = {one.stage for one in found if one.alone and one.state == "begun"}  # which goes on without what is missing
    return standing.state == "missing" and any(stage in done | alone for stage in later[:-1])


def environment_of(study: Study) -> str:
    """Return what was played, as the dataset tells it; ENVIRONMENT where it does not."""
    from layerscout.cache.dataset.trajectories import Trajectories

    for path in study.datasets.values():
        with Trajectories(path) as data:
            return str(data.attributes.get("environment") or "ENVIRONMENT")
    return "ENVIRONMENT"


def _default() -> Path:
    here, outputs = Path(), Path("outputs")
    begun = (here / NAME).is_file() or any(here.glob("*.h5"))
    return outputs if outputs.is_dir() and not begun else here


def _free(standing: Standing) -> Path:
    """Agents of other settings are never overwritten: stale ones get a folder beside them."""
    place = Path(standing.path)
    if standing.state != "stale":
        return place
    return next(other for number in range(2, 1000) if not (other := place.with_name(f"{place.name}-{number}")).exists())


def _into(folder: Path) -> str:
    """Return the words that go to a study first, where it is elsewhere: the paths in its settings are meant from there."""
    return "" if folder.resolve() == Path.cwd() else f"cd {shell(folder).removeprefix('layerscout ')} && "


def _short(standing: Standing, folder: Path) -> str:
    """Return where a result is, from the folder that is asked about; a store elsewhere by its id, which every command takes."""
    path = Path(standing.path)
    if standing.path and path.is_relative_to(folder):
        return str(path.relative_to(folder))
    return path.name if STORE_ID.fullmatch(path.name) else standing.path
