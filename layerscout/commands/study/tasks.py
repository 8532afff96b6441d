"""One TOML file of many tasks in, every task's settings for every stage out; no stage is imported for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from layerscout import settings
from layerscout.cache.arrays import NAME
from layerscout.errors import UsageError, shell, suggest
from layerscout.extract.config import ExtractConfig
from layerscout.probe.config import ProbeConfig
from layerscout.rl.config import TrainConfig
from layerscout.settings import Config, check_tables
from layerscout.worlds.config import CollectConfig

STAGES = ("collect", "extract", "probe", "train")
TABLES = ("study", "backbones", "defaults", "tasks", "registration", "presets")
BACKBONES: dict[str, dict[str, Any]] = {"tiny": {}, "tiny-untrained": {}}


class StudyConfig(Config):
    """What holds for a whole study: the table ``[study]`` of its file."""

    out: Path | None = Field(default=None, description="The folder that receives everything; left out: outputs/ and the file's name.")
    root: Path | None = Field(default=None, description="Folder of the stores; left out: stores in that folder.")
    processes: int = Field(default=1, ge=1, description="Tasks at work at the same time, each in a process of its own.")
    threads: int = Field(default=1, ge=1, description="CPU threads of a task, where its stage's settings do not say.")
    keep_frames: bool = Field(
        default=True, description="Keep a task's frames when the stores are made; without them, no later backbone can look at them."
    )
    report: Literal["study", "none"] = Field(default="study", description="Write the pages over all tasks in the end, or do not.")


@dataclass(frozen=True)
class TaskSettings:
    """The settings of every stage of one task. ``extracts`` has one extraction a backbone; the first one's store leads the ranking."""

    name: str
    folder: Path
    keep_frames: bool
    collect: CollectConfig
    extracts: dict[str, ExtractConfig]
    probe: ProbeConfig
    train: TrainConfig

    @property
    def needs_frames(self) -> bool:
        """True where agents learn from pictures: the network from scratch, or adapters around a frozen layer."""
        return self.train.cnn or self.train.mode == "in-loop"


@dataclass(frozen=True)
class StudyFile:
    """What a study's file says: the folder of results, the tasks in their order, and whether it is a registration."""

    path: Path
    config: StudyConfig
    out: Path
    tasks: tuple[TaskSettings, ...]
    registered: bool


def read_study(file: Path, *, preset: str | None = None, assignments: Sequence[str] = (), flags: dict[str, Any] | None = None) -> StudyFile:
    """Resolve the settings of all tasks of a study.

    Of a stage's settings later ones win: those of the runner, ``[defaults.STAGE]``, of an extraction ``[backbones.NAME]``, then
    ``[tasks.NAME.STAGE]``, the preset, and assignments ``stage.key=value``, which hold for every task. A task may name some of the
    backbones: ``[tasks.NAME] backbones = ["tiny"]``.

    Parameters
    ----------
    file
        The TOML file.
    preset
        A ``[presets.NAME]`` table of it.
    assignments
        Of the form ``stage.key=value`` or ``study.key=value``.
    flags
        Settings of ``[study]`` that win over all.

    Raises
    ------
    UsageError
        A table, key, backbone or preset is unknown, a task's name cannot name a folder, or a value is out of range.
    DataError
        There is no such file.
    """
    document = settings.read_toml(file)
    _check(document, file)
    presets = document.get("presets", {})
    own = [one for one in assignments if one.startswith("study.")]
    for one in assignments:
        stage, dot, _ = one.partition("=")[0].partition(".")
        if stage not in ("study", *STAGES) or not dot:
            near = suggest(stage, ("study", *STAGES))
            raise UsageError(f"--set '{one}' names no stage{near}", hint="write stage.key=value, e.g. train.seeds=10")
    sources: dict[str, Any] = {"preset": preset, "presets": presets}
    config = settings.resolve(StudyConfig, "study", defaults=document.get("study", {}), assignments=own, flags=flags, **sources)
    out = config.out or Path("outputs") / file.stem
    sources["assignments"] = [one for one in assignments if one not in own]
    tasks = tuple(_task(name, document, config, out, sources) for name in document["tasks"])
    return StudyFile(file, config, out, tasks, "registration" in document)


