"""A checkpoint's folder or hub id in; its documents and its sets of weights out, the same for every reader of it.

What was read once to describe a model is what loads it: configurations are kept in memory, and a weight file that was hashed must
still be that file when it is read. Nothing is downloaded here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.places.byte_ranges import FolderSource, document
from layerscout.extract.checkpoints.places.hub import HubSource, split_hub_id
from layerscout.extract.checkpoints.tensors.stored import StoredTensors, open_stored
from layerscout.extract.checkpoints.weight_set import ADAPTERS, WeightSet, find_weights
from layerscout.paths import expand

NOTES = (".json", ".txt", ".model", ".spm", ".vocab", ".jinja", ".tiktoken")  # what tokenizers and preprocessors are kept in


class CheckpointFolder:
    """A checkpoint, or a folder inside it (``checkpoint / "transformer"``). Documents and sets of weights are looked up once."""

    def __init__(self, source: FolderSource | HubSource, path: str = "", known: _Known | None = None) -> None:
        self.source, self.path = source, path
        self._known = known or _Known()

    def __truediv__(self, name: str) -> CheckpointFolder:
        return CheckpointFolder(self.source, f"{self.path}/{name}" if self.path else name, self._known)

    def __str__(self) -> str:
        return f"{self.source.address}/{self.path}" if self.path else self.source.address

    def __fspath__(self) -> str:
        """Return the folder on this machine."""
        return str(self.local)

    @property
    def name(self) -> str:
        """The last part of its path; of a hub's repository, the commit."""
        return self.local.name if not self.path else self.path.rpartition("/")[2]

    @property
    def parent(self) -> CheckpointFolder | Path:
        """The folder above: of a subfolder one in the same checkpoint, of the checkpoint's own folder one on this machine."""
        return CheckpointFolder(self.source, self.path.rpartition("/")[0], self._known) if self.path else self.local.parent

    @property
    def local(self) -> Path:
        """The folder on this machine; of a hub's repository, where it lies in the cache once it was fetched."""
        return self.source.folder / self.path

    def document(self, name: str) -> bytes | None:
        """Return a small file, None when there is no such file."""
        path = self.inside(name)
        if path not in self._known.documents:
            self._known.documents[path] = document(self.source, path)
        return self._known.documents[path]

    def read(self) -> list[str]:
        """Return the paths of all documents of the checkpoint that were read so far."""
        return sorted(path for path, content in self._known.documents.items() if content is not None)

    def weights(self) -> WeightSet:
        """Return the one complete set of weight files; DataError where there is none (see `find_weights`)."""
        if self.path not in self._known.weights:
            self._known.weights[self.path] = find_weights(self.source, self.path)
        return self._known.weights[self.path]

    def stored(self, config: Mapping[str, Any]) -> StoredTensors:
        """Return the tensors of that set and how their numbers are meant; reads headers.

        Raises
        ------
        DataError
            There is no complete set, a file is damaged, or the numbers are in a format that is not read.
        """
        if self.path not in self._known.stored:
            weights = self.weights()
            beside = set(self.source.names(self.path) or ())
            if adapter := next((name for name in ADAPTERS if name in beside), None):
                raise DataError(
                    f"{self} holds an adapter beside the model ({adapter})",
                    hint="merge it with its own library and save the whole, or move its files away",
                )
            self._known.stored[self.path] = open_stored(self.source, self.path, weights, config)
        return self._known.stored[self.path]

    def notes(self) -> list[str]:
        """Return the paths of its configurations and of what a tokenizer or a preprocessor needs."""
        names = self.source.names(self.path) or []
        return [self.inside(name) for name in names if name.endswith(NOTES) and not name.endswith(".index.json")]

    def inside(self, name: str) -> str:
        """Return the path of one of its files, relative to the checkpoint."""
        return f"{self.path}/{name}" if self.path else name


@dataclass
class _Known:
    """What was looked up of one checkpoint."""

    documents: dict[str, bytes | None] = field(default_factory=dict)
    weights: dict[str, WeightSet] = field(default_factory=dict)
    stored: dict[str, StoredTensors] = field(default_factory=dict)


def open_checkpoint(source: str, parts: Sequence[str] = ()) -> CheckpointFolder:
    """Open a checkpoint: a folder, ``ORGANISATION/NAME`` of the hub, or ``ORGANISATION/NAME@REVISION``. Nothing is downloaded.

    Parameters
    ----------
    parts
        What it should have, for the error.

    Raises
    ------
    DataError
        There is no such folder, and it is no hub id.
    """
    folder = None if "://" in source else expand(source)
    if folder is not None and folder.is_dir():
        return CheckpointFolder(FolderSource(folder))
    if folder is not None and folder.is_file():
        raise DataError(f"{source} is a file, expected the folder that save_pretrained wrote", hint="single files are not read")
    hub = None if source.startswith((".", "/", "~")) else split_hub_id(source)
    if hub is None:
        suffix = f" with {', '.join(parts)}" if parts else ""
        raise DataError(f"no checkpoint folder {source}", hint=f"give a folder{suffix}, or a hub id such as zai-org/CogVideoX-2b")
    return CheckpointFolder(hub)


def as_checkpoint(folder: CheckpointFolder | Path | str) -> CheckpointFolder:
    """Return a folder of this machine as a checkpoint; a checkpoint as it is."""
    return folder if isinstance(folder, CheckpointFolder) else CheckpointFolder(FolderSource(Path(os.fspath(folder))))
