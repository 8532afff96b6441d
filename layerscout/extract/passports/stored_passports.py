"""A store in the making in, passports of its layers beside them out; a store and a layer in, the block ready to run out.

Stage 1 keeps the passports while the whole model is in memory anyway. Later a block is had from its passport and from the few
byte ranges of the checkpoint that hold its weights: neither the other blocks nor a text encoder are loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from layerscout import registry
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.store import Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import LayerscoutError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.checkpoints.block_file import BlockPlan, plan_block, read_planned
from layerscout.extract.checkpoints.places.opening import open_source
from layerscout.extract.clips import ClipTable, clips_of
from layerscout.extract.passports.context import NoPassport
from layerscout.extract.passports.harvest import harvest_layers
from layerscout.extract.passports.passport_files import from_bytes, to_bytes
from layerscout.extract.passports.passport_record import Passport
from layerscout.extract.plan import ExtractPlan
from layerscout.extract.trust import foreign_source, trusted_backbone

BATCH = 8  # clips a forward pass, at most: rows that lie together, because reading neighbours is cheap
PARTS = ("transformer", "unet", "")  # folders of a checkpoint in which the blocks may lie


def calibration_spans(rows: int, clips: int, batch: int = BATCH) -> list[tuple[int, int]]:
    """Return spans of at most ``batch`` rows, about ``clips`` rows together (all, when there are no more), spread evenly."""
    count = -(-min(clips, rows) // batch)
    starts = [rows * number // count for number in range(count)]
    return [(start, min(start + batch, following)) for start, following in zip(starts, [*starts[1:], rows], strict=True)]


def keep_passports(writer: StoreWriter, planned: ExtractPlan, loaded: LoadedBackbone | None = None, batch: int = BATCH) -> dict[str, Any]:
    """Harvest the passports of a plan's layers and write them into the store that is being made.

    Parameters
    ----------
    loaded
        The model, when it is in memory and was not compiled; otherwise it is loaded.
    batch
        Clips that one forward pass may have.

    Returns
    -------
    dict
        For the manifest: ``clips`` looked at, ``seconds``, and ``without``, the reason for every layer that has no passport.
    """
    config, backbone = planned.config, planned.backbone
    began = time.monotonic()
    loaded = loaded or backbone.load(torch.device(config.device), planned.dtype)
    loaded.truncate(max(planned.layers, key=lambda layer: layer.depth))
    with Trajectories(config.data, planned.data) as data:
        table = ClipTable(data.lengths)
        spans = calibration_spans(len(table), config.passport_clips, min(BATCH, batch))
        found = harvest_layers(backbone, loaded, planned.layers, (clips_of(data, table, *span, backbone.clip) for span in spans))
        data.require_unchanged()
    without = {}
    for name, passport in found.items():
        if isinstance(passport, NoPassport):
            without[name] = str(passport)
        else:
            writer.write_passport(name, *to_bytes(passport))
    clips = sum(stop - start for start, stop in spans)
    return {"clips": clips, "seconds": round(time.monotonic() - began, 3), "without": without}


@dataclass(frozen=True)
class OpenedPassport:
    """A passport with its block. ``bytes_read`` and ``bytes_total`` are of the checkpoint, None when the whole model was loaded."""

    passport: Passport
    bytes_read: int | None
    bytes_total: int | None


def read_passport(store: Store, layer: str, device: str = "cpu") -> Passport:
    """Return a layer's passport as the store keeps it, without its block.

    Raises
    ------
    DataError
        The store keeps none of this layer, or it is damaged.
    """
    block = layer.partition("@")[0]  # however the layer was pooled
    return from_bytes(*store.passport(block), f"{store.id}, passport of {block}", device)


def open_passport(store: Store, layer: str, device: str = "cpu", trust: bool = False) -> OpenedPassport:
    """Return a layer's passport with its block, read alone from the checkpoint that the store was made from.

    A model whose weights lie in no checkpoint (such as ``tiny``, whose weights are inside the package) is loaded whole.

    Parameters
    ----------
    trust
        Whether a checkpoint that is not on this machine may be read from where the store says (see `trust`).

    Raises
    ------
    UsageError
        The checkpoint is not on this machine, and the store is not trusted.
    DataError
        The store keeps no passport of this layer, or the checkpoint is gone, damaged, or not the one that it was made from.
    """
    passport = read_passport(store, layer, device)
    planned = block_plan(store, passport, trust)
    if planned is None:
        return OpenedPassport(passport.with_block(_of_whole_model(store, passport, device, trust)), None, None)
    read = read_planned(planned, compute_dtype(store), device)
    return OpenedPassport(passport.with_block(read.block), read.bytes_read, read.bytes_total)


def block_plan(store: Store, passport: Passport, trust: bool = False) -> BlockPlan | None:
    """Find the weights of a passport's block, reading headers only; None when they lie in no checkpoint of their own."""
    source = registry.split_source("backbone", trusted_backbone(store, trust)[0])[1]
    if not source:
        return None
    expert = store.identity["backbone"].get("expert")
    for part in PARTS if expert is None else (str(expert),):
        config = f"{part}/config.json" if part else "config.json"
        if open_source(source).size(config) is not None:
            return plan_block(source, passport.layer.module, part, passport.model_config)
    return None


def compute_dtype(store: Store) -> torch.dtype:
    """Return the type in which the model that filled a store computed."""
    dtype: Any = getattr(torch, store.identity["recipe"]["compute_dtype"])
    assert isinstance(dtype, torch.dtype)
    return dtype


def _of_whole_model(store: Store, passport: Passport, device: str, trust: bool) -> nn.Module:
    backbone = find_backbone(*trusted_backbone(store, trust))
    return backbone.load(torch.device(device), compute_dtype(store)).module.get_submodule(passport.layer.module)


def describe_passport(store: Store, passport: Passport, weights: bool = True, trust: bool = False) -> dict[str, Any]:
    """Return everything about a passport for people.

    Parameters
    ----------
    weights
        Whether to look into the checkpoint for what reading the block's weights takes; only headers are read. What cannot be
        told is None: the checkpoint is not there, or the weights lie in no checkpoint of their own.
    trust
        Whether it may look into a checkpoint that is not on this machine.
    """
    context = passport.context
    facts: dict[str, Any] = {
        "store": store.id,
        "layer": passport.layer.name,
        "module": passport.layer.module,
        "block": passport.block_class,
        "parameters": passport.layer.parameters,
        "tokens": list(passport.input_shape),
        "fixed_tokens": passport.fixed_tokens,
        "input_width": len(passport.input_mean),
        "width": passport.layer.width,
        "dtype": str(passport.dtype).removeprefix("torch."),
        "clips": passport.clips,
        "overall_rms": round(passport.overall_rms, 6),
        "block_digest": passport.block_digest,
        "context_bytes": context.bytes,
        "context": [
            {
                "name": name,
                "shape": list(value.shape),
                "dtype": str(value.dtype).removeprefix("torch."),
                "per_clip": name in context.per_clip,
                "bytes": value.numel() * value.element_size(),
            }
            for name, value in context.tensors.items()
        ],
    }
    facts |= {"not_here": foreign_source(store)}  # the checkpoint, if it is not on this machine
    if not weights:
        return facts
    try:
        planned = block_plan(store, passport, trust)
    except LayerscoutError:  # to be told when the block is wanted
        planned = None
    read = (None, None, None) if planned is None else (planned.bytes_read, planned.bytes_total, sorted(planned.by_file))
    return facts | dict(zip(("read_bytes", "checkpoint_bytes", "files"), read, strict=True))
