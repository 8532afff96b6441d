"""Arrays unit by unit in, one committed store out; a killed writer loses at most the unit it was writing."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from layerscout.cache import identity as identities
from layerscout.cache import manifest, staging
from layerscout.cache.checks import Rows, check_fit, check_space, checked_arrays
from layerscout.cache.files import StoredObject, chunk_is_intact, first_misfit, sync_folders, trailer_of, write_file
from layerscout.cache.layout import ROWS_PER_CHUNK, LayerSpec, StoreLayout, planned_bytes
from layerscout.cache.records import Record
from layerscout.cache.store import Store
from layerscout.errors import BudgetError, DataError


class UnitMarker(Record):
    """Says that a unit is done, and with which files."""

    identity_digest: str
    unit: int
    objects: tuple[StoredObject, ...]


class StoreWriter:
    """Writes one store; make it with ``StoreWriter.open``.

    Examples
    --------
    >>> writer = StoreWriter.open(root, identity, specs, rows=10_000)  # doctest: +SKIP
    >>> for unit in writer.pending():  # doctest: +SKIP
    ...     writer.write_unit(unit, *compute(*writer.span(unit)))
    >>> store = writer.commit({"command": "..."})  # doctest: +SKIP
    """

    def __init__(self, root: Path, identity: identities.Identity, layout: StoreLayout, attempt: staging.Attempt) -> None:
        self.root, self.identity, self.layout = root, identity, layout
        self.store_id = identities.store_id(identity)
        self._digest = identities.identity_digest(identity)
        self._attempt = attempt
        self._done: dict[int, tuple[StoredObject, ...]] = {}
        for unit in range(layout.units):
            objects = self._trusted(unit)
            if objects is not None:
                self._done[unit] = objects

    @staticmethod
    def open(
        root: Path | str, identity: identities.Identity, arrays: Sequence[LayerSpec], rows: int, rows_per_chunk: int = ROWS_PER_CHUNK
    ) -> StoreWriter:
        """Begin a store, or continue the attempt that a killed process left behind.

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

        Raises
        ------
        DataError
            The identity is unresolved, or does not fit the layers.
        BudgetError
            The disk has no room for the planned bytes; nothing was written.
        """
        root = Path(root)
        layout = StoreLayout.plan(arrays, rows, rows_per_chunk)
        check_fit(identity, layout)
        folder = root / "staging" / identities.store_id(identity)
        plan = {
            "identity_digest": identities.identity_digest(identity),
            "rows": rows,
            "rows_per_chunk": layout.chunk_rows,
            "layers": [vars(spec) for spec in layout.specs],
        }
        attempt = staging.adopt(folder, plan)
        written = sum(path.stat().st_size for path in attempt.tree.rglob("*") if path.is_file()) if attempt else 0
        try:
            check_space(root, planned_bytes(arrays, rows, rows_per_chunk) - written)
        except BudgetError:
            if attempt:
                attempt.release()
            raise
        return StoreWriter(root, identity, layout, attempt or staging.begin(folder, plan))

    @property
    def units(self) -> int:
        """How many units the store is made of."""
        return self.layout.units

    def pending(self) -> list[int]:
        """Return the units still to do. The others have a marker whose every file was read and found intact."""
        return [unit for unit in range(self.units) if unit not in self._done]

    def span(self, unit: int) -> tuple[int, int]:
        """Return the rows ``[start, stop)`` of a unit."""
        return self.layout.span(unit)

    def beat(self) -> None:
        """Tell other processes that this one is alive; call it at least every few minutes while a unit is computed."""
        self._attempt.beat()

    def write_unit(self, unit: int, layers: Mapping[str, Rows], index: Mapping[str, Rows]) -> None:
        """Write one unit: every layer ``[row, feature]`` and every index column ``[row]`` of the rows ``span(unit)``.

        Raises
        ------
        DataError
            An array is missing, superfluous, of a wrong shape or kind, or a layer is not finite; the message names layer and row.
        """
        self.beat()
        start, stop = self.span(unit)
        arrays = [
            *checked_arrays("layer", self.layout.layers(), layers, start, stop),
            *checked_arrays("index column", self.layout.index(), index, start, stop),
        ]
        objects = tuple(write_file(self._attempt.tree, array.path(unit), array.encode(values), chunk=True) for array, values in arrays)
        sync_folders(self._attempt.tree, (item.path for item in objects))
        marker = UnitMarker(identity_digest=self._digest, unit=unit, objects=objects)
        write_file(self._attempt.folder, f"{staging.UNITS}/{unit}.json", marker.model_dump_json().encode())
        sync_folders(self._attempt.folder / staging.UNITS)
        self._done[unit] = objects

    def commit(self, provenance: dict[str, Any]) -> Store:
        """Publish the store. If another process published it first, return that one and drop this attempt.

        Raises
        ------
        DataError
            Units are missing, a file changed since it was written, or ``provenance`` is not plain JSON data.
        """
        identities.plain_json(provenance, "provenance")  # refused before anything is written
        if self.pending():
            missing = ", ".join(map(str, self.pending()[:8]))
            raise DataError(f"store {self.store_id} misses {len(self.pending())} of {self.units} units: {missing}", hint="write them first")
        tree = self._attempt.tree
        chunks = [item for unit in range(self.units) for item in self._done[unit]]
        changed = first_misfit(tree, chunks) or next((item for item in chunks if trailer_of(tree / item.path) != item.crc32c), None)
        if changed:
            raise DataError(f"{tree / changed.path} changed after it was written", hint="run the same command again; it rewrites that unit")
        documents = self.layout.metadata_files() | {manifest.IDENTITY_NAME: identities.canonical(self.identity)}
        objects = [*chunks, *(write_file(tree, path, data) for path, data in documents.items())]
        sync_folders(tree, documents)
        manifest.write(tree, self.identity, self.layout, objects, provenance)
        return self._publish()

    def release(self) -> None:
        """Stop writing without committing; the next writer of this store continues here."""
        self._attempt.release()

    def _publish(self) -> Store:
        target = self.root / "stores" / self.store_id
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._attempt.tree.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            sync_folders(target.parent)
        store = Store.open(target)  # when the one that stands there is damaged this raises, and our attempt is kept
        self._attempt.discard()
        return store

    def _trusted(self, unit: int) -> tuple[StoredObject, ...] | None:
        path = self._attempt.folder / staging.UNITS / f"{unit}.json"
        try:
            marker = UnitMarker.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None
        expected = [array.path(unit) for array in self.layout.arrays()]
        if (marker.identity_digest, marker.unit, [item.path for item in marker.objects]) != (self._digest, unit, expected):
            return None
        return marker.objects if all(chunk_is_intact(self._attempt.tree, item) for item in marker.objects) else None
