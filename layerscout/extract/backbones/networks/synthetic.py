"""The owner's four candidate layers in memory, on the planes of the grid world (see ``backbones.synthetic``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.backbones.synthetic import CELLS, INPUT, ORDER, RANDOM, SEED


class RandomTanh(nn.Module):
    """tanh(W o) with fixed Gaussian weights."""

    def __init__(self, weight: Float[Tensor, "feature input"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, planes: Float[Tensor, "clip time height width plane"]) -> Float[Tensor, "clip feature"]:
        """Flatten the planes of all frames in the order time, plane, row, column, and squash their random projection."""
        observation = planes.permute(0, 1, 4, 2, 3).flatten(1)
        return torch.tanh(observation @ self.weight.T)


class Structured(nn.Module):
    """[ax, ay, gx, gy, dx, dy, dx², dy²] of the last frame, coordinates in [-1, 1]."""

    def forward(self, planes: Float[Tensor, "clip time height width plane"]) -> Float[Tensor, "clip feature"]:
        """Read places off the last frame's planes and return them with their gap and its squares, eight numbers."""
        axis = torch.linspace(-1.0, 1.0, CELLS, device=planes.device).to(planes.dtype)
        last = planes[:, -1]
        columns, rows = torch.einsum("nhwp,w->np", last, axis), torch.einsum("nhwp,h->np", last, axis)
        gap = torch.stack([columns[:, 1] - columns[:, 0], rows[:, 1] - rows[:, 0]], dim=1)
        places = torch.stack([columns[:, 0], rows[:, 0], columns[:, 1], rows[:, 1]], dim=1)
        return torch.cat([places, gap, gap.square()], dim=1)


class Synthetic(LoadedBackbone):
    """The four layers in memory, side by side."""

    def __init__(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.device, self._dtype = device, dtype or torch.float32
        self.module = new_modules().to(device, self._dtype).eval()

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Bring the planes to [0, 1] and run every layer on them, none on another's output."""
        planes = clip.to(self._dtype) / 255.0
        for module in self.module.children():
            module(planes)

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """Each layer gives one token a clip."""
        return output[:, None]

    def truncate(self, last: LayerInfo) -> None:
        """The layers stand side by side; none comes after another, so nothing is dropped."""


def new_modules() -> nn.ModuleDict:
    """Build the four layers with their weights."""
    rng = np.random.default_rng(SEED)
    weights = {name: torch.from_numpy(rng.normal(0.0, scale, (width, INPUT)).astype(np.float32)) for name, (width, scale) in RANDOM.items()}
    return nn.ModuleDict({name: RandomTanh(weights[name]) if name in weights else Structured() for name in ORDER})
