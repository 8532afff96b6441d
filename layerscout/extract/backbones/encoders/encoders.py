"""A transformers video encoder's checkpoint in, a described backbone out: what V-JEPA 2, VideoMAE, TimeSformer and ViViT share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.backbones.pixels import Scaling, read_scaling
from layerscout.extract.checkpoints import transformers_folder as checkpoint
from layerscout.extract.checkpoints.folder import config_digest, weights_digest
from layerscout.settings import Config
from layerscout.settings import build as build_settings

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of its pixels in [0, 1]
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class EncoderOptions(Config):
    """``frames`` and ``size`` (height and width, pixels) None: those of the checkpoint. ``stride``: steps between two frames of a clip."""

    frames: int | None = Field(default=None, ge=1)
    size: int | None = Field(default=None, ge=1)
    stride: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class Geometry:
    """What one forward pass takes; ``tubelet`` frames x ``patch`` pixels make a token."""

    frames: int
    size: tuple[int, int]
    tubelet: int
    patch: tuple[int, int]

    @property
    def grid(self) -> TokenGrid:
        slots = self.frames // self.tubelet
        return TokenGrid(slots, self.size[0] // self.patch[0], self.size[1] // self.patch[1], past=slots)


@dataclass(frozen=True)
class Family:
    """One class of transformers.

    ``blocks`` is the path of its list of blocks, ``pixels`` the name of its input, ``call`` and ``construct`` further
    arguments of its forward and constructor. ``geometry`` reads the configuration; ``configure`` writes the geometry back
    into it, where a model takes other shapes than it was saved with. ``order`` brings video tokens to time, height, width.
    ``idle`` are weights behind the last block, which a checkpoint for another head lacks.
    """

    name: str
    model: str
    model_type: str
    blocks: str
    geometry: Callable[[dict[str, Any], EncoderOptions], Geometry]
    pixels: str = "pixel_values"
    call: dict[str, Any] = field(default_factory=dict)
    construct: dict[str, Any] = field(default_factory=dict)
    configure: Callable[[Geometry], dict[str, Any]] = lambda geometry: {}
    order: Callable[[Tensor, TokenGrid], Tensor] = lambda tokens, grid: tokens
    class_token: bool = False
    normalised: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    idle: tuple[str, ...] = ("layernorm.", "pooler.")


def describe(family: Family, source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe a checkpoint, a folder or a hub id, from its configuration alone.

    Raises
    ------
    UsageError
        No source, or a frame count, size or option that this checkpoint does not take.
    DataError
        The folder is not a checkpoint of this family, or its weights are not safetensors.
    MissingExtraError
        transformers is not installed.
    """
    if source is None:
        raise UsageError(f"backbone '{family.name}' needs a checkpoint", hint=f"write {family.name}:FOLDER or {family.name}:HUB-ID")
    chosen = build_settings(EncoderOptions, options, "extract.backbone_options")
    folder = checkpoint.fetch(source, weights=False)
    written = checkpoint.configuration(folder, family.model_type)
    geometry = family.geometry(checkpoint.completed(written), chosen)
    written |= family.configure(geometry)
    config = checkpoint.completed(written)
    scaling = read_scaling(folder, *family.normalised)
    parameters = checkpoint.block_parameters(family.model, family.blocks, config, family.construct)

    def load(device: torch.device, dtype: torch.dtype = torch.float32) -> LoadedBackbone:
        whole = checkpoint.fetch(source, weights=True)
        model = checkpoint.load(family.model, whole, config, family.construct, family.idle, dtype)
        return _Encoder(family, geometry, scaling, model.to(device), device, dtype)

    paths = [f"{family.blocks}.{i}" for i in range(config["num_hidden_layers"])]
    return Backbone(
        name=family.name,
        clip=ClipSpec(
            offsets=tuple(chosen.stride * (i + 1 - geometry.frames) for i in range(geometry.frames)), frame_shape=(*geometry.size, 3)
        ),
        grid=geometry.grid,
        layers=tuple(LayerInfo(path, path, i, config["hidden_size"], parameters) for i, path in enumerate(paths)),
        default_pooling="all/mean",
        identity={"class": family.model, "config_digest": config_digest(written), "regime": "clean", "pixels": scaling.described()},
        weights_digest=lambda: weights_digest([checkpoint.fetch(source, weights=True)]),
        load=load,
        class_token=family.class_token,
        seen=tuple(chosen.stride * geometry.tubelet * (slot + 1 - geometry.grid.time) for slot in range(geometry.grid.time)),
    )


class _Encoder(LoadedBackbone):
    def __init__(self, family: Family, geometry: Geometry, scaling: Scaling, model: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.module, self.device = model, device
        self._family, self._geometry, self._scaling, self._dtype = family, geometry, scaling, dtype
        parent, _, self._list = family.blocks.rpartition(".")
        self._parent = model.get_submodule(parent)
        self._blocks: Any = getattr(self._parent, self._list)

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        expected = (self._geometry.frames, *self._geometry.size, 3)
        if tuple(clip.shape[1:]) != expected:  # some of these models take any shape and answer wrongly
            raise DataError(
                f"{self._family.name} was described for clips {'x'.join(map(str, expected))} and is given {'x'.join(map(str, clip.shape[1:]))}",
                hint="set extract.backbone_options frames and size, and extract again",
            )
        pixels = self._scaling(clip).permute(0, 1, 4, 2, 3).to(self._dtype)
        self.module(**{self._family.pixels: pixels}, **self._family.call)

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        hidden = _hidden(output)
        return self._family.order(hidden[:, 1:] if self._family.class_token else hidden, self._geometry.grid)

    def class_token(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip feature"]:
        return _hidden(output)[:, 0] if self._family.class_token else super().class_token(output, layer)

    def truncate(self, last: LayerInfo) -> None:
        setattr(self._parent, self._list, self._blocks[: last.depth + 1])


def _hidden(output: Any) -> Tensor:
    """Hidden states of a block, which gives them alone or first of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def fixed_geometry(name: str, config: dict[str, Any], options: EncoderOptions, tubelet: int, patch: tuple[int, int]) -> Geometry:
    """Return the geometry of a model whose position tables fit one frame count and one size only.

    Raises
    ------
    UsageError
        Another frame count or size was asked for.
    """
    frames, size = config["num_frames"], sides(config["image_size"])
    if options.frames not in (None, frames) or options.size not in (None, *({size[0]} if size[0] == size[1] else ())):
        asked = f"{options.frames or frames} frames of {options.size or size[0]} pixels"
        raise UsageError(
            f"this {name} checkpoint takes {frames} frames of {size[0]}x{size[1]} pixels and no others, not {asked}",
            hint="leave out extract.backbone_options.frames and size; stride spreads the frames over more steps",
        )
    return Geometry(frames, size, tubelet, patch)


def sides(value: int | list[int]) -> tuple[int, int]:
    """Return height and width of a setting that may be one number for both."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
