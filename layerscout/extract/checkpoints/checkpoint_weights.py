"""The parts that a model takes from a checkpoint in; their digest, their bytes and what is still to be downloaded out.

Describing, hashing and loading go through the same set of files and the same reading of their numbers. Only `fetch` downloads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from layerscout.errors import DataError
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.places.byte_ranges import FolderSource
from layerscout.extract.checkpoints.places.hub import HubSource
from layerscout.extract.checkpoints.tensors.formats import check_configuration
from layerscout.progress import SILENT, Reporter


@dataclass(frozen=True)
class CheckpointWeights:
    """What a model takes from its checkpoint.

    ``weighed`` are the parts whose weights decide the numbers ("" for the checkpoint itself); ``others`` are folders, and files (a
    name with a dot), without weights that loading needs, such as a tokenizer. ``kinds`` names the class that reads a part, where
    its configuration does not.
    """

    checkpoint: CheckpointFolder
    weighed: tuple[str, ...]
    others: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    def part(self, name: str) -> CheckpointFolder:
        """Return the folder in which a part of the model (transformer, VAE, text encoder) lies."""
        return self.checkpoint / name if name else self.checkpoint

    def inspect(self) -> CheckpointWeights:
        """Refuse what a description can already see to be unreadable; weights that are not here yet are not looked at.

        Raises
        ------
        DataError
            A part says that it is quantised, or its files hold numbers in a format that is not read, or an unmerged adapter.
        """
        for name in self.weighed:
            part, config = self.part(name), read_config(self.part(name))
            check_configuration(config, str(part))
            if isinstance(part.source, FolderSource) and _has_weights(part):
                part.stored(config)
        return self

    @property
    def files(self) -> list[str]:
        """Paths of all weight files, in the order in which they are hashed."""
        return [self.part(part).inside(file) for part in self.weighed for file in self.part(part).weights().files]

    @property
    def bytes(self) -> int:
        """Bytes of all weight files together, as their place states them; one that is not there counts as 0."""
        return sum(self.checkpoint.source.size(path) or 0 for path in self.files)

    def digest(self) -> str | None:
        """Return "sha256:..." over the names, sizes and bytes of the weight files that will be loaded.

        Files that are not here yet count with the digest that the hub states; None where it states none. Where numbers are
        multiplied by a scale, that is part of it.

        Raises
        ------
        DataError
            A part has no complete set of weights, their numbers are in a format that is not read, or a file was changed since it
            was hashed.
        """
        digest, source = hashlib.sha256(), self.checkpoint.source
        for name in self.weighed:
            part = self.part(name)
            meaning = part.stored(read_config(part)).layout.described
            for file in part.weights().files:
                found = source.digest(part.inside(file))
                if found is None:
                    return None
                digest.update(f"{part.name}/{file}|{source.size(part.inside(file))}|".encode())
                digest.update(found)
            if meaning:
                digest.update(meaning.encode())
        return f"sha256:{digest.hexdigest()}"

    def known_digest(self) -> str:
        """Return the digest, which must be known.

        Raises
        ------
        DataError
            As `digest`; or the weights are not here yet and the hub states no digest of them.
        """
        found = self.digest()
        if found is None:
            raise DataError(
                f"the digest of {self.checkpoint} is known only when its weights are here", hint="layerscout extract downloads them"
            )
        return found

    @property
    def commit(self) -> str | None:
        """The commit of the hub's repository that is read; None of a folder."""
        source = self.checkpoint.source
        return source.commit if isinstance(source, HubSource) else None

    def missing_bytes(self) -> int:
        """Return how much `fetch` would download."""
        source = self.checkpoint.source
        return sum(file.size for file in source.missing(self._needed())) if isinstance(source, HubSource) else 0

    def fetch(self, reporter: Reporter = SILENT) -> CheckpointFolder:
        """Bring what loading needs to this machine and return where it lies; the same call continues what was cut off.

        Raises
        ------
        BudgetError
            The disk has no room for it.
        DataError
            The hub does not give it.
        """
        source = self.checkpoint.source
        if isinstance(source, HubSource):
            source.download(self._needed(), reporter)
        return self.checkpoint

    def _needed(self) -> list[str]:
        """Return the paths of all files that loading opens."""
        indices = [(part, part.weights().index) for part in map(self.part, self.weighed)]
        needed = [*self.files, *(part.inside(index) for part, index in indices if index)]
        for name in (*self.weighed, *self.others):
            needed += [name] if "." in name else self.part(name).notes()
        return list(dict.fromkeys([*needed, *self.checkpoint.read()]))  # without what describes it, it could not be found offline


def _has_weights(part: CheckpointFolder) -> bool:
    """Tell whether there is a set of weights to look at; why there is none is told when it is wanted."""
    try:
        part.weights()
    except DataError:
        return False
    return True
