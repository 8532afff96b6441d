"""A robomimic HDF5 file (also LIBERO's and MimicGen's) in, episodes out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import Fields, assemble, is_numeric
from layerscout.cache.importers.base import Array, Importer, Item, Options, choose_camera
from layerscout.cache.importers.frames import as_frames, picture_shape, resize
from layerscout.errors import DataError

DEMO = re.compile(r"demo_(\d{1,9})")
OF_STEPS = ("actions", "rewards", "dones", "states")
INCOMPLETE = "the file is incomplete; fetch it again, or run robomimic's dataset_states_to_obs.py on it"


class Robomimic(Importer):
    """``data/demo_<i>`` with ``actions``, ``obs/<name>`` and, in some files, ``next_obs/<name>``.

    ``next_obs`` tells the frame after the last action; without it the last action is dropped.
    """

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(path, options)
        with safety.open_hdf5(path) as file:
            data = safety.member(file, "data", str(path))
            names = sorted((name for name in data or () if DEMO.fullmatch(name)), key=lambda name: int(name.removeprefix("demo_")))
            if not isinstance(data, h5py.Group) or not names:
                raise DataError(f"{path} has no demonstrations data/demo_<number>", hint=INCOMPLETE)
            where = f"{path}, {names[0]}"
            observations = _observations(data[names[0]], "obs", where)
            pictures = [name for name, field in observations.items() if field.dtype == np.uint8 and picture_shape(field.shape[1:])]
            seen = ", ".join(f"'{name}' {field.dtype} {field.shape[1:]}" for name, field in observations.items())
            self._camera = choose_camera(options.camera, pictures, path, f"its observations are: {seen or 'none'}")
            partial = {name: not _observations(data[name], "next_obs", f"{path}, {name}") for name in names}
            self.items = [Item(name, _length(data, name, path) - partial[name]) for name in names]
            numeric = [name for name, field in observations.items() if is_numeric(field.dtype, field.shape)]
            self.fields = [*OF_STEPS, *numeric]
            self.facts = {"camera": self._camera, "source_environment": _environment(data)}
            if any(partial.values()):
                self.facts["dropped_last_actions"] = sum(partial.values())

    @staticmethod
    def recognises(path: Path) -> bool:
        if not path.is_file() or not h5py.is_hdf5(path):
            return False
        with safety.open_hdf5(path) as file:
            data = safety.member(file, "data", str(path))
            return isinstance(data, h5py.Group) and any(DEMO.fullmatch(name) for name in data)

    def episode(self, item: Item) -> Episode:
        where = f"{self.path}, {item.name}"
        with safety.open_hdf5(self.path) as file:
            demo = safety.member(file, f"data/{item.name}", where)
            now, after = (_observations(demo, name, where) for name in ("obs", "next_obs"))

            def whole(name: str) -> Array:
                if name not in now:
                    raise DataError(f"{where} misses obs/{name}", hint=INCOMPLETE)
                rows = safety.rows_of(now[name], slice(None), where)
                if name not in after:
                    return rows
                return np.concatenate([rows, safety.rows_of(after[name], slice(len(after[name]) - 1, None), where)])

            def of_steps(name: str) -> Array | None:
                found = safety.array(demo, name, where) if name not in self.options.leave_out else None
                return None if found is None else safety.rows_of(found, slice(None), where)

            frames = as_frames(whole(self._camera), where)
            fields = Fields(
                steps=len(now[self._camera]),
                actions=of_steps("actions"),
                rewards=of_steps("rewards"),
                terminated=of_steps("dones"),
                state=of_steps("states"),
                numbers={name: whole(name) for name in self.fields if name not in (*OF_STEPS, *self.options.leave_out)},
            )
        return assemble(resize(frames, self.options.size), fields, where)


def _observations(demo: Any, name: str, where: str) -> dict[str, h5py.Dataset]:
    group = safety.member(demo, name, where)
    names = sorted(group) if isinstance(group, h5py.Group) else []
    found = {key: safety.array(group, key, where) for key in names}
    return {key: field for key, field in found.items() if field is not None and field.ndim}


def _length(data: h5py.Group, name: str, path: Path) -> int:
    actions = safety.array(data, f"{name}/actions", f"{path}, {name}")
    if actions is None or not actions.ndim:
        raise DataError(f"{path}, {name} misses its actions", hint=INCOMPLETE)
    return actions.shape[0]


def _environment(data: h5py.Group) -> str | None:
    try:
        return str(json.loads(data.attrs["env_args"])["env_name"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
