"""Networks and their settings in, a learner of many runs out: what every algorithm shares, so that its own file holds only the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from layerscout.errors import DataError
from layerscout.rl.agents.base import AgentConfig, learning_device
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import RunNetwork
from layerscout.rl.networks.optimiser import RunAdam, flatten, load_rows

ConfigType = TypeVar("ConfigType", bound=AgentConfig)
NetworkType = TypeVar("NetworkType", bound=RunNetwork)


class Learner(Generic[ConfigType]):
    """Base of the algorithms: optimisers, target networks, runs that fail, and a state that continues bit by bit.

    An algorithm's ``__init__`` hands its networks to `train_network` and `follow_network`; its ``improve`` fills the gradients of
    an optimiser and calls `step`. Everything else that `Agent` promises, apart from ``act``, ``explore`` and ``update_flops``, is
    done here.

    Parameters
    ----------
    config
        The algorithm's settings, equal for all runs.
    seeds
        One seed a run. A run's result depends on its seed and its batches, not on its neighbours.
    device
        Where to compute.

    Attributes
    ----------
    networks, optimisers
        The trained networks and their optimisers, by name.
    failed : Bool[np.ndarray, "run"]
        Runs whose loss or gradient stopped being finite. They keep their last good weights and no longer learn.
    reasons : dict of run to one sentence
        Why they stopped.
    updates
        Gradient steps that every run has taken.
    target_values
        The parameters of the network that follows another one, [run, parameter].

    Raises
    ------
    UsageError
        There is no such device; "cuda" without a GPU is an error.
    """

    target_values: Float[Tensor, "run parameter"]

    def __init__(self, config: ConfigType, seeds: Sequence[int], device: str = "cpu") -> None:
        self.config, self.seeds, self.device = config, tuple(seeds), learning_device(device)
        self.networks: dict[str, RunNetwork] = {}
        self.optimisers: dict[str, RunAdam] = {}
        self.failed: Bool[np.ndarray, " run"] = np.zeros(len(self.seeds), dtype=np.bool_)
        self.reasons: dict[int, str] = {}
        self.updates = 0
        self._failed_now = np.zeros(len(self.seeds), dtype=np.bool_)
        self._followed: RunAdam | None = None
        self._streams: dict[str, list[np.random.Generator]] = {}

    # --- what an algorithm says in its __init__

    def train_network(self, name: str, network: NetworkType, lr: float, gradient_clip: float = 0.0) -> NetworkType:
        """Give a network an optimiser of its own and return it; ``name`` is what its state is saved under."""
        self.networks[name] = network.to(self.device)
        self.optimisers[name] = RunAdam(network, lr, gradient_clip, self.failed)
        return network

    def follow_network(self, name: str, network: NetworkType) -> NetworkType:
        """Make ``network`` the target that follows the trained network ``name``: equal at first, then moved by `move_target`."""
        network.to(self.device).requires_grad_(False)
        self._followed = self.optimisers[name]
        self.target_values = flatten(network)
        self.target_values.copy_(self._followed.values)
        return network

    def random_streams(self, name: str, purpose: int) -> list[np.random.Generator]:
        """Return one generator a run from which updates draw; their states are saved under ``name``."""
        self._streams[name] = run_generators(self.seeds, purpose)
        return self._streams[name]

    # --- learning

    def improve(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take the algorithm's steps on every run and return the losses before them; called with gradients switched off."""
        raise NotImplementedError

    @torch.no_grad()
    def update(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one gradient step on every run and return the losses before it (NaN for a run that has failed)."""
        return self.counted(lambda: self.improve(batch))

    def counted(self, improve: Callable[[], Float32[np.ndarray, " run"]]) -> Float32[np.ndarray, " run"]:
        """Call ``improve`` as one update: note the runs that fail at it and return its losses (NaN for a run that has failed)."""
        self._failed_now[:] = False
        losses = improve()
        self.updates += 1
        for run in np.flatnonzero(self._failed_now).tolist():
            self.reasons[run] = f"loss or gradient was not finite at update {self.updates} (loss {losses[run]})"
        losses[self.failed] = np.nan
        return losses

    def update_from(self, draw: Callable[[slice], Batch], updates: int) -> Float32[np.ndarray, "update run"]:
        """Take several updates, each on a batch that ``draw`` gives for all runs; return the losses of each."""
        return np.stack([self.update(draw(slice(0, len(self.seeds)))) for _ in range(updates)])

    def step(self, optimiser: RunAdam, losses: Float32[np.ndarray, " run"]) -> None:
        """Step along the gradients that ``optimiser`` holds, and note the runs that fail at it."""
        self._failed_now |= optimiser.step(losses)

    def move_target(self, tau: float) -> None:
        """Move the target a share ``tau`` of the way to the network that it follows."""
        assert self._followed is not None, "follow_network names what a target follows"
        self.target_values.lerp_(self._followed.values, tau)

    def tensor(self, array: np.ndarray) -> Tensor:
        """Return the array as a tensor on the learner's device; on the CPU it shares memory."""
        return torch.from_numpy(array).to(self.device)

    # --- accounts

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Count each run's trainable numbers in all networks; the zero padding of a narrower arm does not count."""
        return np.stack([network.trainable_parameters() for network in self.networks.values()]).sum(axis=0)

    # --- continuing

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs: numpy arrays, numbers and words."""
        target = {} if self._followed is None else {"target": self.target_values.cpu().numpy().copy()}
        return {
            **{name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            **{name: generator_states(streams) for name, streams in self._streams.items()},
            **target,
            "updates": self.updates,
            "reasons": {str(run): reason for run, reason in self.reasons.items()},  # keys that JSON can hold
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back.

        Raises
        ------
        DataError
            The state is of another algorithm, of other runs or of other networks.
        """
        target = () if self._followed is None else ("target",)
        if missing := {*self.optimisers, *self._streams, *target, "updates", "reasons"} - state.keys():
            raise DataError(
                f"the saved state lacks {', '.join(sorted(missing))}",
                hint="it is of another algorithm; delete the checkpoint to begin anew",
            )
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        for name, streams in self._streams.items():
            restore_generators(streams, state[name])
        for name in target:
            load_rows(self.target_values, state[name], name)
        self.updates = int(state["updates"])
        self.reasons = {int(run): reason for run, reason in state["reasons"].items()}
