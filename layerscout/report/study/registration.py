"""A study that was written down before it was run in; what it promised, its digest and the commit that proves when, out."""

from __future__ import annotations

import datetime
import hashlib
import json
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from layerscout.cache.records import Record, save
from layerscout.errors import DataError

STAMP_NAME = "registered.json"  # in the folder of every task that a registered study ran
TABLES = ("study", "backbones", "defaults", "tasks", "registration", "presets")
PLACES = frozenset({"out", "root", "data", "selection", "store", "twin", "others", "name", "threads", "scheduler", "partials", "device"})


class Promise(Record):
    """The table ``[registration]``: everything that must be fixed before the first run, in words that a reader can check.

    ``hypotheses`` are named H1, H2, …; ``learners`` say which learner is used on which kind of data; ``budgets`` are numbers of
    updates at which returns are read, smallest first; ``score`` is the measure that is tested.
    """

    title: str
    hypotheses: dict[str, str]
    learners: dict[str, str]
    budgets: tuple[int, ...]
    cells: str
    score: str
    exclusions: tuple[str, ...]
    refutation: str


class TaskStamp(Record):
    """What the runner leaves in a task's folder when it starts it: which registration, which of its tasks, when."""

    format: str = "layerscout-registered/1"
    path: str = ""  # of the registration, as it was given
    digest: str
    task: str
    started: str  # ISO 8601, with the time zone


@dataclass(frozen=True)
class FirstCommit:
    """The commit in which a registration was first kept: its hash, its time, and the digest that the file had then."""

    hash: str
    when: datetime.datetime
    digest: str


@dataclass(frozen=True)
class Registration:
    """A registration file: a study's file with the table ``[registration]``.

    ``defaults`` holds settings of stages that all tasks share, ``backbones`` those of extractions by backbone, ``tasks`` those of each
    task by its name.
    """

    path: Path
    digest: str
    promise: Promise
    defaults: dict[str, Any]
    backbones: dict[str, Any]
    tasks: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Registration:
        """Read a registration.

        Raises
        ------
        DataError
            There is no such file, it is not TOML, or ``[registration]`` or ``[tasks.NAME]`` is missing or has other keys.
        """
        try:
            data = path.read_bytes()
            document = tomllib.loads(data.decode())
        except FileNotFoundError:
            raise DataError(f"no registration {path}", hint="give the TOML file that says what the study will do") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise DataError(f"{path} is not TOML: {error}", hint="a registration has [registration] and one [tasks.NAME] a task") from None
        if unknown := sorted(set(document) - set(TABLES)):
            raise DataError(f"{path} has an unknown table [{unknown[0]}]", hint=f"tables: {', '.join(TABLES)}")
        try:
            promise = Promise.model_validate(document.get("registration", {}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("registration", *first["loc"]))
            raise DataError(f"{path}: {where}: {first['msg']}", hint=f"keys: {', '.join(Promise.model_fields)}") from None
        tasks = document.get("tasks", {})
        if not tasks or not all(isinstance(table, dict) for table in tasks.values()):
            raise DataError(f"{path} names no task", hint="add a table [tasks.NAME] for every task")
        return cls(path, digest_of(data), promise, document.get("defaults", {}), document.get("backbones", {}), tasks)

    def settings(self, task: str) -> dict[str, Any]:
        """Return what a task was registered to run with, by stage: the defaults, with the task's own settings over them.

        An extraction is named with its backbone, ``extract tiny``: between the two stand the settings of that backbone.

        Raises
        ------
        DataError
            The registration has no task of this name.
        """
        if task not in self.tasks:
            raise DataError(f"{self.path} registers no task {task!r}", hint=f"tasks: {', '.join(self.tasks)}")
        own = dict(self.tasks[task])
        backbones = own.pop("backbones", list(self.backbones))
        found = {stage: merged(self.defaults.get(stage, {}), own.get(stage, {})) for stage in ("collect", "probe", "train")}
        for name in backbones:
            table = merged(self.defaults.get("extract", {}), self.backbones.get(name, {}))
            found[f"extract {name}"] = {"backbone": name} | merged(table, own.get("extract", {}))
        return {stage: settings for stage, settings in found.items() if settings}

    def commit(self) -> FirstCommit | None:
        """Return the commit that first kept the file; None where it is in no repository, was never committed, or git is missing."""
        folder, name = self.path.resolve().parent, self.path.name
        log = _git(folder, "log", "--diff-filter=A", "--format=%H %cI", "--", name)
        if not log:
            return None
        digest, _, when = log.decode().splitlines()[-1].partition(" ")  # the oldest: a file may have been deleted and added again
        content = _git(folder, "show", f"{digest}:./{name}")
        return None if content is None else FirstCommit(digest, datetime.datetime.fromisoformat(when), digest_of(content))

    def stamp(self, folder: Path, task: str) -> None:
        """Leave in a task's folder, before its first run, which registration it is run for and when; an earlier stamp of it stays."""
        self.settings(task)
        path = folder / STAMP_NAME
        if path.is_file() and self.digest in path.read_text(encoding="utf-8"):
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        folder.mkdir(parents=True, exist_ok=True)
        save(TaskStamp(path=self.path.as_posix(), digest=self.digest, task=task, started=now), path)


def digest_of(data: bytes) -> str:
    """Return the digest of a file's bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return two trees of tables as one; where both say something, the second does."""
    result = dict(first)
    for key, value in second.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def differences(registered: Mapping[str, Any], used: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield a sentence for every registered setting that was not used as registered; places, which change no number, are left out."""
    for key, value in registered.items():
        name = f"{before}{key}"
        if key in PLACES:
            continue
        if key not in used:
            yield f"{name} was registered as {_plain(value)} and is not among the settings that the runs kept"
        elif isinstance(value, dict) and isinstance(used[key], dict):
            yield from differences(value, used[key], f"{name}.")
        elif _even(value) != _even(used[key]):
            yield f"{name} was registered as {_plain(value)} and was {_plain(used[key])}"


def _plain(value: Any) -> str:
    """Return a setting as text for a sentence."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _even(value: Any) -> Any:
    """Return a setting in a form in which 3 and 3.0 are the same, and a list and a tuple."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _even(inner) for key, inner in value.items()}
    return [_even(inner) for inner in value] if isinstance(value, list | tuple) else str(value)


def _git(folder: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
