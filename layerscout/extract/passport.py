"""One block lifted out of its model: weights + fixed context + input statistics = a FrozenLayer of tokens to tokens.

The block's own arguments (time embedding, text stream at that depth, rotary tables) are harvested while the whole
model runs on calibration clips; afterwards the block needs neither the other blocks nor the text encoder. A block in
joint attention receives a text stream that depends on the video: its mean over the calibration clips is kept.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone, LayerInfo, TokenGrid

BATCH = 32  # clips a forward pass


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

    @property
    def fixed_tokens(self) -> int | None:
        """The one number of tokens that the block's position tables are made for; None when the block takes any number."""
        tables = [len(table) for value in self.context.values() if isinstance(value, tuple) for table in value]
        return tables[0] if tables else None


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
    statistics = _Statistics()

    def note(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        if positional or "hidden_states" not in named:
            raise DataError(
                f"block {info.module} of {backbone.name} has no passport", hint="use --mode online or offline with this backbone"
            )
        statistics.add(named["hidden_states"], {key: value for key, value in named.items() if key != "hidden_states"})

    handle = block.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        for low in range(0, len(clips), BATCH):
            loaded.forward(torch.from_numpy(clips[low : low + BATCH]).to(loaded.device))
    handle.remove()
    mean, rms = statistics.moments()
    return Passport(info, backbone.grid, statistics.context(), mean, rms, block)


class _Statistics:
    """What a block was called with, batch by batch: moments of its tokens, and its other arguments reduced to one clip's."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, torch.zeros(()), torch.zeros(())
        self._clips = 0
        self._first: dict[str, Any] = {}
        self._totals: dict[str, Tensor] = {}  # of the arguments that have one entry a clip
        self._varying: set[str] = set()

    def add(self, tokens: Float[Tensor, "clip token feature"], arguments: dict[str, Any]) -> None:
        flat = tokens.flatten(0, 1).double()
        self._count += len(flat)
        self._sum, self._squares = self._sum + flat.sum(dim=0), self._squares + flat.square().sum(dim=0)
        for name, value in arguments.items():
            if not (isinstance(value, Tensor) and value.ndim and len(value) == len(tokens)):
                self._first.setdefault(name, value)
                continue
            first = self._first.setdefault(name, value[:1])
            self._totals[name] = self._totals.get(name, torch.zeros_like(first)) + value.sum(dim=0, keepdim=True)
            # the same row at another place in a batch may be rounded otherwise, and is the same all the same
            if not torch.allclose(value, first, rtol=1e-5, atol=1e-6):
                self._varying.add(name)
        self._clips += len(tokens)

    def moments(self) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
        return (self._sum / self._count).float(), (self._squares / self._count).sqrt().float()

    def context(self) -> dict[str, Any]:
        """What is the same for every clip, as the first clip had it; the mean of what is not."""
        return {name: self._totals[name] / self._clips if name in self._varying else value for name, value in self._first.items()}


class FrozenLayer(nn.Module):
    """One block with its context: ``tokens [clip, token, feature] -> tokens``, gradient to the tokens, none to the weights."""

    def __init__(self, passport: Passport, block: nn.Module | None = None) -> None:
        super().__init__()
        self.block = (passport.block if block is None else block).eval().requires_grad_(False)
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
