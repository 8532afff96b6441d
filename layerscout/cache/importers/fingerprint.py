"""The files that an import reads in, one digest over their names and contents out, and whether they are still the same ones."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.file_state import FileState
from layerscout.cache.importers import safety
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError
from layerscout.progress import SILENT, Reporter

DIGEST = "source_digest"  # the attribute of a trajectory file that tells what it was imported from


@dataclass(frozen=True)
class SourceFiles:
    """What an import reads: files by name, relative to ``root``, with the state in which they were found."""

    root: Path
    states: dict[str, FileState | None]

    @staticmethod
    def find(root: Path, names: Iterable[str]) -> SourceFiles:
        """Look at the files; nothing is read."""
        return SourceFiles(root, {name: _state(root, name) for name in sorted(set(names))})

    def require_unchanged(self, names: Iterable[str] | None = None) -> None:
        """Refuse when a file is no longer the one that was found.

        Raises
        ------
        DataError
            One was written to, replaced or deleted meanwhile; what was read of the source then belongs to two states of it.
        """
        for name in self.states if names is None else names:
            if _state(self.root, name) != self.states.get(name):
                message = f"'{name}' in {self.root} was changed while it was being imported"
                raise DataError(message, hint="wait until nothing writes to the source, delete what was imported so far, and run again")

    def digest(self, reporter: Reporter = SILENT) -> str:
        """Return "sha256:..." over every file's name, size and sha256.

        Raises
        ------
        DataError
            A file changed while it was read.
        """
        total = hashlib.sha256()
        with reporter.task("read the source", len(self.states), "files") as task:
            for name, state in self.states.items():
                total.update(json.dumps([name, state.size, _content(self.root / name)] if state else [name]).encode())
                task.advance()
        self.require_unchanged()
        return "sha256:" + total.hexdigest()


def parts_of(out: Path) -> list[Path]:
    """Return what an import that was killed has made safe of a file, in order."""
    return sorted(out.with_name(f"{out.name}.parts").glob("[0-9]*.h5"))


def require_same_source(config: ImportConfig, attributes: dict[str, Any]) -> None:
    """Refuse when what lies at ``out`` was imported from the same place, which has changed since.

    Raises
    ------
    DataError
        The files have other contents, or nobody noted which they had.
    """
    there = [config.out] if config.out.exists() else parts_of(config.out)[:1]
    with Trajectories(there[0]) as data:
        before = data.attributes
    if before.get("imported") != attributes["imported"] or before.get("source") != attributes["source"]:
        return  # another dataset altogether: the writer says so
    if before.get(DIGEST) != attributes[DIGEST]:
        what = "has changed since" if DIGEST in before else "may have changed since: nobody noted what it held when"
        place = config.out if config.out.exists() else there[0].parent
        remove = ["rm", "-r", str(place)] if place.is_dir() else ["rm", str(place)]
        message = f"{config.source} {what} {place} was imported from it; import it anew, or choose another --out"
        raise DataError(message, hint=f"{shlex.join(remove)} && {config.again()}")


def _state(root: Path, name: str) -> FileState | None:
    """The state of a file of the source; None when nothing there may be read."""
    try:
        path = safety.path_inside(root, name)
        return FileState.of(path) if path.is_file() else None
    except (OSError, DataError):
        return None


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
