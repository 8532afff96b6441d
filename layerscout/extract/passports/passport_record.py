"""What is needed to run one block alone: its fixed context, the statistics of its input, its weights, and how tokens enter and leave.

The block's own arguments (time embedding, text stream at that depth, rotary tables) are harvested while the whole model runs
on calibration clips (see ``harvest``); afterwards the block needs neither the other blocks nor a text encoder. A block in
joint attention receives a text stream that depends on the video: its mean over the calibration clips is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.extract.backbones.loaded import digest_tensors
from layerscout.extract.passports.context import Context
from layerscout.extract.passports.ports import Shape


@dataclass(frozen=True)
class Passport:
    """What is needed to run one block alone.

    ``grid`` is that of the block's output, ``input_shape`` the (time, height, width) of the tokens it takes; they differ where a
    block changes the resolution. ``input_mean`` and ``input_rms`` are the statistics per feature of the video tokens that the
    block saw; an input adapter that matches them puts the block where it was trained to work. ``class_token`` is the mean of
    the class tokens it saw, None without one. ``port`` says how tokens enter, by the argument called ``argument``, and leave;
    ``dtype`` is the type in which they enter. ``clips`` is how many were looked at, ``block_digest`` that of the block's weights.
    ``model_config`` is what the model around the block was built from, None when it is of no library that can tell.
    ``memory_axes`` are the axes of the block's first argument from the slowest in memory to the fastest, empty for C order: kernels
    choose their algorithm by it, so a block alone gives the bits of the block in its model only in the same order.
    """

    layer: LayerInfo
    grid: TokenGrid
    input_shape: Shape
    port: str
    argument: str
    dtype: torch.dtype
    context: Context = field(repr=False)
    input_mean: Float[Tensor, " feature"] = field(repr=False)
    input_rms: Float[Tensor, " feature"] = field(repr=False)
    class_token: Float[Tensor, " feature"] | None = field(repr=False)
    clips: int
    block_class: str
    block_digest: str
    model_config: dict[str, Any] | None = field(repr=False)
    memory_axes: tuple[int, ...] = ()
    weights: nn.Module | None = field(default=None, repr=False)

    @property
    def block(self) -> nn.Module:
        """The block with its weights.

        Raises
        ------
        DataError
            This passport was read from a store, and its block has not been given to it yet.
        """
        if self.weights is None:
            raise DataError(f"the passport of {self.layer.name} is without its block", hint="load the block and give it with with_block")
        return self.weights

    @property
    def overall_rms(self) -> float:
        """Root mean square of all numbers that the block saw: the scale of its residual stream."""
        return float(self.input_rms.double().square().mean().sqrt())

    @property
    def fixed_tokens(self) -> int | None:
        """The one number of tokens that the block's position tables are made for; None when the block takes any number."""
        count = self.input_shape[0] * self.input_shape[1] * self.input_shape[2]
        own_positions = self.port not in {"tokens", "class-first"} or self.block_class in INNER_POSITIONS
        # an axis other than the last, which is that of features, and other than the clips' own
        tables = (value.shape[name in self.context.per_clip : -1] for name, value in self.context.tensors.items())
        return count if own_positions or any(count in axes for axes in tables) else None

    def with_block(self, block: nn.Module) -> Passport:
        """Return the passport with the block that it belongs to.

        Raises
        ------
        DataError
            The block has other weights than the one that was harvested.
        """
        if type(block).__name__ != self.block_class or digest_tensors(block.state_dict()) != self.block_digest:
            raise DataError(
                f"this {type(block).__name__} is not block {self.layer.module} that the passport was made with",
                hint="the checkpoint was changed since extraction: extract again",
            )
        return replace(self, weights=block.eval().requires_grad_(False))


INNER_POSITIONS = {"VJEPA2Layer"}  # blocks that work out positions by themselves, for the grid of their configuration
