"""A LeRobot dataset (v2.1 or v3: parquet and mp4) in, episodes out.

Row t of an episode is frame t and the action taken there. Nobody recorded what the last action led to, so it is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety, tables
from layerscout.cache.importers.assemble import Fields, assemble
from layerscout.cache.importers.base import Array, Importer, Item, Options, choose_camera
from layerscout.cache.importers.decoding import pictures_at
from layerscout.cache.importers.frames import Frames, decode, resize
from layerscout.errors import DataError

INFO = "meta/info.json"
EPISODES_V2 = "meta/episodes.jsonl"
TRUE_STATE = "observation.environment_state"
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
AGAIN = "the dataset is incomplete; fetch it again"


class LeRobot(Importer):
    """The folder that has ``meta/info.json``."""

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(path, options)
        info = self._info = safety.read_json(safety.inside(path, INFO))
        version = str(info.get("codebase_version"))
        if not version.startswith(("v2.1", "v3.")):
            raise DataError(f"{path} is LeRobot {version}, expected v2.1 or v3", hint="convert it with LeRobot's own converter first")
        self._three = version.startswith("v3.")
        features = info.get("features")
        if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
            raise DataError(f"{path / INFO} does not describe its features", hint=AGAIN)
        self._features: dict[str, dict[str, Any]] = features
        cameras = [name for name, feature in features.items() if feature.get("dtype") in ("video", "image") and not _is_depth(feature)]
        self._camera = choose_camera(options.camera, cameras, path, f"its features are {', '.join(features)}")
        self.fields = [name for name in features if self._is_number(name)]
        self._rate = _number(info.get("fps"), f"{path / INFO}: fps", above=0)
        rows = self._rows_v3() if self._three else self._rows_v2()
        self._rows = {f"episode_{int(row['episode_index']):06d}": row for row in rows}
        if len(self._rows) != info.get("total_episodes"):
            raise DataError(f"{path} describes {len(self._rows)} episodes, {INFO} states {info.get('total_episodes')}", hint=AGAIN)
        self.items = [Item(name, int(row["length"]) - 1) for name, row in sorted(self._rows.items()) if int(row["length"]) > 1]
        self.facts = {"camera": self._camera, "frames_per_second": self._rate, "lerobot_version": version, "robot": info.get("robot_type")}
        if "action" in self.fields and "action" not in options.leave_out:
            self.facts["dropped_last_actions"] = len(self.items)

    @staticmethod
    def recognises(path: Path) -> bool:
        return (path / INFO).is_file()

    def episode(self, item: Item) -> Episode:
        where, row = f"{self.path}, {item.name}", self._rows[item.name]
        number, length = int(row["episode_index"]), item.steps + 1
        kept = [name for name in self.fields if name not in self.options.leave_out]
        names = [*kept, *(name for name in ("timestamp", "frame_index") if name in self._features)]
        images = [self._camera] if self._features[self._camera]["dtype"] == "image" else []
        table = tables.read([self._data_file(row)], where, ["episode_index", *names, *images], [("episode_index", "=", number)])
        if len(table) != length:
            raise DataError(f"{where} has {len(table)} rows, expected {length}", hint=AGAIN)
        columns = {name: tables.values(table, [name], self._shape(name), where) for name in names}
        self._check_times(columns, length, where)
        frames = self._frames(table, row, length, where)
        given = {name: columns.pop(name, None) for name in ("action", "next.reward", "next.done", TRUE_STATE)}
        numbers = {name: columns[name] for name in kept if name in columns}
        fields = Fields(length, given["action"], given["next.reward"], given["next.done"], None, given[TRUE_STATE], numbers)
        return assemble(resize(frames, self.options.size), fields, where)

    def _is_number(self, name: str) -> bool:
        """Tell whether a feature is one number or one row of numbers a frame."""
        kind = str(self._features[name].get("dtype"))
        return kind.startswith(("float", "int", "uint", "bool")) and len(self._shape(name)) < 2 and name not in BOOKKEEPING

    def _shape(self, name: str) -> tuple[int, ...]:
        """Shape of a feature's values; LeRobot stores vectors of one number as plain numbers."""
        shape = self._features[name].get("shape", ())
        if not isinstance(shape, list | tuple) or not all(isinstance(length, int) and length > 0 for length in shape):
            raise DataError(f"{self.path / INFO}: the feature '{name}' has shape {shape!r}", hint=AGAIN)
        return () if tuple(shape) == (1,) else tuple(shape)

    def _check_times(self, columns: dict[str, Array], length: int, where: str) -> None:
        index = columns.pop("frame_index", np.arange(length))
        times = columns.pop("timestamp", index / self._rate)
        if not np.array_equal(index, np.arange(length)) or np.abs(times - index / self._rate).max() > 0.25 / self._rate:
            raise DataError(f"{where}: its frames are not numbered from 0 or not {self._rate:g} a second apart", hint=AGAIN)

    def _frames(self, table: Any, row: dict[str, Any], length: int, where: str) -> Frames:
        if self._features[self._camera]["dtype"] == "image":
            return decode(tables.values(table, [self._camera, "bytes"], (), where), length, where)
        begin = _number(row[f"videos/{self._camera}/from_timestamp"], where) if self._three else 0.0
        return pictures_at(self._video_file(row), begin, self._rate, length, self._shape(self._camera))

    def _data_file(self, row: dict[str, Any]) -> Path:
        return self._file("data_path", row, "data/")

    def _video_file(self, row: dict[str, Any]) -> Path:
        return self._file("video_path", row, f"videos/{self._camera}/")

    def _file(self, template: str, row: dict[str, Any], prefix: str) -> Path:
        number = int(row["episode_index"])
        places: dict[str, int | str] = {"episode_index": number, "video_key": self._camera}
        if self._three:
            places |= {name: int(row[prefix + name]) for name in ("chunk_index", "file_index")}
        else:
            places["episode_chunk"] = number // max(1, int(_number(self._info.get("chunks_size", 1000), f"{INFO}: chunks_size")))
        return safety.inside(self.path, safety.fill_in(str(self._info.get(template)), places))

    def _rows_v2(self) -> list[dict[str, Any]]:
        try:
            rows = [json.loads(line) for line in safety.inside(self.path, EPISODES_V2).read_text().splitlines() if line.strip()]
            return [{"episode_index": int(row["episode_index"]), "length": int(row["length"])} for row in rows]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{self.path / EPISODES_V2} is damaged: {error!r}", hint=AGAIN) from None

    def _rows_v3(self) -> list[dict[str, Any]]:
        files = sorted(path.relative_to(self.path).as_posix() for path in self.path.glob("meta/episodes/*/*.parquet"))
        places = [f"data/{name}" for name in ("chunk_index", "file_index")]
        if self._features[self._camera]["dtype"] == "video":
            places += [f"videos/{self._camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        names = ["episode_index", "length", *places]
        where = f"{self.path / 'meta/episodes'}"
        table = tables.read([safety.inside(self.path, file) for file in files], where, names)
        columns: Sequence[Array] = [tables.values(table, [name], (), where) for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _is_depth(feature: dict[str, Any]) -> bool:
    info = (feature.get("info") or {}) | (feature.get("video_info") or {})
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def _number(value: Any, what: str, above: float = -1) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < 1e9:
        raise DataError(f"{what} is {value!r}, expected a number above {above:g}", hint=AGAIN)
    return float(value)
