"""Batches of transitions in, continuous policies out: soft actor-critic for many runs side by side, in the order of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from torch import Tensor, nn

from layerscout.rl.agents.base import (
    Parts,
    discounts,
    learning_device,
    normal_noise,
    note_failures,
    restored_reasons,
    stored_reasons,
    tensor_on,
)
from layerscout.rl.agents.configs import SACConfig
from layerscout.rl.agents.critic import Critic
from layerscout.rl.agents.squashed import Squashed, squash
from layerscout.rl.memory.replay import Batch, generator_states, restore_generators, run_generators
from layerscout.rl.networks.layers import Head, RunNetwork
from layerscout.rl.networks.optimiser import RunAdam, flatten, load_rows

NOISE = 3  # purpose of the random stream from which a run's updates draw; sampling and exploring have 1 and 2


class SAC:
    """Soft actor-critic with twin critics and automatic temperature; one object trains all runs.

    Parameters
    ----------
    actor_factory
        Seeds of the runs → network [run, batch, ...] → [run, batch, 2 · dimension]: means, then log deviations.
        For features: ``Head(width, 2 * dimensions, seeds, kind, hidden, live_widths)``.
    critic_factory
        Seeds of the runs → `Critic` of continuous actions. Called twice (online, target).
    seeds
        One seed a run; it draws first weights and the noise of updates.
    device
        Where to compute; "cuda" without a GPU is an error.

    Attributes
    ----------
    failed, reasons
        See `Agent`.

    References
    ----------
    Haarnoja et al. 2018, "Soft actor-critic algorithms and applications", arXiv 1812.05905 (v2), algorithm 1; its appendix C for
    the density of squashed actions.
    """

    def __init__(
        self,
        config: SACConfig,
        actor_factory: Callable[[Sequence[int]], RunNetwork],
        critic_factory: Callable[[Sequence[int]], Critic],
        seeds: Sequence[int],
        device: str = "cpu",
    ) -> None:
        self.config, self.seeds, self.device = config, tuple(seeds), learning_device(device)
        self.actor = actor_factory(self.seeds).to(self.device)
        self.critic = critic_factory(self.seeds).to(self.device)
        self.target = critic_factory(self.seeds).to(self.device).requires_grad_(False)
        self.temperature = Temperature(len(self.seeds), config.init_temperature).to(self.device)
        self.online = Parts(actor=self.actor, critic=self.critic, temperature=self.temperature)
        self.dimensions = self.critic.dimensions
        self.target_entropy = -float(self.dimensions) if config.target_entropy is None else config.target_entropy
        self.failed: Bool[np.ndarray, " run"] = np.zeros(len(self.seeds), dtype=np.bool_)
        self.actor_optimiser = RunAdam(self.actor, config.lr, config.gradient_clip, self.failed)
        self.critic_optimiser = RunAdam(self.critic, config.lr, config.gradient_clip, self.failed)
        self.temperature_optimiser = RunAdam(self.temperature, config.lr, 0.0, self.failed)
        self.target_values = flatten(self.target)
        self.target_values.copy_(self.critic_optimiser.values)
        self.noise = run_generators(self.seeds, NOISE)
        self.updates = 0
        self.reasons: dict[int, str] = {}

    # --- acting

    @torch.no_grad()
    def act(self, z: Shaped[np.ndarray, "run batch *feature"]) -> Float32[np.ndarray, "run batch dimension"]:
        """Return tanh of the mean; draws nothing."""
        return self.actor(self._tensor(z))[..., : self.dimensions].tanh().cpu().numpy()

    @torch.no_grad()
    def explore(
        self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]
    ) -> Float32[np.ndarray, "run batch dimension"]:
        """Draw uniform actions during the warm-up, then actions of the policy; a run draws from its own generator."""
        shape = (z.shape[1], self.dimensions)
        if step < self.config.warm_up:
            return np.stack([generator.uniform(-1.0, 1.0, shape).astype(np.float32) for generator in generators])
        return squash(self.actor(self._tensor(z)), self._tensor(normal_noise(generators, shape))).action.cpu().numpy()

    # --- learning

    @torch.no_grad()
    def update(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one step of critics, actor, temperature and target on every run; return the critics' losses before it.

        A run that has failed gives NaN.
        """
        size = batch.action.shape[1]
        discount, noise = discounts(batch, self.config.gamma), normal_noise(self.noise, (2 * size, self.dimensions))
        failed = np.zeros(len(self.seeds), dtype=np.bool_)

        def step(optimiser: RunAdam, losses: Float[Tensor, " run"]) -> None:
            np.logical_or(failed, optimiser.step(losses.cpu().numpy()), out=failed)

        tensors = (self._tensor(array) for array in (batch.states, batch.action, batch.reward, discount, noise))
        losses = self.learn(step, *tensors).cpu().numpy()
        self.updates += 1
        note_failures(self.reasons, failed, self.updates, losses)
        losses[self.failed] = np.nan
        return losses

    @torch.no_grad()
    def learn(
        self,
        step: Callable[[RunAdam, Float[Tensor, " run"]], None],
        states: Shaped[Tensor, "run twice_batch *feature"],
        taken: Float[Tensor, "run batch dimension"],
        reward: Float[Tensor, "run batch"],
        discount: Float[Tensor, "run batch"],
        noise: Float[Tensor, "run twice_batch dimension"],
    ) -> Float[Tensor, " run"]:
        """Move critics, actor, temperature and target by ``step``; return the critics' losses before it."""
        size = taken.shape[1]
        z, next_z = states[:, :size], states[:, size:]
        output, actor_tape = self.actor.record(states, learned=size)
        policy = squash(output, noise)
        temperature = self.temperature.logarithm.exp()
        log_probability, next_log_probability = policy.log_probability[:, :size], policy.log_probability[:, size:]

        ahead = self.target(next_z, policy.action[:, size:]).amin(-1) - temperature * next_log_probability
        losses = self._improve_critics(z, taken, reward + discount * ahead)
        step(self.critic_optimiser, losses)
        step(self.actor_optimiser, self._improve_actor(z, policy, noise[:, :size], actor_tape, temperature))
        surplus = log_probability.mean(1, keepdim=True) + self.target_entropy  # eq. 18, by ln α: the step that is used in practice
        self.temperature_optimiser.gradient_views[0].copy_(-surplus)
        step(self.temperature_optimiser, surplus[:, 0])
        self.target_values.lerp_(self.critic_optimiser.values, self.config.tau)
        return losses

    def _improve_critics(
        self, z: Shaped[Tensor, "run batch *feature"], taken: Float[Tensor, "run batch dimension"], goal: Float[Tensor, "run batch"]
    ) -> Float[Tensor, " run"]:
        """J_Q = Σ_i mean ½ (Q_i(s, a) − y)², y = r + γ (1 − terminated) (min_i Q̄_i(s', a') − α ln π(a'|s')); eq. 5."""
        values, tape = self.critic.record_pair(z, taken)
        error = values - goal[..., None]
        self.critic.pull_back(tape, error / goal.shape[1], self.critic_optimiser.gradient_views)
        return 0.5 * error.square().sum(-1).mean(1)

    def _improve_actor(
        self,
        z: Shaped[Tensor, "run batch *feature"],
        policy: Squashed,
        noise: Float[Tensor, "run batch dimension"],
        actor_tape: Any,
        temperature: Float[Tensor, "run 1"],
    ) -> Float[Tensor, " run"]:
        """J_π = mean α ln π(a|s) − min_i Q_i(s, a) with a = tanh(μ + σ ε); eq. 9.

        By hand: ∂a/∂u = 1 − a², ∂ln π/∂u = 2 a, ∂ln π/∂ln σ = 2 a σ ε − 1.
        """
        size = z.shape[1]
        action, deviation = policy.action[:, :size], policy.deviation[:, :size]
        values, tape = self.critic.record_pair(z, action)
        lowest, which = values.min(-1, keepdim=True)
        by_value = torch.zeros_like(values).scatter_(-1, which, -1.0 / size)
        weight = temperature[..., None] / size
        by_mean = self.critic.action_slope(tape, by_value) * (1.0 - action.square()) + 2.0 * weight * action
        by_deviation = (by_mean * deviation * noise - weight).masked_fill_(policy.bounded[:, :size], 0.0)
        self.actor.pull_back(actor_tape, torch.cat([by_mean, by_deviation], dim=-1), self.actor_optimiser.gradient_views)
        return (temperature * policy.log_probability[:, :size] - lowest[..., 0]).mean(1)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return tensor_on(self.device, array)

    # --- accounts

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update, per run.

        Actor: forward at s and s', backward at s. Critics: target at s', forward and backward at (s, a), forward and the way back
        to the action at (s, π(s)), which stops before a trunk.
        """
        actor, critic = self.actor.multiply_adds(), self.critic.multiply_adds()
        trunk = 0 if self.critic.trunk is None else self.critic.trunk.multiply_adds()
        passes = 4 * actor - self.actor.frozen_multiply_adds() + 6 * critic - self.critic.frozen_multiply_adds() - trunk
        return 2 * self.config.batch * passes

    # --- continuing

    def _optimisers(self) -> dict[str, RunAdam]:
        return {"actor": self.actor_optimiser, "critic": self.critic_optimiser, "temperature": self.temperature_optimiser}

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs: numpy arrays, numbers and words."""
        return {name: optimiser.state_dict() for name, optimiser in self._optimisers().items()} | {
            "target": self.target_values.cpu().numpy().copy(),
            "noise": generator_states(self.noise),
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
        for name, optimiser in self._optimisers().items():
            optimiser.load_state_dict(state[name])
        load_rows(self.target_values, state["target"], "target")
        restore_generators(self.noise, state["noise"])
        self.updates = int(state["updates"])
        self.reasons = restored_reasons(state["reasons"])


class Temperature(RunNetwork):
    """ln α of every run."""

    def __init__(self, runs: int, initial: float) -> None:
        super().__init__(runs)
        self.logarithm = nn.Parameter(torch.full((runs, 1), math.log(initial)))


def sac_on_features(
    config: SACConfig,
    width: int,
    seeds: Sequence[int],
    *,
    dimensions: int,
    kind: Literal["linear", "mlp"] = "mlp",
    hidden: Sequence[int] | None = None,
    live_widths: Sequence[int] | None = None,
    device: str = "cpu",
) -> SAC:
    """Return the learner with heads on features of ``width``, for actions of ``dimensions`` numbers."""
    options: dict[str, Any] = {"kind": kind, "hidden": config.hidden if hidden is None else hidden, "live_widths": live_widths}
    return SAC(
        config,
        lambda runs: Head(width, 2 * dimensions, runs, **options),
        lambda runs: Critic(width, runs, dimensions=dimensions, **options),
        seeds,
        device,
    )
