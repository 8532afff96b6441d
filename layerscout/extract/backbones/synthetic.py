"""The owner's four candidate layers on the grid world's planes: no pretraining, a known right answer.

An observation is the last two frames of planes, flattened to 256 values in [0, 1]. Random weights come from
seed 7. ``structured_mid`` computes the agent's and the goal's coordinates in [-1, 1], their differences and the
differences squared; it is the layer that a good ranking must find.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid
from layerscout.extract.backbones.loaded import LoadedBackbone, digest_tensors

CELLS = 8
PLANES = 2
HISTORY = 2
INPUT = HISTORY * PLANES * CELLS * CELLS
RANDOM = {"random_wide": (128, 0.20), "random_narrow": (16, 0.30), "bottleneck": (4, 0.35)}  # width, weight scale
ORDER = ("random_wide", "structured_mid", "random_narrow", "bottleneck")
STRUCTURED_WIDTH = 8
SEED = 7


class RandomTanh(nn.Module):
    """tanh(W o) with fixed Gaussian weights."""

    def __init__(self, weight: Float[Tensor, "feature input"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, planes: Float[Tensor, "clip time height width plane"]) -> Float[Tensor, "clip feature"]:
        observation = planes.permute(0, 1, 4, 2, 3).flatten(1)
        return torch.tanh(observation @ self.weight.T)


class Structured(nn.Module):
    """[ax, ay, gx, gy, dx, dy, dx², dy²] of the last frame, coordinates in [-1, 1]."""

    def forward(self, planes: Float[Tensor, "clip time height width plane"]) -> Float[Tensor, "clip feature"]:
        axis = torch.linspace(-1.0, 1.0, CELLS, device=planes.device).to(planes.dtype)
        last = planes[:, -1]
        columns, rows = torch.einsum("nhwp,w->np", last, axis), torch.einsum("nhwp,h->np", last, axis)
        gap = torch.stack([columns[:, 1] - columns[:, 0], rows[:, 1] - rows[:, 0]], dim=1)
        places = torch.stack([columns[:, 0], rows[:, 0], columns[:, 1], rows[:, 1]], dim=1)
        return torch.cat([places, gap, gap.square()], dim=1)


class _Synthetic(LoadedBackbone):
    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.device, self._dtype = device, dtype
        self.module = nn.ModuleDict(_modules()).to(device, dtype).eval()

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        planes = clip.to(self._dtype) / 255.0
        for module in self.module.children():
            module(planes)

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        return output[:, None]

    def truncate(self, last: LayerInfo) -> None:
        """The layers stand side by side; none comes after another, so nothing is dropped."""


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """The four layers; they take no source and no options."""
    if source or options:
        raise UsageError("backbone 'synthetic' takes no source and no options", hint="write just: synthetic")
    widths = {name: width for name, (width, _) in RANDOM.items()} | {"structured_mid": STRUCTURED_WIDTH}
    return Backbone(
        name="synthetic",
        clip=ClipSpec(offsets=(-1, 0), frame_shape=(CELLS, CELLS, PLANES), resize=False),
        grid=TokenGrid(time=1, height=1, width=1, past=1),
        layers=tuple(
            LayerInfo(name, name, depth, widths[name], widths[name] * INPUT if name in RANDOM else 0) for depth, name in enumerate(ORDER)
        ),
        default_pooling="all/mean",
        identity={"class": "synthetic", "seed": SEED, "regime": "none"},
        weights_digest=lambda: digest_tensors(nn.ModuleDict(_modules()).state_dict()),
        load=_Synthetic,
    )


def _modules() -> dict[str, nn.Module]:
    rng = np.random.default_rng(SEED)
    weights = {name: torch.from_numpy(rng.normal(0.0, scale, (width, INPUT)).astype(np.float32)) for name, (width, scale) in RANDOM.items()}
    return {name: RandomTanh(weights[name]) if name in weights else Structured() for name in ORDER}
