"""Arrays unit by unit in, one committed store out; a killed writer loses at most the unit it was writing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from layerscout.cache import identity as identities
from layerscout.cache import manifest
from layerscout.cache.arrays import Codec, ColumnSpec, LayerSpec
from layerscout.cache.durable import sync_folders
from layerscout.cache.files import (
    LARGEST_DOCUMENT,
    FileContent,
    StoredObject,
    first_misfit,
    read_trailer_crc,
    write_file,
    write_files,
    writing_threads,
)
from layerscout.cache.layout import ROWS_PER_CHUNK, STANDARD_COLUMNS, StoreLayout, planned_bytes
from layerscout.cache.records.making import COMMAND_NAME
from layerscout.cache.root import STAGING, STORES
from layerscout.cache.store import Store
from layerscout.cache.writing import staging
from layerscout.cache.writing.card import store_card
from layerscout.cache.writing.checks import GivenRows, check_identity_fits, check_space, checked_arrays
from layerscout.cache.writing.units import UnitMarker, finished_unit_objects
from layerscout.errors import DataError

FinishedUnits = Mapping[int, tuple[StoredObject, ...]]  # the files of every unit that is done


class StoreWriter:
    """One process's attempt at one store: it writes units of rows in any order, and commits when all are there.

    Make it with ``StoreWriter.open``. A unit that was written is safe: whoever opens a writer of the same store later takes it over.

    Examples
    --------
    Ten rows of one layer are written in units of four. A writer that is killed after the first unit loses nothing: the next one has two
    units left to do.

    >>> import tempfile
    >>> import numpy as np
    >>> from layerscout.cache.identity import SCHEMA
    >>> root = tempfile.mkdtemp()
    >>> spec = LayerSpec("blocks.0", width=3, dtype="float32", role="layer", depth=0, module="blocks.0")
    >>> identity = {
    ...     "schema": SCHEMA,
    ...     "backbone": {"name": "mine", "weights_digest": "sha256:aa"},
    ...     "recipe": {"offsets": [0]},
    ...     "preprocessing": {"fingerprint": "sha256:bb"},
    ...     "dataset": {"digest": "sha256:cc"},
    ...     "layers": [{"name": "blocks.0", "module": "blocks.0", "width": 3, "role": "layer"}],
    ...     "pooling": "all/mean",
    ...     "logical_dtype": "float32",
    ... }
    >>> def write(writer, unit):
    ...     start, stop = writer.span(unit)
    ...     step = np.arange(start, stop, dtype=np.int32)
    ...     none, zero = np.zeros(len(step), bool), np.zeros(len(step), np.int16)
    ...     index = {"episode": step * 0, "step": step, "action": step % 2, "reward": step / np.float32(2)}
    ...     index |= {"terminated": none, "truncated": none, "padding": zero}
    ...     writer.write_unit(unit, {"blocks.0": np.outer(step, [1, 2, 3]).astype(np.float32)}, index)
    >>> writer = StoreWriter.open(root, identity, [spec], rows=10, rows_per_chunk=4)
    >>> writer.pending()
    [0, 1, 2]
    >>> write(writer, 0)
    >>> writer.release()
    >>> writer = StoreWriter.open(root, identity, [spec], rows=10, rows_per_chunk=4)
    >>> writer.pending()
    [1, 2]
    >>> for unit in writer.pending():
    ...     write(writer, unit)
    >>> store = writer.commit({"command": "an example"})
    >>> store.layer("blocks.0").read(8, 10).tolist()
    [[8.0, 16.0, 24.0], [9.0, 18.0, 27.0]]
    """

    def __init__(
        self, root: Path, identity: identities.Identity, layout: StoreLayout, attempt: staging.Attempt, done: FinishedUnits
    ) -> None:
        self.root, self.identity, self.layout = root, identity, layout
        self.store_id = identities.store_id(identity)
        self._digest = identities.identity_digest(identity)
        self._attempt, self._done = attempt, dict(done)
        self._passports: dict[str, StoredObject] = {}
        self._lasting: set[Path] = set()  # folders whose names are on disk
        self._threads = writing_threads()

    @staticmethod
    def open(
        root: Path | str,
        identity: identities.Identity,
        arrays: Sequence[LayerSpec],
        rows: int,
        rows_per_chunk: int = ROWS_PER_CHUNK,
        columns: Sequence[ColumnSpec] = STANDARD_COLUMNS,
        codec: Codec = "none",
        resume: bool = True,
    ) -> StoreWriter:
        """Begin a store, with the units that earlier attempts at it have finished.

        Parameters
        ----------
        root
            Folder of all stores; made when it does not exist.
        identity
            What the store is computed from (see ``cache.identity``).
        arrays
            The layers, in the order and with the names, modules, widths and roles of ``identity["layers"]``.
        rows, rows_per_chunk
            Rows of the store and of one unit.
        columns
            The index columns: the standard seven, and what else the dataset tells of every row.
        codec
            ``zstd`` makes smaller files that are read several times slower; for slow networks.
        resume
            False begins empty, for one of several processes that write units side by side; whoever opens the store last
            takes over what all of them finished.

        Raises
        ------
        DataError
            The identity is unresolved, or does not fit the layers.
        BudgetError
            The disk has no room for the planned bytes; nothing was written.
        """
        root = Path(root)
        layout = StoreLayout.plan(arrays, rows, rows_per_chunk, columns, codec)
        check_identity_fits(identity, layout)
        folder = root / STAGING / identities.store_id(identity)
        digest = identities.identity_digest(identity)
        plan = {
            "identity_digest": digest,
            "rows": rows,
            "rows_per_chunk": layout.chunk_rows,
            "layers": [vars(spec) for spec in layout.specs],
            "columns": [vars(column) for column in layout.columns],
            "codec": codec,
        }
        found: dict[int, tuple[Path, tuple[StoredObject, ...]]] = {}
        for source in staging.earlier_attempts(folder, plan) if resume else ():
            for unit in set(range(layout.units)) - set(found):
                if objects := finished_unit_objects(source, unit, layout, digest):
                    found[unit] = source, objects
        check_space(root, planned_bytes(layout) - sum(item.size for _, objects in found.values() for item in objects))
        attempt = staging.begin_attempt(folder, plan)
        taken = {unit for unit, (source, objects) in found.items() if attempt.take(source, unit, [item.path for item in objects])}
        return StoreWriter(root, identity, layout, attempt, {unit: found[unit][1] for unit in taken})

    @property
    def units(self) -> int:
        """How many units there are: spans of rows that are written, and resumed, one at a time."""
        return self.layout.units

    def pending(self) -> list[int]:
        """Return the units still to do. The others have a marker whose every file was read and found intact."""
        return [unit for unit in range(self.units) if unit not in self._done]

    def span(self, unit: int) -> tuple[int, int]:
        """Rows ``[start, stop)`` of a unit, which `write_unit` takes."""
        return self.layout.span(unit)

    def keep_alive(self) -> None:
        """Tell other processes that this one is alive; call it at least every few minutes while a unit is computed.

        Raises
        ------
        DataError
            What was written so far was deleted, and no other process has published the store.
        """
        try:
            self._attempt.keep_alive()
        except staging.AttemptGone:
            if not self._published():
                raise

    def write_unit(self, unit: int, layers: Mapping[str, GivenRows], index: Mapping[str, GivenRows]) -> None:
        """Write one unit: every layer ``[row, feature]`` and every index column ``[row]`` of the rows ``span(unit)``.

        Raises
        ------
        DataError
            An array is missing, superfluous, of a wrong shape or kind, or a layer is not finite (the message names layer and row); or
            what was written so far was deleted.
        """
        start, stop = self.span(unit)
        arrays = [
            *checked_arrays("layer", self.layout.layers(), layers, start, stop, self._threads),
            *checked_arrays("index column", self.layout.index(), index, start, stop, self._threads),
        ]
        encoded = ((array.path(unit), partial(array.encode, values)) for array, values in arrays)
        try:
            self._done[unit] = self._write(unit, encoded)
        except (OSError, staging.AttemptGone):
            if not self._published():
                raise
            self._done[unit] = ()  # another process has published the store and swept this attempt away, taking us for dead

    def _write(self, unit: int, encoded: Iterable[tuple[str, Callable[[], FileContent]]]) -> tuple[StoredObject, ...]:
        self._attempt.keep_alive()
        objects = write_files(self._attempt.tree, encoded, self._threads, chunk=True)
        sync_folders(self._attempt.tree, (item.path for item in objects), self._lasting, self._threads)
        marker = UnitMarker.of(self._digest, unit, objects)
        write_file(self._attempt.folder, f"{staging.UNITS}/{unit}.json", marker.model_dump_json().encode())
        sync_folders(self._attempt.folder / staging.UNITS)
        return objects

    def write_passport(self, layer: str, description: bytes, tensors: bytes) -> None:
        """Write a layer's passport: a JSON text and a safetensors file. It is optional, and no part of the store's identity.

        Raises
        ------
        DataError
            The layer's name cannot be a file's, or there are more bytes than readers accept.
        """
        for path, data, most in zip(
            manifest.passport_paths(layer), (description, tensors), (LARGEST_DOCUMENT, manifest.LARGEST_PASSPORT), strict=True
        ):
            if manifest.PASSPORT.fullmatch(path) is None or not 0 < len(data) <= most:
                raise DataError(f"{path} with {len(data):,} bytes cannot be a passport", hint=f"at most {most:,} bytes are read")
            try:
                self._attempt.keep_alive()
                self._passports[path] = write_file(self._attempt.tree, path, data)
            except (OSError, staging.AttemptGone):
                if not self._published():
                    raise

    def told(self, command: str) -> None:
        """Keep the command that makes the store beside what is finished of it, for whoever finds it unfinished."""
        write_file(self._attempt.folder, COMMAND_NAME, f"{command}\n".encode())

    def commit(self, provenance: dict[str, Any]) -> Store:
        """Publish the store. If another process published it first, return that one and drop this attempt.

        Raises
        ------
        DataError
            Units are missing, a file changed since it was written, or ``provenance`` is not plain JSON data.
        """
        identities.plain_json(provenance, "provenance")  # refused before anything is written
        try:
            if not self._published():
                self._publish(provenance)
        except (OSError, DataError):
            if not self._published():
                raise  # else another process was first, and swept this attempt away
        store = Store.open(self._target)  # when the one that stands there is damaged this raises, and our attempt is kept
        self._attempt.discard()
        staging.sweep_dead_attempts(staging.begun_attempts(self._attempt.folder.parent))
        self._threads.shutdown()
        return store

    def discard(self) -> None:
        """Delete what was written, by this writer and by those that are gone: it is not what the identity says."""
        self._threads.shutdown()
        self._attempt.discard()
        staging.sweep_dead_attempts(staging.begun_attempts(self._attempt.folder.parent))

    def release(self) -> None:
        """Stop writing without committing; the next writer of this store continues here."""
        self._threads.shutdown()
        self._attempt.release()

    @property
    def _target(self) -> Path:
        return self.root / STORES / self.store_id

    def _published(self) -> bool:
        return (self._target / manifest.NAME).is_file()

    def _publish(self, provenance: dict[str, Any]) -> None:
        """Check what was written, complete it, and rename it to the store unless somebody was first."""
        if self.pending():
            missing = ", ".join(map(str, self.pending()[:8]))
            raise DataError(f"store {self.store_id} misses {len(self.pending())} of {self.units} units: {missing}", hint="write them first")
        tree = self._attempt.tree
        chunks = [item for unit in range(self.units) for item in self._done[unit]]
        passports = list(self._passports.values())
        changed = first_misfit(tree, [*chunks, *passports]) or next(
            (item for item in chunks if read_trailer_crc(tree / item.path) != item.crc32c), None
        )
        if changed:
            raise DataError(f"{tree / changed.path} changed after it was written", hint="run the same command again; it rewrites that unit")
        card = store_card(self.store_id, self.identity, self.layout, provenance).encode()
        documents = self.layout.metadata_files() | {
            manifest.IDENTITY_NAME: identities.canonical_json(self.identity),
            manifest.CARD_NAME: card,
        }
        written = write_files(tree, ((path, partial(bytes, data)) for path, data in documents.items()), self._threads)
        objects = [*chunks, *passports, *written]
        sync_folders(tree, (*documents, *self._passports), threads=self._threads)
        manifest.write_manifest(tree, self.identity, self.layout, objects, provenance)
        self._target.parent.mkdir(parents=True, exist_ok=True)
        try:
            tree.rename(self._target)
        except OSError as error:
            # not empty: somebody was first; any error with a manifest there: a network disk lost the answer and asked again
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not self._published():
                raise
        else:
            sync_folders(self._target.parent)
