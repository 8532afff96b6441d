"""A safetensors file and names of its tensors in, their values out: each read straight into memory of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.checkpoints.places.byte_ranges import ByteSource
from layerscout.extract.checkpoints.tensors.formats import check_scale
from layerscout.extract.checkpoints.tensors.header import TensorHeader, TensorRange
from layerscout.extract.checkpoints.tensors.stored import StoredTensors

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_value(stored: StoredTensors, name: str) -> Tensor:
    """Read what a stored tensor means: its numbers in their own type, or times their scale in float32.

    Raises
    ------
    DataError
        The file ends early or was changed since it was hashed, or the scale is none of the plain ones.
    """
    item = stored.range(name)
    tensor = read_tensor(stored.source, stored.files[name], item)
    scale = stored.layout.scales.get(name)
    if scale is None:
        return tensor
    beside = stored.range(scale)
    check_scale(scale, beside, item, stored.where)
    return scaled(tensor, read_tensor(stored.source, stored.files[scale], beside))


def scaled(numbers: Tensor, scale: Tensor) -> Tensor:
    """Return numbers x scale in float32; the scale is one number, or one for each index of the first axis."""
    rows = scale.numel() > 1
    return numbers.to(torch.float32) * scale.to(torch.float32).reshape([-1, *[1] * (numbers.ndim - 1)] if rows else [])


def read_tensor(source: ByteSource, path: str, item: TensorRange) -> Tensor:
    """Read one tensor in the type that it is stored in.

    It lies in memory of its own, as torch itself allocates it: a mapped file may be replaced while the model lives, and at other
    addresses processors round sums otherwise in the last bit.

    Raises
    ------
    DataError
        The file ends early or was changed since it was hashed, or torch has no such type.
    """
    tensor = torch.empty(item.shape, dtype=_dtype(item, path))
    if item.stop > item.start:
        source.read_into(path, item.start, _bytes_of(tensor))
    return tensor


def read_tensors(source: ByteSource, path: str, header: TensorHeader, names: Iterable[str]) -> tuple[dict[str, Tensor], int]:
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
        data = memoryview(source.read(path, start, stop))
        read += len(data)
        for name, item in run:
            tensors[name] = torch.empty(item.shape, dtype=_dtype(item, path))
            if item.stop > item.start:
                _bytes_of(tensors[name])[:] = data[item.start - start : item.stop - start]
    return tensors, read


def _bytes_of(tensor: Tensor) -> memoryview:
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _dtype(item: TensorRange, path: str) -> torch.dtype:
    if item.dtype not in DTYPES:
        raise DataError(f"{path} holds numbers of type {item.dtype}, which torch cannot compute with", hint="save the weights in bfloat16")
    return DTYPES[item.dtype]
