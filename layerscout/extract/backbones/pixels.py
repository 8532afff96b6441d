"""The preprocessing that an encoder was trained with, from its preprocessor_config.json: uint8 pixels in, normalised pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder, as_checkpoint
from layerscout.extract.checkpoints.folder import AGAIN, read_config

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("video_preprocessor_config.json", "preprocessor_config.json")  # the newer name first


@dataclass(frozen=True)
class PixelScaling:
    """(pixel * factor - offset - mean) / std, on the device that the pixels are on."""

    factor: float = 1 / 255
    offset: float = 0.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __call__(self, clip: Tensor) -> Tensor:
        """Normalise uint8 pixels [clip, time, height, width, channel]; the answer is float32 and has the same axes."""
        import torch

        mean, std = (torch.tensor(values, device=clip.device) for values in (self.mean, self.std))
        return (clip.to(torch.float32) * self.factor - self.offset - mean) / std

    def described(self) -> dict[str, Any]:
        """For a store's identity: these numbers change every activation."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def read_scaling(folder: CheckpointFolder | Path, mean: Sequence[float], std: Sequence[float]) -> PixelScaling:
    """Return what the checkpoint's preprocessor does to pixel values; ``mean`` and ``std`` are the family's, where it has none.

    Its resizing and cropping are not followed: a clip's frames are brought to the model's size as a whole.

    Raises
    ------
    DataError
        The preprocessor's mean or std is not one number a channel.
    """
    folder = as_checkpoint(folder)
    file = next((name for name in FILES if folder.document(name) is not None), None)
    stated = read_config(folder, name=file) if file else {}
    normalise = stated.get("do_normalize", True)
    mean, std = (stated.get(key) or default for key, default in (("image_mean", mean), ("image_std", std)))
    if len(mean) != 3 or len(std) != 3 or not all(std):
        raise DataError(f"{folder}/{file} has image_mean {mean} and image_std {std}, expected 3 numbers each", hint=AGAIN)
    return PixelScaling(
        factor=float(stated.get("rescale_factor") or 1 / 255) if stated.get("do_rescale", True) else 1.0,
        offset=1.0 if stated.get("offset") else 0.0,
        mean=tuple(map(float, mean)) if normalise else (0.0, 0.0, 0.0),
        std=tuple(map(float, std)) if normalise else (1.0, 1.0, 1.0),
    )
