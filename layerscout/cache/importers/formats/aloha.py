"""Episodes that ALOHA (or ACT, Mobile ALOHA) recorded, an HDF5 file each, in, episodes out.

Row t is frame t and the action taken there. Nobody recorded what the last action led to, so it is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode, ending_of
from layerscout.cache.importers.base import Array, ForeignEpisode, Importer
from layerscout.cache.importers.columns import as_flags, is_numeric
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.hdf5 import every_array, find_array, find_member, largest_whole, open_hdf5, read_rows, rows_of
from layerscout.cache.importers.pictures.compressed import decode_pictures
from layerscout.cache.importers.pictures.frames import FieldKind, Frames, as_frames, choose_camera, find_cameras, resize
from layerscout.errors import DataError

SUFFIXES = (".hdf5", ".h5")
IMAGES, OBSERVATIONS = "observations/images/", "observations/"
INCOMPLETE = "the file is incomplete; fetch or record it again"


class Aloha(Importer):
    """One file, or a folder of ``episode_<i>.hdf5``: ``action``, ``observations/qpos`` and ``observations/images/<camera>``.

    Pictures are arrays, or JPEGs that zeros fill up to one length. ``base_action`` of a moving base is a field of its own, and
    can be joined to the actions with ``--action action --action base_action``.
    """

    takes = frozenset({"end"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        self._names = _files(self.path)
        if not self._names:
            raise DataError(f"{self.path} has no HDF5 files", hint="give a folder with episode_<number>.hdf5")
        with open_hdf5(safety.path_inside(self.root, self._names[0])) as file:
            self._find_fields(file, str(self.root / self._names[0]))
        found = [self._look(name) for name in self._names]
        self.episodes = [item for item in found if item.steps > 0]
        self.too_short = len(found) - len(self.episodes)
        self.facts = {"camera": self._camera}

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where the first HDF5 file at ``path`` has the array ``action`` and the group ``observations/images``."""
        names = _files(path)
        if not names:
            return False
        with open_hdf5(path / names[0] if path.is_dir() else path) as file:
            return "action" in file and isinstance(find_member(file, IMAGES.rstrip("/"), str(path)), h5py.Group)

    def files(self) -> Sequence[str]:
        """Every HDF5 file of the source, sorted by the number in its name; a file is an episode."""
        return self._names

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """The episode's one file, whose name is the episode's."""
        return [item.name]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Read one file: pictures of the chosen camera, resized to ``frame_size``, with the fields that were not left out.

        Raises
        ------
        DataError
            An array is missing, damaged, or has too few rows.
        BudgetError
            It would not fit into memory.
        """
        where = str(self.root / item.name)
        with open_hdf5(safety.path_inside(self.root, item.name)) as file:
            frames = self._pictures(read_rows(file, IMAGES + self._camera, where, INCOMPLETE), where)
            rewards, ends = ([name for name in self.roles[role] if self.wants(name)] for role in ("rewards", "ends"))
            fields = ForeignFields(
                self._recorded(file, where),
                [(name, read_rows(file, name, where, INCOMPLETE)) for name in self.roles["actions"] if self.wants(name)],
                (rewards[0], read_rows(file, rewards[0], where, INCOMPLETE)) if rewards else None,
                read_rows(file, ends[0], where, INCOMPLETE) if ends else None,
                numbers={name: read_rows(file, self._places[name], where, INCOMPLETE) for name in self.fields if self.wants(name)},
            )
        return assemble_episode(resize(frames, self.config.frame_size), fields, where, self.config, self.exact)

    def largest(self, name: str) -> float | None:
        """The largest magnitude over the array's values in all files; None where one of them does not hold whole numbers."""
        found: list[float | None] = []
        for item in self.episodes:
            with open_hdf5(safety.path_inside(self.root, item.name)) as file:
                found.append(largest_whole(file, [self._places[name]], item.name))
        whole = [one for one in found if one is not None]
        return max(whole) if whole and len(whole) == len(found) else None

    def _find_fields(self, file: h5py.File, where: str) -> None:
        """Learn from the first file which fields there are and what they are taken for."""
        found = {name: field for name, field in every_array(file, where) if field.ndim}
        kinds = {name: FieldKind(field.dtype, field.shape[1:]) for name, field in found.items()}
        views = {name.removeprefix(IMAGES): kind for name, kind in kinds.items() if name.startswith(IMAGES)}
        packed = [name for name, kind in views.items() if len(kind.shape) <= 1]  # a row of bytes is a compressed picture
        cameras = packed or find_cameras(views, self.config)
        seen = ", ".join(f"'{name}' {kind}" for name, kind in kinds.items())
        self._camera = choose_camera(self.config.camera, cameras, self.path, f"its arrays are {seen}")
        length = len(found[IMAGES + self._camera])
        rows = [name for name, field in found.items() if len(field) in (length - 1, length) and field.dtype.kind in "fiub"]
        rows = [name for name in rows if not name.startswith(IMAGES)]
        self.roles = {"actions": self.resolve_actions(("action",), rows), "rewards": self.resolve_reward("rewards", rows)}
        self.roles["ends"] = self.resolve_ends((), rows)
        taken = {name for own in self.roles.values() for name in own}
        self._places = {name.removeprefix(OBSERVATIONS): name for name in rows if name not in taken}
        self.fields = [name for name, place in self._places.items() if is_numeric(found[place].dtype, found[place].shape)]
        left = [name for name in found if name not in taken and name not in self._places.values()]
        self.not_taken = {
            name: "another camera" if name.removeprefix(IMAGES) in cameras else str(kinds[name])
            for name in left
            if name != IMAGES + self._camera and name != "compress_len"
        }

    def _look(self, name: str) -> ForeignEpisode:
        where = str(self.root / name)
        with open_hdf5(safety.path_inside(self.root, name)) as file:
            found = find_array(file, IMAGES + self._camera, where)
            if found is None or not found.ndim:
                raise DataError(f"{where} misses {IMAGES}{self._camera}", hint=INCOMPLETE)
            recorded = self._recorded(file, where)
            rewards = find_array(file, self.roles["rewards"][0], where) if self.roles["rewards"] else None
            ends = [find_array(file, name, where) for name in self.roles["ends"] if self.wants(name)]
            terminated = any(
                bool(as_flags(rows_of(one, slice(recorded - 1, recorded), where)).any()) for one in ends if one is not None and recorded
            )
            steps, ending = ending_of(int(found.shape[0]), recorded, terminated)
            lost = ending == "dropped" and rewards is not None and bool(np.any(rows_of(rewards, slice(recorded - 1, None), where) != 0))
        return ForeignEpisode(name, steps, ending, lost)

    def _recorded(self, file: h5py.File, where: str) -> int:
        for name in (*self.roles["actions"], "action"):
            found = find_array(file, name, where)
            if found is not None and found.ndim:
                return int(found.shape[0])
        raise DataError(f"{where} misses its actions", hint=INCOMPLETE)

    def _pictures(self, values: Array, where: str) -> Frames:
        if values.ndim > 2:
            return as_frames(values, where, self.config, self.scale)
        return decode_pictures((np.asarray(row, np.uint8).tobytes() for row in values), len(values), where)


def _files(path: Path) -> list[str]:
    if path.is_file():
        return [path.name] if h5py.is_hdf5(path) else []
    found = (file.name for file in path.glob("*") if file.suffix in SUFFIXES and h5py.is_hdf5(file)) if path.is_dir() else ()
    return sorted(found, key=safety.natural_order)
