"""Rows and layers in, files, bytes and Zarr metadata out: where every number of a store lies on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from layerscout.cache.files import CRC_BYTES
from layerscout.errors import DataError

ROWS_PER_CHUNK = 4096
INDEX_COLUMNS = {
    "episode": "int32",
    "step": "int32",
    "action": "int32",
    "reward": "float32",
    "terminated": "bool",
    "truncated": "bool",
    "padding": "int16",
}
LAYER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
JSON_BYTES_PER_FILE = 1024  # upper bound of what one file adds to markers, manifest and Zarr metadata


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a store.

    ``depth`` counts the layers in forward order from 0; ``module`` is the path of the block inside the backbone;
    ``role`` tells a candidate ("layer") from what only serves comparison ("control").
    """

    name: str
    width: int
    dtype: Literal["float16", "float32"]
    role: Literal["layer", "control"]
    depth: int
    module: str

    def __post_init__(self) -> None:
        if not LAYER_NAME.fullmatch(self.name) or self.name == "zarr.json":
            hint = "letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 200"
            raise DataError(f"'{self.name}' is not a layer name", hint=hint)
        if self.width < 1:
            raise DataError(f"layer '{self.name}' has width {self.width}, expected at least 1", hint="see layerscout layers BACKBONE")
        if self.dtype not in ("float16", "float32"):
            raise DataError(f"layer '{self.name}' has dtype '{self.dtype}', expected float16 or float32", hint="choose one of the two")
        if self.role not in ("layer", "control"):
            raise DataError(f"layer '{self.name}' has role '{self.role}', expected layer or control", hint="choose one of the two")


@dataclass(frozen=True)
class ArrayLayout:
    """One array of a store: ``[row, feature]`` for a layer, ``[row]`` (width None) for an index column."""

    folder: str
    dtype: str
    rows: int
    chunk_rows: int
    width: int | None
    attributes: tuple[tuple[str, Any], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (self.rows,) if self.width is None else (self.rows, self.width)

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of every chunk; the last one is stored full, its missing rows filled."""
        return (self.chunk_rows, *self.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.dtype).itemsize * (self.width or 1)

    @property
    def file_bytes(self) -> int:
        """Bytes of one chunk file: raw rows and the crc32c trailer."""
        return self.chunk_rows * self.row_bytes + CRC_BYTES

    @property
    def chunks(self) -> int:
        """How many chunk files the array has."""
        return -(-self.rows // self.chunk_rows)

    @property
    def fill(self) -> float | int | bool:
        """What stands in the rows of the last chunk that do not exist."""
        kind = np.dtype(self.dtype).kind
        return float("nan") if kind == "f" else False if kind == "b" else 0

    def path(self, chunk: int) -> str:
        """Path of a chunk file relative to the store."""
        return f"{self.folder}/c/{chunk}" + ("" if self.width is None else "/0")

    def encode(self, values: Shaped[np.ndarray, "row ..."]) -> NDArray[np.uint8]:
        """Return the bytes of one chunk, without the trailer: the rows, then filling up to a whole chunk."""
        stored = np.dtype(self.dtype).newbyteorder("<")
        if len(values) == self.chunk_rows:
            payload = np.ascontiguousarray(values, dtype=stored)
        else:
            payload = np.full(self.chunk_shape, self.fill, dtype=stored)
            payload[: len(values)] = values
        return payload.reshape(-1).view(np.uint8)

    def metadata(self) -> dict[str, Any]:
        """Return the array's Zarr v3 metadata document."""
        dtype = np.dtype(self.dtype)
        endian = {} if dtype.itemsize == 1 else {"configuration": {"endian": "little"}}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.chunk_shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "NaN" if dtype.kind == "f" else self.fill,
            "codecs": [{"name": "bytes"} | endian, {"name": "crc32c"}],
            "attributes": dict(self.attributes),
            "dimension_names": ["row"] if self.width is None else ["row", "feature"],
            "storage_transformers": [],
        }


@dataclass(frozen=True)
class StoreLayout:
    """All arrays of a store and how their rows are cut into units."""

    specs: tuple[LayerSpec, ...]
    rows: int
    chunk_rows: int

    @staticmethod
    def plan(specs: Sequence[LayerSpec], rows: int, rows_per_chunk: int = ROWS_PER_CHUNK) -> StoreLayout:
        """Lay out ``rows`` rows of the given layers; a store smaller than one chunk gets a chunk of its own size.

        Raises
        ------
        DataError
            There are no rows or layers, or a layer is listed twice.
        """
        names = [spec.name for spec in specs]
        if rows < 1 or rows_per_chunk < 1 or not names:
            raise DataError(f"a store of {rows} rows, {len(names)} layers, {rows_per_chunk} rows a chunk", hint="each must be at least 1")
        if len(set(names)) < len(names):
            raise DataError(f"a layer is listed twice: {', '.join(names)}", hint="ask for every layer once")
        return StoreLayout(tuple(specs), rows, min(rows, rows_per_chunk))

    @property
    def units(self) -> int:
        """How many pieces of work the store is made of: one chunk of rows of every array."""
        return -(-self.rows // self.chunk_rows)

    def span(self, unit: int) -> tuple[int, int]:
        """Return the rows ``[start, stop)`` of a unit."""
        return unit * self.chunk_rows, min(self.rows, (unit + 1) * self.chunk_rows)

    def layers(self) -> dict[str, ArrayLayout]:
        """Return the layers' arrays by name."""
        return {
            spec.name: ArrayLayout(
                f"layers/{spec.name}",
                spec.dtype,
                self.rows,
                self.chunk_rows,
                spec.width,
                (("role", spec.role), ("depth", spec.depth), ("module", spec.module)),
            )
            for spec in self.specs
        }

    def index(self) -> dict[str, ArrayLayout]:
        """Return the index columns' arrays by name."""
        return {name: ArrayLayout(f"index/{name}", dtype, self.rows, self.chunk_rows, None) for name, dtype in INDEX_COLUMNS.items()}

    def arrays(self) -> list[ArrayLayout]:
        """Return every array, layers first."""
        return [*self.layers().values(), *self.index().values()]

    def metadata_files(self) -> dict[str, bytes]:
        """Return path → bytes of every Zarr metadata file; the root repeats all of it so that one read tells everything."""
        group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        nodes: dict[str, dict[str, Any]] = {"layers": group, "index": group}
        nodes |= {array.folder: array.metadata() for array in self.arrays()}
        # with the listing inside, Zarr readers need not list the folder, where identity.json and manifest.json lie too
        root = group | {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": nodes}}
        files = {"zarr.json": root} | {f"{path}/zarr.json": node for path, node in nodes.items()}
        return {path: json.dumps(node, indent=1, allow_nan=False).encode() for path, node in files.items()}

    @property
    def data_bytes(self) -> int:
        """Bytes of all chunk files together."""
        return self.units * sum(array.file_bytes for array in self.arrays())


def planned_bytes(specs: Sequence[LayerSpec], rows: int, rows_per_chunk: int = ROWS_PER_CHUNK) -> int:
    """Return the bytes that a store will need at most: all chunk files exactly, and an upper bound for the JSON beside them."""
    layout = StoreLayout.plan(specs, rows, rows_per_chunk)
    return layout.data_bytes + JSON_BYTES_PER_FILE * (layout.units + 3) * len(layout.arrays())
