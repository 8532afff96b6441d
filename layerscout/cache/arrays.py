"""One array of a store: its name, type and shape in, its files, bytes and Zarr metadata out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from layerscout.cache import bfloat16
from layerscout.cache.files import CRC_BYTES
from layerscout.errors import DataError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
LAYER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,199}")  # "@" parts a layer from how it was pooled
LAYER_DTYPES = ("float16", "float32", "bfloat16")
COLUMN_DTYPES = ("int16", "int32", "int64", "float32", "float64", "bool")
ZSTD_LEVEL = 1
LARGEST_CHUNK = 2**30  # bytes of a decoded chunk: what a store from a stranger may make a reader allocate at once

Codec = Literal["none", "zstd"]


@dataclass(frozen=True)
class LayerSpec:
    """A layer of a store: what it is called, what its numbers are, and where in the backbone it was taken.

    ``depth`` counts the layers in forward order from 0; ``module`` is the path of the block inside the backbone;
    ``role`` tells a candidate ("layer") from what only serves comparison ("control"). ``dtype`` is the numbers' logical type.
    """

    name: str
    width: int
    dtype: Literal["float16", "float32", "bfloat16"]
    role: Literal["layer", "control"]
    depth: int
    module: str

    def __post_init__(self) -> None:
        _check_name("layer", self.name, LAYER_NAME)
        if self.width < 1:
            raise DataError(f"layer '{self.name}' has width {self.width}, expected at least 1", hint="see layerscout layers BACKBONE")
        if self.dtype not in LAYER_DTYPES:
            raise DataError(f"layer '{self.name}' has dtype '{self.dtype}', expected {', '.join(LAYER_DTYPES)}", hint="choose one of these")
        if self.role not in ("layer", "control"):
            raise DataError(f"layer '{self.name}' has role '{self.role}', expected layer or control", hint="choose one of the two")


@dataclass(frozen=True)
class ColumnSpec:
    """An index column of a store. It is an array ``[row]``, or ``[row, value]`` when it has a width."""

    name: str
    dtype: Literal["int16", "int32", "int64", "float32", "float64", "bool"]
    width: int | None = None

    def __post_init__(self) -> None:
        _check_name("index column", self.name)
        if self.dtype not in COLUMN_DTYPES:
            raise DataError(f"index column '{self.name}' has dtype '{self.dtype}'", hint=f"one of {', '.join(COLUMN_DTYPES)}")
        if self.width is not None and self.width < 1:
            raise DataError(f"index column '{self.name}' has width {self.width}, expected at least 1", hint="leave empty columns out")


def _check_name(what: str, name: str, pattern: re.Pattern[str] = NAME) -> None:
    if not pattern.fullmatch(name) or name == "zarr.json":
        hint = "letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 200"
        raise DataError(f"'{name}' cannot name a {what}", hint=hint)


def zstd_frame_bytes(data: NDArray[np.uint8]) -> int | None:
    """Return how many bytes a Zstandard frame says it decompresses to, or None when it is no frame or does not say (RFC 8878, 3.1.1.1)."""
    head = data[:18].tobytes()
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = head[4]
    single = bool(descriptor & 0x20)
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    length = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    if not length or len(head) < start + length:
        return None
    return int.from_bytes(head[start : start + length], "little") + (256 if length == 2 else 0)


@dataclass(frozen=True)
class ArrayLayout:
    """How an array of a store is cut and spelled on disk. A layer is ``[row, feature]``, an index column ``[row]`` or ``[row, value]``."""

    folder: str
    dtype: str  # logical: what the numbers mean
    rows: int
    chunk_rows: int
    width: int | None
    finite: bool = True  # a layer is finite everywhere; in an index column NaN means "there is none"
    codec: Codec = "none"
    attributes: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(rows, width), or (rows,) for a column of single numbers."""
        return (self.rows,) if self.width is None else (self.rows, self.width)

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Return the shape of every chunk. The last one is stored full too, its missing rows filled."""
        return (self.chunk_rows, *self.shape[1:])

    @cached_property
    def stored(self) -> np.dtype[Any]:
        """Return the type of the numbers on disk, which is little-endian."""
        return np.dtype("<u2") if self.dtype == "bfloat16" else np.dtype(self.dtype).newbyteorder("<")

    @cached_property
    def read(self) -> np.dtype[Any]:
        """Return the type of the numbers that a reader gives out; bfloat16 comes as the float32 of the same value."""
        return np.dtype("float32" if self.dtype == "bfloat16" else self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row uncompressed, in the type in which it is stored."""
        return self.stored.itemsize * (self.width or 1)

    @property
    def payload_bytes(self) -> int:
        """Return how many bytes a chunk has when it is decoded."""
        return self.chunk_rows * self.row_bytes

    @property
    def most_file_bytes(self) -> int:
        """Return the bytes of a chunk file with its crc32c trailer. Without compression they are exact, else the most (RFC 8878 framing)."""
        framing = self.payload_bytes // 256 + 64 if self.codec == "zstd" else 0
        return self.payload_bytes + framing + CRC_BYTES

    @property
    def chunks(self) -> int:
        """Files that the array is cut into; the last one may hold fewer rows."""
        return -(-self.rows // self.chunk_rows)

    @property
    def fill(self) -> float | int | bool:
        """Return what stands in the rows of the last chunk that do not exist."""
        if self.dtype == "bfloat16":
            return bfloat16.NAN
        kind = np.dtype(self.dtype).kind
        return float("nan") if kind == "f" else False if kind == "b" else 0

    def path(self, chunk: int) -> str:
        """Return the path of a chunk file relative to the store."""
        return f"{self.folder}/c/{chunk}" + ("" if self.width is None else "/0")

    def encode(self, values: Shaped[np.ndarray, "row ..."]) -> NDArray[np.uint8]:
        """Return the bytes of one chunk, without the trailer: rows in the stored type, filled up to a whole chunk."""
        if len(values) == self.chunk_rows:
            payload = np.ascontiguousarray(values, dtype=self.stored)
        else:
            payload = np.full(self.chunk_shape, self.fill, dtype=self.stored)
            payload[: len(values)] = values
        raw = payload.reshape(-1).view(np.uint8)
        if self.codec == "none":
            return raw
        from numcodecs import zstd

        return np.frombuffer(zstd.compress(raw, ZSTD_LEVEL), dtype=np.uint8)

    def decode(self, data: NDArray[np.uint8]) -> Shaped[np.ndarray, "row ..."]:
        """Return the rows of one chunk from its bytes without the trailer, in the stored type.

        Raises
        ------
        ValueError
            The bytes do not decompress to exactly one chunk.
        """
        if self.codec == "zstd":
            from numcodecs import zstd

            # asked before decompressing: a larger frame would allocate what it likes, a smaller one leave memory as it was
            if zstd_frame_bytes(data) != self.payload_bytes:
                raise ValueError(f"the compressed frame does not state the {self.payload_bytes} bytes of a chunk")
            try:
                data = np.frombuffer(zstd.decompress(data, np.empty(self.payload_bytes, dtype=np.uint8)), dtype=np.uint8)
            except RuntimeError as error:
                raise ValueError(str(error)) from None
        return data.view(self.stored).reshape(self.chunk_shape)

    def give(self, rows: Shaped[np.ndarray, "row ..."]) -> Shaped[np.ndarray, "row ..."]:
        """Turn stored numbers into what a reader gives out."""
        return bfloat16.from_bfloat16(rows) if self.dtype == "bfloat16" else rows if rows.dtype == self.read else rows.astype(self.read)

    def metadata(self) -> dict[str, Any]:
        """Return the array's Zarr v3 metadata document."""
        endian = {} if self.stored.itemsize == 1 else {"configuration": {"endian": "little"}}
        compression = [{"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}] if self.codec == "zstd" else []
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.stored.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.chunk_shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "NaN" if self.stored.kind == "f" else self.fill,
            "codecs": [{"name": "bytes"} | endian, *compression, {"name": "crc32c"}],
            "attributes": dict(self.attributes),
            "dimension_names": ["row"] if self.width is None else ["row", "feature"],
            "storage_transformers": [],
        }
