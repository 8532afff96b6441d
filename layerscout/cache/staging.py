"""One identity and plan in, one folder to work in out: a new attempt, or a dead process's attempt taken over.

Leases are advisory. They spare two processes the same work; what makes a store correct is that every file is checked
against its unit marker, and that the rename of the finished folder can succeed only once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerscout.cache.files import TEMPORARY_SUFFIX, sync_folders, write_file

ATTEMPT_FORMAT = "layerscout-attempt/1"
LEASE_SECONDS = 300.0  # a heartbeat older than this, from another machine, is dead
LONGEST_LEASE_SECONDS = 86400.0  # a process id of this machine may have been given to another process after this
BEAT_SECONDS = 15.0  # heartbeats are written at most this often

ATTEMPT, LEASE, UNITS, TREE = "attempt.json", "lease.json", "units", "store"


@dataclass
class Attempt:
    """A folder under ``staging/<store_id>``: ``store/`` grows into the store, ``units/`` holds the markers."""

    folder: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _beaten: float = float("-inf")

    @property
    def tree(self) -> Path:
        """The folder that becomes the store."""
        return self.folder / TREE

    def beat(self) -> None:
        """Tell other processes that this one is alive; cheap enough to call for every batch."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            write_file(self.folder, LEASE, json.dumps(_claim(self.token)).encode())
            self._beaten = time.monotonic()

    def release(self) -> None:
        """Let the next process take over at once; the finished units stay."""
        if _read_json(self.folder / LEASE).get("token") == self.token:
            (self.folder / LEASE).unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete the attempt with all its files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another attempt at the same store is still there
            self.folder.parent.rmdir()


def adopt(folder: Path, plan: dict[str, Any]) -> Attempt | None:
    """Take over the attempt at exactly this plan that has the most finished units and no living owner, or return None."""
    found = [path.parent for path in folder.glob(f"*/{ATTEMPT}") if _read_json(path) == _document(plan)]
    for candidate in sorted(found, key=lambda path: -len(list((path / UNITS).glob("*.json")))):
        attempt = Attempt(candidate)
        if _take_lease(attempt):
            for torn in candidate.rglob(f"*{TEMPORARY_SUFFIX}"):  # what the killed process was writing
                torn.unlink()
            return attempt
    return None


def begin(folder: Path, plan: dict[str, Any]) -> Attempt:
    """Make a new attempt."""
    attempt = Attempt(folder / uuid.uuid4().hex)
    for path in (attempt.tree, attempt.folder / UNITS):
        path.mkdir(parents=True)
    attempt.beat()
    write_file(attempt.folder, ATTEMPT, json.dumps(_document(plan), indent=1).encode())
    sync_folders(attempt.folder)
    sync_folders(folder)
    return attempt


def _document(plan: dict[str, Any]) -> dict[str, Any]:
    return {"format": ATTEMPT_FORMAT} | plan


def _take_lease(attempt: Attempt) -> bool:
    lease = attempt.folder / LEASE
    if lease.exists():
        if _alive(_read_json(lease)):
            return False
        aside = lease.with_name(f"{LEASE}.{attempt.token}")
        try:
            lease.rename(aside)  # of two processes that both saw a dead owner, one gets the file and the other an error
        except FileNotFoundError:
            return False
        aside.unlink()
    try:
        with lease.open("x") as file:
            json.dump(_claim(attempt.token), file)
    except FileExistsError:
        return False
    return True


def _claim(token: str) -> dict[str, Any]:
    return {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}


def _alive(claim: dict[str, Any]) -> bool:
    """Tell whether the owner of a lease still works; an unreadable lease has no owner, and neither has our own process's."""
    age = time.time() - claim.get("time", 0.0)
    if claim.get("host") != socket.gethostname() or os.name != "posix":
        return age < LEASE_SECONDS
    pid = claim.get("pid")
    if pid == os.getpid() or age > LONGEST_LEASE_SECONDS or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, under another user
        return True
    return True


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
