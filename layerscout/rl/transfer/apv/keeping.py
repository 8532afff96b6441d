"""A model and its optimiser in, plain state and safe files out, and back, bit by bit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from layerscout.cache.durable import write_atomic
from layerscout.errors import DataError
from layerscout.extract.backbones.loaded import digest_tensors
from layerscout.rl.transfer.apv.action_free import ActionFree, new_action_free
from layerscout.rl.transfer.apv.folder import PretrainedModel

EPSILON, WEIGHT_DECAY = 1e-5, 1e-6


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam as the authors' code has it: ε 1e-5, decoupled weight decay 1e-6."""
    return torch.optim.AdamW(list(parameters), lr=lr, eps=EPSILON, weight_decay=WEIGHT_DECAY, fused=True)


def module_state(module: nn.Module) -> dict[str, np.ndarray]:
    """Return copies of all weights."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def put_module_state(module: nn.Module, state: dict[str, np.ndarray]) -> None:
    """Put weights back in place, so that an optimiser keeps knowing them."""
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an Adam's moments and counts, by the number of the parameter."""
    found = optimiser.state_dict()["state"]
    return {str(number): {name: value.detach().cpu().numpy().copy() for name, value in one.items()} for number, one in found.items()}


def put_optimiser_state(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put moments and counts back; step sizes stay those of today's settings."""
    whole = optimiser.state_dict()
    whole["state"] = {
        int(number): {name: torch.from_numpy(np.asarray(value)) for name, value in one.items()} for number, one in state.items()
    }
    optimiser.load_state_dict(whole)


def save_weights(model: PretrainedModel, module: ActionFree) -> None:
    """Write the weights as safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    write_atomic(model.weights, safetensors.torch.save(tensors))


def read_weights(model: PretrainedModel) -> dict[str, Tensor]:
    """Read the weights.

    Raises
    ------
    DataError
        There is no such file, or it is damaged.
    """
    if not model.weights.is_file():
        raise DataError(f"{model.folder} has a description and no {model.weights.name}", hint="pretrain again, or copy the whole folder")
    try:
        return safetensors.torch.load(model.weights.read_bytes())
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(f"{model.weights} cannot be read: {type(error).__name__}: {error}", hint="pretrain again") from None


def load_action_free(model: PretrainedModel) -> ActionFree:
    """Make the model with its weights.

    Raises
    ------
    DataError
        The weights are damaged, not finite, or not those of the sizes.
    """
    module, weights = new_action_free(model.sizes, 0), read_weights(model)
    expected = module.state_dict()
    for name, value in expected.items():
        if name not in weights or weights[name].shape != value.shape:
            there = tuple(weights[name].shape) if name in weights else "not there"
            raise DataError(f"{model.weights}: {name} is {there}, expected {tuple(value.shape)}", hint="pretrain again")
        if not torch.isfinite(weights[name]).all():
            raise DataError(f"{model.weights}: {name} is not finite", hint="pretrain again")
    module.load_state_dict({name: weights[name] for name in expected})
    return module


def weights_digest(model: PretrainedModel) -> str:
    """Return the digest of the weights."""
    return digest_tensors(read_weights(model))
