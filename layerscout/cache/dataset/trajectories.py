"""Episodes in, one HDF5 file out, and back. The content digest tells two datasets apart, wherever and however they lie."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64, UInt8

from layerscout.cache.dataset.episode_groups import AGAIN, check_group, damage_named, digest_of_group, read_episode, read_field, source_of
from layerscout.cache.dataset.episodes import Episode, Fields
from layerscout.cache.dataset.hdf5 import guarded_open, own_member
from layerscout.cache.dataset.hdf5_seal import is_sealed
from layerscout.cache.dataset.recording import FORMAT, GROUP, TrajectoryWriter, check_attributes, episode_name
from layerscout.cache.file_state import FileState
from layerscout.errors import DataError

__all__ = ["BoundDataset", "Episode", "Trajectories", "TrajectoryWriter"]


@dataclass(frozen=True)
class BoundDataset:
    """What binds later readers to the dataset that a plan saw: where it lay, the digest of its content, and the state of its file."""

    path: Path
    digest: str
    state: FileState


class Trajectories:
    """A finished trajectory file, open for reading; use it as a context manager.

    Opening checks the structure of every episode (fields, types, shapes); reading an episode checks its bytes.

    Parameters
    ----------
    path
        The file.
    planned
        What the file must be: its state, else (when the file was copied, or is seen through another machine) its digest is
        compared before anything is read.

    Attributes
    ----------
    lengths
        Steps of every episode.
    frame_shape
        Height, width, channels.
    has_actions, action_dimensions
        Dimensions are None when the actions are discrete or absent.
    has_rewards, has_state, state_width
        Which fields there are.
    extra
        Name of every further array → its width, and whether it has one row a frame (else one a step).
    types
        Type of the numbers of ``state`` and of every further array: float32, or a wider one where float32 would change them.

    Raises
    ------
    DataError
        The file is missing, truncated, not of this format, or an episode breaks the format (the message names file and field);
        or it is not the dataset that was planned.
    """

    def __init__(self, path: Path | str, planned: BoundDataset | None = None) -> None:
        self.path = Path(path)
        self._file, self._state = _open(self.path)
        try:
            with damage_named(str(self.path)):
                self.attributes: dict[str, Any] = _attributes(self._file, self.path)
                self._count = self._count_episodes()
                self._check_structure()
            if planned is not None and self._state != planned.state:
                self._require(planned)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Trajectories:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the HDF5 file; nothing can be read from it afterwards."""
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def episode(self, index: int) -> Episode:
        """Return one episode whole, verified against the digest written with it."""
        with damage_named(self._where(index)):
            return read_episode(self._group(index), self._where(index))

    def frames(self, index: int, start: int, stop: int) -> UInt8[np.ndarray, "frame height width channel"]:
        """Return the frames ``[start, stop)`` of an episode, reading no others.

        Raises
        ------
        DataError
            The frames are outside the episode, or cannot be decompressed.
        """
        group, available = self._group(index), int(self.lengths[index]) + 1
        if not 0 <= start <= stop <= available:
            raise DataError(f"{self._where(index)}: frames {start} to {stop}", hint=f"it has frames 0 to {available}")
        return read_field(group, "frames", self._where(index), slice(start, stop))

    def source(self, index: int) -> str:
        """Return where an imported episode came from (a file, a group of a file), or an empty string."""
        return source_of(self._group(index))

    def bound(self) -> BoundDataset:
        """Return what binds later readers to this very dataset; every array is read for its digest.

        Raises
        ------
        DataError
            An episode is damaged, or the file changed while it was read.
        """
        bound = BoundDataset(self.path, self.digest(), self._state)
        self.require_unchanged()
        return bound

    def require_unchanged(self) -> None:
        """Refuse a file that is not the one that was opened any more, or that was written to since.

        Raises
        ------
        DataError
            Its inode, size, time of writing or time of change is another, or it is gone.
        """
        try:
            now = FileState.of(self.path)
        except FileNotFoundError:
            now = None
        if now != self._state:
            hint = "run the same command again when nobody writes the file; what was finished before is kept"
            raise DataError(f"{self.path} was changed or replaced while it was read", hint=hint)

    def _require(self, planned: BoundDataset) -> None:
        if self.digest() != planned.digest:
            message = f"{self.path} is not the dataset that was planned: its digest is {self.digest()}, planned {planned.digest}"
            raise DataError(message, hint="put the planned file back, or run the same command again to plan anew")
        self.require_unchanged()

    def digest(self) -> str:
        """Return "sha256:..." over the episodes' digests in order, after reading and verifying every array.

        It depends on the arrays alone: not on the path, the attributes, the compression or the time of writing.
        """
        return self._digest

    def stated_digest(self) -> str:
        """Return the digest that the episodes state, without reading an array: equal to ``digest()`` where nothing is damaged."""
        total = hashlib.sha256(FORMAT.encode())
        for index in range(len(self)):
            total.update(digest_of_group(self._group(index)))
        return "sha256:" + total.hexdigest()

    @cached_property
    def _digest(self) -> str:
        for index in range(len(self)):
            self.episode(index)  # which raises unless the digest written with it is that of its arrays
        return self.stated_digest()

    def _group(self, index: int) -> h5py.Group:
        if not 0 <= index < len(self):
            raise DataError(f"{self.path} has no episode {index}", hint=f"it has episodes 0 to {len(self) - 1}")
        return self._file[GROUP][episode_name(index)]

    def _where(self, index: int) -> str:
        return f"{self.path}, episode {index}"

    def _count_episodes(self) -> int:
        episodes = own_member(self._file, GROUP, str(self.path))
        if not isinstance(episodes, h5py.Group) or not len(episodes):
            raise DataError(f"{self.path} has no episodes", hint=AGAIN)
        if len(episodes) > self._file.attrs["episodes"]:
            raise DataError(f"{self.path} holds {len(episodes)} episodes, it states {self._file.attrs['episodes']}", hint=AGAIN)
        for name in map(episode_name, range(self._file.attrs["episodes"])):
            if not isinstance(own_member(episodes, name, str(self.path)), h5py.Group):
                raise DataError(f"{self.path} misses the episode '{GROUP}/{name}'", hint=AGAIN)
        return len(episodes)

    def _check_structure(self) -> None:
        lengths = []
        first: Fields | None = None
        for index in range(len(self)):
            steps, fields = check_group(self._group(index), self._where(index))
            first = first or fields
            if fields != first:
                message = f"{self._where(index)} has {fields}; episode 0 has {first}"
                raise DataError(message, hint="all episodes of a file have the same fields and frame shape")
            lengths.append(steps)
        assert first is not None
        self.lengths: Int64[np.ndarray, " episode"] = np.array(lengths, dtype=np.int64)
        self.fields = first
        self.frame_shape: tuple[int, int, int] = (first.frame_shape[0], first.frame_shape[1], first.frame_shape[2])
        self.has_actions, self.action_dimensions = first.has_actions, first.action_dimensions
        self.has_rewards = first.has_rewards
        self.has_state, self.state_width = first.state_width is not None, first.state_width
        self.extra = {name: (width, per_frame) for name, width, per_frame, _ in first.extra}
        self.types: dict[str, Any] = {"state": first.state_type} | {name: kind for name, _, _, kind in first.extra}


