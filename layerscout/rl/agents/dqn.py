"""Batches of transitions in, greedy policies out: double DQN for many runs side by side, in the order of the papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

from layerscout.errors import UsageError
from layerscout.rl.agents.base import discounts
from layerscout.rl.agents.configs import DQNConfig
from layerscout.rl.agents.learner import Learner
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import Head, RunNetwork


class DQN(Learner[DQNConfig]):
    """Double deep Q-learning with replay and a target network; one object trains all runs.

    Parameters
    ----------
    network_factory
        Seeds of the runs → network [run, batch, ...] → [run, batch, action]. Called twice (online, target); what it shares
        between calls, such as a frozen layer, is held once. Its head is dueling if the settings say so.
    seeds
        One seed a run. A run's result depends on its seed and its batches, not on its neighbours.
    device
        Where to compute; "cuda" without a GPU is an error.

    Raises
    ------
    UsageError
        There is no such device, or the head is not as the settings say.

    References
    ----------
    Mnih et al. 2015 (replay, target network); van Hasselt et al. 2016, arXiv 1509.06461, eq. 4 (double);
    Wang et al. 2016, arXiv 1511.06581, eq. 9 (dueling); Hessel et al. 2018, arXiv 1710.02298, §2 (multi-step targets);
    Kumar et al. 2020, arXiv 2006.04779, eq. 4 (conservative term).
    """

    def __init__(
        self, config: DQNConfig, network_factory: Callable[[Sequence[int]], RunNetwork], seeds: Sequence[int], device: str = "cpu"
    ) -> None:
        super().__init__(config, seeds, device)
        self.online = self.train_network("online", network_factory(self.seeds), config.lr, config.gradient_clip)
        self.target = self.follow_network("online", network_factory(self.seeds))
        self.optimiser = self.optimisers["online"]
        if any(part.dueling != config.dueling for part in self.online.modules() if isinstance(part, Head)):
            raise UsageError(
                f"dueling is {config.dueling} and the network's head is not", hint="build it as Head(..., dueling=config.dueling)"
            )

    # --- acting

    @torch.no_grad()
    def q(self, z: Shaped[np.ndarray, "run batch *feature"]) -> Float32[np.ndarray, "run batch action"]:
        """Return the online network's Q-values."""
        return self.online(self.tensor(z)).cpu().numpy()

    def act(
        self,
        z: Shaped[np.ndarray, "run batch *feature"],
        epsilon: float = 0.0,
        generators: Sequence[np.random.Generator] = (),
    ) -> Int64[np.ndarray, "run batch"]:
        """Choose ε-greedy actions; a run explores with its own generator. With ε = 0 nothing is drawn."""
        values = self.q(z)
        actions = values.argmax(-1)
        if epsilon > 0.0:
            for row, generator in zip(actions, generators, strict=True):
                explore = generator.random(len(row)) < epsilon
                row[explore] = generator.integers(0, values.shape[-1], len(row))[explore]
        return actions

    def explore(
        self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]
    ) -> Int64[np.ndarray, "run batch"]:
        """Choose what training plays at environment step ``step`` of a run."""
        return self.act(z, self.config.epsilon(step), generators)

    # --- learning

    def improve(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one step on every run; the target moves after every ``target_interval`` of them."""
        if (batch.discount is not None) != (self.config.n_step > 1):
            raise UsageError(
                f"n_step is {self.config.n_step} and the replay sums another number of rewards",
                hint="build it as Replay(..., steps=config.n_step, gamma=config.gamma)",
            )
        discount = discounts(batch, self.config.gamma)
        losses = self.learn(*(self.tensor(array) for array in (batch.states, batch.action, batch.reward, discount))).cpu().numpy()
        self.step(self.optimiser, losses)
        if (self.updates + 1) % self.config.target_interval == 0:
            self.move_target(self.config.tau)
        return losses

    def learn(
        self,
        states: Shaped[Tensor, "run twice_batch *feature"],
        action: Int64[Tensor, "run batch"],
        reward: Float[Tensor, "run batch"],
        discount: Float[Tensor, "run batch"],
    ) -> Float[Tensor, " run"]:
        """Fill the optimiser's gradient from a batch and return each run's loss, without asking the device for anything."""
        size = action.shape[1]
        values, tape = self.online.record(states if self.config.double else states[:, :size], learned=size)
        goal = self._goal(states[:, size:], values[:, size:], reward, discount)
        losses, slope = self._losses(values[:, :size], action[..., None], goal)
        self.online.pull_back(tape, slope, self.optimiser.gradient_views)
        return losses

    @torch.no_grad()
    def _goal(
        self,
        next_z: Shaped[Tensor, "run batch *feature"],
        online: Float[Tensor, "run _ action"],
        reward: Float[Tensor, "run batch"],
        discount: Float[Tensor, "run batch"],
    ) -> Float[Tensor, "run batch 1"]:
        """y = r + γ (1 − terminated) Q_target(s', argmax_a Q_online(s', a)); with n steps, r is their sum and γ is γⁿ."""
        values = self.target(next_z)
        chooser = online if self.config.double else values
        value = values.gather(-1, chooser.max(-1, keepdim=True).indices)
        return torch.addcmul(reward[..., None], discount[..., None], value)

    def _losses(
        self, values: Float[Tensor, "run batch action"], action: Int64[Tensor, "run batch 1"], goal: Float[Tensor, "run batch 1"]
    ) -> tuple[Float[Tensor, " run"], Float[Tensor, "run batch action"]]:
        """Return each run's loss and its slope by every Q-value.

        The loss is the mean over the batch of the Huber error (½δ² for |δ| ≤ 1, else |δ| − ½) or of δ², with δ = Q(s, a) − y,
        plus weight · (logsumexp_a' Q(s, a') − Q(s, a)).
        """
        size, weight = action.shape[1], self.config.conservative
        error = values.gather(-1, action) - goal
        if self.config.loss == "huber":
            by_error = error.clamp(-1.0, 1.0)
            losses = (by_error * (error - 0.5 * by_error)).sum((1, 2)) / size
        else:
            by_error = 2.0 * error
            losses = (error * error).sum((1, 2)) / size
        slope = torch.zeros_like(values)
        if weight:
            taken = values.gather(-1, action)
            losses = losses + weight * (values.logsumexp(-1, keepdim=True) - taken).mean((1, 2))
            slope.copy_(values.softmax(-1)).mul_(weight)
            by_error = by_error - weight
        return losses, slope.scatter_add_(-1, action, by_error).div_(size)

    # --- accounts

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update, per run: forward and backward of Q(s), forward of the target and of the double Q(s')."""
        forward = self.online.multiply_adds()
        evaluations = 3 + 1 + int(self.config.double)
        return 2 * self.config.batch * (evaluations * forward - self.online.frozen_multiply_adds())

    # --- continuing

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back, also one from before networks were saved by their names."""
        super().load_state_dict(state if "optimiser" not in state else state | {"online": state["optimiser"]})
