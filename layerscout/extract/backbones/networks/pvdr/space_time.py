"""Tokens of a clip in, features of its places out: attention over the places of a frame, then over the frames before at a place."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from layerscout.extract.backbones.pvdr import PvdrShape


class SpaceTimeBlock(nn.Module):
    """Attention over places, causal attention over times, and two layers of which z scales and shifts the input.

    Parameters
    ----------
    width, heads
        Features of a place, and heads of both attentions.
    condition
        Numbers of z; 0: none is taken.
    """

    def __init__(self, width: int, heads: int, condition: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.norm_space, self.norm_time, self.norm_mix = (nn.LayerNorm(width) for _ in range(3))
        self.space, self.time = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.space_out, self.time_out = nn.Linear(width, width), nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.condition = nn.Linear(condition, 2 * width) if condition else None

    def forward(
        self, x: Float[Tensor, "clip time place width"], z: Float[Tensor, "clip z"] | None = None
    ) -> Float[Tensor, "clip time place width"]:
        """Add both attentions and the two layers to the features; z moves only what the two layers see."""
        x = x + self.space_out(self._attend(self.space(self.norm_space(x)), causal=False))
        over_time = self.time(self.norm_time(x)).transpose(1, 2)
        x = x + self.time_out(self._attend(over_time, causal=True)).transpose(1, 2)
        mixed = self.norm_mix(x)
        if self.condition is not None and z is not None:
            scale, shift = self.condition(z)[:, None, None].chunk(2, -1)
            mixed = mixed * (1.0 + scale) + shift
        return x + self.mix(mixed)

    def _attend(self, threes: Float[Tensor, "a b sequence three"], causal: bool) -> Float[Tensor, "a b sequence width"]:
        a, b, length, three = threes.shape
        if length == 1:  # one frame attends to itself alone
            return threes[..., 2 * three // 3 :]
        parts = threes.reshape(a * b, length, 3, self.heads, three // 3 // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return found.transpose(1, 2).reshape(a, b, length, three // 3)


class SpaceTime(nn.Module):
    """A transformer over the tokens of a clip; token number ``codes`` stands for what is to be foretold.

    Parameters
    ----------
    shape
        Sizes.
    frames
        Times of a clip.
    condition
        Numbers of z; 0: none is taken.

    References
    ----------
    Xu et al. 2020, "Spatial-temporal transformer networks for traffic flow forecasting", arXiv 2001.02908, for attention in two steps.
    """

    offsets: Tensor

    def __init__(self, shape: PvdrShape, frames: int, condition: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("offsets", torch.arange(shape.patch**2) * (shape.codes + 1), persistent=False)
        self.embedding = nn.Embedding(shape.patch**2 * (shape.codes + 1), shape.width)
        nn.init.normal_(self.embedding.weight, std=1.0 / shape.patch)
        self.places = nn.Parameter(_waves(shape.grid // shape.patch, shape.width))
        self.times = nn.Parameter(0.02 * torch.randn(frames, 1, shape.width))
        self.lift = nn.Linear(condition, shape.width) if condition else None
        self.blocks = nn.ModuleList(SpaceTimeBlock(shape.width, shape.heads, condition) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width)

    def forward(
        self, tokens: Int64[Tensor, "clip time row column"], z: Float[Tensor, "clip z"] | None = None
    ) -> Float[Tensor, "clip time place width"]:
        """Features of every place, normalised; tokens lie in [0, codes], z may be left out only where none is taken."""
        x = self.embedding(patches(tokens, self.shape.patch) + self.offsets).sum(3)
        x = x + self.places + self.times[: tokens.shape[1]]
        if self.lift is not None and z is not None:
            x = x + self.lift(z)[:, None, None]
        for block in self.blocks:
            x = block(x, z)
        return self.norm(x)


def patches(tokens: Int64[Tensor, "clip time row column"], side: int) -> Int64[Tensor, "clip time place inner"]:
    """Return the tokens of each place, which is a square of ``side`` · ``side`` tokens, row-major."""
    clips, times, rows, columns = tokens.shape
    cut = tokens.view(clips, times, rows // side, side, columns // side, side)
    return cut.permute(0, 1, 2, 4, 3, 5).reshape(clips, times, -1, side * side)


def unpatched(values: Float[Tensor, "clip time place inner"], side: int, grid: int) -> Float[Tensor, "clip time row column"]:
    """Return what belongs to single tokens from what belongs to places: the inverse of ``patches``, also with trailing axes."""
    clips, times, _, _, *rest = values.shape
    cut = values.view(clips, times, grid // side, grid // side, side, side, *rest)
    order = (0, 1, 2, 4, 3, 5, *range(6, 6 + len(rest)))
    return cut.permute(order).reshape(clips, times, grid, grid, *rest)


def _waves(side: int, width: int) -> Float[Tensor, "place width"]:
    """Sines and cosines of a place's row and column: where the learning of places begins."""
    frequencies = math.pi / side * torch.arange(1, width // 4 + 1)
    angles = (torch.arange(side) + 0.5)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    both = torch.cat([line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)], dim=2)
    return 0.5 * both.reshape(side * side, width)
