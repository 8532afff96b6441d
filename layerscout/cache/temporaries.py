"""A file's name in, a whole file or nothing out; what dead processes left half-written is cleared."""

from __future__ import annotations

import os
import re
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from typing import BinaryIO

TEMPORARY_SUFFIX = ".partial"
ABANDONED_SECONDS = 86400.0  # older files of other machines are dead, and so are process ids of this one
OWNER = re.compile(rf"\.([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{32}}{re.escape(TEMPORARY_SUFFIX)}")


def temporary_name(target: Path) -> Path:
    """Return a hidden name beside ``target`` that nobody else uses and that tells which process owns it."""
    return target.with_name(f".{target.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that gets the name ``target`` when the block ends, forced to disk, and leaves nothing when it fails.

    Every call writes under a name of its own: two writers must never append to the same half-written file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path, pattern: str = "*") -> None:
    """Delete the temporary files in ``folder`` whose owner is dead; a living process's file is never touched."""
    for path in folder.glob(f".{pattern}{TEMPORARY_SUFFIX}"):
        if abandoned(path):
            path.unlink(missing_ok=True)


def abandoned(path: Path) -> bool:
    """Tell whether nobody will finish a temporary file: its process on this machine is gone, or nothing was written to it for a day."""
    try:
        idle = time.time() - path.stat().st_mtime
    except FileNotFoundError:  # finished or deleted meanwhile
        return False
    owner = OWNER.search(path.name)
    here = owner is not None and owner[1] == _host() and os.name == "posix"
    return idle > ABANDONED_SECONDS or (here and owner is not None and not runs(int(owner[2])))


def _host() -> str:
    return f"{zlib.crc32(gethostname().encode()):08x}"


def runs(process: int) -> bool:
    """Tell whether a process of this machine (POSIX) is there."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # under another user
        return True
    return True
