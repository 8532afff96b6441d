"""An action-free model in, its weights in a folder out, and back; and the optimiser of all its parts."""

from __future__ import annotations

from collections.abc import Iterable

import safetensors.torch
import torch
from torch import Tensor, nn

from layerscout.cache.durable import write_atomic
from layerscout.errors import DataError
from layerscout.extract.backbones.loaded import digest_tensors
from layerscout.extract.checkpoints.states import fitted, read_state
from layerscout.rl.transfer.apv.action_free import ActionFree, new_action_free
from layerscout.rl.transfer.apv.folder import PretrainedModel

EPSILON, WEIGHT_DECAY = 1e-5, 1e-6


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam as the authors' code has it: ε 1e-5, decoupled weight decay 1e-6."""
    return torch.optim.AdamW(list(parameters), lr=lr, eps=EPSILON, weight_decay=WEIGHT_DECAY, fused=True)


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
    return read_state(model.weights)


def load_action_free(model: PretrainedModel) -> ActionFree:
    """Make the model with its weights.

    Raises
    ------
    DataError
        The weights are damaged, not finite, or not those of the sizes.
    """
    module = new_action_free(model.sizes, 0)
    weights = fitted(module.state_dict(), read_weights(model), f"the weights of {model.folder}")
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise DataError(f"{model.weights}: {name} is not finite", hint="pretrain again")
    module.load_state_dict(weights)
    return module


def weights_digest(model: PretrainedModel) -> str:
    """Return the digest of the weights."""
    return digest_tensors(read_weights(model))
