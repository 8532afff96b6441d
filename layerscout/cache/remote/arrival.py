"""A stream of bytes and what the manifest says of it in, one verified file or an error out; several streams side by side."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from awscrt.checksums import crc32c

from layerscout.cache.files import CRC_BYTES, TEMPORARY_SUFFIX, StoredObject
from layerscout.errors import DataError

BLOCK_BYTES = 2**20
CRC_OF_INTACT_CHUNK = 0x48674BC7  # crc32c over any payload followed by its own crc32c

Result = TypeVar("Result")


class Fingerprint:
    """Size, crc32c and sha256 of a stream, compared with what they should be."""

    def __init__(self) -> None:
        self.size, self._crc, self._tail, self._sha256 = 0, 0, b"", hashlib.sha256()

    def update(self, block: Any) -> None:
        """Add the next piece."""
        view = np.frombuffer(block, dtype=np.uint8)
        self.size += len(view)
        self._crc = crc32c(view, self._crc)
        self._sha256.update(view.data)
        self._tail = (self._tail + view[-CRC_BYTES:].tobytes())[-CRC_BYTES:]

    def misfit(self, item: StoredObject) -> str | None:
        """Say in what the stream is not ``item``, or None when it is."""
        if self.size != item.size:
            return f"{self.size} bytes instead of {item.size}"
        if is_chunk(item):
            crc = int.from_bytes(self._tail, "little") if self._crc == CRC_OF_INTACT_CHUNK else None
        else:
            crc = self._crc
        if crc != item.crc32c:
            return "another crc32c"
        return None if self._sha256.hexdigest() == item.sha256 else "another sha256"


def is_chunk(item: StoredObject) -> bool:
    """Tell a chunk file, which ends in its crc32c, from a document."""
    return not item.path.endswith(".json")


def receive(blocks: Iterable[Any], folder: Path, item: StoredObject, source: str) -> None:
    """Write a stream to ``folder/item.path`` completely or not at all, forced to disk, once it has proved to be ``item``.

    Raises
    ------
    DataError
        It is not; nothing but ``item.size`` bytes at most was ever written.
    """
    target = folder / item.path
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    fingerprint = Fingerprint()
    try:
        with temporary.open("wb") as file:
            for block in blocks:
                fingerprint.update(block)
                if fingerprint.size > item.size:
                    break
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if misfit := fingerprint.misfit(item):
            hint = "push the store again from where it is whole; that replaces what is damaged"
            raise DataError(f"{source}/{item.path} is damaged: it came with {misfit}", hint=hint)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def misfit_of_file(path: Path, item: StoredObject) -> str | None:
    """Read a file whole and say in what it is not ``item``, or None when it is."""
    fingerprint = Fingerprint()
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                fingerprint.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return "no file"
    return fingerprint.misfit(item)


def side_by_side(
    work: Callable[[StoredObject], Result], items: Sequence[StoredObject], workers: int
) -> Iterator[tuple[StoredObject, Result]]:
    """Do ``work`` for every item in threads and yield each when it is done; the first error stops what has not begun."""
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        running = {pool.submit(work, item): item for item in items}
        for future in as_completed(running):
            yield running[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
