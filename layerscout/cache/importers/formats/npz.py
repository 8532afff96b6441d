"""A folder of NPZ files, an episode each, as Dreamer writes them and V-D4RL offers them in, episodes out.

Row t is frame t and the action and reward that led to it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode
from layerscout.cache.importers.base import Array, ForeignEpisode, Importer, SkippedEpisode
from layerscout.cache.importers.columns import as_flags, is_numeric, magnitude
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.needs import require_memory
from layerscout.cache.importers.pictures.frames import FieldKind, as_frames, choose_camera, find_cameras, resize
from layerscout.errors import DataError

TERMINAL, DISCOUNT = "is_terminal", "discount"
FIRST = "is_first"
BOOKKEEPING = (FIRST, "is_last")
AGAIN = "fetch the file again"


class Npz(Importer):
    """An NPZ file, or a folder of them. A file that cannot be read is skipped and named. No pickle is ever opened."""

    takes = frozenset({"end", "stack"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        self._names = _files(self.path)
        if not self._names:
            raise DataError(f"{self.path} has no NPZ files", hint="give a folder with an NPZ file an episode")
        heads = {name: self._head(name) for name in self._names}
        whole = [found for found in heads.values() if not isinstance(found, DataError)]
        if not whole:
            raise next(found for found in heads.values() if isinstance(found, DataError))
        self._find_fields(whole[0])
        self._broken = {name: found for name, found in heads.items() if isinstance(found, DataError)}
        rows = {name: 2 if isinstance(found, DataError) else self._length(found) for name, found in heads.items()}
        self.episodes = [ForeignEpisode(name, count - 1) for name, count in rows.items() if count > 1]
        self.too_short = len(rows) - len(self.episodes)

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where the first NPZ file at ``path`` has ``action`` and one of ``image`` and ``observation``."""
        names = _files(path)
        try:
            kinds = _kinds(path / names[0] if path.is_dir() else path) if names else {}
        except DataError:
            return False
        return "action" in kinds and ("image" in kinds or "observation" in kinds)

    def files(self) -> Sequence[str]:
        """Every NPZ file of the source, broken ones too, sorted by the numbers in their names."""
        return self._names

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """The episode's one file, whose name is the episode's."""
        return [item.name]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Read one file of T + 1 rows: row t has frame t and the action and the reward that led to it, so row 0's are left out.

        Raises
        ------
        SkippedEpisode
            The file cannot be read, or its ``is_first`` says that another episode begins in it.
        DataError
            Its arrays have shapes or types that no episode can be made of.
        BudgetError
            It would not fit into memory.
        """
        if item.name in self._broken:
            raise SkippedEpisode(str(self._broken[item.name]), hint=AGAIN)
        ends = [name for name in self.roles["ends"] if self.wants(name)][:1]
        rewards = [name for name in self.roles["rewards"] if self.wants(name)]
        actions = [name for name in self.roles["actions"] if self.wants(name)]
        numbers = [name for name in self.fields if self.wants(name)]
        try:
            first = [FIRST] if self._tells_first else []
            read = _read(safety.path_inside(self.root, item.name), [self._camera, *first, *ends, *rewards, *actions, *numbers])
        except DataError as error:
            raise SkippedEpisode(str(error), hint=error.hint) from None
        where = f"{self.path}, {item.name}"
        if first and (begins := np.flatnonzero(as_flags(read[FIRST])[1:]) + 1).size:
            message = f"{where}: '{FIRST}' says that another episode begins at row {begins[0]}; a file holds one episode"
            raise SkippedEpisode(message, hint="cut the file there, and import the folder of the pieces")
        flags = {name: as_flags(read[name][1:]) for name in ends}  # the first row's action led to nothing
        fields = ForeignFields(
            len(read[self._camera]) - 1,
            [(name, read[name][1:]) for name in actions],
            (rewards[0], read[rewards[0]][1:]) if rewards else None,
            next((~found if name == DISCOUNT else found for name, found in flags.items()), None),
            numbers={name: read[name] for name in numbers},
        )
        frames = as_frames(read[self._camera], where, self.config, self.scale)
        return assemble_episode(resize(frames, self.config.frame_size), fields, where, self.config, self.exact)

    def largest(self, name: str) -> float | None:
        """The largest magnitude over the array's values in all readable files; None where one does not hold whole numbers."""
        reach = 0.0
        for item in self.episodes:
            if item.name not in self._broken:
                values = _read(safety.path_inside(self.root, item.name), [name])[name]
                if values.dtype.kind not in "iu":
                    return None
                reach = max(reach, magnitude(values))
        return reach

    def _find_fields(self, kinds: Mapping[str, FieldKind]) -> None:
        shapes = {name: FieldKind(kind.dtype, kind.shape[1:]) for name, kind in kinds.items() if kind.shape}
        seen = ", ".join(f"'{name}' {kind}" for name, kind in shapes.items())
        cameras = find_cameras(shapes, self.config)
        usual = next((name for name in ("image", "observation") if name in cameras), None)
        self._camera = choose_camera(self.config.camera or usual, cameras, self.path, f"its arrays are {seen}")
        numeric = [name for name, kind in shapes.items() if kind.dtype.kind in "fiub"]
        self._tells_first = FIRST in numeric
        self.roles = {
            "actions": self.resolve_actions(("action",), numeric),
            "rewards": self.resolve_reward("reward", numeric),
            "ends": self.resolve_ends((TERMINAL, DISCOUNT), numeric),
        }
        taken = {name for own in self.roles.values() for name in own} | {self._camera, *BOOKKEEPING}
        self.fields = sorted(name for name, kind in kinds.items() if name not in taken and is_numeric(kind.dtype, kind.shape))
        for name, kind in shapes.items():
            if name not in taken and name not in self.fields:
                self.not_taken[name] = "another camera" if name in cameras else str(kind)

    def _length(self, kinds: Mapping[str, FieldKind]) -> int:
        return kinds[self._camera].shape[0] if self._camera in kinds and kinds[self._camera].shape else 2

    def _head(self, name: str) -> dict[str, FieldKind] | DataError:
        try:
            return _kinds(safety.path_inside(self.root, name))
        except DataError as error:
            return error


def _files(path: Path) -> list[str]:
    if path.is_file():
        return [path.name] if path.suffix.lower() == ".npz" else []
    found = (file.name for file in path.glob("*") if file.suffix.lower() == ".npz" and not file.name.startswith("."))
    return sorted(found, key=safety.natural_order) if path.is_dir() else []


def _kinds(path: Path) -> dict[str, FieldKind]:
    """Types and shapes of a file's arrays, read from their heads alone."""
    kinds: dict[str, FieldKind] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as file:
                        version = np.lib.format.read_magic(file)
                        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                        shape, _, dtype = read(file)
                    kinds[member.removesuffix(".npy")] = FieldKind(dtype, shape)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is truncated or not an NPZ file: {error}", hint=AGAIN) from None
    return kinds


def _read(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Read some arrays whole, if they fit into memory."""
    kinds = _kinds(path)
    for name in names:
        if name not in kinds or not kinds[name].shape:
            raise DataError(f"{path} misses '{name}'", hint=AGAIN)
        require_memory(math.prod(kinds[name].shape) * kinds[name].dtype.itemsize, f"{path}: '{name}'")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}", hint=AGAIN) from None
