"""Sums of one span in, one checked file out and back; its name says everything that its numbers depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from layerscout.cache.durable import whole_file
from layerscout.cache.root import PARTIALS as FOLDER
from layerscout.probe.moments.rows import Reader, pilot_rows
from layerscout.probe.moments.spans import Borders, SpanTransitions
from layerscout.probe.moments.sums import ColumnSums, LatentSums

ALGORITHM = "sums/1"  # raise it when the same rows would give other bits
MAGIC = b"layerscout-partial/1\n"
DIGEST_BYTES = 32
BLOCK_BYTES = 2**20
SUFFIX = ".sums"
WORTH = 0.5  # kept without being asked for: at most this share of the rows that it stands for

Keep = Literal["auto", "always", "never"]
EitherSums = LatentSums | ColumnSums


@dataclass(frozen=True)
class PartialsFolder:
    """Where the partials of one store are: written to its own folder, and found in any store's, for equal rows have equal names.

    ``auto`` writes what is worth it, ``always`` all of them, ``never`` neither writes nor reads.
    """

    root: Path
    store: str
    keep: Keep = "auto"

    def paths(self, reader: Reader, chosen: SpanTransitions, precision: str) -> tuple[Path, Path] | None:
        """Files of the latents' and the columns' sums of a span; None when none is wanted or the rows have no digests."""
        names = partial_names(reader, chosen, precision) if self.keep != "never" else None
        return None if names is None else (self._path(names[0]), self._path(names[1]))

    @property
    def folder(self) -> Path:
        """The folder that holds the kept sums of all stores of a root."""
        return self.root / FOLDER

    def _path(self, name: str) -> Path:
        own = self.folder / self.store / f"{name}{SUFFIX}"
        return own if own.is_file() else next(self.folder.glob(f"*/{name}{SUFFIX}"), own)

    def writes(self, chosen: SpanTransitions, width: int, row_bytes: int) -> bool:
        """Whether the partials of a span are to be written; ``row_bytes`` are those of a row on disk."""
        if self.keep != "auto":
            return self.keep == "always"
        return span_bytes(chosen, width) <= WORTH * (chosen.stop - chosen.start) * row_bytes


def span_bytes(chosen: SpanTransitions, width: int) -> int:
    """Bytes of both partials of a span, but for their headers."""
    groups, actions, scalars = len(chosen.ranks), chosen.inputs.shape[1], chosen.scalars.shape[1]
    latents = groups * (width * (width + 1) // 2 + width * width + 3 * width) + width * width
    return 8 * (latents + groups * (width * (2 * actions + scalars) + actions * (actions + scalars)))


def partial_names(reader: Any, chosen: SpanTransitions, precision: str) -> tuple[str, str] | None:
    """Names of a span's two partials: digests of the stored chunks, the transitions and their groups; and of their columns.

    Not in them: the store and its path, the layer's name, other rows of the store, penalties, folds and weights.
    """
    if not hasattr(reader, "objects"):
        return None
    chunk = reader.chunk_rows
    pilot = range(-(-pilot_rows(reader) // chunk))
    here = range(chosen.start // chunk, -(-chosen.stop // chunk))
    facts = {
        "algorithm": ALGORITHM,
        "precision": precision,
        "width": reader.shape[1],
        "dtype": str(reader.layout.dtype),
        "chunk_rows": chunk,
        "rows": [chosen.start - here.start * chunk, chosen.stop - here.start * chunk],
        "pilot_rows": pilot_rows(reader),
        "pilot": [reader.objects[unit].sha256 for unit in pilot],
        "chunks": [reader.objects[unit].sha256 for unit in here],
        "transitions": chosen.digests[0],
    }
    latents = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return latents, hashlib.sha256((latents + chosen.digests[1]).encode()).hexdigest()


def write_partial(path: Path, sums: EitherSums, borders: Borders) -> PartialSource:
    """Write a partial whole or not at all; a torn one would be noticed by its digest."""
    with whole_file(path) as file:
        hashed = _Hashed(file)
        hashed.write(MAGIC)
        for array in (borders.first, borders.last, np.array([borders.nonfinite, borders.first_nonfinite])):
            np.lib.format.write_array(hashed, array, allow_pickle=False)
        source = PartialSource(path, file.tell())
        _write_pieces(hashed, sums)
        file.write(hashed.digest.digest())
    return source


class PartialSource:
    """The pieces of one partial, read one at a time; of a path, no file stays open between two."""

    def __init__(self, place: Path | BinaryIO, position: int) -> None:
        self.place, self.position = place, position

    def read(self) -> Any:
        """Read the next array of the partial, in the order in which they were written."""
        if not isinstance(self.place, Path):
            return self._read(self.place)
        with self.place.open("rb") as file:
            return self._read(file)

    def _read(self, file: BinaryIO) -> Any:
        file.seek(self.position)
        piece = np.lib.format.read_array(file, allow_pickle=False)
        self.position = file.tell()
        return piece


def open_partial(path: Path) -> tuple[Borders, PartialSource] | None:
    """Open a partial; None when there is no file, or one that is not what was written."""
    try:
        with path.open("rb") as file:
            if not _intact(file):
                return None
            first, last, nonfinite = (np.lib.format.read_array(file, allow_pickle=False) for _ in range(3))
            return Borders(first, last, int(nonfinite[0]), int(nonfinite[1])), PartialSource(path, file.tell())
    except FileNotFoundError:
        return None


def spill_sums(file: BinaryIO, sums: EitherSums) -> PartialSource:
    """Append sums to a scratch file, where they wait to be combined."""
    position = file.seek(0, 2)
    _write_pieces(file, sums)
    return PartialSource(file, position)


def combine_sums(sources: Sequence[PartialSource], sums: EitherSums, held: bool) -> None:
    """Add up the sums of spans in the order given, into ``sums``; if they are ``held`` there, those of the last span.

    Memory holds two pieces more, however many spans there are.
    """
    for array, upper in _pieces(sums) if sources else ():
        total = sources[0].read()
        for source in sources[1:]:
            total += source.read()
        if held:
            total += array if upper is None else array[upper]
        array[... if upper is None else upper] = total


def _write_pieces(file: Any, sums: EitherSums) -> None:
    for array, upper in _pieces(sums):
        np.lib.format.write_array(file, array if upper is None else array[upper], allow_pickle=False)


def _pieces(sums: EitherSums) -> Iterator[tuple[Any, Any]]:
    """Arrays of a partial in a fixed order, one group at a time, so that memory holds one more; and which elements count."""
    upper = None
    if isinstance(sums, LatentSums):
        upper = np.triu(np.ones(sums.next_minus_latent.shape, dtype=bool))
        yield sums.next_minus_latent, None
        yield sums.count, None
    for array in sums.arrays():
        if isinstance(sums, LatentSums) and (array is sums.next_minus_latent or array is sums.count):
            continue
        square = isinstance(sums, LatentSums) and array is sums.latent_latent
        for piece in array:
            yield piece, upper if square else None


def _intact(file: BinaryIO) -> bool:
    """Compare the file with the digest at its end; afterwards the file stands behind the magic word."""
    digest, left = hashlib.sha256(), file.seek(0, 2) - DIGEST_BYTES
    file.seek(0)
    magic = file.read(len(MAGIC))
    digest.update(magic)
    left -= len(magic)
    while left > 0 and (block := file.read(min(BLOCK_BYTES, left))):
        digest.update(block)
        left -= len(block)
    if magic != MAGIC or left or file.read() != digest.digest():
        return False
    file.seek(len(MAGIC))
    return True


class _Hashed:
    """A file that also hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)
