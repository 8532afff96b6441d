"""Episodes one by one in, one finished trajectory file out; a killed recording keeps every part it completed."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py

from layerscout.cache.dataset.episode_groups import AGAIN, check_group, source_of, write_episode
from layerscout.cache.dataset.episodes import Episode, Fields, check_episode
from layerscout.cache.dataset.hdf5 import guarded_open, plain_cause
from layerscout.cache.dataset.hdf5_output import write_large, write_through_memory
from layerscout.cache.durable import sweep_temporaries, write_atomic
from layerscout.cache.identity import plain_json
from layerscout.cache.records.making import COMMAND_NAME
from layerscout.errors import DataError, UsageError, shortage

FORMAT = "layerscout-trajectories/1"
GROUP = "episodes"
ATTRIBUTES_DIGEST = "sha256"
ROOM_FOR_NAMES = 4096  # bytes of structure that one more episode may take in the whole file


def attributes_digest(file: h5py.File) -> str:
    """Return the sha256 over what a file says about itself: its format, its attributes, how the recording ended, how many episodes."""
    statements = {name: str(file.attrs[name]) for name in ("format", "attributes", "outcome", "episodes") if name in file.attrs}
    return hashlib.sha256(json.dumps(statements, sort_keys=True).encode()).hexdigest()


def check_attributes(file: h5py.File, where: str) -> None:
    """Compare a file's attributes with their digest; a file of an older version has none.

    Raises
    ------
    DataError
        They are not those that were written.
    """
    stated = file.attrs.get(ATTRIBUTES_DIGEST)
    if stated is None and file.userblock_size == 0:
        return
    if stated != attributes_digest(file):
        raise DataError(f"{where} is damaged: its attributes do not have the sha256 it states", hint=AGAIN)


def episode_name(index: int) -> str:
    """The group's name of six digits or more, so that names sort as numbers do up to a million episodes."""
    return f"{index:06d}"


