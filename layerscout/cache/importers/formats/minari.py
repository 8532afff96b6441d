"""A Minari dataset (HDF5, Arrow or Parquet, as its library lays it out) in, episodes out; Minari itself is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety, tables
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode
from layerscout.cache.importers.base import Array, ForeignEpisode, Importer
from layerscout.cache.importers.columns import magnitude
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.formats.minari_spaces import AGAIN, NUMBERS, VECTORS, SpaceLeaf, read_spaces
from layerscout.cache.importers.hdf5 import find_array, find_member, open_hdf5, rows_of
from layerscout.cache.importers.pictures.compressed import decode_pictures
from layerscout.cache.importers.pictures.frames import FieldKind, Frames, as_frames, choose_camera, find_cameras, resize
from layerscout.errors import DataError
from layerscout.showing import counted

MAIN = "main_data.hdf5"
ENDS = ("terminations", "truncations")
OF_STEPS = SpaceLeaf("Box", ("rewards",), shape=None)


class Minari(Importer):
    """The folder of a dataset, or the ``data`` folder in it.

    The leaves of an observation space are named by their path in it ("pixels", "robot/joints"; parts of a Tuple are 0, 1, ...);
    the space itself is "observations". Those of an action space of several parts are "actions/...".
    """

    takes = frozenset({"stack"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        self._folder = _folder(self.path)
        metadata = safety.read_json(safety.path_inside(self._folder, "metadata.json"))
        self._form = str(metadata.get("data_format"))
        if self._form not in ("hdf5", "arrow", "parquet"):
            raise DataError(f"{self._folder} has data format '{self._form}', expected hdf5, arrow or parquet", hint=AGAIN)
        self._leaves = read_spaces(metadata, "observation_space", "observations", self._folder)
        self._actions = {
            f"actions/{name}" if name != "actions" else name: leaf
            for name, leaf in read_spaces(metadata, "action_space", "actions", self._folder).items()
        }
        self._find_fields()
        self._names = self._episode_names(metadata.get("total_episodes"))
        found = [ForeignEpisode(name, self._steps(name)) for name in self._names]
        self.episodes = [item for item in found if item.steps > 0]
        self.too_short = len(found) - len(self.episodes)
        self.facts = {"camera": self._camera, "dataset_id": metadata.get("dataset_id"), "source_environment": _environment(metadata)}
        single = self._actions[self.roles["actions"][0]] if len(self.roles["actions"]) == 1 else None
        if single is not None and single.count:
            self.facts["action_count"] = single.count

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where ``metadata.json`` in ``path``, or in its folder ``data``, states a ``data_format``."""
        metadata = _folder(path) / "metadata.json"
        return metadata.is_file() and "data_format" in safety.read_json(metadata)

    @property
    def root(self) -> Path:
        """The folder ``data`` of the dataset, whichever of the two folders was given."""
        return self._folder

    def files(self) -> Sequence[str]:
        """The metadata and all files of data: one HDF5 file, or each episode's own metadata and its Arrow or Parquet parts."""
        if self._form == "hdf5":
            return ["metadata.json", MAIN]
        parts = [name for item in self.episodes for name in self.files_of(item)]
        return ["metadata.json", *(f"{name}/metadata.json" for name in self._names), *parts]

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """The shared HDF5 file, or the sorted Arrow or Parquet parts in the episode's folder."""
        if self._form == "hdf5":
            return [MAIN]
        return [f"{item.name}/{path.name}" for path in sorted((self._folder / item.name).glob(f"*.{self._form}"))]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Read one episode of T steps and T + 1 observations; its pictures are resized to ``frame_size``.

        Raises
        ------
        DataError
            A leaf of the spaces is missing, or the file has another number of rows than the metadata say.
        """
        where = f"{self.path}, {item.name}"
        with self._open(item, where) as read:
            numbers = {name: read(name, self._leaves[name]) for name in self.fields if self.wants(name)}
            state = ("state", read("state", self._leaves["state"])) if self.roles["state"] and self.wants("state") else None
            actions = [(name, self._counted(read(name, self._actions[name]), name)) for name in self.roles["actions"] if self.wants(name)]
            rewards = ("rewards", read("rewards", OF_STEPS)) if self.wants("rewards") else None
            ends = [read(name, SpaceLeaf("Box", (name,))) if self.wants(name) else None for name in ENDS]
            fields = ForeignFields(item.steps, actions, rewards, ends[0], ends[1], state, numbers)
            frames = self._pictures(read(self._camera, self._leaves[self._camera]), item.steps + 1, where)
        return assemble_episode(resize(frames, self.config.frame_size), fields, where, self.config, self.exact)

    def largest(self, name: str) -> float | None:
        """The bound that the field's space states, else the largest magnitude in the HDF5 file; None where neither can be had."""
        leaf = self._leaves[name]
        bound = leaf.bound
        if bound is not None or self._form != "hdf5" or leaf.dtype not in NUMBERS or np.dtype(leaf.dtype).kind not in "iu":
            return bound
        reach = 0.0
        for item in self.episodes:
            with self._open(item, item.name) as read:
                reach = max(reach, magnitude(read(name, leaf)))
        return reach

    def _find_fields(self) -> None:
        kinds = {
            name: FieldKind(np.dtype(leaf.dtype), leaf.shape or ())
            for name, leaf in self._leaves.items()
            if leaf.kind == "Box" and leaf.dtype in NUMBERS
        }
        seen = ", ".join(f"'{name}' {leaf}" for name, leaf in self._leaves.items()) or "none"
        cameras = find_cameras(kinds, self.config)
        self._camera = choose_camera(self.config.camera, cameras, self.path, f"its observations are {seen}")
        vectors = [name for name, leaf in self._actions.items() if leaf.kind in VECTORS]
        if not vectors and self.wants("actions"):
            kinds_of = ", ".join(sorted({leaf.kind for leaf in self._actions.values()})) or "empty"
            message = f"{self.path} has actions of a {kinds_of} space, expected single numbers and vectors"
            raise DataError(message, hint=self.config.again("--leave-out", "actions"))
        state = self._leaves.get("state")
        self.roles = {
            "actions": self.resolve_actions(("actions",), vectors),
            "rewards": self.resolve_reward("rewards", ["rewards"]),
            "ends": ENDS,
            "state": ("state",) if state is not None and self._is_number("state", state) else (),
        }
        numbers = [name for name, leaf in self._leaves.items() if self._is_number(name, leaf)]
        self.fields = [name for name in numbers if name not in self.roles["state"]]
        for name, leaf in self._leaves.items():
            if name not in numbers and name != self._camera:
                self.not_taken[name] = "another camera" if name in cameras else str(leaf)

    @contextmanager
    def _open(self, item: ForeignEpisode, where: str) -> Iterator[Callable[[str, SpaceLeaf], Array]]:
        """Give a function that reads one array of an episode by the path of its leaf."""
        if self._form == "hdf5":
            with open_hdf5(safety.path_inside(self._folder, MAIN)) as file:
                group = find_member(file, item.name, where)

                def stored(name: str, leaf: SpaceLeaf) -> Array:
                    path = "/".join(f"_index_{part}" if isinstance(part, int) else part for part in leaf.path)
                    found = find_array(group, path, where)
                    if found is None:
                        raise DataError(f"{where} misses '{path}'", hint=AGAIN)
                    return rows_of(found, slice(None), where)

                yield stored
            return
        table = tables.read_table(_parts(safety.path_inside(self._folder, item.name), self._form), where)
        if len(table) != item.steps + 1:
            raise DataError(f"{where} has {counted(len(table), 'row')}, expected {item.steps + 1}", hint=AGAIN)

        def column(name: str, leaf: SpaceLeaf) -> Array:
            rows = len(table) if leaf.path[0] == "observations" else item.steps  # of steps, the last row is filling
            way_out = self.config.again("--leave-out", name)
            path = [str(part) for part in leaf.path]
            return tables.column_values(table.slice(0, rows), path, leaf.shape, where, way_out, packed=name == self._camera)

        yield column

    def _is_number(self, name: str, leaf: SpaceLeaf) -> bool:
        """Tell whether a leaf is one number or one row of numbers a frame."""
        return leaf.kind in VECTORS and len(leaf.shape or ()) < 2 and 0 not in (leaf.shape or ()) and name != self._camera

    def _counted(self, values: Array, name: str) -> Array:
        """Actions of a space that does not begin at 0, counted from 0."""
        start = self._actions[name].start
        return values.astype(np.int64) - start if start else values

    def _pictures(self, values: Array, count: int, where: str) -> Frames:
        """Pictures are stored as they are, or each compressed to bytes: a row of numbers, or an array of its own."""
        if values.ndim > 2:
            return as_frames(values, where, self.config, self.scale)
        return decode_pictures((row if isinstance(row, bytes) else np.asarray(row, np.uint8).tobytes() for row in values), count, where)

    def _episode_names(self, stated: Any) -> list[str]:
        """Names of the episodes in order; their number must be the stated one."""
        if self._form == "hdf5":
            with open_hdf5(safety.path_inside(self._folder, MAIN)) as file:
                found = {name.removeprefix("episode_") for name in file}
        else:
            found = {path.name for path in self._folder.iterdir() if path.is_dir()}
        numbers = sorted(int(name) for name in found if name.isascii() and name.isdigit())
        if numbers != list(range(len(numbers))) or len(numbers) != stated:
            raise DataError(f"{self._folder} holds {counted(len(numbers), 'episode')}, its metadata.json states {stated}", hint=AGAIN)
        return [f"episode_{number}" if self._form == "hdf5" else str(number) for number in numbers]

    def _steps(self, name: str) -> int:
        where = f"{self.path}, {name}"
        if self._form != "hdf5":
            steps = safety.read_json(safety.path_inside(self._folder, f"{name}/metadata.json")).get("total_steps")
        else:
            with open_hdf5(self._folder / MAIN) as file:
                rewards = find_array(file, f"{name}/rewards", where)
                steps = rewards.shape[0] if rewards is not None and rewards.shape else None
        if not isinstance(steps, int):
            raise DataError(f"{where} does not tell its number of steps", hint=AGAIN)
        return steps


def _folder(path: Path) -> Path:
    return path / "data" if (path / "data" / "metadata.json").is_file() else path


def _parts(folder: Path, form: str) -> list[Path]:
    return [safety.path_inside(folder, path.name) for path in sorted(folder.glob(f"*.{form}"))]


def _environment(metadata: dict[str, Any]) -> str | None:
    try:
        return str(json.loads(metadata["env_spec"])["id"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
