"""What every learner is: batches of transitions in, actions out, for many runs side by side, continued bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped

from layerscout.errors import UsageError
from layerscout.rl.memory.replay import Batch

ActionArray = Int64[np.ndarray, "run batch"] | Float32[np.ndarray, "run batch dimension"]  # one of n, or numbers in [-1, 1]


class AgentConfig(Protocol):
    """What the loops around a learner read from its settings; steps and transitions are those of one run."""

    @property
    def batch(self) -> int:
        """Transitions of each run in one update."""

    @property
    def warm_up(self) -> int:
        """Environment steps before the first update."""

    @property
    def train_interval(self) -> int:
        """Environment steps between two rounds of updates."""

    @property
    def capacity(self) -> int:
        """Transitions that are kept; what comes later takes the place of the oldest."""


class Agent(Protocol):
    """A learner of many runs. A run's result depends on its seed and its batches, not on its neighbours.

    Attributes
    ----------
    seeds
        One a run.

    Examples
    --------
    Two runs of double deep Q-learning find out which of two actions is rewarded:

    >>> from layerscout.rl.agents.configs import DQNConfig
    >>> from layerscout.rl.agents.dqn import DQN
    >>> from layerscout.rl.generators import run_generators
    >>> from layerscout.rl.memory.replay import Replay
    >>> from layerscout.rl.networks.layers import Head
    >>> agent = DQN(DQNConfig(gamma=0.0, lr=0.05, batch=16), lambda seeds: Head(1, 2, seeds, "linear"), seeds=[0, 1])
    >>> z, ends = np.ones((2, 1), np.float32), np.ones(2, bool)  # [run, feature], [run]
    >>> replay = Replay(runs=2, capacity=100, shape=(1,))
    >>> for action in (0, 1) * 10:
    ...     replay.add(z, np.full(2, action), np.full(2, float(action)), z, ends)
    >>> draws = run_generators(agent.seeds, purpose=1)
    >>> losses = agent.update_from(lambda runs: replay.sample(16, draws), updates=100)
    >>> losses.shape, agent.act(z[:, None]).tolist()
    ((100, 2), [[1], [1]])
    """

    seeds: tuple[int, ...]

    @property
    def updates(self) -> int:
        """Gradient steps that every run has taken."""

    @property
    def reasons(self) -> dict[int, str]:
        """Run → one sentence, for the runs that stopped learning."""

    @property
    def config(self) -> AgentConfig:
        """The settings; equal for all runs."""

    @property
    def failed(self) -> Bool[np.ndarray, " run"]:
        """Runs whose loss or gradient stopped being finite; they keep their last good weights and no longer learn."""

    def act(self, z: Shaped[np.ndarray, "run batch *feature"]) -> ActionArray:
        """Return the actions that are best by what is known: what evaluation plays; draws nothing."""

    def explore(self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]) -> ActionArray:
        """Return the actions that training plays at environment step ``step`` of a run; a run draws from its own generator."""

    def update(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one gradient step on every run and return the losses before it (NaN for a run that has failed)."""

    def update_from(self, draw: Callable[[slice], Batch], updates: int) -> Float32[np.ndarray, "update run"]:
        """Take several updates and return the losses of each; ``draw`` gives the next batch of the runs that it is asked for."""

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Trainable numbers of each run in all networks."""

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update, per run."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs: numpy arrays, numbers and words."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back; a state of other runs or networks is a DataError."""


def learning_device(name: str) -> torch.device:
    """Return the device to learn on; "cuda" without a GPU is an error, not a slow run."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device '{name}' was asked for and there is no GPU", hint="use --device cpu")
    return torch.device(name)


def discounts(batch: Batch, gamma: float) -> Float32[np.ndarray, "run batch"]:
    """What the value of the next features counts for: γ, or γᵏ after k rewards; nothing after a *terminated* step."""
    ahead = np.float32(gamma) if batch.discount is None else batch.discount
    return np.where(batch.terminated, np.float32(0.0), ahead)


def normal_noise(generators: Sequence[np.random.Generator], shape: tuple[int, ...]) -> Float32[np.ndarray, "run *shape"]:
    """Draw standard normal numbers, each run from its own generator."""
    noise = np.empty((len(generators), *shape), np.float32)
    for generator, row in zip(generators, noise, strict=True):
        generator.standard_normal(dtype=np.float32, out=row)
    return noise
