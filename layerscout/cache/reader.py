"""Chunk files in, verified rows out: no number leaves before its chunk's crc32c agreed with trailer and manifest."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from awscrt.checksums import crc32c
from jaxtyping import Int, Shaped
from numpy.typing import NDArray

from layerscout.cache.arrays import ArrayLayout
from layerscout.cache.file_state import FileState
from layerscout.cache.files import CRC_BYTES, StoredObject, trailer_crc
from layerscout.errors import DataError, raise_shortage

BLOCK_BYTES = 1 << 19  # read and checksum in pieces that stay in the processor's cache
MOST_MAPPED = 16  # chunks of one layer: each map holds a file open, and a process may have many layers
REPAIR = "delete the store and extract it again, or copy it again from where it came"

LayerRows = Shaped[np.ndarray, "row ..."]


class MappedChunk(NamedTuple):
    """A chunk that was verified for single rows. It stays mapped as long as its file is in this state."""

    path: str
    state: FileState
    rows: LayerRows


@dataclass(frozen=True)
class LayerReader:
    """Reads one array of a committed store, and gives out no number whose chunk was not verified. It may be pickled and used by many threads."""

    store: Path
    name: str
    layout: ArrayLayout
    objects: tuple[StoredObject, ...]  # one a chunk, in row order
    _mapped: dict[int, MappedChunk] = field(default_factory=dict, compare=False, repr=False)  # chunks verified for single rows

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {}}  # memory maps stay in their process

    @property
    def shape(self) -> tuple[int, ...]:
        """Return ``(rows, width)``, or ``(rows,)`` for an index column without a width."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of the numbers given out: the stored one, or float32 for bfloat16."""
        return self.layout.read

    @property
    def chunk_rows(self) -> int:
        """Rows that lie in one file: reading any of them reads all."""
        return self.layout.chunk_rows

    def all(self) -> LayerRows:
        """Return all rows of the layer, [row, feature], after every chunk's checksum agreed."""
        return self.read(0, self.layout.rows)

    def read(self, start: int, stop: int) -> LayerRows:
        """Return rows ``[start, stop)``. Touched chunks are read whole, because only a whole chunk can be verified.

        Raises
        ------
        DataError
            The rows are outside the store, or a chunk is missing, torn, changed, or another chunk's.
        """
        if not 0 <= start <= stop <= self.layout.rows:
            raise DataError(f"rows {start} to {stop} of '{self.name}'", hint=f"the store has rows 0 to {self.layout.rows}")
        out = np.empty((stop - start, *self.shape[1:]), dtype=self.layout.stored)
        touched = range(start // self.layout.chunk_rows, -(-stop // self.layout.chunk_rows)) if start < stop else ()
        for chunk in touched:
            first, last = self._span(chunk)
            low, high = max(start, first), min(stop, last)
            self._fill(chunk, low - first, out[low - start : high - start])
        return self.layout.give(out)

    def __len__(self) -> int:
        return self.layout.rows

    def __getitem__(self, key: int | slice | Int[np.ndarray, " row"]) -> LayerRows:
        """Return rows as a numpy array would: one row, a slice, or the rows of an array of indices.

        Raises
        ------
        DataError
            A row is outside the store, or a chunk is missing, torn, changed, or another chunk's.
        """
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self.read(start, max(start, stop))
            return self.rows(np.arange(start, stop, step))
        if isinstance(key, int | np.integer):
            return self.rows(np.array([key + len(self) if key < 0 else key]))[0]
        return self.rows(np.asarray(key))

    def rows(self, indices: Int[np.ndarray, " row"]) -> LayerRows:
        """Return the given rows in the given order.

        A chunk is verified whole when it is first touched and then stays mapped, so that later rows of it cost no more than
        their own bytes; it is verified again whenever its file changed (inode, size, or a time of change that no program can set).

        Raises
        ------
        DataError
            An index is outside the store, or a chunk is missing, torn, changed, or another chunk's.
        """
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise self._out_of_range()
        wanted = wanted.astype(np.int64, copy=False)  # a small type may not hold the rows of a chunk
        out = np.empty((len(wanted), *self.shape[1:]), dtype=self.layout.stored)
        if not len(wanted):
            return self.layout.give(out)
        order = None if (wanted[1:] >= wanted[:-1]).all() else np.argsort(wanted, kind="stable")
        if order is not None:
            wanted = wanted[order]
        if wanted[0] < 0 or wanted[-1] >= self.layout.rows:
            raise self._out_of_range()
        for chunk, start, stop in self._by_chunk(wanted):
            within = wanted[start:stop] - chunk * self.layout.chunk_rows
            # "clip" writes in place; the indices are known to be in range
            self._chunk(chunk).take(within, axis=0, out=out[start:stop], mode="clip")
        if order is not None:
            sorted_rows, out = out, np.empty_like(out)
            out[order] = sorted_rows
        return self.layout.give(out)

    def _by_chunk(self, wanted: Int[np.ndarray, " row"]) -> list[tuple[int, int, int]]:
        """Cut rising row indices where another chunk begins: (chunk, from, to)."""
        size = self.layout.chunk_rows
        first, last = int(wanted[0]) // size, int(wanted[-1]) // size
        touched = range(first, last + 1) if last - first < len(wanted) else np.unique(wanted // size).tolist()
        borders = np.searchsorted(wanted, [chunk * size for chunk in touched[1:]]).tolist()
        pieces = zip(touched, [0, *borders], [*borders, len(wanted)], strict=True)
        return [(chunk, start, stop) for chunk, start, stop in pieces if start < stop]

    def _out_of_range(self) -> DataError:
        return DataError(f"row indices of '{self.name}' are not integers in range", hint=f"the store has rows 0 to {self.layout.rows}")

    def chunks(self) -> Iterator[tuple[int, LayerRows]]:
        """Yield ``(first row, rows)`` chunk by chunk, so that memory holds one chunk only."""
        for chunk in range(self.layout.chunks):
            first, last = self._span(chunk)
            yield first, self.read(first, last)

    def dask(self) -> Any:
        """Return a dask array whose chunks are the stored chunks."""
        import dask
        import dask.array

        # dask takes equal names for equal arrays: two runs of one store have the same id, but not the same bytes
        content = hashlib.sha256("".join(item.sha256 for item in self.objects).encode()).hexdigest()
        prefix = f"read-{content}-{self.name}"
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

    def _span(self, chunk: int) -> tuple[int, int]:
        return chunk * self.layout.chunk_rows, min(self.layout.rows, (chunk + 1) * self.layout.chunk_rows)

    def _chunk(self, chunk: int) -> LayerRows:
        """Return a whole chunk in the stored type, mapped from its file when that is possible."""
        if self.layout.codec != "none":
            return self._decoded(chunk)
        known = self._mapped.get(chunk)
        path = known.path if known is not None else str(self.store / self.objects[chunk].path)
        try:
            found = os.stat(path)
            if known is not None and known.state.is_of(found):
                return known.rows
            state = FileState.read(found)
            with Path(path).open("rb", buffering=0) as file:
                if state.size != self.objects[chunk].size:
                    raise _wrong_size(Path(path), self.objects[chunk], state.size)
                data = np.frombuffer(mmap.mmap(file.fileno(), state.size, access=mmap.ACCESS_READ), dtype=np.uint8)
        except OSError as error:
            if error.errno == errno.EMFILE:  # too many open files: without a map, every call reads and verifies the whole chunk
                self._mapped.clear()
                return self._decoded(chunk)
            raise _unreadable(Path(path), error) from None
        payload = data[:-CRC_BYTES]
        self._compare(Path(path), chunk, _crc(payload), trailer_crc(data))
        rows = payload.view(self.layout.stored).reshape(self.layout.chunk_shape)
        for oldest in list(self._mapped)[: max(0, len(self._mapped) - MOST_MAPPED + 1)]:  # each map holds a file open
            self._mapped.pop(oldest, None)  # other threads may do the same
        self._mapped[chunk] = MappedChunk(path, state, rows)
        return rows

    def _decoded(self, chunk: int) -> LayerRows:
        item, path = self.objects[chunk], self.store / self.objects[chunk].path
        try:
            size = os.stat(path).st_size
            if size != item.size:
                raise _wrong_size(path, item, size)
            data = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise _unreadable(path, error) from None
        self._compare(path, chunk, crc32c(data[:-CRC_BYTES]), trailer_crc(data))
        try:
            return self.layout.decode(data[:-CRC_BYTES])
        except ValueError as error:
            raise DataError(f"{path} does not decompress: {error}", hint=REPAIR) from None

    def _fill(self, chunk: int, skip: int, out: LayerRows) -> None:
        """Read a chunk file: ``skip`` rows to nowhere, ``out``, the rest to nowhere, the trailer; then compare checksums."""
        if self.layout.codec != "none":
            out[:] = self._decoded(chunk)[skip : skip + len(out)]
            return
        item, path = self.objects[chunk], self.store / self.objects[chunk].path
        before = skip * self.layout.row_bytes
        stated = np.empty(CRC_BYTES, dtype=np.uint8)
        try:
            with FileIO(path) as file:
                crc = _skip(file, before, 0)
                crc = _read(file, out.reshape(-1).view(np.uint8), crc)
                crc = _skip(file, self.layout.payload_bytes - before - out.nbytes, crc)
                _read(file, stated, 0)
                longer = file.read(1) != b""
        except OSError as error:
            raise _unreadable(path, error) from None
        except EOFError:
            raise DataError(f"{path} is truncated: shorter than its {item.size} bytes", hint=REPAIR) from None
        if longer:
            raise DataError(f"{path} is damaged: longer than its {item.size} bytes", hint=REPAIR)
        self._compare(path, chunk, crc, trailer_crc(stated))

    def _compare(self, path: Path, chunk: int, crc: int, stated: int) -> None:
        if crc != stated:
            raise DataError(f"{path} is damaged: its bytes do not have the crc32c of its trailer", hint=REPAIR)
        if crc != self.objects[chunk].crc32c:
            raise DataError(f"{path} is not the file that the manifest lists: whole, but with another crc32c", hint=REPAIR)


def _unreadable(path: Path, error: OSError) -> DataError:
    raise_shortage(error, path)
    return DataError(f"{path} cannot be read: {error.strerror}", hint=REPAIR)


def _wrong_size(path: Path, item: StoredObject, size: int) -> DataError:
    return DataError(f"{path} is {'truncated' if size < item.size else 'damaged'}: {size} bytes, expected {item.size}", hint=REPAIR)


def _read(file: FileIO, out: NDArray[np.uint8], crc: int) -> int:
    """Fill ``out`` from the file and return the crc32c extended over it."""
    for start in range(0, len(out), BLOCK_BYTES):
        block = out[start : start + BLOCK_BYTES]
        if file.readinto(block.data) != len(block):
            raise EOFError
        crc = crc32c(block, crc)
    return crc


def _skip(file: FileIO, count: int, crc: int) -> int:
    scratch = np.empty(min(count, BLOCK_BYTES), dtype=np.uint8)
    for start in range(0, count, BLOCK_BYTES):
        crc = _read(file, scratch[: min(BLOCK_BYTES, count - start)], crc)
    return crc


def _crc(data: NDArray[np.uint8]) -> int:
    crc = 0
    for start in range(0, len(data), BLOCK_BYTES):
        crc = crc32c(data[start : start + BLOCK_BYTES], crc)
    return crc
