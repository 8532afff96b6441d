"""What every video model does once it is in memory: run on clips, say where a layer's tokens lie, end a pass early."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo


class LoadedBackbone(ABC):
    """A model in memory, frozen, in evaluation mode, on one device."""

    module: nn.Module
    device: torch.device

    @abstractmethod
    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Run the model on clips; hooks on its layers see the activations. Results are not returned on purpose."""

    @abstractmethod
    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """Video tokens of a layer's raw output, in the order of the layer's grid (text and class tokens dropped)."""

    def class_token(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip feature"]:
        """The class token of a layer's raw output; only of backbones whose ``class_token`` is true."""
        raise AssertionError(f"{type(self).__name__} has no class token")

    @abstractmethod
    def truncate(self, last: LayerInfo) -> None:
        """Make the next passes end after the block ``last`` (early exit); another call may ask for a deeper one again."""


def digest_tensors(tensors: dict[str, Tensor]) -> str:
    """Return "sha256:…" over named tensors, independent of their order, device and file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        digest.update(array.view(torch.uint8).numpy().tobytes() if array.ndim else array.reshape(1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def require_told(tensors: dict[str, Tensor], told: str | None, what: str) -> dict[str, Tensor]:
    """Return tensors that were read to be loaded, if they are those whose digest was told; None: none was told yet.

    Raises
    ------
    DataError
        They are others; ``what`` names them.
    """
    if told is not None and digest_tensors(tensors) != told:
        raise DataError(f"{what} changed since their digest was taken", hint="run the same command again")
    return tensors


def scale_pixels(clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip time channel height width"]:
    """Bring uint8 pixels to [-1, 1], channels before height and width."""
    return clip.permute(0, 1, 4, 2, 3).to(torch.float32) / 127.5 - 1.0


def fixed_noise(shape: tuple[int, ...], seed: int) -> Float[Tensor, ...]:
    """Standard normal noise that depends on nothing but the seed and the position: the same for every row, batch and machine."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).standard_normal(shape, dtype=np.float32))
