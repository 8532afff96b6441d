"""One identity and plan in, one folder of one's own to work in out, with the finished units of earlier attempts.

No two processes ever write in one folder, and nobody changes a file in place: what an earlier attempt finished is linked,
not taken over. So leases are advisory. They tell ``prune`` whose work is still wanted; what makes a store correct is that
every file is checked against its unit marker, and that the rename of the finished folder can succeed only once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.durable import FUTURE_SECONDS, process_runs, sync_folders
from layerscout.cache.files import write_file
from layerscout.errors import DataError

ATTEMPT_FORMAT = "layerscout-attempt/1"
LEASE_SECONDS = 300.0  # a heartbeat older than this, from another machine, is dead; so is one from further in the future
LONGEST_LEASE_SECONDS = 86400.0  # a process id of this machine may have been given to another process after this
RENEW_SECONDS = 15.0  # heartbeats are written at most this often
MAKE_TRIES = 100
VANISHED = FileNotFoundError, FileExistsError  # what making a folder raises when another process deletes it (or its parent) meanwhile

ATTEMPT, LEASE, UNITS, TREE = "attempt.json", "lease.json", "units", "store"


class AttemptGone(DataError):
    """The folder that a process works in was deleted, by ``prune`` or by hand."""


@dataclass
class Attempt:
    """A folder under ``staging/<store_id>``: ``store/`` grows into the store, ``units/`` holds the markers."""

    folder: Path
    _renewed: float = float("-inf")

    @property
    def tree(self) -> Path:
        """The folder that is renamed to the store's id when all is there."""
        return self.folder / TREE

    def keep_alive(self) -> None:
        """Tell other processes that this one is alive; cheap enough to call for every batch.

        Raises
        ------
        AttemptGone
            Somebody deleted the attempt.
        """
        if not (self.folder / ATTEMPT).is_file():
            raise AttemptGone(f"{self.folder} was deleted while it was worked in", hint="run the same command again")
        self._claim()

    def _claim(self) -> None:
        if time.monotonic() - self._renewed >= RENEW_SECONDS:
            claim = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
            with contextlib.suppress(OSError):  # it only spares work, so it stops none
                write_file(self.folder, LEASE, json.dumps(claim).encode())
            self._renewed = time.monotonic()

    def take(self, source: Path, unit: int, paths: Sequence[str]) -> bool:
        """Make a finished unit of the attempt in ``source`` this one's too; False when that cannot be, and it must be computed again."""
        try:
            if len(self.share(source, paths)) < len(paths):
                return False
            sync_folders(self.tree, paths)
            marker = f"{UNITS}/{unit}.json"
            taken = _share(source / marker, self.folder / marker, not owner_is_alive(source))
            sync_folders(self.folder / UNITS)
        except OSError:  # one of the two was swept away meanwhile
            return False
        return taken

    def share(self, source: Path, paths: Sequence[str]) -> list[str]:
        """Link the given files of another attempt's tree into this one's, and return those for which that could be done.

        Where the file system has no hard links, the files of a dead owner are moved.
        """
        dead = not owner_is_alive(source)
        return [path for path in paths if _share(source / TREE / path, self.tree / path, dead)]

    def release(self) -> None:
        """Say that nobody works here any more; the finished units stay for the next process."""
        (self.folder / LEASE).unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete the attempt's folder, and the one above it if no other attempt at the same store is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another attempt at the same store is still there
            self.folder.parent.rmdir()


def earlier_attempts(folder: Path, plan: dict[str, Any]) -> list[Path]:
    """Return the attempts at exactly this plan, those with the most finished units first."""
    found = [attempt for attempt in begun_attempts(folder) if _read_json(attempt / ATTEMPT) == _document(plan)]
    return sorted(found, key=lambda attempt: (-len(_names(attempt / UNITS)), attempt.name))


def begun_attempts(folder: Path) -> list[Path]:
    """Return the attempts at one store, except those that are just beginning."""
    return [folder / name for name in _names(folder) if (folder / name / ATTEMPT).is_file()]


def begin_attempt(folder: Path, plan: dict[str, Any]) -> Attempt:
    """Make a folder of one's own to work in, with a lease and the plan."""
    attempt = Attempt(folder / uuid.uuid4().hex)
    _make(attempt.folder)
    attempt._claim()
    for path in (attempt.tree, attempt.folder / UNITS):
        path.mkdir()
    sync_folders(folder)
    with contextlib.suppress(*VANISHED):  # whoever publishes the store may sweep it away from now on
        write_file(attempt.folder, ATTEMPT, json.dumps(_document(plan), indent=1).encode())
        sync_folders(attempt.folder)
    return attempt


def sweep_dead_attempts(found: Iterable[Path]) -> None:
    """Delete those of the given attempts whose owner is dead, because what they were for is published."""
    for path in found:
        if not owner_is_alive(path):
            Attempt(path).discard()


def owner_is_alive(attempt: Path) -> bool:
    """Tell whether the lease's process runs, or on another machine whether the lease is fresh; False where it cannot be read."""
    return _alive(_read_json(attempt / LEASE))


def _make(folder: Path) -> None:
    for _ in range(MAKE_TRIES):  # another process may delete the empty parent just before its child is made
        with contextlib.suppress(*VANISHED):
            folder.mkdir(parents=True)
            return
    folder.mkdir(parents=True)


def _share(source: Path, target: Path, dead: bool) -> bool:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    except OSError:
        if not dead:
            return False
        try:
            source.replace(target)
        except OSError:  # it is gone meanwhile
            return False
    return True


def _document(plan: dict[str, Any]) -> dict[str, Any]:
    return {"format": ATTEMPT_FORMAT} | plan


def _alive(claim: dict[str, Any]) -> bool:
    """Tell whether the owner of a lease still works; an unreadable lease has no owner, and neither has our own process's."""
    age = claimed_age(claim)
    if claim.get("host") != socket.gethostname() or os.name != "posix":
        return -FUTURE_SECONDS < age < LEASE_SECONDS
    pid = claim.get("pid")
    if pid == os.getpid() or age > LONGEST_LEASE_SECONDS or not isinstance(pid, int):
        return False
    return process_runs(pid)


def claimed_age(claim: dict[str, Any]) -> float:
    """Return how many seconds ago a lease says that it was written; negative when its machine's clock is ahead."""
    heartbeat = claim.get("time")
    if not isinstance(heartbeat, int | float) or not abs(heartbeat) < 1e12:  # no NaN, and no number of hundreds of digits
        return float("inf")
    return time.time() - heartbeat


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