def chosen_tasks(study: StudyFile, only: Iterable[str]) -> tuple[TaskSettings, ...]:
    """Return the tasks that are asked for by name, in the file's order; all of them when none is named.

    Raises
    ------
    UsageError
        The study has no task of this name.
    """
    known, wanted = [task.name for task in study.tasks], list(only)
    for name in wanted:
        if name not in known:
            raise UsageError(f"{study.path} has no task '{name}'{suggest(name, known)}", hint=f"tasks: {', '.join(known)}")
    return tuple(task for task in study.tasks if not wanted or task.name in wanted)


def _task(name: str, document: dict[str, Any], config: StudyConfig, out: Path, sources: dict[str, Any]) -> TaskSettings:
    table, shared, backbones = document["tasks"][name], document.get("defaults", {}), document.get("backbones", BACKBONES)
    folder, root = out / name, config.root or out / "stores"

    def resolved(model: Any, stage: str, first: dict[str, Any], fixed: dict[str, Any], between: dict[str, Any] | None = None) -> Any:
        said = settings.merge(settings.merge(first, shared.get(stage, {})), settings.merge(between or {}, table.get(stage, {})))
        return settings.resolve(model, stage, defaults=said, flags=fixed, **sources)

    wanted = table.get("backbones", list(backbones))
    for word in wanted:
        if word not in backbones:
            raise UsageError(
                f"task '{name}' asks for the backbone '{word}'{suggest(word, backbones)}", hint=f"known: {', '.join(backbones)}"
            )
    threads = {"threads": config.threads}
    collect = resolved(CollectConfig, "collect", {}, {"out": folder / "data.h5"})
    places: dict[str, Any] = {"data": collect.out, "root": root}
    extracts = {
        word: resolved(ExtractConfig, "extract", threads | {"backbone": word}, places | {"name": f"{name}-{word}"}, backbones[word])
        for word in wanted
    }
    stores = [extract.name for extract in extracts.values()]
    places = {"store": stores[0], "others": tuple(stores[1:]), "root": root, "out": folder / "probe"}
    probe = resolved(ProbeConfig, "probe", threads, places)
    places = {"environment": collect.environment, "selection": probe.out / "selection.json", "root": root, "out": folder / "train"}
    # without its data a store looks like one from elsewhere; these were made of data that this study played itself
    train = resolved(TrainConfig, "train", threads | {"all_layers": True, "trust": not config.keep_frames}, places)
    return TaskSettings(name, folder, config.keep_frames, collect, extracts, probe, train)


def _check(document: dict[str, Any], file: Path) -> None:
    """Refuse what no stage would ever look at, and tasks that cannot name a folder and a store."""
    check_tables(document, f"{file}", TABLES)
    check_tables(document.get("defaults", {}), f"{file} [defaults]", STAGES)
    for kind in ("backbones", "tasks", "presets"):
        check_tables(document.get(kind, {}), f"{file} [{kind}]", document.get(kind, {}))
    for name, preset in document.get("presets", {}).items():
        check_tables(preset, f"{file} [presets.{name}]", ("study", *STAGES))
    if not document.get("tasks"):
        raise UsageError(f"{file} names no task", hint=f"write a table [tasks.NAME.collect] for every task; {shell('study', '--help')}")
    for name, table in document["tasks"].items():
        if not NAME.fullmatch(name):
            raise UsageError(f"'{name}' cannot name a task", hint="letters, digits, '.', '_' and '-', beginning with a letter or digit")
        named = {key: value for key, value in table.items() if key != "backbones"}
        check_tables(named, f"{file} [tasks.{name}]", STAGES)
        if not isinstance(table.get("backbones", []), list) or table.get("backbones") == []:
            raise UsageError(
                f"{file} [tasks.{name}]: backbones is {table['backbones']!r}, expected a list of names", hint='backbones = ["tiny"]'
            )
