"""An HDF5 file in, the same file with its own checksum before it out; and back, without a single call of the HDF5 library.

HDF5 leaves the first 512 bytes of a file to its writer when it is asked to (the user block). There stand, in one line of text, the
crc32c and the number of the bytes after them. So whether a file is whole is known before the library, which may loop or crash on a
torn one, reads any of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from awscrt.checksums import crc32c

from layerscout.errors import DataError

SEAL_BYTES = 512  # the smallest user block that HDF5 allows
MAGIC = b"layerscout-hdf5/1 "
BLOCK_BYTES = 2**20


def seal_file(file: BinaryIO) -> None:
    """Write the seal of a finished HDF5 file with a user block of ``SEAL_BYTES`` bytes; ``file`` is open for reading and writing."""
    line = _line(file)
    file.seek(0)
    file.write(line)


def is_sealed(path: Path) -> bool:
    """Tell whether a file begins with a seal, right or wrong."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def check_seal(path: Path, hint: str) -> None:
    """Compare a sealed file with its seal, reading it once from the beginning to the end.

    Raises
    ------
    DataError
        A bit of it has changed, or bytes are missing.
    """
    with path.open("rb") as file:
        stated = file.read(SEAL_BYTES)
        if stated != _line(file):
            raise DataError(f"{path} is truncated or damaged: its bytes do not have the crc32c that it states", hint=hint)


def _line(file: BinaryIO) -> bytes:
    file.seek(SEAL_BYTES)
    checksum, size = 0, 0
    while block := file.read(BLOCK_BYTES):
        checksum, size = crc32c(block, checksum), size + len(block)
    return (MAGIC + f"crc32c {checksum:08x} bytes {size}\n".encode()).ljust(SEAL_BYTES, b"\0")
