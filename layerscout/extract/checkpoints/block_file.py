"""A checkpoint's address and a block's name in, that one block with its weights out; no other weight is read.

The model is built without memory for its weights, the block's tensors are looked up in the checkpoint's safetensors files, and
only their byte ranges are read. The whole configuration is used, never one with fewer blocks: some models build their last
block differently.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerscout.errors import DataError, suggest
from layerscout.extract.checkpoints.fitting import check_fit, placed
from layerscout.extract.checkpoints.libraries import kept_in_float32
from layerscout.extract.checkpoints.places.byte_ranges import ByteSource, document
from layerscout.extract.checkpoints.places.opening import open_source
from layerscout.extract.checkpoints.skeleton import skeleton
from layerscout.extract.checkpoints.tensors.stored import StoredTensors, open_stored
from layerscout.extract.checkpoints.tensors.values import read_tensors, scaled
from layerscout.extract.checkpoints.weight_set import AGAIN, find_weights


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
    """Where a block's weights lie: name in the block → name in the checkpoint's files."""

    stored: StoredTensors
    module: str
    block: nn.Module
    kept: frozenset[str]
    names: dict[str, str]

    @property
    def bytes_read(self) -> int:
        """Bytes that are fetched: the headers of all files and the tensors of the block."""
        ranges = [self.stored.range(name) for names in self.by_file.values() for name in names]
        return sum(header.bytes for header in self.stored.headers.values()) + sum(item.stop - item.start for item in ranges)

    @property
    def bytes_total(self) -> int:
        """Bytes of all weights of the checkpoint's part."""
        weights = self.stored.weights
        if weights.listed is not None:
            return weights.total
        return sum((self.stored.source.size(path) or 0) - header.bytes for path, header in self.stored.headers.items())

    @property
    def by_file(self) -> dict[str, list[str]]:
        """File → the stored tensors that are read from it, scales included."""
        found: dict[str, list[str]] = {}
        for name in self.names.values():
            for held in (name, *([self.stored.layout.scales[name]] if name in self.stored.layout.scales else [])):
                found.setdefault(self.stored.files[held], []).append(held)
        return found


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
        There is no such checkpoint or block, a shard or a weight is missing, a file is damaged, the weights are pickled or in a
        format that is not read, or tensors belong to nothing in the model.
    """
    source = open_source(address)
    built = config or _json(source, f"{part}/config.json" if part else "config.json")
    model = skeleton(built, f"{source.address}/{part}/config.json" if part else f"{source.address}/config.json")
    try:
        block = model.get_submodule(module)
    except AttributeError:
        known = [name for name, _ in model.named_modules()]
        raise DataError(f"{source.address} has no block '{module}'{suggest(module, known)}", hint="see layerscout layers") from None
    stored = open_stored(source, part, find_weights(source, part), built, headers=False)
    expected = {f"{module}.{name}": value for name, value in block.state_dict().items()}
    names = {name: held for name, held in placed(model, stored, type(model).__name__).items() if name in expected}
    stored = stored.knowing(names.values())
    check_fit(
        expected,
        {name: stored.range(held) for name, held in names.items()},
        stored.where,
        scaled=[name for name, held in names.items() if held in stored.layout.scales],
    )
    inside = {name.removeprefix(f"{module}."): held for name, held in names.items()}
    return BlockPlan(stored, module, block, kept_in_float32(model), inside)


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
    stored = planned.stored
    values: dict[str, Tensor] = {}
    read = sum(header.bytes for header in stored.headers.values())
    for file, names in planned.by_file.items():
        tensors, count = read_tensors(stored.source, file, stored.headers[file], names)
        values |= tensors
        read += count
    state: dict[str, Tensor] = {}
    for name, held in planned.names.items():
        kept = planned.kept & set(f"{planned.module}.{name}".split("."))
        value = scaled(values[held], values[stored.layout.scales[held]]) if held in stored.layout.scales else values[held]
        state[name] = value.to(device, (torch.float32 if kept else dtype) if value.is_floating_point() else value.dtype)
    block = planned.block
    block.load_state_dict(state, strict=True, assign=True)
    block.to(device).eval().requires_grad_(False)
    left = [name for name, value in (*block.named_parameters(), *block.named_buffers()) if value.is_meta]
    assert not left, f"without memory: {left}"
    return BlockFile(block, read, planned.bytes_total, tuple(sorted(planned.by_file)))


def _json(source: ByteSource, path: str) -> dict[str, Any]:
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
