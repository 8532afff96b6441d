"""torchvision's R3D-18 in memory (see ``backbones.r3d``); this is the only file that imports torchvision."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.modules import from_module
from layerscout.extract.backbones.r3d import MEAN, STD, missing
from layerscout.extract.checkpoints.states import read_state
from layerscout.paths import expand


def network(described: Backbone, source: str | None) -> Backbone:
    """Describe the installed torchvision's network as any module is described: by running it on blank clips.

    Raises
    ------
    MissingExtraError
        torchvision is not installed, or not for this torch.
    DataError
        Its network is not the one that is described.
    """
    video, offsets = _torchvision_video(), described.clip.offsets
    found = from_module(
        described.name,
        lambda: video.r3d_18(weights=None),
        [layer.name for layer in described.layers],
        frames=len(offsets),
        stride=offsets[-1] - offsets[-2] if len(offsets) > 1 else 1,
        size=described.clip.frame_shape[:2],
        mean=MEAN,
        std=STD,
        default_pooling=described.default_pooling,
        weights=lambda: _weights(video, source),
        identity={"class": "r3d_18", "regime": "clean"},
    )
    if found.layers != described.layers:
        raise DataError(
            "the network of the installed torchvision is not the one that 'r3d18' describes",
            hint="install the torchvision that is the partner of your torch",
        )
    return found


def _torchvision_video() -> Any:
    try:
        from torchvision.models import video
    except (ImportError, RuntimeError) as error:  # a build for another torch misses its operators: RuntimeError
        raise missing("is not installed" if isinstance(error, ModuleNotFoundError) else f"does not fit this torch ({error})") from None
    return video


def _weights(video: Any, source: str | None) -> dict[str, Tensor]:
    if source is None:
        return video.R3D_18_Weights.KINETICS400_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return read_state(expand(source))
