"""A transformers video encoder's checkpoint in, its description out: what V-JEPA 2, VideoMAE, TimeSformer and ViViT share.

Nothing here imports torch or transformers: what a configuration leaves out is filled in from ``defaults``, and parameters are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import Field

from layerscout.errors import DataError, MissingExtraError, UsageError, install
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, network_part
from layerscout.extract.backbones.counting import attention, feed_forward
from layerscout.extract.backbones.pixels import read_scaling
from layerscout.extract.checkpoints import transformers_folder as checkpoint
from layerscout.extract.checkpoints.checkpoint import open_checkpoint
from layerscout.extract.checkpoints.checkpoint_weights import CheckpointWeights
from layerscout.extract.checkpoints.folder import AGAIN, config_digest
from layerscout.settings import Config
from layerscout.settings import build as build_settings

if TYPE_CHECKING:
    from torch import Tensor

    from layerscout.extract.backbones.loaded import LoadedBackbone

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
        """frames / tubelet slots of height / patch × width / patch tokens; all slots hold the clip."""
        slots = self.frames // self.tubelet
        return TokenGrid(slots, self.size[0] // self.patch[0], self.size[1] // self.patch[1], past=slots)


@dataclass(frozen=True)
class EncoderFamily:
    """One class of transformers.

    ``blocks`` is the path of its list of blocks, ``pixels`` the name of its input, ``call`` and ``construct`` further
    arguments of its forward and constructor. ``geometry`` reads the configuration; ``configure`` writes the geometry back
    into it, where a model takes other shapes than it was saved with. ``defaults`` are the library's values of the fields that
    are read here; ``parameters`` counts those of one block. ``order`` brings video tokens to time, height, width.
    ``idle`` are weights behind the last block, which a checkpoint for another head lacks.
    """

    name: str
    model: str
    model_type: str
    blocks: str
    defaults: dict[str, Any]
    geometry: Callable[[dict[str, Any], EncoderOptions], Geometry]
    parameters: Callable[[dict[str, Any]], int]
    pixels: str = "pixel_values"
    call: dict[str, Any] = field(default_factory=dict)
    construct: dict[str, Any] = field(default_factory=dict)
    configure: Callable[[Geometry], dict[str, Any]] = lambda geometry: {}
    order: Callable[[Tensor, TokenGrid], Tensor] = lambda tokens, grid: tokens
    class_token: bool = False
    normalised: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    idle: tuple[str, ...] = ("layernorm.", "pooler.")

    def build(self, source: str | None, options: dict[str, Any]) -> Backbone:
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
            raise UsageError(f"backbone '{self.name}' needs a checkpoint", hint=f"write {self.name}:FOLDER or {self.name}:HUB-ID")
        chosen = build_settings(EncoderOptions, options, "extract.backbone_options")
        if find_spec("transformers") is None:
            raise MissingExtraError("this backbone needs transformers, which is not installed", hint=install("transformers"))
        folder = open_checkpoint(source, ("config.json",))
        written = checkpoint.configuration(folder, self.model_type)
        geometry = self.geometry(self.completed(written, str(folder)), chosen)
        written |= self.configure(geometry)
        config = self.completed(written, str(folder))
        scaling = read_scaling(folder, *self.normalised)
        parameters = self.parameters(config)
        weights = CheckpointWeights(folder, ("",), kinds={"": self.model}).inspect()

        def load(device: Any, dtype: Any = None) -> LoadedBackbone:
            return network_part("encoder:load_encoder")(self, weights.fetch(), written, geometry, scaling, device, dtype)

        paths = [f"{self.blocks}.{i}" for i in range(config["num_hidden_layers"])]
        return Backbone(
            name=self.name,
            clip=ClipSpec(
                offsets=tuple(chosen.stride * (i + 1 - geometry.frames) for i in range(geometry.frames)), frame_shape=(*geometry.size, 3)
            ),
            grid=geometry.grid,
            layers=tuple(LayerInfo(path, path, i, config["hidden_size"], parameters) for i, path in enumerate(paths)),
            default_pooling="all/mean",
            identity={"class": self.model, "config_digest": config_digest(written), "regime": "clean", "pixels": scaling.described()},
            weights_digest=weights.known_digest,
            load=load,
            weights=weights,
            class_token=self.class_token,
            seen=tuple(chosen.stride * geometry.tubelet * (slot + 1 - geometry.grid.time) for slot in range(geometry.grid.time)),
        )

    def completed(self, written: dict[str, Any], where: str) -> dict[str, Any]:
        """Return the fields that are read here, with the library's default for those that the configuration leaves out.

        Raises
        ------
        DataError
            A field is of another kind than the library takes.
        """
        found = {**self.defaults, **written}
        for name, default in self.defaults.items():
            kinds: Any = (
                (int, list, tuple) if isinstance(default, int | tuple) else (int, float) if isinstance(default, float) else type(default)
            )
            if not isinstance(found[name], kinds):
                raise DataError(f"{where}: config.json has {name} {found[name]!r}, expected such as {default!r}", hint=AGAIN)
        return found


def block_parameters(width: int, inner: int, bias: bool) -> int:
    """Parameters of a transformer block: attention whose query, key and value may have biases, feed-forward, two norms."""
    return attention(width, width, bias=bias) + feed_forward(width, inner) + 4 * width


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