def _open(path: Path) -> tuple[h5py.File, FileState]:
    try:
        state = FileState.of(path)
        file = guarded_open(path, AGAIN)
        if FileState.of(path) == state:
            return file, state
    except FileNotFoundError:
        raise DataError(f"no trajectory file {path}", hint="make one with layerscout collect") from None
    file.close()
    raise DataError(f"{path} was replaced while it was opened", hint="run the same command again when nobody writes the file")


def _attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    if file.attrs.get("format") != FORMAT:
        raise DataError(f"{path} has format {file.attrs.get('format')!r}, expected '{FORMAT}'", hint=AGAIN)
    stated = _json_attribute(file, path, "attributes") | (_json_attribute(file, path, "outcome") if "outcome" in file.attrs else {})
    if file.userblock_size and not is_sealed(path):
        raise DataError(f"{path} is damaged: the line before its content is no checksum", hint=AGAIN)
    check_attributes(file, str(path))
    return stated


def _json_attribute(file: h5py.File, path: Path, name: str) -> dict[str, Any]:
    try:
        attributes = json.loads(file.attrs[name])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: root attribute '{name}' is not JSON: {error!r}", hint=AGAIN) from None
    if not isinstance(attributes, dict):
        raise DataError(f"{path}: root attribute '{name}' is not a table", hint=AGAIN)
    return attributes
