"""Windows of steps in, one agent's world model, actor and critic improved: DreamerV2, from scratch or on what was pretrained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerscout.rl.transfer.apv.action_free import ActionFree
from layerscout.rl.transfer.apv.agent_config import DreamerConfig, TransferWay
from layerscout.rl.transfer.apv.bonus import VideoBonus
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.heads import Actor, mlp
from layerscout.rl.transfer.apv.imagination import behaviour_losses
from layerscout.rl.transfer.apv.keeping import adam
from layerscout.rl.transfer.apv.stacked import PlayedWindows, WorldModel
from layerscout.rl.transfer.states import module_state, optimiser_state, put_module_state, put_optimiser_state

STACKED = ("apv", "apv-no-bonus", "untrained")
LEARNING = 7  # purpose of the random stream of a run's updates


class Spoiled(Exception):
    """A loss or a gradient is not finite; the run keeps its last weights and learns no more."""


class DreamerLearner:
    """One run of DreamerV2: a world model, and an actor and a critic that learn in its imagination.

    Parameters
    ----------
    config, sizes
        Settings of the arm, and sizes of its world model.
    count, dimensions
        Discrete actions, or numbers of a continuous one; the other is 0.
    transfer
        What is done with the pretrained model.
    seed
        Of first weights and of all draws of updates.
    pretrained
        The model that the arms apv, apv-no-bonus and naive start from.
    """

    def __init__(
        self,
        config: DreamerConfig,
        sizes: APVModelConfig,
        count: int,
        dimensions: int,
        transfer: TransferWay,
        seed: int,
        pretrained: ActionFree | None = None,
        device: str = "cpu",
    ) -> None:
        self.config, self.sizes, self.transfer, self.device = config, sizes, transfer, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.world = WorldModel(sizes, count or dimensions, config, transfer in STACKED).to(self.device)
            self.actor = Actor(sizes.features, count, dimensions, config.layers, config.width).to(self.device)
            self.critic, self.slow = (mlp(sizes.features, 1, config.layers, config.width).to(self.device) for _ in range(2))
        self.slow.load_state_dict(self.critic.state_dict())
        if pretrained is not None and transfer not in {"none", "untrained"}:
            self.world.load_pretrained(pretrained)
        self.bonus = VideoBonus(sizes.features, config, seed, self.device) if transfer == "apv" else None
        self.frozen_updates = config.frozen_updates if transfer in {"apv", "apv-no-bonus"} else 0
        parts = {"world": (self.world.rest, config.lr), "actor": (self.actor.parameters(), config.actor_lr)}
        parts |= {"critic": (self.critic.parameters(), config.critic_lr), "video": (self.world.bottom, config.lr)}
        self.optimisers = {name: adam(found, lr) for name, (some, lr) in parts.items() if (found := list(some))}
        self.generator, self.updates = np.random.default_rng([seed, LEARNING]), 0
        self._modules = {"world": self.world, "actor": self.actor, "critic": self.critic, "slow": self.slow}

    def update(self, windows: PlayedWindows) -> dict[str, float]:
        """Improve the world model, then actor and critic in its imagination; return the parts of the losses.

        Raises
        ------
        Spoiled
            A loss or a gradient is not finite; which one and at which update is said.
        """
        found = self._learn_world(windows)
        found |= self._learn_behaviour(self._start, self._going)
        self.updates += 1
        if self.updates % self.config.slow_interval == 0:
            self.slow.load_state_dict(self.critic.state_dict())
        return found

    def _learn_world(self, windows: PlayedWindows) -> dict[str, float]:
        frozen = self.updates < self.frozen_updates
        chances = self._chances(2, *windows.rewards.shape, self.sizes.latents)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            losses = self.world(windows, chances, self.bonus, frozen)
        self._descend(losses.total, {name: self.optimisers[name] for name in ("world", "video") if name in self.optimisers}, losses.parts)
        self._start = losses.top.features.detach().float().flatten(0, 1)
        self._going = (~windows.terminated).float().flatten(0, 1)
        found = {name: float(value.detach()) for name, value in losses.parts.items()}
        bonus = losses.bonus
        return found if bonus is None else found | {"bonus": float(bonus.mean()), "bonus spread": float(bonus.std())}

    def _learn_behaviour(self, start: Float[Tensor, "start feature"], going: Float[Tensor, " start"]) -> dict[str, float]:
        config, size = self.config, len(start)
        latents = self._chances(config.horizon, size, self.sizes.latents)
        actions = self._chances(config.horizon, size, self.actor.width if self.actor.continuous else 1)
        found = behaviour_losses(self.world, self.actor, self.critic, self.slow, start, going, (latents, actions), config)
        self._descend(found.actor, {"actor": self.optimisers["actor"]}, {"actor": found.actor})
        self._descend(found.critic, {"critic": self.optimisers["critic"]}, {"critic": found.critic})
        return {name: float(value.detach()) for name, value in found._asdict().items()}

    def _descend(self, loss: Tensor, optimisers: dict[str, torch.optim.Optimizer], parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            if not torch.isfinite(value):
                raise Spoiled(f"update {self.updates + 1}: the {name} loss is {float(value.detach())}")
        learned = {name: [parameter for group in one.param_groups for parameter in group["params"]] for name, one in optimisers.items()}
        for one in optimisers.values():
            one.zero_grad(set_to_none=True)
        loss.backward(inputs=[parameter for some in learned.values() for parameter in some])
        norms = {name: nn.utils.clip_grad_norm_(some, self.config.gradient_clip) for name, some in learned.items()}
        for name, norm in norms.items():
            if not torch.isfinite(norm):
                raise Spoiled(f"update {self.updates + 1}: the gradient of the {name} is {float(norm)}")
        for one in optimisers.values():
            one.step()  # a part without gradient, because it is frozen, does not move

    def _chances(self, *shape: int) -> Float[Tensor, "*shape"]:
        return torch.from_numpy(self.generator.random(shape, dtype=np.float32)).to(self.device)

    def parameters(self) -> int:
        """Trainable numbers of world model, actor and critic."""
        return sum(parameter.numel() for part in (self.world, self.actor, self.critic) for parameter in part.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs."""
        return {
            "modules": {name: module_state(module) for name, module in self._modules.items()},
            "optimisers": {name: optimiser_state(one) for name, one in self.optimisers.items()},
            "bonus": None if self.bonus is None else self.bonus.state_dict(),
            "generator": self.generator.bit_generator.state,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back."""
        for name, module in self._modules.items():
            put_module_state(module, state["modules"][name])
        for name, one in self.optimisers.items():
            put_optimiser_state(one, state["optimisers"][name])
        if self.bonus is not None:
            self.bonus.load_state_dict(state["bonus"])
        self.generator.bit_generator.state = state["generator"]
        self.updates = int(state["updates"])
