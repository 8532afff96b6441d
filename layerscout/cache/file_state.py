"""A path in, what tells whether it is still the same unchanged file out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """What tells a file from another in its place, and from itself before a change.

    ``modified`` and ``changed`` are times in nanoseconds; no program can set the second, which is that of the last change of any kind.

    It does not name the device, so that two machines that share a disk see the same state.
    """

    inode: int
    size: int
    modified: int
    changed: int

    @staticmethod
    def of(path: Path | int) -> FileState:
        """Ask the file system about a path or an open file.

        Raises
        ------
        OSError
            There is no such file, or it cannot be asked about.
        """
        found = os.stat(path)
        return FileState(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
