"""A stream of bytes and what the manifest says of it in, the first thing that does not fit out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from awscrt.checksums import crc32c

from layerscout.cache.files import CRC_BYTES, StoredObject, has_trailer

BLOCK_BYTES = 2**20
CRC_OF_INTACT_CHUNK = 0x48674BC7  # crc32c over any payload followed by its own crc32c


class Fingerprint:
    """Takes the size, the crc32c and, with ``full``, the sha256 of a stream, and compares them with what the manifest says."""

    def __init__(self, full: bool = True) -> None:
        self.size, self._crc, self._tail = 0, 0, b""
        self._sha256 = hashlib.sha256() if full else None

    def update(self, block: Any) -> None:
        """Take in the block that follows those before: bytes, or anything that lies in memory without gaps."""
        view = np.frombuffer(block, dtype=np.uint8)
        self.size += len(view)
        self._crc = crc32c(view, self._crc)
        if self._sha256 is not None:
            self._sha256.update(view.data)
        self._tail = (self._tail + view[-CRC_BYTES:].tobytes())[-CRC_BYTES:]

    def misfit(self, item: StoredObject) -> str | None:
        """Say in what the stream is not ``item``, or None when it is."""
        if self.size != item.size:
            return f"{self.size:,} bytes instead of {item.size:,}"
        crc = self._crc
        if has_trailer(item.path):  # which the manifest states
            if crc != CRC_OF_INTACT_CHUNK:
                return "bytes that do not have the crc32c of its trailer"
            crc = int.from_bytes(self._tail, "little")
        if crc != item.crc32c:
            return f"crc32c {crc:08x}, where the manifest says {item.crc32c:08x}"
        if self._sha256 is not None and self._sha256.hexdigest() != item.sha256:
            return f"sha256 {self._sha256.hexdigest()[:16]}…, where the manifest says {item.sha256[:16]}…"
        return None


def misfit_of_file(path: Path, item: StoredObject, full: bool = True) -> str | None:
    """Read a file in blocks and say in what it is not ``item``, or None when it is.

    Raises
    ------
    OSError
        It is there, but cannot be read.
    """
    fingerprint = Fingerprint(full)
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                fingerprint.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return "no file"
    return fingerprint.misfit(item)
