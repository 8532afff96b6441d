"""A network in, the same architecture without what training put into it out: the controls of any model.

Weights drawn anew say what the architecture alone gives; weights that only changed places keep every tensor's distribution
and lose its structure.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from layerscout.extract.torch_private import is_batch_norm, is_convolution, is_transposed


@torch.no_grad()
def redraw(network: nn.Module, seed: int) -> None:
    """Draw all weights anew, in place.

    Weights of products and convolutions are normal with deviation 1/sqrt(fan in), tables that are added or multiplied (positions,
    embeddings, modulation) with 1/sqrt(width); norms become one, biases and other single rows zero, running statistics those
    of a new layer.

    Parameters
    ----------
    seed
        Of the draws; equal seeds give equal weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim >= 2:
                fresh = torch.randn(parameter.shape, generator=generator) / _fan_in(module, parameter) ** 0.5
            else:
                fresh = torch.ones(parameter.shape) if name == "weight" else torch.zeros(parameter.shape)
            parameter.data.copy_(fresh)
        if is_batch_norm(module):
            norm: Any = module
            norm.reset_running_stats()


@torch.no_grad()
def shuffle(network: nn.Module, seed: int) -> None:
    """Let the numbers of every tensor change places, in place: the same distributions, no structure.

    Each weight, bias, norm and running statistic is permuted element by element, tensor by tensor.

    Parameters
    ----------
    seed
        Of the permutations; equal seeds give equal weights.
    """
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            order = torch.randperm(value.numel(), generator=generator).to(value.device)
            value.copy_(value.flatten()[order].view(value.shape))


def _fan_in(module: nn.Module, parameter: Tensor) -> int:
    """Numbers that one output is a sum of; of a bare table, its width."""
    if is_transposed(module):
        return parameter.numel() // parameter.shape[1]
    return parameter[0].numel() if is_convolution(module) else parameter.shape[-1]
