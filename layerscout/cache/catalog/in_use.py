"""A root in, what somebody works on, needs or read lately out: the reasons to delete nothing of it."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from layerscout.cache.catalog.references import References
from layerscout.cache.durable import FUTURE_SECONDS
from layerscout.cache.root import STAGING, store_folders
from layerscout.cache.writing import staging

ATTEMPT_NAME = re.compile(r"[0-9a-f]{32}")


def why_kept(root: Path, store_id: str, standing: References) -> tuple[str, str] | None:
    """Return why a store must not be deleted and what to do about it, or None."""
    if needed := standing.why_kept(store_id):
        return needed
    if any(is_worked_on(attempt, time.time()) for attempt in attempt_folders(root / STAGING / store_id)):
        return "is being written by a living process", "wait until it ends"
    return None


def all_attempt_folders(root: Path) -> Iterator[Path]:
    """Yield the attempts' folders at all stores under a root, store by store."""
    for folder in store_folders(root / STAGING):
        yield from attempt_folders(folder)


def attempt_folders(folder: Path) -> Iterator[Path]:
    """Yield what unfinished extractions of one store left, or are writing now, in the order of their names."""
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if ATTEMPT_NAME.fullmatch(path.name))


def is_worked_on(attempt: Path, now: float) -> bool:
    """Tell whether somebody works on an attempt.

    For another machine's process, both clocks must call its heartbeat old: the one it wrote down, and the file system's. A
    heartbeat from the future tells of a wrong clock and of nobody who works.
    """
    if staging.owner_is_alive(attempt):
        return True
    lease = attempt / staging.LEASE
    try:
        if lease.exists():
            claim = json.loads(lease.read_bytes())
            here = claim["host"] == socket.gethostname()
            heartbeat = None if here or staging.claimed_age(claim) <= -FUTURE_SECONDS else lease.stat().st_mtime
        else:  # given back; or just beginning, when it has no plan either
            heartbeat = None if (attempt / staging.ATTEMPT).exists() else attempt.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # gone meanwhile, or not a lease
        return False
    return heartbeat is not None and -FUTURE_SECONDS < now - heartbeat < staging.LEASE_SECONDS


def last_read(mirror: Path) -> float:
    """Return when a mirror's numbers were last written or read, as far as the file system tells; the catalog itself never reads them."""
    files = (Path(folder, name) for part in ("layers", "index") for folder, _, names in os.walk(mirror / part) for name in names)
    return max([last_changed(mirror), *(last_changed(path, or_read=True) for path in files)])


def last_changed(path: Path, or_read: bool = False) -> float:
    """Return when a path was last written (or read); what is gone meanwhile counts as just now.

    A time that lies in the future says nothing. Then the file system's own time of change stands for it, which no program can
    set; when that is in the future as well, the path counts as very old.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        return time.time()
    latest = time.time() + FUTURE_SECONDS
    known = [when for when in (stat.st_mtime, *([stat.st_atime] if or_read else [])) if when <= latest]
    return max(known) if known else stat.st_ctime if stat.st_ctime <= latest else 0.0
