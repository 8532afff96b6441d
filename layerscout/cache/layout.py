"""Rows, layers and index columns in, files and bytes out: where every number of a store lies on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layerscout.cache.arrays import LARGEST_CHUNK, ArrayLayout, Codec, ColumnSpec, LayerSpec
from layerscout.errors import DataError

__all__ = ["ArrayLayout", "ColumnSpec", "LayerSpec", "StoreLayout", "planned_bytes"]

ROWS_PER_CHUNK = 4096
STANDARD_COLUMNS = (
    ColumnSpec("episode", "int32"),
    ColumnSpec("step", "int32"),
    ColumnSpec("action", "int32"),  # -1 where there is none; float32 [row, dimension] and NaN for continuous actions
    ColumnSpec("reward", "float32"),
    ColumnSpec("terminated", "bool"),
    ColumnSpec("truncated", "bool"),
    ColumnSpec("padding", "int16"),
)
REQUIRED_COLUMNS = frozenset(column.name for column in STANDARD_COLUMNS)
MOST_FILES = 100_000  # chunk files of a store: their manifest is then well below the size that readers accept
JSON_BYTES_PER_FILE = 1024  # upper bound of what one file adds to markers, manifest and Zarr metadata


@dataclass(frozen=True)
class StoreLayout:
    """Where everything of a store lies: which arrays it has, and how their rows are cut into units."""

    specs: tuple[LayerSpec, ...]
    rows: int
    chunk_rows: int
    columns: tuple[ColumnSpec, ...] = STANDARD_COLUMNS
    codec: Codec = "none"

    @staticmethod
    def plan(
        specs: Sequence[LayerSpec],
        rows: int,
        rows_per_chunk: int = ROWS_PER_CHUNK,
        columns: Sequence[ColumnSpec] = STANDARD_COLUMNS,
        codec: Codec = "none",
    ) -> StoreLayout:
        """Lay out ``rows`` rows of the given layers; a store smaller than one chunk gets a chunk of its own size.

        Raises
        ------
        DataError
            There are no rows or layers, a layer or column is listed twice, a column that every store has is missing, or a
            chunk would be larger than a reader accepts.
        """
        names = [spec.name for spec in specs]
        if rows < 1 or rows_per_chunk < 1 or not names:
            raise DataError(f"a store of {rows} rows, {len(names)} layers, {rows_per_chunk} rows a chunk", hint="each must be at least 1")
        for what, listed in (("layer", names), ("index column", [column.name for column in columns])):
            if len(set(listed)) < len(listed):
                raise DataError(f"a {what} is listed twice: {', '.join(listed)}", hint=f"ask for every {what} once")
        if missing := REQUIRED_COLUMNS - {column.name for column in columns}:
            raise DataError(f"the index columns lack {', '.join(sorted(missing))}", hint="every store has the seven standard columns")
        layout = StoreLayout(tuple(specs), rows, min(rows, rows_per_chunk), tuple(columns), codec)
        if (files := layout.units * len(layout.arrays())) > MOST_FILES:
            message = f"{rows:,} rows of {len(layout.arrays())} arrays in chunks of {layout.chunk_rows:,} are {files:,} files"
            raise DataError(message, hint=f"at most {MOST_FILES:,}: store more rows in a chunk (extract.rows_per_chunk)")
        for array in layout.arrays():
            if array.payload_bytes > LARGEST_CHUNK:
                message = f"a chunk of {array.folder} has {array.payload_bytes:,} bytes, more than the {LARGEST_CHUNK:,} allowed"
                raise DataError(message, hint="store fewer rows in a chunk (extract.rows_per_chunk)")
        return layout

    @property
    def units(self) -> int:
        """Return how many units the store has. A unit is one chunk of rows of every array."""
        return -(-self.rows // self.chunk_rows)

    def span(self, unit: int) -> tuple[int, int]:
        """Rows ``[start, stop)`` of a unit, the last of which may be shorter."""
        return unit * self.chunk_rows, min(self.rows, (unit + 1) * self.chunk_rows)

    def layers(self) -> dict[str, ArrayLayout]:
        """Return where and how the numbers of each layer are stored, by the layer's name."""
        return {
            spec.name: self._array(
                f"layers/{spec.name}",
                spec.dtype,
                spec.width,
                finite=True,
                attributes=(
                    ("role", spec.role),
                    ("depth", spec.depth),
                    ("module", spec.module),
                    *([("logical_dtype", spec.dtype)] if spec.dtype == "bfloat16" else []),
                ),
            )
            for spec in self.specs
        }

    def index(self) -> dict[str, ArrayLayout]:
        """Name → array of every index column; its values may be NaN."""
        return {column.name: self._array(f"index/{column.name}", column.dtype, column.width, finite=False) for column in self.columns}

    def _array(self, folder: str, dtype: str, width: int | None, finite: bool, attributes: tuple[Any, ...] = ()) -> ArrayLayout:
        return ArrayLayout(folder, dtype, self.rows, self.chunk_rows, width, finite, self.codec, attributes)

    def arrays(self) -> list[ArrayLayout]:
        """The arrays of all layers, then those of all index columns."""
        return [*self.layers().values(), *self.index().values()]

    def metadata_paths(self) -> list[str]:
        """Paths of the ``zarr.json`` of the store, of its two groups and of every array, relative to the store."""
        return [f"{folder}zarr.json" for folder in ("", "layers/", "index/", *(f"{array.folder}/" for array in self.arrays()))]

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
        """Return the bytes of all chunk files together; with compression, the most they can be."""
        return self.units * sum(array.most_file_bytes for array in self.arrays())


def planned_bytes(layout: StoreLayout) -> int:
    """Return the bytes that a store will need at most: all chunk files, and an upper bound for the JSON beside them."""
    return layout.data_bytes + JSON_BYTES_PER_FILE * (layout.units + 3) * len(layout.arrays())
