"""One block lifted out of its model: weights + fixed context + input statistics = a FrozenLayer of tokens to tokens.

The block's own arguments (time embedding, text stream at that depth, rotary tables) are harvested while the whole
model runs on calibration clips; afterwards the block needs neither the other blocks nor the text encoder. A block in
joint attention receives a text stream that depends on the video: its mean over the calibration clips is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone, LayerInfo, TokenGrid


@dataclass(frozen=True)
class Passport:
    """What is needed to run one block alone.

    ``input_mean`` and ``input_rms`` are the statistics per feature of the tokens that the block saw; an input adapter
    that matches them puts the block where it was trained to work.
    """

    layer: LayerInfo
    grid: TokenGrid
    context: dict[str, Any]
    input_mean: Float[Tensor, " feature"]
    input_rms: Float[Tensor, " feature"]
    block: nn.Module


def harvest(backbone: Backbone, layer: str, clips: UInt8[np.ndarray, "clip time height width channel"], device: str = "cpu") -> Passport:
    """Run the model on calibration clips and lift out one block with its context.

    Parameters
    ----------
    clips
        Clips as the backbone takes them; 64 or more give steady statistics.

    Raises
    ------
    DataError
        The block takes its tokens in a way that this family's passport does not know.
    """
    info = backbone.layer(layer)
    loaded = backbone.load(torch.device(device))
    loaded.truncate(info)
    block = loaded.module.get_submodule(info.module)
    seen: list[tuple[Tensor, dict[str, Any]]] = []

    def note(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        if positional or "hidden_states" not in named:
            raise DataError(
                f"block {info.module} of {backbone.name} has no passport", hint="use --mode online or offline with this backbone"
            )
        seen.append((named["hidden_states"].detach(), {key: value for key, value in named.items() if key != "hidden_states"}))

    handle = block.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        loaded.forward(torch.from_numpy(clips).to(loaded.device))
    handle.remove()
    tokens, context = seen[0]
    flat = tokens.flatten(0, 1)
    return Passport(
        layer=info,
        grid=backbone.grid,
        context={
            key: value.mean(dim=0, keepdim=True) if isinstance(value, Tensor) and len(value) == len(tokens) else value
            for key, value in context.items()
        },
        input_mean=flat.mean(dim=0),
        input_rms=flat.square().mean(dim=0).sqrt(),
        block=block,
    )


class FrozenLayer(nn.Module):
    """One block with its context: ``tokens [clip, token, feature] -> tokens``, gradient to the tokens, none to the weights."""

    def __init__(self, passport: Passport, block: nn.Module | None = None) -> None:
        super().__init__()
        self.block = (block or passport.block).eval().requires_grad_(False)
        self._context = passport.context

    def train(self, mode: bool = True) -> FrozenLayer:
        """Stay in evaluation mode whatever the agent around does: dropout must never wake up."""
        return super().train(False)

    def forward(self, tokens: Float[Tensor, "clip token feature"]) -> Float[Tensor, "clip token feature"]:
        context = {
            key: value.expand(len(tokens), *value.shape[1:]) if isinstance(value, Tensor) and len(value) == 1 else value
            for key, value in self._context.items()
        }
        output = self.block(hidden_states=tokens, **context)
        return output[0] if isinstance(output, tuple) else output


def reinitialised(passport: Passport, seed: int) -> nn.Module:
    """A copy of the block with every weight matrix drawn anew at the scale 1/sqrt(fan in), biases zero, norms one: the control."""
    import copy

    block = copy.deepcopy(passport.block)
    generator = torch.Generator().manual_seed(seed)
    for module in block.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim >= 2:
                fresh = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
            else:
                fresh = torch.ones(parameter.shape) if name == "weight" else torch.zeros(parameter.shape)
            parameter.data.copy_(fresh)
    return block
