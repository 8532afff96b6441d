"""The files that an import reads in, one digest over their names and contents out, and whether they are still the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from layerscout.cache.file_state import FileState
from layerscout.cache.importers import safety
from layerscout.errors import DataError
from layerscout.progress import SILENT, Reporter


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
