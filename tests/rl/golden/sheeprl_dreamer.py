"""Figures of sheeprl's DreamerV2 for fixed weights and inputs: writes ``sheeprl_dreamer.npz`` beside this file, which tests compare with ours.

sheeprl (Apache-2.0) needs an older Gymnasium and Lightning, so it cannot be installed beside layerscout; the four modules that are asked here need neither.

    pip download sheeprl==0.8.4 --no-deps && unzip sheeprl-0.8.4-py3-none-any.whl -d sheeprl && python tests/rl/golden/sheeprl_dreamer.py sheeprl
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SIZES = {"latents": 3, "classes": 4, "deter": 8, "hidden": 6, "embedding": 5, "actions": 2}
STUBS = ("lightning", "lightning.fabric", "lightning.fabric.utilities", "lightning.fabric.utilities.rank_zero", "lightning.fabric.wrappers")


class Anything(types.ModuleType):
    """A module of a library that is imported and never used here."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def sheeprl(folder: Path) -> dict[str, Any]:
    """Import what is asked of sheeprl without running its ``__init__``, which imports every algorithm."""
    for name in (*STUBS, "hydra", "omegaconf", "dotenv"):
        sys.modules.setdefault(name, Anything(name))
    sys.modules["lightning.fabric.utilities.rank_zero"].rank_zero_only = lambda function: function
    for name in ("sheeprl", "sheeprl.algos", "sheeprl.algos.dreamer_v2", "sheeprl.utils", "sheeprl.models"):
        module = types.ModuleType(name)
        module.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = module
    for name in (
        "sheeprl.utils.fabric",
        "sheeprl.utils.compile",
        "sheeprl.utils.env",
        "sheeprl.utils.imports",
        "sheeprl.utils.fs",
        "sheeprl.data.buffers",
    ):
        sys.modules[name] = Anything(name)
    from sheeprl.algos.dreamer_v2 import agent, loss, utils
    from sheeprl.models import models
    from sheeprl.utils import distribution

    return {"agent": agent, "loss": loss, "utils": utils, "models": models, "distribution": distribution}


def rssm_of(parts: dict[str, Any], sizes: dict[str, int]) -> Any:
    """Make sheeprl's recurrent state-space model; hidden layers ELU, no normalisation but the recurrent unit's."""
    latent, mlp = sizes["latents"] * sizes["classes"], parts["models"].MLP
    recurrent = parts["agent"].RecurrentModel(latent + sizes["actions"], sizes["deter"], sizes["hidden"])
    posterior = mlp(sizes["deter"] + sizes["embedding"], latent, [sizes["hidden"]], activation=nn.ELU)
    prior = mlp(sizes["deter"], latent, [sizes["hidden"]], activation=nn.ELU)
    return parts["agent"].RSSM(recurrent, posterior, prior, {"validate_args": False}, discrete=sizes["classes"])


def figures(parts: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return weights, inputs and what sheeprl makes of them."""
    torch.manual_seed(0)
    model, width = rssm_of(parts, SIZES), (SIZES["latents"], SIZES["classes"])
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    hot = nn.functional.one_hot(torch.randint(0, 4, (1, 7, 3)), 4).float()
    given = {"z": hot, "h": torch.randn(1, 7, 8), "action": torch.randn(1, 7, 2), "embedded": torch.randn(1, 7, 5)}
    given["first"] = (torch.arange(7) % 3 == 0).float()[None, :, None]
    h, _, _, seen, foretold = model.dynamic(given["z"], given["h"], given["action"], given["embedded"], given["first"])
    found = {f"weight.{name}": value for name, value in model.state_dict().items()} | {
        f"given.{name}": value for name, value in given.items()
    }
    found |= {"h": h, "posterior": seen.unflatten(-1, width), "prior": foretold.unflatten(-1, width)}
    one, other = torch.randn(5, 6, 3, 4), torch.randn(5, 6, 3, 4)
    found |= {"given.seen": one, "given.foretold": other}
    normal = torch.distributions.Normal(torch.zeros(1), 1.0)
    for free in (0.0, 1.0, 3.0):
        found[f"divergence.{free}"] = parts["loss"].reconstruction_loss({}, {}, normal, torch.zeros(1), other, one, 0.8, free)[2]
    rewards, values, discounts = torch.randn(6, 4, 1), torch.randn(6, 4, 1), torch.rand(6, 4, 1)
    last = torch.randn(1, 4, 1)
    found |= {"given.rewards": rewards, "given.values": values, "given.discounts": discounts, "given.last": last}
    found["returns"] = parts["utils"].compute_lambda_values(rewards, values, discounts, last, horizon=6, lmbda=0.95)
    mean, spread = torch.randn(9, 2), torch.randn(9, 2)
    deviation = 2 * torch.sigmoid(spread / 2) + 0.1
    law = torch.distributions.Independent(parts["distribution"].TruncatedNormal(mean.tanh(), deviation, -1, 1), 1)
    drawn = 2 * torch.rand(9, 2) - 1
    found |= {"given.mean": mean, "given.spread": spread, "given.drawn": drawn, "density": law.log_prob(drawn), "entropy": law.entropy()}
    return {name: value.detach().numpy() for name, value in found.items()}


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **figures(sheeprl(Path(sys.argv[1]))))
