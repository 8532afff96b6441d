"""A robomimic HDF5 file (also LIBERO's and MimicGen's) in, episodes out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode, ending_of
from layerscout.cache.importers.base import Array, ForeignEpisode, Importer
from layerscout.cache.importers.columns import as_flags, is_numeric
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.hdf5 import find_array, find_member, join_rows, largest_whole, open_hdf5, read_rows, rows_of
from layerscout.cache.importers.pictures.frames import FieldKind, as_frames, choose_camera, find_cameras, resize
from layerscout.errors import DataError, UsageError, suggest

DEMO = re.compile(r"demo_(\d{1,9})")
OF_STEPS = {"actions": "actions", "rewards": "rewards", "ends": "dones", "state": "states"}  # role → its name in a demonstration
INCOMPLETE = "the file is incomplete; fetch it again, or run robomimic's dataset_states_to_obs.py on it"


class Robomimic(Importer):
    """``data/demo_<i>`` with ``actions``, ``obs/<name>`` and, in some files, ``next_obs/<name>``; ``mask/<key>`` lists some of them.

    ``next_obs``, or one observation more than actions, tells the frame after the last action; without it the last action is
    dropped unless the task ended with it.
    """

    takes = frozenset({"end", "stack", "filter_key"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        with open_hdf5(self.path) as file:
            data = find_member(file, "data", str(self.path))
            names = sorted((name for name in data or () if DEMO.fullmatch(name)), key=lambda name: int(name.removeprefix("demo_")))
            if not isinstance(data, h5py.Group) or not names:
                raise DataError(f"{self.path} has no demonstrations data/demo_<number>", hint=INCOMPLETE)
            if config.filter_key is not None:
                listed = self._listed(file, config.filter_key)
                names = [name for name in names if name in listed]
            self._find_fields(data[names[0]], f"{self.path}, {names[0]}")
            for role, name in OF_STEPS.items():  # what only some have is told of by an error that names them, not lost
                if role not in self.roles or not self.roles[role]:
                    self.roles[role] = (name,) if any(name in data[demo] for demo in names) else ()
            self.facts = {"camera": self._camera, "source_environment": _environment(data)}
            found = [self._look(data, name) for name in names]
            self.episodes = [item for item in found if item.steps > 0]
            self.too_short = len(found) - len(self.episodes)

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where ``path`` is an HDF5 file with a group ``data`` that has a ``demo_<i>``."""
        if not path.is_file() or not h5py.is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            data = find_member(file, "data", str(path))
            return isinstance(data, h5py.Group) and any(DEMO.fullmatch(name) for name in data)

    def episode(self, item: ForeignEpisode) -> Episode:
        """Read one demonstration; where the frame after the last action is known it has T + 1 frames for T actions.

        Raises
        ------
        DataError
            An array is missing, damaged, or has too few rows.
        BudgetError
            It would not fit into memory.
        """
        where = f"{self.path}, {item.name}"
        with open_hdf5(self.path) as file:
            demo = find_member(file, f"data/{item.name}", where)
            frames = as_frames(self._whole(demo, self._camera, where), where, self.config, self.scale)
            rewards, ends, state = (self._of_steps(demo, role, where) for role in ("rewards", "ends", "state"))
            fields = ForeignFields(
                steps=self._recorded(demo, where),
                actions=[(name, read_rows(demo, name, where, INCOMPLETE)) for name in self.roles["actions"] if self.wants(name)],
                rewards=rewards,
                terminated=ends and ends[1],
                state=state,
                numbers={name: self._whole(demo, name, where) for name in self.fields if self.wants(name)},
            )
        return assemble_episode(resize(frames, self.config.frame_size), fields, where, self.config, self.exact)

    def largest(self, name: str) -> float | None:
        """The largest magnitude over ``obs/<name>`` of all demonstrations; None where one does not hold whole numbers."""
        with open_hdf5(self.path) as file:
            return largest_whole(file, (f"data/{item.name}/obs/{name}" for item in self.episodes), str(self.path))

    def _listed(self, file: h5py.File, key: str) -> set[str]:
        """Names of the demonstrations that a filter key lists."""
        mask = find_member(file, "mask", str(self.path))
        keys = sorted(mask) if isinstance(mask, h5py.Group) else []
        if key not in keys:
            hint = f"filter keys: {', '.join(keys) or 'none'}"
            raise UsageError(f"{self.path} has no filter key '{key}'{suggest(key, keys)}", hint=hint)
        listed = {
            name.decode() if isinstance(name, bytes) else str(name)
            for name in read_rows(mask, key, f"{self.path}, mask", INCOMPLETE).ravel()
        }
        there = find_member(file, "data", str(self.path))
        absent = sorted(name for name in listed if not isinstance(there, h5py.Group) or name not in there)
        if absent or not listed:
            what = f"lists {', '.join(absent[:3])}, which is not there" if absent else "lists no demonstration"
            raise DataError(f"{self.path}: the filter key '{key}' {what}", hint=INCOMPLETE)
        return listed

    def _find_fields(self, demo: h5py.Group, where: str) -> None:
        """Learn from the first demonstration which fields there are and what they are taken for."""
        observations = _observations(demo, "obs", where)
        kinds = {name: FieldKind(field.dtype, field.shape[1:]) for name, field in observations.items()}
        seen = ", ".join(f"'{name}' {kind}" for name, kind in kinds.items())
        cameras = find_cameras(kinds, self.config)
        self._camera = choose_camera(self.config.camera, cameras, self.path, f"its observations are: {seen or 'none'}")
        own = {name: field for name in demo if (field := find_array(demo, name, where)) is not None and field.ndim}
        own |= {f"action_dict/{name}": field for name, field in _observations(demo, "action_dict", where).items()}
        numbers = [name for name, field in own.items() if field.dtype.kind in "fiub"]
        self.roles = {role: (name,) for role, name in OF_STEPS.items() if name in own}
        self.roles["actions"] = self.resolve_actions(("actions",), numbers)
        self.roles["rewards"] = self.resolve_reward("rewards", numbers)
        self.roles["ends"] = self.resolve_ends(("dones",), numbers)
        self.fields = [name for name, field in observations.items() if is_numeric(field.dtype, field.shape) and name != self._camera]
        taken = {name for names in self.roles.values() for name in names} | {"actions"}
        self.not_taken = {name: f"{field.dtype} {field.shape[1:]}" for name, field in own.items() if name not in taken}
        left = [name for name in observations if name not in self.fields and name != self._camera]
        self.not_taken |= {f"obs/{name}": "another camera" if name in cameras else str(kinds[name]) for name in left}

    def _look(self, data: h5py.Group, name: str) -> ForeignEpisode:
        """Tell how many steps a demonstration will have, and what becomes of its last one."""
        where = f"{self.path}, {name}"
        demo = data[name]
        now, after = (find_array(demo, f"{part}/{self._camera}", where) for part in ("obs", "next_obs"))
        if now is None or not now.ndim:
            raise DataError(f"{where} misses obs/{self._camera}", hint=INCOMPLETE)
        recorded = self._recorded(demo, where)
        frames = len(now) + (after is not None and after.ndim > 0 and len(after) > 0)
        ends, rewards = (self._of_steps(demo, role, where, last=True) for role in ("ends", "rewards"))
        steps, ending = ending_of(frames, recorded, ends is not None and bool(as_flags(ends[1]).any()))
        lost = ending == "dropped" and rewards is not None and bool(np.any(rewards[1] != 0))
        return ForeignEpisode(name, steps, ending, lost)

    def _recorded(self, demo: h5py.Group, where: str) -> int:
        """How many steps the file tells of: rows of the actions, wanted or not."""
        for name in (*self.roles["actions"], "actions"):
            found = find_array(demo, name, where)
            if found is not None and found.ndim:
                return int(found.shape[0])
        raise DataError(f"{where} misses its actions", hint=INCOMPLETE)

    def _whole(self, demo: h5py.Group, name: str, where: str) -> Array:
        """An observation of every frame, with the one after the last action where there is one."""
        rows = read_rows(demo, f"obs/{name}", where, INCOMPLETE)
        after = find_array(demo, f"next_obs/{name}", where)
        if after is None or not after.ndim or not after.shape[0]:
            return rows
        last = rows_of(after, slice(after.shape[0] - 1, None), where)
        return join_rows(rows, last, f"obs/{name}", where, INCOMPLETE)

    def _of_steps(self, demo: h5py.Group, role: str, where: str, last: bool = False) -> tuple[str, Array] | None:
        names = [name for name in self.roles.get(role, ()) if self.wants(name)]
        found = find_array(demo, names[0], where) if names and self.wants(role) else None
        if found is None or not found.ndim:
            return None
        return names[0], rows_of(found, slice(max(0, found.shape[0] - 1), None) if last else slice(None), where)


def _observations(demo: Any, name: str, where: str) -> dict[str, h5py.Dataset]:
    group = find_member(demo, name, where)
    names = sorted(group) if isinstance(group, h5py.Group) else []
    found = {key: find_array(group, key, where) for key in names}
    return {key: field for key, field in found.items() if field is not None and field.ndim}


def _environment(data: h5py.Group) -> str | None:
    try:
        return str(json.loads(data.attrs["env_args"])["env_name"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
