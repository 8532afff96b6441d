"""R3D-18 of torchvision, if torchvision is there: Kinetics-400 weights, or those of a safetensors file.

torchvision is no dependency and no extra: the index gives a build for CUDA, and beside a torch for processors alone that
build breaks every model of diffusers and transformers. So it is imported here, on first use, and nowhere else.

References
----------
D. Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018 (R3D, section 3).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor

from layerscout.errors import MissingExtraError, UsageError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.modules import from_module
from layerscout.extract.checkpoints.states import read_state
from layerscout.paths import expand
from layerscout.settings import Config
from layerscout.settings import build as build_settings

BLOCKS = ("stem", *(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)))
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
        torchvision is not installed, or not for this torch.
    """
    if source is not None and Path(source).suffix != ".safetensors":
        raise UsageError(f"backbone 'r3d18' cannot read {source}", hint="r3d18 alone, or r3d18:FILE.safetensors with a state of r3d_18")
    chosen = build_settings(R3DOptions, options, "extract.backbone_options")
    video = _torchvision_video()
    return from_module(
        "r3d18",
        lambda: video.r3d_18(weights=None),
        BLOCKS,
        frames=chosen.frames,
        stride=chosen.stride,
        size=(chosen.size, chosen.size),
        mean=MEAN,
        std=STD,
        weights=lambda: _weights(video, source),
        identity={"class": "r3d_18", "regime": "clean"},
    )


def _torchvision_video() -> Any:
    try:
        from torchvision.models import video
    except (ImportError, RuntimeError) as error:  # a build for another torch misses its operators: RuntimeError
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not fit this torch ({error})"
        raise MissingExtraError(
            f"backbone 'r3d18' needs torchvision, which {why}",
            hint="pip install torchvision --index-url https://download.pytorch.org/whl/cpu  (or the index that your torch came from)",
        ) from None
    return video


def _weights(video: Any, source: str | None) -> dict[str, Tensor]:
    if source is None:
        return video.R3D_18_Weights.KINETICS400_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return read_state(expand(source))
