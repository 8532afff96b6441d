"""A Minari dataset (HDF5, Arrow or Parquet, as its library lays it out) in, episodes out; Minari itself is not needed.

The leaves of an observation space are named by their path in it ("pixels", "robot/joints"); the space itself is "observations".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety, tables
from layerscout.cache.importers.assemble import Fields, assemble
from layerscout.cache.importers.base import Array, Importer, Item, Options, choose_camera
from layerscout.cache.importers.frames import Frames, as_frames, decode, picture_shape, resize
from layerscout.errors import DataError

VECTORS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")  # kinds of spaces whose members are rows of numbers
ROOT, MAIN = "observations", "main_data.hdf5"
AGAIN = "fetch the dataset again, or make it again with a current Minari"


@dataclass(frozen=True)
class Leaf:
    """A space without parts: what one array of an episode holds a frame or step."""

    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    count: int = 0  # of a Discrete space: its actions, counted from ``start``
    start: int = 0


class Minari(Importer):
    """The folder of a dataset, or the ``data`` folder in it."""

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(path, options)
        self._folder = _folder(path)
        metadata = safety.read_json(safety.inside(self._folder, "metadata.json"))
        self._form = str(metadata.get("data_format"))
        if self._form not in ("hdf5", "arrow", "parquet"):
            raise DataError(f"{self._folder} has data format '{self._form}', expected hdf5, arrow or parquet", hint=AGAIN)
        self._leaves = dict(_leaves(_space(metadata, "observation_space", self._folder)))
        self._action = _leaf(_space(metadata, "action_space", self._folder))
        pictures = [name for name, leaf in self._leaves.items() if leaf.dtype == "uint8" and picture_shape(leaf.shape)]
        seen = ", ".join(f"'{name}' {leaf.dtype or leaf.kind} {leaf.shape}" for name, leaf in self._leaves.items())
        self._camera = choose_camera(options.camera, pictures, path, f"its observations are {seen}")
        if self._action.kind not in VECTORS:
            raise DataError(f"{path} has actions of a {self._action.kind} space", hint="what can be read are single numbers and vectors")
        self.fields = ["actions", *(name for name, leaf in self._leaves.items() if self._is_number(name, leaf))]
        self.items = [Item(name, self._steps(name)) for name in self._names(metadata.get("total_episodes"))]
        self.facts = {"camera": self._camera, "dataset_id": metadata.get("dataset_id"), "source_environment": _environment(metadata)}
        if self._action.kind == "Discrete":
            self.facts["action_count"] = self._action.count

    @staticmethod
    def recognises(path: Path) -> bool:
        metadata = _folder(path) / "metadata.json"
        return metadata.is_file() and "data_format" in safety.read_json(metadata)

    def episode(self, item: Item) -> Episode:
        where = f"{self.path}, {item.name}"
        with self._open(item, where) as read:
            wanted = [name for name in self.fields if name not in self.options.leave_out]
            numbers = {name: read(_path(name), self._leaves[name]) for name in wanted if name != "actions"}
            state = numbers.pop("state", None)
            actions = read("actions", self._action) - self._action.start if "actions" in wanted else None
            rewards, terminated, truncated = (read(name, Leaf("Box")) for name in ("rewards", "terminations", "truncations"))
            fields = Fields(item.steps, actions, rewards, terminated, truncated, state, numbers)
            frames = self._pictures(read(_path(self._camera), self._leaves[self._camera]), item.steps + 1, where)
        return assemble(resize(frames, self.options.size), fields, where)

    @contextmanager
    def _open(self, item: Item, where: str) -> Iterator[Callable[[str, Leaf], Array]]:
        """Give a function that reads one array of an episode by its path."""
        if self._form == "hdf5":
            with safety.open_hdf5(safety.inside(self._folder, MAIN)) as file:
                group = safety.member(file, item.name, where)

                def stored(path: str, leaf: Leaf) -> Array:
                    found = safety.array(group, path, where)
                    if found is None:
                        raise DataError(f"{where} misses '{path}'", hint=AGAIN)
                    return safety.rows_of(found, slice(None), where)

                yield stored
            return
        table = tables.read(_parts(safety.inside(self._folder, item.name), self._form), where)
        if len(table) != item.steps + 1:
            raise DataError(f"{where} has {len(table)} rows, expected {item.steps + 1}", hint=AGAIN)

        def column(path: str, leaf: Leaf) -> Array:
            rows = len(table) if path.partition("/")[0] == ROOT else item.steps  # of steps, the last row is filling
            return tables.values(table.slice(0, rows), path.split("/"), leaf.shape, where)

        yield column

    def _is_number(self, name: str, leaf: Leaf) -> bool:
        """Tell whether a leaf is one number or one row of numbers a frame."""
        return leaf.kind in VECTORS and len(leaf.shape) < 2 and 0 not in leaf.shape and name != self._camera

    def _pictures(self, values: Array, count: int, where: str) -> Frames:
        """Pictures are stored as they are, or each compressed to bytes: a row of numbers, or an array of its own."""
        if values.ndim > 2:
            return as_frames(values, where)
        return decode((row if isinstance(row, bytes) else np.asarray(row, np.uint8).tobytes() for row in values), count, where)

    def _names(self, stated: Any) -> list[str]:
        """Names of the episodes in order; their number must be the stated one."""
        if self._form == "hdf5":
            with safety.open_hdf5(safety.inside(self._folder, MAIN)) as file:
                found = {name.removeprefix("episode_") for name in file}
        else:
            found = {path.name for path in self._folder.iterdir() if path.is_dir()}
        numbers = sorted(int(name) for name in found if name.isascii() and name.isdigit())
        if numbers != list(range(len(numbers))) or len(numbers) != stated:
            raise DataError(f"{self._folder} holds {len(numbers)} episodes, its metadata.json states {stated}", hint=AGAIN)
        return [f"episode_{number}" if self._form == "hdf5" else str(number) for number in numbers]

    def _steps(self, name: str) -> int:
        where = f"{self.path}, {name}"
        if self._form != "hdf5":
            steps = safety.read_json(safety.inside(self._folder, f"{name}/metadata.json")).get("total_steps")
        else:
            with safety.open_hdf5(self._folder / MAIN) as file:
                rewards = safety.array(file, f"{name}/rewards", where)
                steps = rewards.shape[0] if rewards is not None and rewards.shape else None
        if not isinstance(steps, int):
            raise DataError(f"{where} does not tell its number of steps", hint=AGAIN)
        return steps


def _folder(path: Path) -> Path:
    return path / "data" if (path / "data" / "metadata.json").is_file() else path


def _parts(folder: Path, form: str) -> list[Path]:
    return [safety.inside(folder, path.name) for path in sorted(folder.glob(f"*.{form}"))]


def _path(name: str) -> str:
    return ROOT if name == ROOT else f"{ROOT}/{name}"


def _space(metadata: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    try:
        space = json.loads(metadata[name])
    except (KeyError, TypeError, ValueError, RecursionError):
        space = None
    if not isinstance(space, dict):
        raise DataError(f"{folder / 'metadata.json'} does not describe its {name.replace('_', ' ')}", hint=AGAIN)
    return space


def _environment(metadata: dict[str, Any]) -> str | None:
    try:
        return str(json.loads(metadata["env_spec"])["id"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _leaves(space: dict[str, Any], path: str = "") -> Iterator[tuple[str, Leaf]]:
    parts = space.get("subspaces")
    if isinstance(parts, dict):
        for name, part in parts.items():
            yield from _leaves(part, f"{path}/{name}")
    elif not isinstance(parts, list):  # parts of a Tuple have no names, and are left out
        yield path.lstrip("/") or ROOT, _leaf(space)


def _leaf(space: dict[str, Any]) -> Leaf:
    kind = str(space.get("type"))
    sizes = {"Box": space.get("shape"), "MultiBinary": space.get("n"), "MultiDiscrete": np.shape(space.get("nvec", ()))}.get(kind, ())
    shape = tuple(sizes) if isinstance(sizes, list | tuple) else (sizes,)
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise DataError(f"a {kind} space has shape {sizes!r}", hint=AGAIN)
    return Leaf(kind, str(space.get("dtype", "")), shape, int(space.get("n", 0)) if kind == "Discrete" else 0, _start(space, kind))


def _start(space: dict[str, Any], kind: str) -> int:
    return int(space.get("start", 0)) if kind == "Discrete" else 0
