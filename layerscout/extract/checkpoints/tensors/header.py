"""The header of a safetensors file in, where each of its tensors lies out; whatever such a header may lie about is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.places.byte_ranges import ByteSource

LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
LENGTH_BYTES = 8
POINTER = b"version https://git-lfs"  # how the file begins that Git keeps in place of a large one
AGAIN = "the file is damaged or no safetensors file; download the checkpoint again"
BITS = {  # of one number, by the name that the format gives to its type
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True)
class TensorRange:
    """A tensor of a file: its type as the format names it, its shape, and its bytes ``[start, stop)`` in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class TensorHeader:
    """All tensors of one file; ``bytes`` were read to know them, ``metadata`` is what the writer noted beside them."""

    tensors: dict[str, TensorRange]
    bytes: int
    metadata: dict[str, Any] = field(default_factory=dict)


def read_header(source: ByteSource, path: str) -> TensorHeader:
    """Read the header of a safetensors file, and nothing else of it.

    Raises
    ------
    DataError
        The file is missing, or its header is damaged: longer than the file or than any header, not JSON, with tensors of unknown
        type, outside the file, overlapping, of another size than their shape, or with bytes between that belong to none.
    """
    where, size = f"{source.address}/{path}", source.size(path)
    if size is None:
        raise DataError(f"{where} is missing, which the checkpoint lists", hint="download the checkpoint again")
    if size < LENGTH_BYTES:
        raise DataError(f"{where} has {size} bytes and no header", hint=AGAIN)
    start = source.read(path, 0, LENGTH_BYTES)
    if start == POINTER[:LENGTH_BYTES]:
        raise DataError(f"{where} is a pointer of Git LFS in place of the weights", hint="git lfs pull, or download the checkpoint")
    length = int.from_bytes(start, "little")
    if length > min(LARGEST_HEADER, size - LENGTH_BYTES):
        raise DataError(f"{where} states a header of {length:,} bytes, and the file has {size:,}", hint=AGAIN)
    try:
        fields = json.loads(source.read(path, LENGTH_BYTES, LENGTH_BYTES + length), object_pairs_hook=_once)
        metadata = dict(fields.pop("__metadata__", None) or {})
        tensors = {name: _range(entry, LENGTH_BYTES + length) for name, entry in fields.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where} has a damaged header: {error!r}", hint=AGAIN) from None
    end = LENGTH_BYTES + length
    for name, item in sorted(tensors.items(), key=lambda pair: (pair[1].start, pair[1].stop)):
        expected = -(-math.prod(item.shape) * BITS[item.dtype] // 8)
        if item.start != end or item.stop - item.start != expected or item.stop > size:
            raise DataError(
                f"{where} states bytes {item.start:,} to {item.stop:,} for {name}, which has {expected:,} and begins at {end:,} of {size:,}",
                hint=AGAIN,
            )
        end = item.stop
    if end != size:
        raise DataError(f"{where} has {size:,} bytes, its tensors end at {end:,}", hint=AGAIN)
    return TensorHeader(tensors, LENGTH_BYTES + length, metadata)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a table in which one name stands twice: two readers could take two different tensors for it."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands in it twice")
    return table


def _range(entry: dict[str, Any], base: int) -> TensorRange:
    if entry["dtype"] not in BITS:
        raise ValueError(f"unknown type {entry['dtype']!r}")
    start, stop = entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*entry["shape"], start, stop)):
        raise ValueError(f"shape {entry['shape']}, offsets {entry['data_offsets']}")
    return TensorRange(entry["dtype"], tuple(entry["shape"]), base + start, base + stop)
