"""Batches of a fixed dataset in, policies out: implicit Q-learning for many runs side by side, in the order of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

from layerscout.rl.agents.base import ActionArray, discounts, normal_noise
from layerscout.rl.agents.configs import IQLConfig
from layerscout.rl.agents.critic import Critic
from layerscout.rl.agents.learner import Learner
from layerscout.rl.agents.policy import WeightedPolicy
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import VALUE, Head, RunNetwork


class IQL(Learner[IQLConfig]):
    """Implicit Q-learning: values by expectiles, policy by advantage-weighted regression; it never asks for the value of an unseen action.

    Parameters
    ----------
    policy_factory
        Seeds of the runs → `WeightedPolicy`.
    critic_factory
        Seeds of the runs → `Critic` for the same kind of actions. Called twice (online, target).
    value_factory
        Seeds of the runs → network [run, batch, ...] → [run, batch, 1]; its first weights from the part ``VALUE``.
    seeds
        One seed a run.
    device
        Where to compute; "cuda" without a GPU is an error.

    References
    ----------
    Kostrikov, Nair & Levine 2021, "Offline reinforcement learning with implicit Q-learning", arXiv 2110.06169, eq. 5 to 7, algorithm 1.
    """

    def __init__(
        self,
        config: IQLConfig,
        policy_factory: Callable[[Sequence[int]], WeightedPolicy],
        critic_factory: Callable[[Sequence[int]], Critic],
        value_factory: Callable[[Sequence[int]], RunNetwork],
        seeds: Sequence[int],
        device: str = "cpu",
    ) -> None:
        super().__init__(config, seeds, device)
        self.policy = self.train_network("policy", policy_factory(self.seeds), config.lr, config.gradient_clip)
        self.critic = self.train_network("critic", critic_factory(self.seeds), config.lr, config.gradient_clip)
        self.target = self.follow_network("critic", critic_factory(self.seeds))
        self.value = self.train_network("value", value_factory(self.seeds), config.lr, config.gradient_clip)

    # --- acting

    @torch.no_grad()
    def act(self, z: Shaped[np.ndarray, "run batch *feature"]) -> ActionArray:
        """Return the likeliest action: the mean cut to [-1, 1], or the action of the largest probability; draws nothing."""
        output = self.policy(self.tensor(z)).cpu().numpy()
        return output.clip(-1.0, 1.0) if self.policy.dimensions else output.argmax(-1)

    @torch.no_grad()
    def explore(self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]) -> ActionArray:
        """Draw actions of the policy; a run draws from its own generator."""
        output = self.policy(self.tensor(z))
        if self.policy.dimensions:
            noise = self.tensor(normal_noise(generators, tuple(output.shape[1:])))
            return (output + self.policy.deviation() * noise).clamp_(-1.0, 1.0).cpu().numpy()
        below = output.double().softmax(-1).cumsum(-1).cpu().numpy()
        drawn = np.stack([generator.random(z.shape[1]) for generator in generators])
        return (below[..., :-1] <= drawn[..., None]).sum(-1)  # the last border is 1 but for rounding

    # --- learning

    def improve(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one step of value, policy, critics and target on every run; return the critics' losses before it.

        The order is value, policy, critics, each with what came before it already moved.
        """
        size = batch.action.shape[1]
        states, action = self.tensor(batch.states), self.tensor(batch.action)
        z = states[:, :size]
        known = self.target(z, action).amin(-1, keepdim=True)
        self._improve_value(z, known)
        value = self.value(states)
        self._improve_policy(z, action, known - value[:, :size])
        goal = self.tensor(batch.reward)[..., None] + self.tensor(discounts(batch, self.config.gamma))[..., None] * value[:, size:]
        losses = self._improve_critics(z, action, goal)
        self.move_target(self.config.tau)
        return losses

    def _improve_value(self, z: Shaped[Tensor, "run batch *feature"], known: Float[Tensor, "run batch 1"]) -> None:
        """L_V = mean |τ − 1(δ < 0)| δ², δ = min_i Q̄_i(s, a) − V(s); eq. 5."""
        optimiser = self.optimisers["value"]
        value, tape = self.value.record(z, learned=z.shape[1])
        error = known - value
        weight = torch.where(error < 0, 1.0 - self.config.expectile, self.config.expectile)
        self.value.pull_back(tape, weight * error * (-2.0 / z.shape[1]), optimiser.gradient_views)
        self.step(optimiser, (weight * error.square()).mean((1, 2)).cpu().numpy())

    def _improve_policy(
        self,
        z: Shaped[Tensor, "run batch *feature"],
        action: Shaped[Tensor, "run batch *dimension"],
        advantage: Float[Tensor, "run batch 1"],
    ) -> None:
        """L_π = −mean min(exp(β (min_i Q̄_i(s, a) − V(s))), largest) ln π(a|s); eq. 7."""
        optimiser, config = self.optimisers["policy"], self.config
        weight = (config.inverse_temperature * advantage).exp().clamp(max=config.largest_weight)
        log_probability = self.policy.learn(z, action, weight / z.shape[1], optimiser.gradient_views)
        self.step(optimiser, (-weight[..., 0] * log_probability).mean(1).cpu().numpy())

    def _improve_critics(
        self, z: Shaped[Tensor, "run batch *feature"], action: Shaped[Tensor, "run batch *dimension"], goal: Float[Tensor, "run batch 1"]
    ) -> Float32[np.ndarray, " run"]:
        """L_Q = Σ_i mean (r + γ (1 − terminated) V(s') − Q_i(s, a))²; eq. 6."""
        optimiser = self.optimisers["critic"]
        values, tape = self.critic.record_pair(z, action)
        error = values - goal
        self.critic.pull_back(tape, error * (2.0 / z.shape[1]), optimiser.gradient_views)
        losses = error.square().sum(-1).mean(1).cpu().numpy()
        self.step(optimiser, losses)
        return losses

    # --- accounts

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update, per run.

        Value: forward and backward at s, then forward at s and at s'. Policy: forward and backward. Critics: forward of the target,
        forward and backward.
        """
        policy, critic, value = (part.multiply_adds() for part in (self.policy, self.critic, self.value))
        frozen = sum(part.frozen_multiply_adds() for part in (self.policy, self.critic, self.value))
        return 2 * self.config.batch * (5 * value + 3 * policy + 4 * critic - frozen)


def iql_on_features(
    config: IQLConfig,
    width: int,
    seeds: Sequence[int],
    *,
    dimensions: int = 0,
    actions: int = 0,
    kind: Literal["linear", "mlp"] = "mlp",
    hidden: Sequence[int] | None = None,
    live_widths: Sequence[int] | None = None,
    device: str = "cpu",
) -> IQL:
    """Return the learner with heads on features of ``width``, for continuous actions of ``dimensions`` numbers or for ``actions`` discrete ones."""
    options: dict[str, Any] = {"kind": kind, "hidden": config.hidden if hidden is None else hidden, "live_widths": live_widths}
    return IQL(
        config,
        lambda runs: WeightedPolicy(Head(width, dimensions or actions, runs, **options), dimensions),
        lambda runs: Critic(width, runs, dimensions=dimensions, actions=actions, **options),
        lambda runs: Head(width, 1, runs, **options, part=VALUE),
        seeds,
        device,
    )