class TrajectoryWriter:
    """Takes episodes one by one and leaves one trajectory file. Made again with the same path and attributes, it continues after the last safe part.

    Parameters
    ----------
    path
        The file to make.
    attributes
        Plain JSON data that says how the episodes came to be (environment, action_count, policy, seed, ...).
    part_episodes
        Episodes that are made safe together; at most so many are lost in a kill.
    command
        The command that makes the file; it is kept beside the parts until they are merged, for whoever finds them.

    Raises
    ------
    UsageError
        The path holds episodes that were recorded with other attributes.
    DataError
        A part from before is damaged, or an attribute is not plain JSON data.
    """

    def __init__(self, path: Path | str, attributes: Mapping[str, Any], part_episodes: int = 64, command: str = "") -> None:
        self.path = Path(path)
        self.part_episodes = part_episodes
        self._command = command
        self._spelled = plain_json(dict(attributes), "the attributes")
        self._parts = self.path.with_name(f"{self.path.name}.parts")
        self._waiting: list[tuple[Episode, str]] = []
        self._fields: Fields | None = None  # what all episodes have in common
        self.episodes, self.steps = 0, 0
        self.sources: list[str] = []  # of the safe episodes; empty strings where none was given
        self.finished = self.path.exists()
        sweep_temporaries(self.path.parent, f"{glob.escape(self.path.name)}.*")
        if self.finished:
            shutil.rmtree(self._parts, ignore_errors=True)  # killed between the rename and the clean-up
            self._count(self.path)
        else:
            sweep_temporaries(self._parts)
            try:
                for part in self._existing():
                    self._count(part)
            except FileNotFoundError:
                if not self.path.exists():
                    raise
                self._take_finished()

    def append(self, episode: Episode, source: str = "") -> None:
        """Take one episode; it is safe once ``episodes`` counts it.

        Parameters
        ----------
        source
            Where an imported episode came from, for people and for continuing; it does not enter the digest.

        Raises
        ------
        DataError
            The episode breaks the format or does not go with those before it.
        UsageError
            The recording is finished.
        """
        if self.finished:
            raise UsageError(f"{self.path} is finished with {self.episodes} episodes", hint="choose another path, or delete the file")
        where = f"{self.path}, episode {self.episodes + len(self._waiting)}"
        check_episode(episode, where)
        self._agree(episode.fields(), where)
        self._waiting.append((episode, source))
        if len(self._waiting) >= self.part_episodes:
            self.flush()

    def flush(self) -> None:
        """Make everything taken so far safe on disk."""
        if not self._waiting:
            return
        self._parts.mkdir(parents=True, exist_ok=True)
        if self._command:
            write_atomic(self._parts / COMMAND_NAME, f"{self._command}\n".encode())

        def fill(file: h5py.File) -> None:
            for offset, (episode, source) in enumerate(self._waiting):
                write_episode(file[GROUP], episode_name(self.episodes + offset), episode, source)

        write_through_memory(self._parts / f"{episode_name(self.episodes)}.h5", self._framed(fill))
        self.episodes += len(self._waiting)
        self.steps += sum(episode.steps for episode, _ in self._waiting)
        self.sources += [source for _, source in self._waiting]
        self._waiting.clear()

    def commit(self, outcome: Mapping[str, Any] | None = None) -> Path:
        """Merge all parts into the file, without compressing anything again, and return its path.

        Parameters
        ----------
        outcome
            Plain JSON data that only the end of the recording could tell; readers see it among the attributes.

        Raises
        ------
        DataError
            There is no episode, or ``outcome`` is not plain JSON data.
        UsageError
            Another process finished another recording to the same path meanwhile. One that finished this very recording is no error.
        """
        if self.finished:
            return self.path
        self.flush()
        if not self.episodes:
            raise DataError(f"no episode was recorded for {self.path}", hint="ask for more steps")
        spelled = plain_json(dict(outcome), "the outcome") if outcome else None

        parts = self._existing()
        try:
            size = sum(part.stat().st_size for part in parts) + ROOM_FOR_NAMES * (self.episodes + len(parts) + 1)

            def fill(file: h5py.File, require: Callable[[], None]) -> None:
                for part in parts:
                    with guarded_open(part, self._begin_again) as source:
                        for name in source[GROUP]:
                            source.copy(f"{GROUP}/{name}", file[GROUP], name)
                            require()
                if len(file[GROUP]) != self.episodes:
                    raise FileNotFoundError(f"parts of {self.path} are gone")
                if spelled:
                    file.attrs["outcome"] = spelled

            write_large(self.path, size, lambda file, require: self._framed(lambda inner: fill(inner, require))(file))
        except (FileNotFoundError, DataError):  # of a part that vanishes while it is opened, the HDF5 library says that it is damaged
            if not self.path.exists():
                raise
            self._require_same_recording()
        shutil.rmtree(self._parts, ignore_errors=True)
        self.finished = True
        return self.path

    def _framed(self, fill: Callable[[h5py.File], None]) -> Callable[[h5py.File], None]:
        """Return a function that writes what a part and the whole file have in common around their episodes."""

        def write(file: h5py.File) -> None:
            file.attrs["format"], file.attrs["attributes"] = FORMAT, self._spelled
            file.create_group(GROUP)
            fill(file)
            file.attrs["episodes"] = len(file[GROUP])  # a damaged group can lose members without an error
            file.attrs[ATTRIBUTES_DIGEST] = attributes_digest(file)

        return write

    def _take_finished(self) -> None:
        """Become the writer of a file that another process has finished meanwhile."""
        self._fields, self.episodes, self.steps, self.sources, self.finished = None, 0, 0, [], True
        self._count(self.path)

    def _require_same_recording(self) -> None:
        """Refuse a file that another process finished meanwhile, unless it holds as many episodes and steps with the same attributes."""
        statements = (self.episodes, self.steps, self.sources)
        self._take_finished()
        if statements != (self.episodes, self.steps, self.sources):
            message = f"another process finished {self.path} with {self.episodes} episodes and {self.steps} steps, this one had {statements[0]} and {statements[1]}"
            raise UsageError(message, hint="record to a path of its own, or use that file")

    def _existing(self) -> list[Path]:
        """Return the parts in order; a part is named by its first episode, so a lost one leaves a gap that ``_count`` finds."""
        return sorted(self._parts.glob("[0-9]*.h5"))

    def _count(self, path: Path) -> None:
        try:
            with guarded_open(path, self._begin_again) as file:
                check_attributes(file, str(path))
                found = file.attrs.get("attributes"), file.attrs.get("format")
                if found != (self._spelled, FORMAT):
                    message = f"{path} was recorded with other settings: {found[0]}, now {self._spelled}"
                    raise UsageError(message, hint="choose another path, or delete the file (and its .parts folder) to begin again")
                names = sorted(file[GROUP])
                if len(names) != file.attrs["episodes"]:
                    raise DataError(f"{path} holds {len(names)} episodes, it states {file.attrs['episodes']}", hint=self._begin_again)
                for name in names:
                    if name != episode_name(self.episodes):
                        raise DataError(f"{path} holds episode {name}, expected {episode_name(self.episodes)}", hint=self._begin_again)
                    where = f"{path}, episode {self.episodes}"
                    steps, fields = check_group(file[GROUP][name], where)
                    self._agree(fields, where)
                    self.episodes, self.steps = self.episodes + 1, self.steps + steps
                    self.sources.append(source_of(file[GROUP][name]))
        except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
            if shortage(error) is not None or isinstance(error, FileNotFoundError):
                raise
            raise DataError(f"{path} is truncated or damaged: {plain_cause(error)}", hint=self._begin_again) from None

    @property
    def _begin_again(self) -> str:
        return f"delete {self.path if self.finished else self._parts} and record again"

    def _agree(self, fields: Fields, where: str) -> None:
        self._fields = self._fields or fields
        if fields != self._fields:
            message = f"{where} has {fields}; earlier ones have {self._fields}"
            raise DataError(message, hint="all episodes of a file have the same fields and frame shape")
