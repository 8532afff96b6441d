"""Flat HDF5 files with images (D4RL's layout, or V-D4RL's) in, episodes out: one after the other, cut where a flag says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode, ending_of
from layerscout.cache.importers.base import Array, ForeignEpisode, Importer
from layerscout.cache.importers.columns import as_flags, is_numeric
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.formats.flat_rows import FLAGS, INCOMPLETE, cut_rows, find_ends, rows_there
from layerscout.cache.importers.hdf5 import every_array, find_array, join_rows, largest_whole, open_hdf5, rows_of
from layerscout.cache.importers.pictures.frames import FieldKind, as_frames, choose_camera, find_cameras, resize
from layerscout.errors import DataError

SUFFIXES = (".hdf5", ".h5")
D4RL = ("observations", "actions", "rewards", "terminals")
V_D4RL = ("observation", "action", "reward", "step_type")
FIRST = 0  # value of step_type


@dataclass(frozen=True)
class FlatEpisode:
    """Rows ``[start, stop)`` of a file: one episode. ``complete``: the file tells the frame after the last action."""

    file: str
    start: int
    stop: int
    complete: bool


class D4rl(Importer):
    """One file, or a folder of files (shards), of either layout.

    D4RL: row t is frame t, the action taken there and its reward; ``next_observations`` tells the frame after the last action,
    without them the last action is dropped unless the task ended with it. V-D4RL: row t is frame t and the action and reward
    that led to it.
    """

    takes = frozenset({"end", "stack", "episode_length"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        self._names = _files(self.path)
        if not self._names:
            raise DataError(f"{self.path} has no HDF5 files", hint="give the file or the folder of shards")
        self._pieces: dict[str, FlatEpisode] = {}
        episodes: list[ForeignEpisode] = []
        layouts = set()
        for name in self._names:
            with open_hdf5(safety.path_inside(self.root, name)) as file:
                where = str(self.root / name)
                leading = V_D4RL[0] in file
                layouts.add("v-d4rl" if leading else "d4rl")
                if name == self._names[0]:
                    self._find_fields(file, leading, where)
                count = self._pictures(file, where).shape[0]
                episodes += self._leading_episodes(file, name, count) if leading else self._flat_episodes(file, name, count)
        self.episodes = episodes
        self.facts = {"layout": ", ".join(sorted(layouts))}

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where the first HDF5 file at ``path`` has ``observations`` and ``actions``, or all arrays of V-D4RL."""
        files = _files(path)
        if not files:
            return False
        with open_hdf5(path / files[0] if path.is_dir() else path) as file:
            flat = find_array(file, D4RL[0], str(path)) is not None and "actions" in file
            return flat or all(name in file for name in V_D4RL)

    def files(self) -> Sequence[str]:
        """Every HDF5 file of the source; one file may hold many episodes."""
        return self._names

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """The one file that the episode's rows are cut from; an episode never goes on in the next shard."""
        return [self._pieces[item.name].file]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Read the rows of one episode; in D4RL's layout the frame after the last action comes from ``next_observations``.

        Raises
        ------
        DataError
            An array is missing, damaged, or has fewer rows than the flags say.
        BudgetError
            It would not fit into memory.
        """
        piece = self._pieces[item.name]
        where = f"{self.root / piece.file}, rows {piece.start} to {piece.stop}"
        with open_hdf5(safety.path_inside(self.root, piece.file)) as file:
            leading = V_D4RL[0] in file
            frames = rows_of(self._pictures(file, where), slice(piece.start, piece.stop), where)
            if not leading and piece.complete:
                last = rows_there(file, "next_observations", slice(piece.stop - 1, piece.stop), where)
                frames = join_rows(frames, last, "observations", where, INCOMPLETE)
            fields = self._fields_of(file, piece, leading, where)
        frames = resize(as_frames(frames, where, self.config, self.scale), self.config.frame_size)
        return assemble_episode(frames, fields, where, self.config, self.exact)

    def largest(self, name: str) -> float | None:
        """The largest magnitude over the array's values in all shards; None where one of them does not hold whole numbers."""
        found: list[float | None] = []
        for file_name in self._names:
            with open_hdf5(safety.path_inside(self.root, file_name)) as file:
                found.append(largest_whole(file, [name], file_name))
        whole = [one for one in found if one is not None]
        return max(whole) if whole and len(whole) == len(found) else None

    def _find_fields(self, file: h5py.File, leading: bool, where: str) -> None:
        """Learn from the first file which fields there are and what they are taken for."""
        usual = V_D4RL if leading else D4RL
        count = self._pictures(file, where).shape[0]
        found = dict(every_array(file, where))
        rows = [name for name, field in found.items() if field.ndim and field.shape[0] == count and field.dtype.kind in "fiub"]
        for role, name in (("actions", usual[1]), ("rewards", usual[2])):
            if name in found and found[name].ndim and found[name].shape[0] != count and self.wants(name) and self.wants(role):
                message = f"{where}: '{name}' has {found[name].shape[0]} rows, its observations {count}"
                raise DataError(message, hint=self.config.again("--leave-out", role))
        self.roles = {
            "actions": self.resolve_actions((usual[1],), rows),
            "rewards": self.resolve_reward(usual[2], rows),
            "ends": self._ends(leading, rows),
        }
        taken = {name for own in self.roles.values() for name in own} | {*usual, "next_observations", "timeouts", "discount"}
        infos = [name for name in rows if name.startswith("infos/") and name not in taken]
        self.fields = [] if leading else sorted(name for name in infos if is_numeric(found[name].dtype, found[name].shape))
        self.not_taken = {
            name: f"{field.dtype} {field.shape[1:]}" if field.ndim else f"{field.dtype}, one value"
            for name, field in found.items()
            if name not in self.fields and (name not in taken or (name in (usual[1], usual[2]) and name not in rows))
        }

    def _ends(self, leading: bool, rows: list[str]) -> tuple[str, ...]:
        """The fields that tell of ends; of flat files, ends by time beside those of the task."""
        own = self.resolve_ends(("discount",) if leading else FLAGS, rows)
        return own if leading else tuple(dict.fromkeys([*own, *(FLAGS[1:] if FLAGS[1] in rows else ())]))

    def _flat_episodes(self, file: h5py.File, name: str, count: int) -> list[ForeignEpisode]:
        where = str(self.root / name)
        terminal = self.config.end or FLAGS[0]
        ends, notes = find_ends(file, terminal, count, where)
        flagged = self.wants(terminal) and terminal in file
        terminated = as_flags(rows_there(file, terminal, slice(0, count), where)) if flagged else np.zeros(count, bool)
        complete = find_array(file, "next_observations", where) is not None
        if notes and self.config.episode_length is None:
            self.notes.append(f"{where}: {notes}; {self.config.again('--episode-length', 'N')} cuts after N rows")
        rewards = self._rewards(file, slice(0, count), where)
        found = []
        for start, stop in cut_rows(ends, count, self.config.episode_length):
            steps, ending = ending_of(stop - start + complete, stop - start, bool(terminated[stop - 1]))
            lost = ending == "dropped" and rewards is not None and bool(np.any(rewards[stop - 1] != 0))
            found += self._piece(FlatEpisode(name, start, stop, complete), steps, ending, lost)
        return found

    def _leading_episodes(self, file: h5py.File, name: str, count: int) -> list[ForeignEpisode]:
        where = str(self.root / name)
        starts = np.flatnonzero(rows_there(file, "step_type", slice(0, count), where).reshape(count, -1)[:, 0] == FIRST)
        if not len(starts) or starts[0] != 0:
            raise DataError(f"{where} does not begin with the first step of an episode", hint="import the folder of whole shards")
        begins = np.zeros(count, bool)
        begins[starts[1:] - 1] = True  # the row before a first one is a last one
        cuts = cut_rows(begins, count, None if self.config.episode_length is None else self.config.episode_length + 1)
        return [found for start, stop in cuts for found in self._piece(FlatEpisode(name, start, stop, True), stop - start - 1)]

    def _piece(self, piece: FlatEpisode, steps: int, ending: str = "whole", lost: bool = False) -> list[ForeignEpisode]:
        """The episode of a piece, in a list; an empty one when it has no step, which is counted."""
        if steps < 1:
            self.too_short += 1
            return []
        item = ForeignEpisode(f"{piece.file}[{piece.start}:{piece.stop}]", steps, ending, lost)  # type: ignore[arg-type]
        self._pieces[item.name] = piece
        return [item]

    def _fields_of(self, file: h5py.File, piece: FlatEpisode, leading: bool, where: str) -> ForeignFields:
        rows = slice(piece.start + leading, piece.stop)  # of leading rows, the first one's action led to nothing
        flags = {name: rows_there(file, name, rows, where) for name in self.roles["ends"] if name in file and self.wants(name)}
        terminated = ~as_flags(flags["discount"]) if "discount" in flags else flags.get(self.config.end or FLAGS[0])
        actions = [name for name in self.roles["actions"] if self.wants(name)]
        rewards = self._rewards(file, rows, where)
        return ForeignFields(
            rows.stop - rows.start,
            [(name, rows_there(file, name, rows, where)) for name in actions],
            None if rewards is None else (self.roles["rewards"][0], rewards),
            terminated,
            flags.get("timeouts"),
            numbers={name: rows_there(file, name, rows, where) for name in self.fields if self.wants(name)},
        )

    def _rewards(self, file: h5py.File, rows: slice, where: str) -> Array | None:
        names = [name for name in self.roles["rewards"] if self.wants(name)]
        return rows_there(file, names[0], rows, where) if names else None

    def _pictures(self, file: h5py.File, where: str) -> h5py.Dataset:
        name = V_D4RL[0] if V_D4RL[0] in file else D4RL[0]
        found = find_array(file, name, where)
        if found is None or not found.ndim:
            raise DataError(f"{where} misses '{name}'", hint=INCOMPLETE)
        kind = FieldKind(found.dtype, found.shape[1:])
        choose_camera(self.config.camera, find_cameras({name: kind}, self.config), self.path, f"its observations are {kind}")
        return found


def _files(path: Path) -> list[str]:
    if path.is_file():
        return [path.name] if h5py.is_hdf5(path) else []
    return sorted(found.name for found in path.glob("*") if found.suffix in SUFFIXES and h5py.is_hdf5(found)) if path.is_dir() else []
