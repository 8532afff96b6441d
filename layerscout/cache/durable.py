"""A file's name in, a whole durable file or nothing out; what dead processes left half-written is cleared.

Every file that is written whole goes through ``whole_file``: stores, records, settings, trajectories, tables, films.
"""

from __future__ import annotations

import glob
import os
import re
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from typing import BinaryIO

TEMPORARY_SUFFIX = ".partial"
ABANDONED_SECONDS = 86400.0  # older files of other machines are dead, and so are process ids of this one
FUTURE_SECONDS = 300.0  # a time further ahead than this was told by a wrong clock, and says nothing
FEW, SYNCERS = 3, 8  # folders that are forced to disk one by one, and side by side
OWNER = re.compile(rf"\.([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{32}}{re.escape(TEMPORARY_SUFFIX)}")


def temporary_name(target: Path) -> Path:
    """Return a hidden name beside ``target`` that nobody else uses and that tells which process owns it."""
    return target.with_name(f".{target.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


@contextmanager
def whole_file(target: Path, *, alone: bool = True) -> Iterator[BinaryIO]:
    """Open a file that gets the name ``target`` when the block ends, forced to disk, and leaves nothing when it fails.

    Every call writes under a name of its own: two writers must never append to the same half-written file.

    Parameters
    ----------
    target
        The file to make; its folder is made too.
    alone
        Whether the name is forced to disk as well, and what killed writers of the same name left behind is cleared. A caller
        that writes many files into one folder says False and calls ``sync_folders`` once.

    Raises
    ------
    OSError
        The file cannot be written; ``filename`` is ``target``.
    """
    temporary = temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if alone:
            sweep_temporaries(target.parent, f"{glob.escape(target.name)}.*")
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        if alone:
            sync_folders(target.parent)
    except BaseException as error:
        _discard(temporary)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(target), None
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole durable file or nothing; see ``whole_file``.

    A file that holds these very bytes is left as it is, so a finished command can be repeated on a disk that is read-only now.
    """
    if _holds(path, data):
        return
    with whole_file(path) as file:
        file.write(data)


def sync_folders(root: Path, paths: Iterable[str] = (), lasting: set[Path] | None = None, threads: Executor | None = None) -> None:
    """Force to disk the names in ``root`` and in every folder between it and ``paths``, several folders at a time.

    Parameters
    ----------
    lasting
        Folders whose own names are known to be on disk. What lies above them is left out, and the folders that are forced to disk
        now are added. Without it, every folder is.
    threads
        Where they are forced to disk, if there are some already; without them, several folders make their own.
    """
    if os.name != "posix":  # other systems cannot open a folder; their rename is durable or not as they please
        return
    known, folders = lasting if lasting is not None else set(), {root}
    for path in paths:
        for parent in Path(path).parents:
            folders.add(root / parent)
            if root / parent in known:  # its name is on disk, so nothing above it has changed
                break
    if len(folders) <= FEW:
        for folder in sorted(folders):
            _sync_folder(folder)
    elif threads is not None:  # the disk answers many at once about as fast as one
        list(threads.map(_sync_folder, sorted(folders)))
    else:
        with ThreadPoolExecutor(SYNCERS) as own:
            list(own.map(_sync_folder, sorted(folders)))
    known.update(folders)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporaries(folder: Path, pattern: str = "*") -> None:
    """Delete the temporary files in ``folder`` whose owner is dead; a living process's file is never touched."""
    for path in folder.glob(f".{pattern}{TEMPORARY_SUFFIX}"):
        if is_abandoned(path):
            path.unlink(missing_ok=True)


def is_abandoned(path: Path) -> bool:
    """Tell whether nobody will finish a temporary file.

    Its process on this machine is gone; or nothing was written to it for a day; or, when it is another machine's, it claims
    to have been written minutes from now.
    """
    try:
        idle = time.time() - path.stat().st_mtime
    except FileNotFoundError:  # finished or deleted meanwhile
        return False
    owner = OWNER.search(path.name)
    here = owner is not None and owner[1] == _host() and os.name == "posix"
    if here and owner is not None:
        return idle > ABANDONED_SECONDS or not process_runs(int(owner[2]))
    return idle > ABANDONED_SECONDS or idle < -FUTURE_SECONDS


def process_runs(process: int) -> bool:
    """Tell whether this machine has a process of that number, be it another user's; POSIX alone."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # under another user
        return True
    return True


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _discard(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # what stopped the writing may stop this as well; a later writer sweeps
        return


def _host() -> str:
    return f"{zlib.crc32(gethostname().encode()):08x}"
