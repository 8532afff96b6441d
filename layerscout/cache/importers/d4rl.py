"""Flat HDF5 files with images (D4RL's layout, or V-D4RL's) in, episodes out: one after the other, cut where a flag says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import Fields, as_flags, assemble, is_numeric
from layerscout.cache.importers.base import Array, Importer, Item, Options, choose_camera
from layerscout.cache.importers.frames import as_frames, picture_shape, resize
from layerscout.errors import DataError

SUFFIXES = (".hdf5", ".h5")
D4RL = ("observations", "actions", "rewards", "terminals")
V_D4RL = ("observation", "action", "reward", "step_type")
FIRST = 0  # value of step_type


@dataclass(frozen=True)
class Piece:
    """Rows ``[start, stop)`` of a file: one episode. ``complete``: the file tells the frame after the last action."""

    file: str
    start: int
    stop: int
    leading: bool  # V-D4RL's layout
    complete: bool


class D4rl(Importer):
    """One file, or a folder of files (shards), of either layout.

    D4RL: row t is frame t, the action taken there and its reward; ``next_observations`` tells the frame after the last action,
    without them the last action is dropped. V-D4RL: row t is frame t and the action and reward that led to it.
    """

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(path, options)
        self._root = path if path.is_dir() else path.parent
        self.fields = sorted({field for name in _files(path) for field in _infos(self._root / name)})
        self._pieces: dict[str, Piece] = {}
        items, dropped, short = [], 0, 0
        for name in _files(path):
            with safety.open_hdf5(safety.inside(self._root, name)) as file:
                where = str(self._root / name)
                leading = V_D4RL[0] in file
                observations = self._pictures(file, where)
                complete = leading or safety.array(file, "next_observations", where) is not None
                for start, stop in _cuts(file, leading, observations.shape[0], where):
                    steps = stop - start - (leading or not complete)
                    if steps < 1:
                        short += 1
                        continue
                    dropped += not complete
                    items.append(Item(f"{name}[{start}:{stop}]", steps))
                    self._pieces[items[-1].name] = Piece(name, start, stop, leading, complete)
        self.items = items
        layouts = {"v-d4rl" if piece.leading else "d4rl" for piece in self._pieces.values()}
        self.facts = {"layout": ", ".join(sorted(layouts))}
        self.facts |= {"dropped_last_actions": dropped} if dropped else {}
        self.facts |= {"episodes_too_short": short} if short else {}

    @staticmethod
    def recognises(path: Path) -> bool:
        files = _files(path)
        if not files:
            return False
        with safety.open_hdf5(path / files[0] if path.is_dir() else path) as file:
            return all(name in file for name in D4RL) or all(name in file for name in V_D4RL)

    def episode(self, item: Item) -> Episode:
        piece = self._pieces[item.name]
        where = f"{self._root / piece.file}, rows {piece.start} to {piece.stop}"
        with safety.open_hdf5(safety.inside(self._root, piece.file)) as file:
            return self._leading_episode(file, piece, where) if piece.leading else self._flat_episode(file, piece, where)

    def _flat_episode(self, file: h5py.File, piece: Piece, where: str) -> Episode:
        rows = slice(piece.start, piece.stop)
        frames = safety.rows_of(self._pictures(file, where), rows, where)
        if piece.complete:
            frames = np.concatenate([frames, _rows(file, "next_observations", slice(piece.stop - 1, piece.stop), where)])
        kept = {name: _rows(file, name, rows, where) for name in self.fields if name not in self.options.leave_out}
        timeouts = safety.array(file, "timeouts", where)
        fields = Fields(
            piece.stop - piece.start,
            _rows(file, "actions", rows, where),
            _rows(file, "rewards", rows, where),
            _rows(file, "terminals", rows, where),
            None if timeouts is None else safety.rows_of(timeouts, rows, where),
            numbers=kept,
        )
        return assemble(resize(as_frames(frames, where), self.options.size), fields, where)

    def _leading_episode(self, file: h5py.File, piece: Piece, where: str) -> Episode:
        frames = safety.rows_of(self._pictures(file, where), slice(piece.start, piece.stop), where)
        rows = slice(piece.start + 1, piece.stop)  # the first row's action led to nothing
        discount = safety.array(file, "discount", where)
        terminated = None if discount is None else safety.rows_of(discount, rows, where) == 0
        fields = Fields(
            piece.stop - piece.start - 1, _rows(file, "action", rows, where), _rows(file, "reward", rows, where), terminated=terminated
        )
        return assemble(resize(as_frames(frames, where), self.options.size), fields, where)

    def _pictures(self, file: h5py.File, where: str) -> h5py.Dataset:
        name = V_D4RL[0] if V_D4RL[0] in file else D4RL[0]
        found = safety.array(file, name, where)
        if found is None:
            raise DataError(f"{where} misses '{name}'", hint="the file is incomplete; fetch it again")
        pictures = [name] if found.dtype == np.uint8 and picture_shape(found.shape[1:]) else []
        choose_camera(self.options.camera, pictures, self.path, f"its observations are {found.dtype} {found.shape[1:]}")
        return found


def _files(path: Path) -> list[str]:
    if path.is_file():
        return [path.name] if h5py.is_hdf5(path) else []
    return sorted(found.name for found in path.glob("*") if found.suffix in SUFFIXES and h5py.is_hdf5(found)) if path.is_dir() else []


def _infos(path: Path) -> list[str]:
    """Names of the further numbers of every step."""
    with safety.open_hdf5(path) as file:
        infos = safety.member(file, "infos", str(path))
        found = {name: safety.array(infos, name, str(path)) for name in infos} if isinstance(infos, h5py.Group) else {}
        count = len(file["rewards"]) if "rewards" in file else -1
        fit = (name for name, field in found.items() if field is not None and is_numeric(field.dtype, field.shape) and len(field) == count)
        return [f"infos/{name}" for name in fit]


def _rows(file: h5py.File, name: str, rows: slice, where: str) -> Array:
    found = safety.array(file, name, where)
    if found is None or not found.ndim or found.shape[0] < rows.stop:
        raise DataError(f"{where} has no '{name}' there", hint="the file is incomplete; fetch it again")
    return safety.rows_of(found, rows, where)


def _cuts(file: h5py.File, leading: bool, count: int, where: str) -> list[tuple[int, int]]:
    """Return the rows ``[start, stop)`` of every episode; what follows the last flag is an episode that was cut off."""
    if leading:
        kinds = _rows(file, "step_type", slice(0, count), where)
        starts = np.flatnonzero(kinds == FIRST)
        if not len(starts) or starts[0] != 0:
            raise DataError(f"{where} does not begin with the first step of an episode", hint="import the folder of whole shards")
        return list(zip(starts.tolist(), [*starts[1:].tolist(), count], strict=True))
    ends = as_flags(_rows(file, "terminals", slice(0, count), where))
    if "timeouts" in file:
        ends |= as_flags(_rows(file, "timeouts", slice(0, count), where))
    stops = (np.flatnonzero(ends) + 1).tolist()
    stops += [count] if not stops or stops[-1] != count else []
    return list(zip([0, *stops[:-1]], stops, strict=True))
