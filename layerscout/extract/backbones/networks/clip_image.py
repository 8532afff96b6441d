"""Frames in, the tokens of a checkpoint's own CLIP image encoder out, for video models that also attend to an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.denoisers.wan import IMAGE_ENCODER, IMAGE_PROCESSOR
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.folder import AGAIN, read_config
from layerscout.extract.checkpoints.transformers_loading import load_transformers


class ClipImage:
    """The encoder with its preprocessing: shorter side to size (bicubic), centre crop, mean and standard deviation."""

    def __init__(self, folder: CheckpointFolder | Path, device: torch.device, dtype: torch.dtype) -> None:
        config = read_config(folder / IMAGE_ENCODER)
        self._model: Any = load_transformers("CLIPVisionModel", folder / IMAGE_ENCODER, config, {}, (), dtype).to(device)
        self._dtype = dtype
        said = read_config(
            folder / IMAGE_PROCESSOR, name="preprocessor_config.json", needed=("size", "crop_size", "image_mean", "image_std")
        )
        if "shortest_edge" not in said["size"]:
            raise DataError(f"{folder / IMAGE_PROCESSOR}: size is {said['size']}, expected shortest_edge", hint=AGAIN)
        self._side, self._crop = said["size"]["shortest_edge"], (said["crop_size"]["height"], said["crop_size"]["width"])
        self._mean, self._std = (torch.tensor(said[name], device=device).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))

    def __call__(self, frames: UInt8[Tensor, "clip height width channel"]) -> Float[Tensor, "clip token feature"]:
        """Return the tokens before the last block, class token first."""
        return self._model(self.prepare(frames).to(self._dtype), output_hidden_states=True).hidden_states[-2]

    def prepare(self, frames: UInt8[Tensor, "clip height width channel"]) -> Float[Tensor, "clip channel row column"]:
        """Shorter side to the encoder's, bicubic with rounding to bytes, the middle cut out, mean and deviation taken off."""
        pixels = frames.permute(0, 3, 1, 2).to(torch.float32)
        scale = self._side / min(pixels.shape[2:])
        size = [int(side * scale) for side in pixels.shape[2:]]
        pixels = torch.nn.functional.interpolate(pixels, size=size, mode="bicubic", antialias=True).round().clamp(0, 255)
        top, left = ((have - want) // 2 for have, want in zip(size, self._crop, strict=True))
        pixels = pixels[:, :, top : top + self._crop[0], left : left + self._crop[1]]
        return (pixels / 255.0 - self._mean) / self._std
