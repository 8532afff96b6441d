"""A LeRobot dataset (v2.0, v2.1 or v3: parquet and mp4) in, episodes out.

Row t of an episode is frame t and the action taken there. Nobody recorded what the last action led to, so it is dropped,
unless the task ended with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety, tables
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode, ending_of
from layerscout.cache.importers.base import Array, ForeignEpisode, Importer
from layerscout.cache.importers.columns import as_flags, magnitude
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.formats.lerobot_layout import AGAIN, INFO, LeRobotLayout, as_number
from layerscout.cache.importers.parquet import EpisodeRows, last_values
from layerscout.cache.importers.pictures.compressed import decode_pictures
from layerscout.cache.importers.pictures.frames import Frames, choose_camera, resize
from layerscout.cache.importers.video.decoding import pictures_at
from layerscout.showing import counted

ACTIONS, REWARD, DONE, TRUE_STATE = ("action", "actions"), "next.reward", "next.done", "observation.environment_state"
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")


class LeRobot(Importer):
    """The folder that has ``meta/info.json``."""

    takes = frozenset({"end"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        self._layout = LeRobotLayout.read(self.path)
        features = self._layout.features
        cameras = [name for name, feature in features.items() if feature.get("dtype") in ("video", "image") and not _is_depth(feature)]
        self._camera = choose_camera(config.camera, cameras, self.path, f"its features are {', '.join(features)}")
        self._layout.find_episodes(self._camera)
        numbers = [name for name in features if self._is_number(name)]
        self.roles = {
            "actions": self.resolve_actions(ACTIONS, numbers),
            "rewards": self.resolve_reward(REWARD, numbers),
            "ends": self.resolve_ends((DONE,), numbers),
            "state": (TRUE_STATE,) if TRUE_STATE in numbers else (),
        }
        taken = {name for own in self.roles.values() for name in own}
        self.fields = [name for name in numbers if name not in taken and len(self._shape(name)) < 2]
        for name in features:
            if name not in taken and name not in self.fields and name not in BOOKKEEPING and name != self._camera:
                self.not_taken[name] = (
                    "another camera" if name in cameras else f"{features[name].get('dtype')} {features[name].get('shape')}"
                )
        wanted = [name for name in (*taken, *self.fields) if self.wants(name)]
        images = [self._camera] if self._is_image() else []
        self._columns = [*wanted, *(name for name in ("timestamp", "frame_index") if name in features)]
        self._rows = EpisodeRows([*self._columns, *images])
        self.episodes = self._look()
        self.facts = {
            "camera": self._camera,
            "frames_per_second": self._layout.rate,
            "lerobot_version": self._layout.version,
            "robot": self._layout.info.get("robot_type"),
        }

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where ``path`` has ``meta/info.json``, which every version of the format writes."""
        return (path / INFO).is_file()

    def files(self) -> Sequence[str]:
        """Files of the metadata, then the data and video files of the first ``--episodes`` episodes, each named once."""
        read = [name for item in self.episodes[: self.config.episodes] for name in self.files_of(item)]
        return [*self._layout.metadata_files, *dict.fromkeys(read)]

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """The parquet file with the episode's rows and, unless pictures lie in that file too, the video of its chosen camera."""
        row = self._layout.rows[item.name]
        return [self._layout.data_name(row), *([] if self._is_image() else [self._layout.video_name(row, self._camera)])]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Read one episode's rows and the frames of its part of the video, resized to ``frame_size``.

        Raises
        ------
        DataError
            The table has another number of rows than the metadata say, times do not fit the rate, or the video ends too early.
        """
        where, row = f"{self.path}, {item.name}", self._layout.rows[item.name]
        length = row["length"]
        data = safety.path_inside(self.path, self._layout.data_name(row))
        table = self._rows.read(data, row["episode_index"], where)
        if len(table) != length:
            raise safety.incomplete(f"{where} has {counted(len(table), 'row')}, expected {length}")
        columns = {name: self._column(table, name, where) for name in self._columns}
        self._layout.check_times(columns.pop("frame_index", None), columns.pop("timestamp", None), length, where)
        frames = self._frames(table, row, length, where)

        def role(name: str) -> tuple[str, Array] | None:
            own = [one for one in self.roles[name] if one in columns and self.wants(one)]
            return (own[0], columns[own[0]]) if own else None

        ends = role("ends")
        fields = ForeignFields(
            length,
            [(name, columns[name]) for name in self.roles["actions"] if self.wants(name)],
            role("rewards"),
            ends and ends[1],
            None,
            role("state"),
            {name: columns[name] for name in self.fields if name in columns},
        )
        return assemble_episode(resize(frames, self.config.frame_size), fields, where, self.config, self.exact)

    def largest(self, name: str) -> float | None:
        """The largest magnitude over a column of whole numbers in all data files; None for a column of another type."""
        if not str(self._layout.features[name].get("dtype")).startswith(("int", "uint")):
            return None
        reach = 0.0
        for path in self._data_files():
            table = tables.read_table([path], f"{path}", [name])
            reach = max(reach, magnitude(self._column(table, name, f"{path}")))
        return reach

    def _look(self) -> list[ForeignEpisode]:
        """Tell how many steps every episode will have, and what becomes of its last one."""
        columns = [name for role in ("ends", "rewards") for name in self.roles[role] if self.wants(name)]
        lasts = last_values(self._data_files(), columns, f"{self.path}") if columns else {}
        found = []
        for name, row in self._layout.rows.items():
            last, length = lasts.get(row["episode_index"], {}), row["length"]
            terminated = any(bool(as_flags(last[one].reshape(1, -1)).any()) for one in self.roles["ends"] if one in last)
            steps, ending = ending_of(length, length, terminated)
            rewarded = any(bool(np.any(last[one] != 0)) for one in self.roles["rewards"] if one in last)
            found.append(ForeignEpisode(name, steps, ending, rewarded and ending == "dropped"))
        self.too_short = sum(item.steps < 1 for item in found)
        return [item for item in found if item.steps > 0]

    def _data_files(self) -> list[Path]:
        names = [self._layout.data_name(row) for row in list(self._layout.rows.values())[: self.config.episodes]]
        return [safety.path_inside(self.path, name) for name in dict.fromkeys(names)]

    def _is_image(self) -> bool:
        return bool(self._layout.features[self._camera]["dtype"] == "image")

    def _is_number(self, name: str) -> bool:
        kind = str(self._layout.features[name].get("dtype"))
        return kind.startswith(("float", "int", "uint", "bool")) and name not in BOOKKEEPING

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._layout.shape(name)

    def _column(self, table: Any, name: str, where: str) -> Array:
        return tables.column_values(table, [name], self._shape(name), where, self.config.again("--leave-out", name))

    def _frames(self, table: Any, row: dict[str, Any], length: int, where: str) -> Frames:
        if self._is_image():
            return decode_pictures(tables.column_values(table, [self._camera, "bytes"], (), where, AGAIN, packed=True), length, where)
        video = safety.path_inside(self.path, self._layout.video_name(row, self._camera))
        begin = as_number(row.get(f"videos/{self._camera}/from_timestamp", 0.0), where)
        return pictures_at(video, begin, self._layout.rate, length, self._shape(self._camera))


def _is_depth(feature: dict[str, Any]) -> bool:
    info = (feature.get("info") or {}) | (feature.get("video_info") or {})
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))
