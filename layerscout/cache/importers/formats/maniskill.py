"""A ManiSkill trajectory file (HDF5, recorded with pictures) in, episodes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode
from layerscout.cache.importers.base import Array, ForeignEpisode, Importer
from layerscout.cache.importers.columns import is_numeric
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.hdf5 import every_array, find_array, find_member, largest_whole, open_hdf5, read_rows
from layerscout.cache.importers.pictures.frames import FieldKind, as_frames, choose_camera, find_cameras, resize
from layerscout.errors import DataError

TRAJECTORY = re.compile(r"traj_(\d{1,9})")
ENDS = ("terminated", "truncated")
OBSERVATIONS, STATES = "obs/", "env_states"
INCOMPLETE = "the file is incomplete; fetch it again"
REPLAY = "python -m mani_skill.trajectory.replay_trajectory --obs-mode rgb --save-traj --traj-path FILE records pictures"


class ManiSkill(Importer):
    """``traj_<i>`` with T ``actions``, ``terminated``, ``truncated`` and, of T + 1 frames, ``obs/...`` and ``env_states/...``."""

    takes = frozenset({"end", "stack"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        with open_hdf5(self.path) as file:
            names = sorted((name for name in file if TRAJECTORY.fullmatch(name)), key=safety.natural_order)
            if not names:
                raise DataError(f"{self.path} has no trajectories traj_<number>", hint="give the .h5 file that ManiSkill recorded")
            self._find_fields(file, names[0])
            lengths = {name: self._length(file, name) for name in names}
        self.episodes = [ForeignEpisode(name, steps) for name, steps in lengths.items() if steps > 0]
        self.too_short = len(names) - len(self.episodes)
        self.facts = {"camera": self._camera, "source_environment": self._environment()}

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where ``path`` is an HDF5 file with a group ``traj_<i>``."""
        if not path.is_file() or not h5py.is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return any(TRAJECTORY.fullmatch(name) for name in file)

    def files(self) -> Sequence[str]:
        """The HDF5 file and, where there is one, the JSON file of the same name beside it, which tells the task."""
        beside = self.path.with_suffix(".json")
        return [self.path.name, *([beside.name] if beside.is_file() else [])]

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """The HDF5 file, which holds all trajectories."""
        return [self.path.name]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Read one trajectory of T actions and T + 1 frames, resized to ``frame_size``.

        Raises
        ------
        DataError
            An array is missing, damaged, or has too few rows.
        BudgetError
            It would not fit into memory.
        """
        where = f"{self.path}, {item.name}"
        with open_hdf5(self.path) as file:
            group = find_member(file, item.name, where)
            frames = as_frames(read_rows(group, OBSERVATIONS + self._camera, where, INCOMPLETE), where, self.config, self.scale)
            rewards = [name for name in self.roles["rewards"] if self.wants(name)]
            own = [name for name in self.roles["ends"] if self.wants(name)]
            ends = {name: read_rows(group, name, where, INCOMPLETE) for name in own}
            fields = ForeignFields(
                item.steps,
                [(name, read_rows(group, name, where, INCOMPLETE)) for name in self.roles["actions"] if self.wants(name)],
                (rewards[0], read_rows(group, rewards[0], where, INCOMPLETE)) if rewards else None,
                next((values for name, values in ends.items() if name != ENDS[1]), None),
                ends.get(ENDS[1]),
                self._state(group, where),
                {name: read_rows(group, self._places[name], where, INCOMPLETE) for name in self.fields if self.wants(name)},
            )
        return assemble_episode(resize(frames, self.config.frame_size), fields, where, self.config, self.exact)

    def largest(self, name: str) -> float | None:
        """The largest magnitude over the array's values in all trajectories; None where one does not hold whole numbers."""
        with open_hdf5(self.path) as file:
            return largest_whole(file, (f"{item.name}/{self._places[name]}" for item in self.episodes), str(self.path))

    def _find_fields(self, file: h5py.File, first: str) -> None:
        """Learn from the first trajectory which fields there are and what they are taken for."""
        where = f"{self.path}, {first}"
        group = find_member(file, first, where)
        if not isinstance(group, h5py.Group):
            raise DataError(f"{where} is no group", hint="fetch the file again")
        found = {name: field for name, field in every_array(group, where) if field.ndim}
        seen = {name: FieldKind(field.dtype, field.shape[1:]) for name, field in found.items()}
        observed = {name.removeprefix(OBSERVATIONS): kind for name, kind in seen.items() if name.startswith(OBSERVATIONS)}
        cameras = [name for name in find_cameras(observed, self.config) if self.config.camera or name.endswith(("rgb", "Color"))]
        described = ", ".join(f"'{name}' {kind}" for name, kind in observed.items()) or "none"
        if not cameras:
            raise DataError(f"{self.path} has no images, its observations are: {described}", hint=REPLAY)
        self._camera = choose_camera(self.config.camera, cameras, self.path, f"its observations are: {described}")
        of_steps = [name for name, kind in seen.items() if kind.dtype.kind in "fiub" and not name.startswith((OBSERVATIONS, STATES))]
        self._states = sorted(name for name in found if name == STATES or name.startswith(f"{STATES}/"))
        self.roles = {
            "actions": self.resolve_actions(("actions",), of_steps),
            "rewards": self.resolve_reward("rewards", of_steps),
            "ends": tuple(dict.fromkeys([*self.resolve_ends(ENDS, of_steps), *(ENDS[1:] if ENDS[1] in of_steps else ())])),
            "state": (STATES,) if self._states else (),
        }
        taken = {name for own in self.roles.values() for name in own} | set(self._states)
        self._places = {name: OBSERVATIONS + name for name in observed} | {name: name for name in of_steps if name not in taken}
        numbers = [name for name, place in self._places.items() if is_numeric(found[place].dtype, found[place].shape)]
        self.fields = [name for name in numbers if name != self._camera and not name.startswith("action")]
        for name, place in self._places.items():
            if name not in self.fields and name != self._camera:
                self.not_taken[name] = "another camera" if name in cameras else str(seen[place])

    def _state(self, group: h5py.Group, where: str) -> tuple[str, Array] | None:
        """The states of everything in the scene side by side, in the order of their names."""
        if not self._states or not self.wants("state"):
            return None
        parts = [read_rows(group, name, where, INCOMPLETE) for name in self._states]
        if len({len(part) for part in parts}) > 1:
            raise DataError(f"{where}: the parts of {STATES} have different lengths", hint=self.config.again("--leave-out", "state"))
        return STATES, np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def _length(self, file: h5py.File, name: str) -> int:
        where = f"{self.path}, {name}"
        frames = find_array(file, f"{name}/{OBSERVATIONS}{self._camera}", where)
        if frames is None or not frames.ndim:
            raise DataError(f"{where} misses {OBSERVATIONS}{self._camera}", hint=INCOMPLETE)
        return int(frames.shape[0]) - 1

    def _environment(self) -> str | None:
        beside = self.path.with_suffix(".json")
        if not beside.is_file():
            return None
        info = safety.read_json(safety.path_inside(self.root, beside.name)).get("env_info")
        return str(info["env_id"]) if isinstance(info, dict) and "env_id" in info else None
