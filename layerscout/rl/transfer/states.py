"""Networks, optimisers and random streams in, plain arrays and numbers out, and back, bit by bit: what checkpoints of pretrained models and of agents on them hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn


def module_state(module: nn.Module) -> dict[str, np.ndarray]:
    """Return copies of all weights and buffers, by name."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def put_module_state(module: nn.Module, state: dict[str, np.ndarray]) -> None:
    """Put weights back in place, so that an optimiser keeps knowing them."""
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return copies of an Adam's moments and counts, by the number of the parameter."""
    found = optimiser.state_dict()["state"]
    return {str(number): {name: value.detach().cpu().numpy().copy() for name, value in one.items()} for number, one in found.items()}


def put_optimiser_state(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put moments and counts back; step sizes stay those of today's settings."""
    whole = optimiser.state_dict()
    whole["state"] = {
        int(number): {name: torch.from_numpy(np.array(value)) for name, value in one.items()} for number, one in state.items()
    }
    optimiser.load_state_dict(whole)


def streams_state(generator: np.random.Generator, torch_generator: torch.Generator) -> dict[str, Any]:
    """Return where both random streams stand."""
    return {"generator": generator.bit_generator.state, "torch_generator": torch_generator.get_state().numpy()}


def put_streams_state(generator: np.random.Generator, torch_generator: torch.Generator, state: dict[str, Any]) -> None:
    """Put both back, so that the next draw is the one that would have followed; other members of ``state`` are not looked at."""
    generator.bit_generator.state = state["generator"]
    torch_generator.set_state(torch.from_numpy(state["torch_generator"]))
