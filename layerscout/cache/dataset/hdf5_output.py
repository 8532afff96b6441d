"""What is to stand in an HDF5 file in, one whole sealed file or nothing out, whatever the disk says meanwhile.

When a write fails inside the HDF5 library, it tries again while the process ends, and crashes. So the library never hears of a full
disk: small files are made in memory, large ones in a file whose room is asked for first, and whose first failure is told to us alone.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from layerscout.cache.dataset.hdf5_seal import SEAL_BYTES, seal_file
from layerscout.cache.durable import whole_file

NO_ROOM_CAN_BE_ASKED_FOR = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV}


def write_through_memory(target: Path, fill: Callable[[h5py.File], None]) -> None:
    """Let ``fill`` write into an HDF5 file in memory, seal it with its digest, and write it at once: half a file never appears."""
    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=SEAL_BYTES) as file:
        fill(file)
    seal_file(image)
    with whole_file(target) as output:
        output.write(image.getbuffer())


def write_large(target: Path, size: int, fill: Callable[[h5py.File, Callable[[], None]], None]) -> None:
    """Make an HDF5 file on disk.

    Parameters
    ----------
    size
        Bytes that it will have at most, as far as can be known; the disk is asked for them before anything is written.
    fill
        Writes the content. It calls its second argument after every piece, which raises what went wrong since the last call.

    Raises
    ------
    OSError
        The disk has no room; ``filename`` is ``target``.
    """
    with whole_file(target) as output:
        _ask_for_room(output.fileno(), size)
        sink = Unfailing(output.fileno())
        try:
            with h5py.File(sink, "w", userblock_size=SEAL_BYTES) as file:
                fill(file, sink.require)
        except (OSError, RuntimeError):
            sink.require()  # the library stumbled over what could not be written: that is what to tell
            raise
        sink.require()
        os.ftruncate(output.fileno(), sink.end)
        seal_file(output)


def _ask_for_room(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in NO_ROOM_CAN_BE_ASKED_FOR:
                raise


class Unfailing(io.RawIOBase):
    """An open file that takes every byte, and keeps its first failure for ``require`` instead of raising it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._position, self._error = descriptor, 0, None
        self.end = 0  # where the file will end

    _error: OSError | None

    def require(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._error is not None:
            raise self._error

    def seekable(self) -> bool:
        """Tell that any place of the file can be reached."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set where the next bytes go, as of any file; nothing is asked of the system."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.end}[whence]
        return self._position

    def tell(self) -> int:
        """Bytes from the file's beginning to where the next ones go."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read what was written before; what could not be written is zeros."""
        view = memoryview(buffer).cast("B")
        data = os.pread(self._descriptor, len(view), self._position)
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        self._position += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        """Write bytes, all of them, or as many as the disk takes."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self._error is None:
                done += os.pwrite(self._descriptor, view[done:], self._position + done)
        except OSError as error:
            self._error = error
        self._position += len(view)
        self.end = max(self.end, self._position) if len(view) else self.end
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Say where the file will end."""
        self.end = self._position if size is None else size
        return self.end

    def flush(self) -> None:
        """Do nothing: nothing is held back."""
