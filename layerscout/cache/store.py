"""A committed store in, layers and index columns out; nothing is opened except through its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from layerscout.cache import identity as identities
from layerscout.cache import manifest as manifests
from layerscout.cache.arrays import ArrayLayout, ColumnSpec, LayerSpec
from layerscout.cache.files import StoredObject, first_damaged_document, first_misfit, read_document
from layerscout.cache.reader import REPAIR, LayerReader
from layerscout.cache.root import ORIGIN_NAME
from layerscout.errors import DataError, raise_shortage, suggest
from layerscout.showing import Shown, counted, size

__all__ = ["ColumnSpec", "LayerReader", "LayerSpec", "Store"]


class Store(Shown):
    """The activations of one backbone on one dataset, as they lie in a folder; nothing ever changes them.

    Open it with ``open_store`` (by id, name, folder or URL) or ``Store.open`` (by folder). A store is a table of rows, one for each
    frame of the dataset: every layer is an array ``[row, feature]``, every index column an array ``[row]`` or ``[row, value]``.

    Attributes
    ----------
    id, path, rows
        The name that its identity gives it, its folder, and how many rows it has.
    specs, columns
        Layers and index columns by name, with their types and widths.
    identity
        Everything that the numbers were computed from.
    manifest
        Every file with its size and digests, and how the store came to be.

    Examples
    --------
    A small store of made-up numbers is written and opened again. Every chunk is verified when it is read.

    >>> import tempfile
    >>> from layerscout.cache.opening import open_store
    >>> from layerscout.cache.testing import made_up
    >>> root = tempfile.mkdtemp()
    >>> written = made_up(seed=0, rows=7, widths=(3, 5)).write(root)
    >>> store = open_store(root, written.id)
    >>> store.rows, list(store.specs)
    (7, ['blocks.0', 'blocks.1', 'pixels'])
    >>> layer = store.layer("blocks.1")
    >>> layer.shape, layer.dtype
    ((7, 5), dtype('float16'))
    >>> layer.read(2, 4).shape
    (2, 5)
    >>> bool((layer.rows([6, 0]) == layer.all()[[6, 0]]).all())
    True
    >>> store.index("step").tolist()
    [0, 1, 2, 3, 4, 5, 6]
    """

    def __init__(self, path: Path, manifest: manifests.Manifest, identity: identities.Identity) -> None:
        self.path, self.manifest, self.identity = path, manifest, identity
        self.id = manifest.store_id
        self.rows = manifest.rows
        self.specs = {spec.name: spec for spec in manifest.layers}
        self.columns = {column.name: column for column in manifest.columns}
        self._objects = {item.path: item for item in manifest.objects}
        self._readers: dict[str, LayerReader] = {}  # kept, so that chunks mapped for single rows are verified once

    @staticmethod
    def open(path: Path | str) -> Store:
        """Open the store in a folder, checking that every listed file is there with its size, and the metadata whole.

        Raises
        ------
        DataError
            There is no manifest (the store is incomplete), a file is missing or has another size, or the identity is not the manifest's.
        """
        path = Path(path)
        manifest = manifests.read_manifest(path)
        if (path / ORIGIN_NAME).exists():
            raise DataError(f"{path} is a mirror, which may hold some layers only", hint=f"open it by its id, {manifest.store_id}")
        return Store(path, manifest, check_files(path, manifest, manifest.objects))

    def layer(self, name: str) -> LayerReader:
        """Return the reader of one layer.

        Raises
        ------
        DataError
            The store has no such layer; the message names the nearest one.
        """
        if name not in self._layers:
            message = f"layer '{name}' is not in store {self.id} ({counted(len(self.specs), 'layer')}){suggest(name, self.specs)}"
            raise DataError(message, hint=f"layers: {', '.join(self.specs)}")
        return self._reader(name, self._layers[name])

    @property
    def total_bytes(self) -> int:
        """Return the bytes of the whole store: every file that its manifest lists, and the manifest. Every command tells this size."""
        return sum(item.size for item in self.manifest.objects) + (self.path / manifests.NAME).stat().st_size

    def __getitem__(self, name: str) -> LayerReader:
        """Return the reader of one layer, as ``layer`` does: ``store["blocks.3"][0:5]``."""
        return self.layer(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the layers."""
        return iter(self.specs)

    def index(self, column: str) -> Shaped[np.ndarray, "row ..."]:
        """Return one index column, ``[row]`` or ``[row, value]``: episode, step, action, reward, terminated, truncated, padding,
        and what else the dataset told (``columns``).

        Raises
        ------
        DataError
            There is no such column.
        """
        columns = self.manifest.layout.index()
        if column not in columns:
            raise DataError(f"no index column '{column}'{suggest(column, columns)}", hint=f"columns: {', '.join(columns)}")
        return self._reader(column, columns[column]).all()

    @property
    def passports(self) -> tuple[str, ...]:
        """Return the names of the layers whose passports were kept (see ``extract.passports``)."""
        return self.manifest.passports

    def passport(self, layer: str) -> tuple[bytes, bytes]:
        """Return what a layer's passport says (JSON) and its tensors (safetensors), as bytes that are what was written.

        Raises
        ------
        DataError
            The store keeps no passport of this layer, or one of the two files is damaged.
        """
        if layer not in self.passports:
            message = f"store {self.id} keeps no passport of layer '{layer}'{suggest(layer, self.passports)}"
            raise DataError(message, hint="extract again with extract.passport_clips above 0")
        text, tensors = (self._whole(path) for path in manifests.passport_paths(layer))
        return text, tensors

    def _whole(self, path: str) -> bytes:
        data = (self.path / path).read_bytes()
        if hashlib.sha256(data).hexdigest() != self._objects[path].sha256:
            raise DataError(f"{self.path / path} is damaged: its bytes do not have the sha256 that the manifest states", hint=REPAIR)
        return data

    @cached_property
    def _layers(self) -> dict[str, ArrayLayout]:
        return self.manifest.layout.layers()

    def _reader(self, name: str, layout: ArrayLayout) -> LayerReader:
        if layout.folder not in self._readers:
            objects = tuple(self._objects[layout.path(chunk)] for chunk in range(layout.chunks))
            self._readers[layout.folder] = LayerReader(self.path, name, layout, objects)
        return self._readers[layout.folder]

    def frame_rows(self) -> list[dict[str, Any]]:
        """Return one row a layer: its place in the model, its width, and how its numbers are stored."""
        bytes_of = {
            spec.name: sum(item.size for item in self._reader(spec.name, self._layers[spec.name]).objects) for spec in self.specs.values()
        }
        facts = ("name", "role", "depth", "module", "width", "dtype")
        return [{fact: getattr(spec, fact) for fact in facts} | {"bytes": bytes_of[spec.name]} for spec in self.specs.values()]

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return a line about the store and a row a layer: its name, role, depth, width, type and size."""
        backbone = self.identity["backbone"]["name"]
        rows: list[Sequence[object]] = [
            (row["name"], row["role"], row["depth"], row["width"], row["dtype"], size(row["bytes"])) for row in self.frame_rows()
        ]
        return f"store {self.id}: {counted(self.rows, 'row')} of {backbone}", ("layer", "role", "depth", "width", "type", "size"), rows

    def __repr__(self) -> str:
        return f"Store({self.id}, {counted(self.rows, 'row')}, {counted(len(self.specs), 'layer')})"


def check_files(path: Path, manifest: manifests.Manifest, objects: Sequence[StoredObject]) -> identities.Identity:
    """Check that these files of a store are there with their sizes, and that its JSON files are whole; return the identity.

    The JSON files are few and small. Our readers need the manifest alone, but other Zarr readers believe the metadata.

    Raises
    ------
    DataError
        A file is missing or has another size, the metadata is damaged, or the identity is damaged or another store's.
    """
    misfit = first_misfit(path, objects)
    if misfit:
        raise DataError(f"{path / misfit.path} is missing or does not have its {misfit.size} bytes", hint=REPAIR)
    identity_file = path / manifests.IDENTITY_NAME
    try:
        identity: identities.Identity = json.loads(read_document(identity_file))
        digest = identities.identity_digest(identity)
    except (OSError, ValueError, TypeError, RecursionError, DataError) as error:
        if isinstance(error, OSError):
            raise_shortage(error, identity_file)
        raise DataError(f"{identity_file} is damaged: {error}", hint=REPAIR) from None
    if digest != manifest.identity_digest or identities.store_id(identity) != manifest.store_id:
        raise DataError(f"{identity_file} is not the identity that the manifest states", hint=REPAIR)
    damaged = first_damaged_document(path, objects)
    if damaged:
        raise DataError(f"{path / damaged.path} is damaged: its bytes do not have the crc32c that the manifest states", hint=REPAIR)
    return identity
