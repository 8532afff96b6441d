"""Frames in, the frozen block's tokens out (adapter g); tokens in, Q-values out (adapter h): small, trained, one a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from layerscout.errors import UsageError
from layerscout.rl.networks.convolutions import RunConv2d
from layerscout.rl.networks.layers import INPUT_ADAPTER, Head, RunLinear, RunNetwork, weight_generators

RANK = 64  # of the linear adapter: a full map from a frame to all its tokens would be larger than the block
STEM = 32  # channels of the conv adapter's first convolution
QUERIES = 4  # of the attention pool
QUERY = 2  # the part of a network that draws the queries, beside layers.HEAD and INPUT_ADAPTER
Statistics = tuple[Float[Tensor, " width"], Float[Tensor, " width"]]


class InputAdapter(RunNetwork):
    """Adapter g before the frozen layer: frames → tokens, each frame by itself, plus a learned position.

    Tokens come in the order time, row, column. ``patch``: one linear map of each patch of pixels. ``linear``: a linear map
    of rank 64 from the whole frame to all its tokens, which need not keep places. ``conv``: two convolutions whose strides
    multiply to the patch.

    Parameters
    ----------
    frame_shape
        (time, height, width, channel) of a clip.
    patch
        Side of a token's square in pixels.
    width
        Token width of the frozen layer.
    statistics
        Mean and standard deviation [width] of the tokens that the frozen layer is used to; the embedding is scaled and
        shifted by them (not trained).
    shown
        Which frame of the clip each time slot of tokens shows (default: one slot a frame).

    Raises
    ------
    UsageError
        The patch does not divide the frames, or is too small for two convolutions.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int, int, int],
        patch: int,
        width: int,
        seeds: Sequence[int],
        statistics: Statistics | None = None,
        kind: Literal["patch", "linear", "conv"] = "patch",
        shown: Sequence[int] | None = None,
    ) -> None:
        super().__init__(len(seeds))
        time, height, columns, channel = frame_shape
        self.shown = tuple(range(time)) if shown is None else tuple(shown)
        if height % patch or columns % patch:
            raise UsageError(
                f"frames of {height} x {columns} pixels do not divide into patches of {patch}", hint="choose a patch that divides both"
            )
        generators = weight_generators(seeds, INPUT_ADAPTER)
        self.kind, self.patch, self.width = kind, patch, width
        self.token_grid = (len(self.shown), height // patch, columns // patch)
        per_frame = math.prod(self.token_grid[1:])
        if kind == "patch":
            self.embed = RunLinear(patch * patch * channel, width, generators)
        elif kind == "linear":
            self.narrow = RunLinear(height * columns * channel, RANK, generators)
            self.widen = RunLinear(RANK, per_frame * width, generators)
        else:
            if patch % 2 or patch < 4:
                raise UsageError(f"adapter conv needs an even patch of 4 pixels or more, not {patch}", hint="--set train.adapter_in=patch")
            self.stem = RunConv2d(channel, STEM, (height, columns), patch // 2 + 2, patch // 2, 1, generators)
            self.embed_maps = RunConv2d(STEM, width, (height // (patch // 2), columns // (patch // 2)), 4, 2, 1, generators)
        self.position = nn.Parameter(torch.zeros(self.runs, math.prod(self.token_grid), width))
        with torch.no_grad():
            for run, generator in enumerate(generators):
                self.position[run].normal_(0.0, 0.02, generator=generator)
        mean, deviation = statistics if statistics is not None else (torch.zeros(width), torch.ones(width))
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", mean.clone())
        self.register_buffer("deviation", deviation.clone())

    def forward(self, frames: Shaped[Tensor, "run batch time height width channel"]) -> Float[Tensor, "run batch token width"]:
        """Tokens of the frames that are shown, uint8 brought to [-1, 1], with the mean and deviation that the layer expects."""
        frames = frames if self.shown == tuple(range(frames.shape[2])) else frames[:, :, list(self.shown)]
        pixels = frames.float() / 127.5 - 1.0
        tokens = {"patch": self._patches, "linear": self._whole, "conv": self._convolved}[self.kind](pixels)
        return (tokens + self.position[:, None]) * self.deviation + self.mean

    def _patches(self, pixels: Float[Tensor, "run batch time height width channel"]) -> Float[Tensor, "run batch token width"]:
        runs, batch, time, height, columns, channel = pixels.shape
        patch = self.patch
        cut = pixels.reshape(runs, batch, time, height // patch, patch, columns // patch, patch, channel)
        cut = cut.permute(0, 1, 2, 3, 5, 4, 6, 7).reshape(runs, -1, patch * patch * channel)
        return self.embed(cut).unflatten(1, (batch, -1))

    def _whole(self, pixels: Float[Tensor, "run batch time height width channel"]) -> Float[Tensor, "run batch token width"]:
        runs, batch, time = pixels.shape[:3]
        tokens = self.widen(self.narrow(pixels.reshape(runs, batch * time, -1)))
        return tokens.reshape(runs, batch, -1, self.width)

    def _convolved(self, pixels: Float[Tensor, "run batch time height width channel"]) -> Float[Tensor, "run batch token width"]:
        batch = pixels.shape[1]
        maps = self.embed_maps(torch.relu(self.stem(pixels.flatten(1, 2).permute(0, 1, 4, 2, 3))))
        return maps.flatten(3).transpose(2, 3).reshape(self.runs, batch, -1, self.width)

    def multiply_adds(self) -> Int64[np.ndarray, " run"]:
        """Those of the maps from pixels to tokens, times how often each is applied to one clip."""
        time, rows, columns = self.token_grid
        if self.kind == "patch":
            return self.embed.multiply_adds() * (time * rows * columns)
        parts = (self.narrow, self.widen) if self.kind == "linear" else (self.stem, self.embed_maps)
        return (parts[0].multiply_adds() + parts[1].multiply_adds()) * time


class OutputAdapter(RunNetwork):
    """Adapter h after the frozen layer: tokens reduced to one vector, then a linear or MLP head.

    ``grid``: the mean over all tokens, or over a grid × grid of cells a frame. ``attention``: four learned queries, each
    the softmax-weighted mean of the tokens.

    Parameters
    ----------
    token_grid
        (time, rows, columns) of the tokens, time first.
    grid
        Cells a side that each frame is averaged into; 0 = one mean over all tokens. Without meaning for ``attention``.
    """

    def __init__(
        self,
        token_grid: tuple[int, int, int],
        width: int,
        actions: int,
        seeds: Sequence[int],
        grid: int = 0,
        kind: Literal["linear", "mlp"] = "mlp",
        hidden: Sequence[int] = (64,),
        reduce: Literal["grid", "attention"] = "grid",
        *,
        dueling: bool = False,
    ) -> None:
        super().__init__(len(seeds))
        time, rows, columns = token_grid
        self.token_grid, self.grid, self.reduce = token_grid, grid, reduce
        if reduce == "attention":
            self.queries = nn.Parameter(torch.zeros(self.runs, QUERIES, width))
            with torch.no_grad():
                for run, generator in enumerate(weight_generators(seeds, QUERY)):
                    self.queries[run].normal_(0.0, width**-0.5, generator=generator)
            self.head = Head(QUERIES * width, actions, seeds, kind, hidden, dueling=dueling)
            return
        if grid and (rows % grid or columns % grid):
            raise UsageError(
                f"{rows} x {columns} tokens a frame do not divide into a grid of {grid}", hint="choose a grid that divides both, or 0"
            )
        self.head = Head(time * grid * grid * width if grid else width, actions, seeds, kind, hidden, dueling=dueling)

    def forward(self, tokens: Float[Tensor, "run batch token width"]) -> Float[Tensor, "run batch action"]:
        """Reduce tokens to one vector a clip and return the head's output, one number an action."""
        if self.reduce == "attention":
            agreement = torch.einsum("rqw,rbtw->rbqt", self.queries, torch.nn.functional.layer_norm(tokens, tokens.shape[-1:]))
            return self.head((agreement.softmax(-1) @ tokens).flatten(2))
        if not self.grid:
            return self.head(tokens.mean(2))
        time, rows, columns = self.token_grid
        cells = tokens.unflatten(2, (time, self.grid, rows // self.grid, self.grid, columns // self.grid))
        return self.head(cells.mean((4, 6)).flatten(2))

    def multiply_adds(self) -> Int64[np.ndarray, " run"]:
        """Those of the head and, with attention, of agreeing with and weighing every token; means count as nothing."""
        attention = 2 * self.queries[0].numel() * math.prod(self.token_grid) if self.reduce == "attention" else 0
        return self.head.multiply_adds() + attention
