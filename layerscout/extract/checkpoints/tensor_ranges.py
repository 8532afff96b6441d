"""The header of a safetensors file in, where each of its tensors lies out; whatever such a header may lie about is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.checkpoints.byte_ranges import Source

LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
LENGTH_BYTES = 8
AGAIN = "the file is damaged or no safetensors file; download the checkpoint again"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class TensorRange:
    """A tensor of a file: its type, its shape and its bytes ``[start, stop)`` in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """All tensors of one file; ``bytes`` were read to know them."""

    tensors: dict[str, TensorRange]
    bytes: int


def read_header(source: Source, path: str) -> Header:
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
    length = int.from_bytes(source.read(path, 0, LENGTH_BYTES), "little")
    if length > min(LARGEST_HEADER, size - LENGTH_BYTES):
        raise DataError(f"{where} states a header of {length:,} bytes, and the file has {size:,}", hint=AGAIN)
    try:
        fields = json.loads(source.read(path, LENGTH_BYTES, LENGTH_BYTES + length))
        tensors = {name: _range(entry, LENGTH_BYTES + length) for name, entry in fields.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where} has a damaged header: {error!r}", hint=AGAIN) from None
    end = LENGTH_BYTES + length
    for name, item in sorted(tensors.items(), key=lambda pair: (pair[1].start, pair[1].stop)):
        expected = math.prod(item.shape) * item.dtype.itemsize
        if item.start != end or item.stop - item.start != expected or item.stop > size:
            raise DataError(
                f"{where} states bytes {item.start:,} to {item.stop:,} for {name}, which has {expected:,} and begins at {end:,} of {size:,}",
                hint=AGAIN,
            )
        end = item.stop
    if end != size:
        raise DataError(f"{where} has {size:,} bytes, its tensors end at {end:,}", hint=AGAIN)
    return Header(tensors, LENGTH_BYTES + length)


def read_tensors(source: Source, path: str, header: Header, names: Iterable[str]) -> tuple[dict[str, Tensor], int]:
    """Read some tensors of a file, those that lie side by side in one go; return them and how many bytes were read."""
    wanted = sorted(((name, header.tensors[name]) for name in names), key=lambda pair: (pair[1].start, pair[1].stop))
    runs: list[list[tuple[str, TensorRange]]] = []
    for name, item in wanted:
        if runs and runs[-1][-1][1].stop == item.start:
            runs[-1].append((name, item))
        else:
            runs.append([(name, item)])
    tensors, read = {}, 0
    for run in runs:
        start, stop = run[0][1].start, run[-1][1].stop
        data = source.read(path, start, stop)
        read += len(data)
        for name, item in run:
            # a copy each: tensors must be writable and aligned, and must not keep the whole run in memory
            piece = bytearray(memoryview(data)[item.start - start : item.stop - start])
            flat = torch.frombuffer(piece, dtype=item.dtype) if piece else torch.empty(0, dtype=item.dtype)
            tensors[name] = flat.view(item.shape)
    return tensors, read


def _range(entry: dict[str, Any], base: int) -> TensorRange:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"unknown type {entry['dtype']!r}")
    start, stop = entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*entry["shape"], start, stop)):
        raise ValueError(f"shape {entry['shape']}, offsets {entry['data_offsets']}")
    return TensorRange(DTYPES[entry["dtype"]], tuple(entry["shape"]), base + start, base + stop)
