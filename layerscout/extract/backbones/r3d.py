"""R3D-18 of torchvision, if torchvision is there: Kinetics-400 weights, or those of a safetensors file.

torchvision is no dependency and no extra: the index gives a build for CUDA, and beside a torch for processors alone that
build breaks every model of diffusers and transformers. So it is imported when the network is built (``networks/r3d.py``), and
nowhere else; what the layers are is arithmetic.

References
----------
D. Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018 (R3D, section 3).
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from layerscout.errors import MissingExtraError, UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, network_part
from layerscout.settings import Config
from layerscout.settings import build as build_settings

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

WIDTHS = (64, 128, 256, 512)  # features of the four stages; the stem has the first
BLOCKS = 2  # a stage
# digest of the text that torch prints of the network, by which stores of it are known; a test compares it with the published structure's
ARCHITECTURE = "sha256:81932e5989f2b4726af0691aad8378d315a271f007c065cbc9879dc0b00166bc"
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # of Kinetics-400, as the weights were trained


class R3DOptions(Config):
    """A clip is ``frames`` frames, ``stride`` steps apart, of ``size`` x ``size`` pixels."""

    frames: int = Field(default=16, ge=1)
    size: int = Field(default=112, ge=16)
    stride: int = Field(default=1, ge=1)


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the network; without a source its weights are torchvision's ``KINETICS400_V1``.

    Raises
    ------
    UsageError
        The source is no safetensors file.
    MissingExtraError
        torchvision is not installed.
    """
    if source is not None and Path(source).suffix != ".safetensors":
        raise UsageError(f"backbone 'r3d18' cannot read {source}", hint="r3d18 alone, or r3d18:FILE.safetensors with a state of r3d_18")
    chosen = build_settings(R3DOptions, options, "extract.backbone_options")
    if not installed():
        raise missing("is not installed")

    @functools.cache  # one network: its weights must be those whose digest it told
    def network() -> Backbone:
        found: Backbone = network_part("r3d:network")(described, source)
        return found

    def load(*device_and_dtype: Any, **named: Any) -> LoadedBackbone:
        return network().load(*device_and_dtype, **named)

    layers = _layers(chosen.frames, chosen.size)
    described = Backbone(
        name="r3d18",
        clip=ClipSpec(
            offsets=tuple(chosen.stride * (i + 1 - chosen.frames) for i in range(chosen.frames)), frame_shape=(chosen.size, chosen.size, 3)
        ),
        grid=layers[0].grid or TokenGrid(0, 0, 0, 0),
        layers=layers,
        default_pooling="all/mean",
        identity={
            "class": "r3d_18",
            "architecture": ARCHITECTURE,
            "takes": "clip channel time height width",
            "mean": list(MEAN),
            "std": list(STD),
            "regime": "clean",
        },
        weights_digest=lambda: network().weights_digest(),
        load=load,
    )
    return described


def installed() -> bool:
    """Whether there is a torchvision; it is not imported."""
    try:
        return find_spec("torchvision") is not None
    except ValueError:  # something stands in its place
        return False


def missing(why: str) -> MissingExtraError:
    """The error for a torchvision that ``why`` cannot be used."""
    return MissingExtraError(
        f"backbone 'r3d18' needs torchvision, which {why}",
        hint="pip install torchvision --index-url https://download.pytorch.org/whl/cpu  (or the index that your torch came from)",
    )


def _layers(frames: int, size: int) -> tuple[LayerInfo, ...]:
    """The stem, which halves height and width, and the blocks; each stage but the first begins by halving time too."""
    time, edge = frames, _halved(size)
    stem = 3 * WIDTHS[0] * 3 * 7 * 7 + 2 * WIDTHS[0]  # a convolution and a norm
    found = [LayerInfo("stem", "stem", 0, WIDTHS[0], stem, TokenGrid(time, edge, edge, time))]
    inputs = WIDTHS[0]
    for stage, width in enumerate(WIDTHS, start=1):
        if stage > 1:
            time, edge = _halved(time), _halved(edge)
        for block in range(BLOCKS):
            parameters = 27 * (inputs + width) * width + 4 * width
            if stage > 1 and block == 0:
                parameters += inputs * width + 2 * width  # the way past a block that halves is a convolution with a norm
            place = f"layer{stage}.{block}"
            found.append(LayerInfo(place, place, len(found), width, parameters, TokenGrid(time, edge, edge, time)))
            inputs = width
    return tuple(found)


def _halved(length: int) -> int:
    """What a padded convolution with stride 2 leaves of an axis."""
    return (length - 1) // 2 + 1
