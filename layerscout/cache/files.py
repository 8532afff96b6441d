"""Bytes in, one whole durable file or nothing out; crc32c and sha256 of what was written."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from awscrt.checksums import crc32c
from numpy.typing import NDArray

from layerscout.cache.durable import whole_file
from layerscout.cache.records import Record
from layerscout.errors import raise_shortage

CRC_BYTES = 4  # the trailer of a chunk file: crc32c of everything before it, little-endian
BLOCK_BYTES = 1 << 19  # checked, hashed and written in pieces that stay in the processor's cache
LARGEST_DOCUMENT = 64 * 2**20  # bytes of a JSON file of a store that are read into memory
# files written at once: the disk is waited for while others are hashed; more of them get in each other's way
WRITERS = min(8, 2 * (os.cpu_count() or 1))

FileContent = bytes | NDArray[np.uint8]


class StoredObject(Record):
    """What the manifest says of a file of a store: its path relative to the store, its bytes, and the digests it must have.

    ``crc32c`` of a chunk file covers the payload without its trailer (over payload and trailer together crc32c is the
    same constant for every intact file, so it could not tell two chunks apart); of any other file, the whole file.
    ``sha256`` always covers the whole file.
    """

    path: str
    size: int
    crc32c: int
    sha256: str


def write_file(root: Path, path: str, data: FileContent, *, chunk: bool = False) -> StoredObject:
    """Write ``root/path`` completely or not at all, forced to disk; ``sync_folders`` makes its name durable.

    Parameters
    ----------
    chunk
        Append the crc32c trailer to ``data``.
    """
    content = data if isinstance(data, np.ndarray) else np.frombuffer(data, dtype=np.uint8)
    digest, checksum = hashlib.sha256(), 0
    with whole_file(root / path, alone=False) as file:
        for start in range(0, len(content), BLOCK_BYTES):
            piece = content[start : start + BLOCK_BYTES]
            checksum = crc32c(piece, checksum)
            digest.update(piece.data)
            _write_all(file.fileno(), piece.data)
        if chunk:
            digest.update(checksum.to_bytes(CRC_BYTES, "little"))
            _write_all(file.fileno(), memoryview(checksum.to_bytes(CRC_BYTES, "little")))
    size = len(content) + (CRC_BYTES if chunk else 0)
    return StoredObject(path=path, size=size, crc32c=checksum, sha256=digest.hexdigest())


def writing_threads() -> ThreadPoolExecutor:
    """Return the threads in which a writer checks, hashes and writes its arrays; it keeps them from unit to unit."""
    return ThreadPoolExecutor(WRITERS, thread_name_prefix="store-writer")


def write_files(
    root: Path, contents: Iterable[tuple[str, Callable[[], FileContent]]], threads: Executor, *, chunk: bool = False
) -> tuple[StoredObject, ...]:
    """Write files side by side, so that one is hashed while another waits for the disk; return them in the order given.

    Each content is made by a call in the thread that writes it, so that memory holds no more of them than there are threads.

    Parameters
    ----------
    threads
        Where they are written, as of `writing_threads`.
    chunk
        Append the crc32c trailer to every content.
    """

    def write(item: tuple[str, Callable[[], FileContent]]) -> StoredObject:
        return write_file(root, item[0], item[1](), chunk=chunk)

    return tuple(threads.map(write, contents))


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def has_trailer(path: str) -> bool:
    """Tell whether a file of a store is a chunk, which ends in its own crc32c; JSON files and passports are as others read them."""
    return not path.endswith((".json", ".safetensors", ".md"))


def read_document(path: Path) -> bytes:
    """Return the bytes of a JSON file; a store may come from a stranger, so it must be a plain file of a reasonable size.

    Raises
    ------
    OSError
        It is missing, something else than a file (reading a pipe would wait for ever), or larger than such files are.
    """
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    if state.st_size > LARGEST_DOCUMENT:
        raise OSError(errno.EINVAL, f"{state.st_size:,} bytes, more than the {LARGEST_DOCUMENT:,} that such a file has")
    return path.read_bytes()


def first_misfit(root: Path, objects: Sequence[StoredObject]) -> StoredObject | None:
    """Return the first object whose file is missing or has another size, or None when all are there."""
    for item in objects:
        try:
            if os.stat(root / item.path).st_size != item.size:
                return item
        except OSError:
            return item
    return None


def first_damaged_document(root: Path, objects: Sequence[StoredObject]) -> StoredObject | None:
    """Return the first JSON file that cannot be read or does not have its crc32c, or None; chunk files are not looked at."""
    for item in objects:
        if item.path.endswith(".json"):
            try:
                if crc32c(read_document(root / item.path)) != item.crc32c:
                    return item
            except OSError as error:
                raise_shortage(error, root / item.path)
                return item
    return None


def trailer_crc(data: NDArray[np.uint8]) -> int:
    """Return the crc32c that the last four bytes of a chunk file hold."""
    return int.from_bytes(data[-CRC_BYTES:].tobytes(), "little")


def read_trailer_crc(path: Path) -> int:
    """Return the crc32c that a chunk file claims, reading only its last four bytes."""
    with path.open("rb", buffering=0) as file:
        file.seek(-CRC_BYTES, os.SEEK_END)
        return int.from_bytes(file.read(CRC_BYTES), "little")
