"""The folder of a model of visual dynamics in, its description as a backbone out: blocks of encoder, prior and decoder, and z.

``layerscout pretrain pvdr`` writes such a folder. A row's clip is the last m + n frames. The encoder reads all of them: z is what has been going
on. The prior reads the last m, and the decoder goes on from these with the prior's mean z: what is expected. No later frame is seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from layerscout.cache.records import load_object
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, ToldDigest, network_part
from layerscout.paths import expand
from layerscout.settings import Config

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

STRIDE = 4  # pixels: side of the square that one token stands for
SQUEEZED = 8  # numbers of each place that a head of z reads
DESCRIPTION, WEIGHTS = "pvdr.json", "pvdr.safetensors"  # in the folder of a model
PRETRAIN = "layerscout pretrain pvdr DATA --out FOLDER"


class PvdrShape(Config):
    """What the networks of a model of visual dynamics are made of. All sizes are our choice: no published ones exist."""

    size: int = Field(default=32, ge=8, description="Side of the square RGB frames in pixels, a multiple of 4 · patch.")
    history: int = Field(default=1, ge=1, description="m: frames that are known, the present one included.")
    future: int = Field(default=4, ge=1, description="n: frames that are foretold.")
    codes: int = Field(default=32, ge=2, le=256, description="Codes of the tokenizer.")
    code_width: int = Field(default=16, ge=1, description="Numbers of a code.")
    tokenizer_width: int = Field(default=32, ge=1, description="Channels of the tokenizer's convolutions.")
    z: int = Field(default=8, ge=1, description="Numbers of z, the representation of the dynamics from now to n frames later.")
    width: int = Field(default=48, ge=4, description="Features of a token inside the transformers, a multiple of heads and of 4.")
    heads: int = Field(default=4, ge=1, description="Heads of an attention.")
    blocks: int = Field(default=2, ge=1, description="Blocks of each of the three transformers: encoder, prior and decoder.")
    patch: int = Field(default=2, ge=1, description="Tokens of patch · patch neighbours are one place of the transformers.")

    @model_validator(mode="after")
    def _fits(self) -> PvdrShape:
        if self.size % (STRIDE * self.patch):
            raise ValueError(f"size {self.size} is not a multiple of {STRIDE * self.patch}, which is 4 · patch")
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width {self.width} is not a multiple of heads ({self.heads}) and of 4")
        return self

    @property
    def grid(self) -> int:
        """Tokens along a side of a frame."""
        return self.size // STRIDE

    @property
    def tokens(self) -> int:
        """Tokens of one frame, the square of ``grid``."""
        return self.grid**2

    @property
    def places(self) -> int:
        """Patches of a frame, (grid / patch)²: the transformers attend to so many."""
        return (self.grid // self.patch) ** 2

    @property
    def window(self) -> int:
        """Frames of a clip: m + n."""
        return self.history + self.future


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the model in a folder.

    Raises
    ------
    UsageError
        No folder was named, or options were given.
    DataError
        The folder holds no model of visual dynamics.
    """
    if source is None or options:
        raise UsageError("backbone 'pvdr' takes a folder and no options", hint=f"pvdr:FOLDER; {PRETRAIN} makes one")
    folder = expand(source)
    shape = read_shape(folder)
    side = shape.grid // shape.patch

    digest = ToldDigest(lambda: network_part("pvdr.pvdr:weights_digest")(folder))

    def load(device: Any, dtype: Any = None) -> LoadedBackbone:
        return network_part("pvdr.pvdr:LoadedPvdr")(folder, shape, device, dtype, digest.told)

    return Backbone(
        name="pvdr",
        clip=ClipSpec(offsets=tuple(range(1 - shape.window, 1)), frame_shape=(shape.size, shape.size, 3)),
        grid=TokenGrid(shape.window, side, side, shape.window),
        layers=_layers(shape),
        default_pooling="last/grid4" if side % 4 == 0 else "last/mean",
        identity={"class": "VisualDynamics", "shape": shape.model_dump(), "regime": "encoder over the clip, decoder from the prior's mean"},
        weights_digest=digest,
        load=load,
    )


def read_shape(folder: Path) -> PvdrShape:
    """Return what the networks of a folder are made of.

    Raises
    ------
    DataError
        There is no such folder or description, or it is damaged.
    """
    file = folder / DESCRIPTION
    if not file.exists():
        raise DataError(f"{folder} holds no model of visual dynamics: there is no {DESCRIPTION}", hint=PRETRAIN)
    try:
        return PvdrShape(**load_object(file)["shape"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise DataError(f"{file} is damaged: {error}", hint=f"make the folder again: {PRETRAIN}") from None


def _layers(shape: PvdrShape) -> tuple[LayerInfo, ...]:
    """In forward order; z and the prior's expectation of it are layers of one place."""
    side, width = shape.grid // shape.patch, shape.width
    block = 12 * width**2 + 17 * width
    alone = TokenGrid(1, 1, 1, 1)
    found: list[tuple[str, str, int, int, TokenGrid]] = []
    for part, frames in (("encoder", shape.window), ("prior", shape.history)):
        grid = TokenGrid(frames, side, side, frames)
        found += [(f"{part}.{i}", f"{part}.trunk.blocks.{i}", width, block, grid) for i in range(shape.blocks)]
        head = 2 * shape.z * (SQUEEZED * frames * shape.places + 1)
        found.append(("z" if part == "encoder" else "prior.z", f"{part}.last", shape.z, head, alone))
    whole = TokenGrid(shape.window, side, side, shape.window)
    conditioned = block + 2 * width * (shape.z + 1)
    found += [(f"decoder.{i}", f"decoder.blocks.{i}", width, conditioned, whole) for i in range(shape.blocks)]
    return tuple(LayerInfo(name, module, depth, size, count, grid) for depth, (name, module, size, count, grid) in enumerate(found))
