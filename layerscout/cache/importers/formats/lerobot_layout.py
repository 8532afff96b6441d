"""The metadata of a LeRobot dataset in, its features and where every episode lies out, looked up and not believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.importers import safety, tables
from layerscout.cache.importers.base import Array
from layerscout.errors import DataError

INFO, EPISODES_V2 = "meta/info.json", "meta/episodes.jsonl"
VERSIONS = ("v2.0", "v2.1", "v3.")
AGAIN = "the dataset is incomplete; fetch it again"


@dataclass
class LeRobotLayout:
    """What ``meta/`` tells: version, features, frames a second, and episode → where its rows and pictures lie."""

    path: Path
    info: dict[str, Any]
    version: str
    features: dict[str, dict[str, Any]]
    rate: float
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    metadata_files: list[str] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> LeRobotLayout:
        """Read what the dataset says of itself; ``find_episodes`` then reads where they lie.

        Raises
        ------
        DataError
            It is of another version, or does not describe its features.
        """
        info = safety.read_json(safety.path_inside(path, INFO))
        version = str(info.get("codebase_version"))
        if not version.startswith(VERSIONS):
            message = f"{path} is LeRobot {version}, expected v2.0, v2.1 or v3"
            raise DataError(message, hint="convert it with LeRobot's own converter first")
        features = info.get("features")
        if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
            raise DataError(f"{path / INFO} does not describe its features", hint=AGAIN)
        return LeRobotLayout(path, info, version, features, as_number(info.get("fps"), f"{path / INFO}: fps", above=0))

    @property
    def three(self) -> bool:
        """Whether the dataset is of version 3, in which many episodes share a file."""
        return self.version.startswith("v3.")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a feature's values; LeRobot stores vectors of one number as plain numbers."""
        shape = self.features[name].get("shape", ())
        if not isinstance(shape, list | tuple) or not all(isinstance(length, int) and length > 0 for length in shape):
            raise DataError(f"{self.path / INFO}: the feature '{name}' has shape {shape!r}", hint=AGAIN)
        return () if tuple(shape) == (1,) else tuple(shape)

    def find_episodes(self, camera: str) -> None:
        """Find where every episode and its pictures from one camera lie.

        Raises
        ------
        DataError
            The metadata are damaged, tell of another number of episodes, or of pictures that two episodes share.
        """
        rows = self._rows_v3(camera) if self.three else self._rows_v2()
        named = {f"episode_{row['episode_index']:06d}": row for row in rows}
        self.rows = dict(sorted(named.items()))
        if len(self.rows) != self.info.get("total_episodes"):
            message = f"{self.path} describes {len(self.rows)} episodes, {INFO} states {self.info.get('total_episodes')}"
            raise DataError(message, hint=AGAIN)
        if self.three and self.features[camera]["dtype"] == "video":
            self._check_windows(camera)

    def data_name(self, row: dict[str, Any]) -> str:
        """Name of the file that has an episode's numbers."""
        return self._name("data_path", row, "data/", "")

    def video_name(self, row: dict[str, Any], camera: str) -> str:
        """Name of the file that has an episode's pictures."""
        return self._name("video_path", row, f"videos/{camera}/", camera)

    def check_times(self, index: Array | None, times: Array | None, length: int, where: str) -> None:
        """Refuse an episode whose frames are not numbered from 0, or not evenly apart in time."""
        index = np.arange(length) if index is None else index
        times = index / self.rate if times is None else times
        near = np.abs(times - index / self.rate) <= 0.25 / self.rate if len(times) == len(index) else np.False_  # no NaN is near
        if not np.array_equal(index, np.arange(length)) or not near.all():
            message = f"{where}: its frames are not numbered from 0 or not {self.rate:g} a second apart"
            raise DataError(message, hint="the times of its rows are not the format's; make it again with LeRobot")

    def _name(self, template: str, row: dict[str, Any], prefix: str, camera: str) -> str:
        number = row["episode_index"]
        places: dict[str, int | str] = {"episode_index": number, "video_key": camera}
        if self.three:
            places |= {name: row[prefix + name] for name in ("chunk_index", "file_index")}
        else:
            places["episode_chunk"] = number // max(1, int(as_number(self.info.get("chunks_size", 1000), f"{INFO}: chunks_size")))
        return safety.fill_template(str(self.info.get(template)), places)

    def _rows_v2(self) -> list[dict[str, Any]]:
        self.metadata_files = [INFO, EPISODES_V2]
        try:
            text = safety.path_inside(self.path, EPISODES_V2).read_text(encoding="utf-8")
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            return [{name: as_whole(row[name], EPISODES_V2) for name in ("episode_index", "length")} for row in rows]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{self.path / EPISODES_V2} is damaged: {error!r}", hint=AGAIN) from None

    def _rows_v3(self, camera: str) -> list[dict[str, Any]]:
        files = sorted(path.relative_to(self.path).as_posix() for path in self.path.glob("meta/episodes/*/*.parquet"))
        self.metadata_files = [INFO, *files]
        places = [f"data/{name}" for name in ("chunk_index", "file_index")]
        if self.features[camera]["dtype"] == "video":
            places += [f"videos/{camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
        names = ["episode_index", "length", *places]
        where = f"{self.path / 'meta/episodes'}"
        table = tables.read_table([safety.path_inside(self.path, file) for file in files], where, names)
        names = [name for name in names if name in table.column_names or not name.endswith("to_timestamp")]
        columns: Sequence[Array] = [
            tables.column_values(table, [name], (), where, AGAIN)
            if name.endswith("timestamp")
            else tables.whole_numbers(table, name, where)
            for name in names
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _check_windows(self, camera: str) -> None:
        """Refuse pictures that two episodes share, or that a video's stated end is too early for."""
        begin, end = (f"videos/{camera}/{name}" for name in ("from_timestamp", "to_timestamp"))
        windows: dict[str, list[tuple[float, float, str]]] = {}
        for name, row in self.rows.items():
            first = as_number(row[begin], f"{self.path}, {name}")
            last = first + row["length"] / self.rate
            if end in row and last > as_number(row[end], f"{self.path}, {name}") + 0.5 / self.rate:
                message = f"{self.path}, {name}: its {row['length']} pictures from {first:.3f} s on end after {row[end]:.3f} s"
                raise DataError(f"{message}, where its window is said to end", hint=AGAIN)
            windows.setdefault(self.video_name(row, camera), []).append((first, last, name))
        for video, found in windows.items():
            found.sort()
            for (_, last, name), (first, _, other) in pairwise(found):
                if first < last - 0.25 / self.rate:
                    message = f"{self.path}: {name} and {other} share pictures of {video}: until {last:.3f} s and from {first:.3f} s on"
                    raise DataError(message, hint="its metadata are wrong; fetch the dataset again, or make it again with LeRobot")


def as_number(value: Any, what: str, above: float = -1) -> float:
    """Return a number of the metadata.

    Raises
    ------
    DataError
        It is no number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < 1e9:
        raise DataError(f"{what} is {value!r}, expected a number above {above:g}", hint=AGAIN)
    return float(value)


def as_whole(value: Any, what: str) -> int:
    """Return a whole number of the metadata.

    Raises
    ------
    DataError
        It is something else, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53 or value != int(value):
        raise DataError(f"{what} holds {value!r}, expected a whole number from 0", hint=AGAIN)
    return int(value)
