"""Batches of transitions in, continuous policies out: soft actor-critic for many runs side by side, in the order of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor, nn

from layerscout.rl.agents.base import discounts, normal_noise
from layerscout.rl.agents.configs import SACConfig
from layerscout.rl.agents.critic import Critic
from layerscout.rl.agents.learner import Learner
from layerscout.rl.agents.squashed import Squashed, squash
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import Head, RunNetwork
from layerscout.rl.networks.optimiser import RunAdam

NOISE = 3  # purpose of the random stream from which a run's updates draw; sampling and exploring have 1 and 2


class SAC(Learner[SACConfig]):
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
        super().__init__(config, seeds, device)
        self.actor = self.train_network("actor", actor_factory(self.seeds), config.lr, config.gradient_clip)
        self.critic = self.train_network("critic", critic_factory(self.seeds), config.lr, config.gradient_clip)
        self.target = self.follow_network("critic", critic_factory(self.seeds))
        self.temperature = self.train_network("temperature", Temperature(len(self.seeds), config.init_temperature), config.lr)
        self.noise = self.random_streams("noise", NOISE)
        self.dimensions = self.critic.dimensions
        self.density_shift = 0.0  # of ln π: ln 2 a dimension where actions are counted in [0, 1], of which ours are the double
        self._error: Float[Tensor, "run batch 2"] | None = None  # of the last update
        self.latent_slope: Float[Tensor, "run batch feature"] | None = None  # of the critics' loss, for who trains what they see
        self.wants_latent_slope = False
        self.target_entropy = -float(self.dimensions) if config.target_entropy is None else config.target_entropy

    # --- acting

    @torch.no_grad()
    def act(self, z: Shaped[np.ndarray, "run batch *feature"]) -> Float32[np.ndarray, "run batch dimension"]:
        """Return tanh of the mean; draws nothing."""
        return self.actor(self.tensor(z))[..., : self.dimensions].tanh().cpu().numpy()

    @torch.no_grad()
    def explore(
        self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]
    ) -> Float32[np.ndarray, "run batch dimension"]:
        """Draw uniform actions during the warm-up, then actions of the policy; a run draws from its own generator."""
        shape = (z.shape[1], self.dimensions)
        if step < self.config.warm_up:
            return np.stack([generator.uniform(-1.0, 1.0, shape).astype(np.float32) for generator in generators])
        return squash(self.actor(self.tensor(z)), self.tensor(normal_noise(generators, shape))).action.cpu().numpy()

    # --- learning

    def improve(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one step of critics, actor, temperature and target on every run; return the critics' losses before it."""
        size = batch.action.shape[1]
        discount, noise = discounts(batch, self.config.gamma), normal_noise(self.noise, (2 * size, self.dimensions))
        tensors = [self.tensor(array) for array in (batch.states, batch.action, batch.reward, discount, noise)]
        tensors += [] if batch.weight is None else [self.tensor(batch.weight)]
        return self.learn(lambda optimiser, losses: self.step(optimiser, losses.cpu().numpy()), *tensors).cpu().numpy()

    @torch.no_grad()
    def learn(
        self,
        step: Callable[[RunAdam, Float[Tensor, " run"]], None],
        states: Shaped[Tensor, "run twice_batch *feature"],
        taken: Float[Tensor, "run batch dimension"],
        reward: Float[Tensor, "run batch"],
        discount: Float[Tensor, "run batch"],
        noise: Float[Tensor, "run twice_batch dimension"],
        weight: Float[Tensor, "run batch"] | None = None,
    ) -> Float[Tensor, " run"]:
        """Move critics, actor, temperature and target by ``step``; return the critics' losses before it."""
        size = taken.shape[1]
        z, next_z = states[:, :size], states[:, size:]
        output, actor_tape = self.actor.record(states, learned=size)
        policy = squash(output, noise)
        policy = policy._replace(log_probability=policy.log_probability + self.density_shift) if self.density_shift else policy
        temperature = self.temperature.logarithm.exp()
        log_probability, next_log_probability = policy.log_probability[:, :size], policy.log_probability[:, size:]

        ahead = self.target(next_z, policy.action[:, size:]).amin(-1) - temperature * next_log_probability
        losses = self._improve_critics(z, taken, reward + discount * ahead, weight)
        step(self.optimisers["critic"], losses)
        step(self.optimisers["actor"], self._improve_actor(z, policy, noise[:, :size], actor_tape, temperature))
        surplus = log_probability.mean(1, keepdim=True) + self.target_entropy  # eq. 18, by ln α: the step that is used in practice
        self.optimisers["temperature"].gradient_views[0].copy_(-surplus)
        step(self.optimisers["temperature"], surplus[:, 0])
        self.move_target(self.config.tau)
        return losses

    def _improve_critics(
        self,
        z: Shaped[Tensor, "run batch *feature"],
        taken: Float[Tensor, "run batch dimension"],
        goal: Float[Tensor, "run batch"],
        weight: Float[Tensor, "run batch"] | None,
    ) -> Float[Tensor, " run"]:
        """J_Q = Σ_i mean ½ w (Q_i(s, a) − y)², y = r + γ (1 − terminated) (min_i Q̄_i(s', a') − α ln π(a'|s')); eq. 5, with weights w."""
        values, tape = self.critic.record_pair(z, taken)
        error = values - goal[..., None]
        slope = error if weight is None else error * weight[..., None]
        if self.wants_latent_slope:
            self.latent_slope = self.critic.feature_slope(tape, slope / goal.shape[1])
        self.critic.pull_back(tape, slope / goal.shape[1], self.optimisers["critic"].gradient_views)
        self._error = error
        return 0.5 * (error * slope).sum(-1).mean(1)

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
        self.actor.pull_back(actor_tape, torch.cat([by_mean, by_deviation], dim=-1), self.optimisers["actor"].gradient_views)
        return (temperature * policy.log_probability[:, :size] - lowest[..., 0]).mean(1)

    @property
    def temporal_error(self) -> Float32[np.ndarray, "run batch"]:
        """Mean over both critics of |Q_i(s, a) − y| of the last update's transitions: what priorities are made of."""
        assert self._error is not None, "asked before the first update"
        return self._error.abs().mean(-1).cpu().numpy()

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


class Temperature(RunNetwork):
    """The temperature α of every run, learned through its logarithm."""

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
    counted: tuple[float, float] = (-1.0, 1.0),
    device: str = "cpu",
) -> SAC:
    """Return the learner with heads on features of ``width``, for actions of ``dimensions`` numbers; ``counted`` as of `Critic`."""
    options: dict[str, Any] = {"kind": kind, "hidden": config.hidden if hidden is None else hidden, "live_widths": live_widths}
    return SAC(
        config,
        lambda runs: Head(width, 2 * dimensions, runs, **options),
        lambda runs: Critic(width, runs, dimensions=dimensions, counted=counted, **options),
        seeds,
        device,
    )
