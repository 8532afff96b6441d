"""Chunk files in, verified rows out: no number leaves before its chunk's crc32c agreed with trailer and manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from jaxtyping import Int, Shaped
from numpy.typing import NDArray

from layerscout.cache.files import CRC_BYTES, StoredObject
from layerscout.cache.layout import ArrayLayout
from layerscout.errors import DataError

BLOCK_BYTES = 1 << 19  # read and checksum in pieces that stay in the processor's cache
REPAIR = "delete the store and extract it again, or copy it again from where it came"

Rows = Shaped[np.ndarray, "row ..."]


@dataclass(frozen=True)
class LayerReader:
    """One array of a committed store. It holds no open file, so it may be pickled and used by many threads."""

    store: Path
    name: str
    layout: ArrayLayout
    objects: tuple[StoredObject, ...]  # one a chunk, in row order

    @property
    def shape(self) -> tuple[int, ...]:
        """``(rows, width)``; ``(rows,)`` for an index column."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers."""
        return np.dtype(self.layout.dtype)

    def all(self) -> Rows:
        """Return every row."""
        return self.read(0, self.layout.rows)

    def read(self, start: int, stop: int) -> Rows:
        """Return rows ``[start, stop)``. Touched chunks are read whole, because only a whole chunk can be verified.

        Raises
        ------
        DataError
            The rows are outside the store, or a chunk is missing, torn, changed, or another chunk's.
        """
        if not 0 <= start <= stop <= self.layout.rows:
            raise DataError(f"rows {start} to {stop} of '{self.name}'", hint=f"the store has rows 0 to {self.layout.rows}")
        out = np.empty((stop - start, *self.shape[1:]), dtype=self._stored)
        for chunk in range(start // self.layout.chunk_rows, -(-stop // self.layout.chunk_rows)):
            first, last = self._span(chunk)
            low, high = max(start, first), min(stop, last)
            self._fill(chunk, low - first, out[low - start : high - start])
        return self._native(out)

    def rows(self, indices: Int[np.ndarray, " row"]) -> Rows:
        """Return the given rows in the given order; only the chunks that hold them are read, one at a time."""
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and (wanted.dtype.kind not in "iu" or wanted.min() < 0 or wanted.max() >= self.layout.rows)):
            raise DataError(f"row indices of '{self.name}' are not integers in range", hint=f"the store has rows 0 to {self.layout.rows}")
        out = np.empty((len(wanted), *self.shape[1:]), dtype=self._stored)
        chunks = wanted // self.layout.chunk_rows
        for chunk in np.unique(chunks):
            here = chunks == chunk
            first, last = self._span(int(chunk))
            out[here] = self.read(first, last)[wanted[here] - first]
        return self._native(out)

    def chunks(self) -> Iterator[tuple[int, Rows]]:
        """Yield ``(first row, rows)`` chunk by chunk, so that memory holds one chunk only."""
        for chunk in range(self.layout.chunks):
            first, last = self._span(chunk)
            yield first, self.read(first, last)

    def dask(self) -> Any:
        """Return a dask array whose chunks are the stored chunks."""
        import dask
        import dask.array

        prefix = f"read-{self.store.name}-{self.name}"
        # the reader is one node of the graph, so that its list of files travels once and not with every chunk
        source, read = dask.delayed(self, name=prefix, traverse=False), dask.delayed(LayerReader.read, pure=False)
        blocks = [
            dask.array.from_delayed(
                read(source, first, last, dask_key_name=f"{prefix}-{first}"),
                shape=(last - first, *self.shape[1:]),
                dtype=self.dtype,
            )
            for first, last in map(self._span, range(self.layout.chunks))
        ]
        return dask.array.concatenate(blocks, axis=0)

    @property
    def _stored(self) -> np.dtype[Any]:
        return self.dtype.newbyteorder("<")

    def _native(self, rows: Rows) -> Rows:
        return rows.astype(self.dtype, copy=False)

    def _span(self, chunk: int) -> tuple[int, int]:
        return chunk * self.layout.chunk_rows, min(self.layout.rows, (chunk + 1) * self.layout.chunk_rows)

    def _fill(self, chunk: int, skip: int, out: Rows) -> None:
        """Read a chunk file: ``skip`` rows to nowhere, ``out``, the rest to nowhere, the trailer; then compare checksums."""
        item, path = self.objects[chunk], self.store / self.objects[chunk].path
        payload = self.layout.file_bytes - CRC_BYTES
        before = skip * self.layout.row_bytes
        trailer = np.empty(CRC_BYTES, dtype=np.uint8)
        try:
            with FileIO(path) as file:
                crc = _skip(file, before, 0)
                crc = _read(file, out.reshape(-1).view(np.uint8), crc)
                crc = _skip(file, payload - before - out.nbytes, crc)
                _read(file, trailer, 0)
                longer = file.read(1) != b""
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", hint=REPAIR) from None
        except EOFError:
            raise DataError(f"{path} is truncated: shorter than its {item.size} bytes", hint=REPAIR) from None
        stated = int.from_bytes(trailer.tobytes(), "little")
        if longer:
            raise DataError(f"{path} is damaged: longer than its {item.size} bytes", hint=REPAIR)
        if crc != stated:
            raise DataError(f"{path} is damaged: its bytes do not have the crc32c of its trailer", hint=REPAIR)
        if crc != item.crc32c:
            raise DataError(f"{path} is not the file that the manifest lists: whole, but with another crc32c", hint=REPAIR)


def _read(file: FileIO, out: NDArray[np.uint8], crc: int) -> int:
    """Fill ``out`` from the file and return the crc32c extended over it."""
    for start in range(0, len(out), BLOCK_BYTES):
        block = out[start : start + BLOCK_BYTES]
        if file.readinto(block.data) != len(block):
            raise EOFError
        crc = google_crc32c.extend(crc, block)
    return crc


def _skip(file: FileIO, count: int, crc: int) -> int:
    scratch = np.empty(min(count, BLOCK_BYTES), dtype=np.uint8)
    for start in range(0, count, BLOCK_BYTES):
        crc = _read(file, scratch[: min(BLOCK_BYTES, count - start)], crc)
    return crc
