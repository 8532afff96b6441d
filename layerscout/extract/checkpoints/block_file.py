"""A checkpoint's address and a block's name in, that one block with its weights out; no other weight is read.

The model is built without memory for its weights, the block's tensors are looked up in the checkpoint's safetensors files, and
only their byte ranges are read. The whole configuration is used, never one with fewer blocks: some models build their last
block differently.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from layerscout.errors import DataError, suggest
from layerscout.extract.checkpoints.byte_ranges import Source, document
from layerscout.extract.checkpoints.checkpoint_source import open_source
from layerscout.extract.checkpoints.folder import AGAIN, NAMES
from layerscout.extract.checkpoints.skeleton import kept_in_float32, renamed, skeleton
from layerscout.extract.checkpoints.tensor_ranges import Header, read_header, read_tensors

PICKLED = ("diffusion_pytorch_model.bin", "pytorch_model.bin", "diffusion_pytorch_model.bin.index.json", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class BlockFile:
    """One block, frozen and in evaluation mode, and what reading it took.

    ``bytes_read`` counts headers and tensors, ``bytes_total`` all weights of the checkpoint's part, ``files`` are those opened.
    """

    block: nn.Module
    bytes_read: int
    bytes_total: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class BlockPlan:
    """Where a block's weights lie: the tensors' names in the block → their names in each file."""

    source: Source
    module: str
    block: nn.Module
    kept: frozenset[str]
    headers: dict[str, Header]
    names: dict[str, dict[str, str]]  # file → name in the block → name in the file
    bytes_total: int

    @property
    def bytes_read(self) -> int:
        """Bytes of the headers and of the block's tensors."""
        ranges = (self.headers[file].tensors[name] for file, names in self.names.items() for name in names.values())
        return sum(header.bytes for header in self.headers.values()) + sum(item.stop - item.start for item in ranges)


def plan_block(address: str | Path, module: str, part: str = "", config: dict[str, Any] | None = None) -> BlockPlan:
    """Find where a block's weights lie, reading headers only.

    Parameters
    ----------
    address
        A folder, a hub id, https://…, s3://…, gs://… or az://….
    module
        The block's path inside the model, such as ``transformer_blocks.7``.
    part
        Folder of the model inside the checkpoint, such as ``transformer``; empty when it lies at the top.
    config
        The model's configuration (see `configuration`), where it is not the checkpoint's own.

    Raises
    ------
    DataError
        There is no such checkpoint or block, a shard or a weight is missing, a file is damaged, or the weights are pickled.
    """
    folder = f"{part}/" if part else ""
    source = open_source(address, probe=f"{folder}config.json")
    model = skeleton(config or _json(source, f"{folder}config.json"), f"{source.address}/{folder}config.json")
    try:
        block = model.get_submodule(module)
    except AttributeError:
        known = [name for name, _ in model.named_modules()]
        raise DataError(f"{source.address} has no block '{module}'{suggest(module, known)}", hint="see layerscout layers") from None
    listed, total, headers = _listing(source, folder)
    shapes = {f"{module}.{name}": tuple(value.shape) for name, value in block.state_dict().items()}
    stored = {name: held for name, held in renamed(model, listed) if name in shapes}
    if absent := sorted(set(shapes) - set(stored)):
        raise DataError(f"{source.address} lacks {len(absent)} weights of {module}, first {absent[0]}", hint=AGAIN)
    names: dict[str, dict[str, str]] = {}
    for name, held in stored.items():
        file = listed[held]
        if file not in headers:
            headers[file] = read_header(source, file)
        if held not in headers[file].tensors:
            raise DataError(f"{source.address}/{file} lacks {held}, which the index lists there", hint=AGAIN)
        if (found := headers[file].tensors[held].shape) != shapes[name]:
            raise DataError(f"{source.address}/{file} has {held} of shape {found}, its configuration says {shapes[name]}", hint=AGAIN)
        names.setdefault(file, {})[name.removeprefix(f"{module}.")] = held
    return BlockPlan(source, module, block, kept_in_float32(model), headers, names, total)


def read_block(
    address: str | Path, module: str, part: str = "", dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> BlockFile:
    """Load one block from a checkpoint, reading only the byte ranges of its weights; see `plan_block`.

    Parameters
    ----------
    dtype
        What floating-point weights are brought to; modules that the family keeps in float32 stay there.
    """
    return read_planned(plan_block(address, module, part), dtype, device)


def read_planned(planned: BlockPlan, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> BlockFile:
    """Load the block of a plan, once; see `read_block`."""
    state: dict[str, Tensor] = {}
    read = sum(header.bytes for header in planned.headers.values())
    for file, names in planned.names.items():
        tensors, count = read_tensors(planned.source, file, planned.headers[file], names.values())
        read += count
        for name, stored in names.items():
            kept = planned.kept & set(f"{planned.module}.{name}".split("."))
            value = tensors[stored]
            state[name] = value.to(device, (torch.float32 if kept else dtype) if value.is_floating_point() else value.dtype)
    block = planned.block
    block.load_state_dict(state, strict=True, assign=True)
    block.to(device).eval().requires_grad_(False)
    left = [name for name, value in (*block.named_parameters(), *block.named_buffers()) if value.is_meta]
    assert not left, f"without memory: {left}"
    return BlockFile(block, read, planned.bytes_total, tuple(sorted(planned.headers)))


def _listing(source: Source, folder: str) -> tuple[dict[str, str], int, dict[str, Header]]:
    """Return weight → file, the bytes of all weights, and the headers that had to be read to know it."""
    index = next((f"{folder}{name}.index.json" for name in NAMES if source.size(f"{folder}{name}.index.json") is not None), None)
    if index is not None:
        fields = _json(source, index)
        try:
            files = {str(name): f"{folder}{_inside(str(file))}" for name, file in fields["weight_map"].items()}
            return files, int(fields.get("metadata", {}).get("total_size", 0)), {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{source.address}/{index} is damaged: {error!r}", hint=AGAIN) from None
    for name in NAMES:
        if (size := source.size(f"{folder}{name}")) is not None:
            header = read_header(source, f"{folder}{name}")
            return dict.fromkeys(header.tensors, f"{folder}{name}"), size - header.bytes, {f"{folder}{name}": header}
    pickled = next((name for name in PICKLED if source.size(f"{folder}{name}") is not None), None)
    raise DataError(
        f"{source.address}/{folder} holds {f'only the pickled {pickled}' if pickled else 'no weights'}",
        hint="pickled weights are refused; save them again with save_pretrained(safe_serialization=True)",
    )


def _inside(file: str) -> str:
    """Refuse a shard that is no safetensors file, or not in its checkpoint's folder."""
    if PurePosixPath(file).name != file or "\\" in file or not file.endswith(".safetensors"):
        raise ValueError(f"{file!r} is not the name of a safetensors file beside it")
    return file


def _json(source: Source, path: str) -> dict[str, Any]:
    content = document(source, path)
    if content is None:
        raise DataError(f"{source.address} has no {path}", hint="give the folder that save_pretrained wrote, or its hub id")
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source.address}/{path} is not valid JSON: {error}", hint=AGAIN) from None
    if not isinstance(fields, dict):
        raise DataError(f"{source.address}/{path} is not a JSON table", hint=AGAIN)
    return fields
