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
    def of(path: Path | str | int) -> FileState:
        """Ask the file system about a path or an open file.

        Raises
        ------
        OSError
            There is no such file, or it cannot be asked about.
        """
        return FileState.read(os.stat(path))

    @staticmethod
    def read(found: os.stat_result) -> FileState:
        """Take from what the file system answered what belongs to the state."""
        return FileState(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def is_of(self, found: os.stat_result) -> bool:
        """Tell whether the file system answered with this state; faster than to make another one of the answer."""
        return found.st_ctime_ns == self.changed and found.st_ino == self.inode and found.st_size == self.size
