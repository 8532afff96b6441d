"""Batches of a fixed dataset in, policies out: implicit Q-learning for many runs side by side, in the order of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from torch import Tensor

from layerscout.rl.agents.base import (
    Actions,
    Parts,
    discounts,
    learning_device,
    normal_noise,
    note_failures,
    restored_reasons,
    stored_reasons,
    tensor_on,
)
from layerscout.rl.agents.configs import IQLConfig
from layerscout.rl.agents.critic import Critic
from layerscout.rl.agents.policy import Policy
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import VALUE, Head, RunNetwork
from layerscout.rl.networks.optimiser import RunAdam, flatten, load_rows


class IQL:
    """Implicit Q-learning: values by expectiles, policy by advantage-weighted regression; it never asks for the value of an unseen action.

    Parameters
    ----------
    policy_factory
        Seeds of the runs → `Policy`.
    critic_factory
        Seeds of the runs → `Critic` for the same kind of actions. Called twice (online, target).
    value_factory
        Seeds of the runs → network [run, batch, ...] → [run, batch, 1]; its first weights from the part ``VALUE``.
    seeds
        One seed a run.
    device
        Where to compute; "cuda" without a GPU is an error.

    Attributes
    ----------
    failed, reasons
        See `Agent`.

    References
    ----------
    Kostrikov, Nair & Levine 2021, "Offline reinforcement learning with implicit Q-learning", arXiv 2110.06169, eq. 5 to 7, algorithm 1.
    """

    def __init__(
        self,
        config: IQLConfig,
        policy_factory: Callable[[Sequence[int]], Policy],
        critic_factory: Callable[[Sequence[int]], Critic],
        value_factory: Callable[[Sequence[int]], RunNetwork],
        seeds: Sequence[int],
        device: str = "cpu",
    ) -> None:
        self.config, self.seeds, self.device = config, tuple(seeds), learning_device(device)
        self.policy = policy_factory(self.seeds).to(self.device)
        self.critic = critic_factory(self.seeds).to(self.device)
        self.target = critic_factory(self.seeds).to(self.device).requires_grad_(False)
        self.value = value_factory(self.seeds).to(self.device)
        self.online = Parts(policy=self.policy, critic=self.critic, value=self.value)
        self.failed: Bool[np.ndarray, " run"] = np.zeros(len(self.seeds), dtype=np.bool_)
        networks: dict[str, RunNetwork] = {"policy": self.policy, "critic": self.critic, "value": self.value}
        self.optimisers = {name: RunAdam(network, config.lr, config.gradient_clip, self.failed) for name, network in networks.items()}
        self.target_values = flatten(self.target)
        self.target_values.copy_(self.optimisers["critic"].values)
        self.updates = 0
        self.reasons: dict[int, str] = {}

    # --- acting

    @torch.no_grad()
    def act(self, z: Shaped[np.ndarray, "run batch *feature"]) -> Actions:
        """Return the likeliest action: the mean cut to [-1, 1], or the action of the largest probability; draws nothing."""
        output = self.policy(self._tensor(z)).cpu().numpy()
        return output.clip(-1.0, 1.0) if self.policy.dimensions else output.argmax(-1)

    @torch.no_grad()
    def explore(self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]) -> Actions:
        """Draw actions of the policy; a run draws from its own generator."""
        output = self.policy(self._tensor(z))
        if self.policy.dimensions:
            noise = self._tensor(normal_noise(generators, tuple(output.shape[1:])))
            return (output + self.policy.deviation() * noise).clamp_(-1.0, 1.0).cpu().numpy()
        below = output.double().softmax(-1).cumsum(-1).cpu().numpy()
        drawn = np.stack([generator.random(z.shape[1]) for generator in generators])
        return (below[..., :-1] <= drawn[..., None]).sum(-1)  # the last border is 1 but for rounding

    # --- learning

    @torch.no_grad()
    def update(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one step of value, policy, critics and target on every run; return the critics' losses before it.

        A run that has failed gives NaN. The order is value, policy, critics, each with what came before it already moved.
        """
        size = batch.action.shape[1]
        states, action = self._tensor(batch.states), self._tensor(batch.action)
        z = states[:, :size]
        known = self.target(z, action).amin(-1, keepdim=True)
        failed = self._improve_value(z, known)
        value = self.value(states)
        failed |= self._improve_policy(z, action, known - value[:, :size])
        goal = self._tensor(batch.reward)[..., None] + self._tensor(discounts(batch, self.config.gamma))[..., None] * value[:, size:]
        losses = self._improve_critics(z, action, goal)
        failed |= self.optimisers["critic"].step(losses)
        self.target_values.lerp_(self.optimisers["critic"].values, self.config.tau)
        self.updates += 1
        note_failures(self.reasons, failed, self.updates, losses)
        losses[self.failed] = np.nan
        return losses

    def _improve_value(self, z: Shaped[Tensor, "run batch *feature"], known: Float[Tensor, "run batch 1"]) -> Bool[np.ndarray, " run"]:
        """L_V = mean |τ − 1(δ < 0)| δ², δ = min_i Q̄_i(s, a) − V(s); eq. 5."""
        optimiser = self.optimisers["value"]
        value, tape = self.value.record(z, learned=z.shape[1])
        error = known - value
        weight = torch.where(error < 0, 1.0 - self.config.expectile, self.config.expectile)
        self.value.pull_back(tape, weight * error * (-2.0 / z.shape[1]), optimiser.gradient_views)
        return optimiser.step((weight * error.square()).mean((1, 2)).cpu().numpy())

    def _improve_policy(
        self,
        z: Shaped[Tensor, "run batch *feature"],
        action: Shaped[Tensor, "run batch *dimension"],
        advantage: Float[Tensor, "run batch 1"],
    ) -> Bool[np.ndarray, " run"]:
        """L_π = −mean min(exp(β (min_i Q̄_i(s, a) − V(s))), largest) ln π(a|s); eq. 7."""
        optimiser, config = self.optimisers["policy"], self.config
        weight = (config.inverse_temperature * advantage).exp().clamp(max=config.largest_weight)
        log_probability = self.policy.learn(z, action, weight / z.shape[1], optimiser.gradient_views)
        return optimiser.step((-weight[..., 0] * log_probability).mean(1).cpu().numpy())

    def _improve_critics(
        self, z: Shaped[Tensor, "run batch *feature"], action: Shaped[Tensor, "run batch *dimension"], goal: Float[Tensor, "run batch 1"]
    ) -> Float32[np.ndarray, " run"]:
        """L_Q = Σ_i mean (r + γ (1 − terminated) V(s') − Q_i(s, a))²; eq. 6."""
        values, tape = self.critic.record_pair(z, action)
        error = values - goal
        self.critic.pull_back(tape, error * (2.0 / z.shape[1]), self.optimisers["critic"].gradient_views)
        return error.square().sum(-1).mean(1).cpu().numpy()

    def _tensor(self, array: np.ndarray) -> Tensor:
        return tensor_on(self.device, array)

    # --- accounts

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update, per run.

        Value: forward and backward at s, then forward at s and at s'. Policy: forward and backward. Critics: forward of the target,
        forward and backward.
        """
        policy, critic, value = (part.multiply_adds() for part in (self.policy, self.critic, self.value))
        frozen = sum(part.frozen_multiply_adds() for part in (self.policy, self.critic, self.value))
        return 2 * self.config.batch * (5 * value + 3 * policy + 4 * critic - frozen)

    # --- continuing

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs: numpy arrays, numbers and words."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()} | {
            "target": self.target_values.cpu().numpy().copy(),
            "updates": self.updates,
            "reasons": stored_reasons(self.reasons),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back.

        Raises
        ------
        DataError
            The state is of other runs or of other networks.
        """
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        load_rows(self.target_values, state["target"], "target")
        self.updates = int(state["updates"])
        self.reasons = restored_reasons(state["reasons"])


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
        lambda runs: Policy(Head(width, dimensions or actions, runs, **options), dimensions),
        lambda runs: Critic(width, runs, dimensions=dimensions, actions=actions, **options),
        lambda runs: Head(width, 1, runs, **options, part=VALUE),
        seeds,
        device,
    )
