"""One learner a run in, an agent of all runs out: DreamerV2 under the loops and the tables that every learner has."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch.utils.flop_counter import FlopCounterMode

from layerscout.rl.agents.base import ActionArray
from layerscout.rl.memory.sequences import SequenceReplay, StepWindows
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.learner import DreamerLearner, Spoiled
from layerscout.rl.transfer.apv.stacked import PlayedWindows

MARK = 5  # updates whose losses are averaged for the curve


class Dreamer:
    """Runs of one arm, each with a world model of its own; they learn one after the other.

    What it acts on are the features of the action-conditional model, which ``layerscout.rl.seeing.recurrent`` keeps for every game.
    """

    def __init__(self, config: DreamerConfig, learners: Sequence[DreamerLearner], seeds: Sequence[int]) -> None:
        self._config, self.learners, self.seeds = config, list(learners), tuple(seeds)
        self._reasons: dict[int, str] = {}
        self._taken = 0
        self.curve: list[tuple[int, int, dict[str, float]]] = []  # run, updates, mean parts of the losses since the mark before
        self._sums: list[dict[str, float]] = [{} for _ in self.seeds]

    @property
    def config(self) -> DreamerConfig:
        """The settings, equal for all runs."""
        return self._config

    @property
    def updates(self) -> int:
        """Gradient steps that were taken, a failed run's included."""
        return self._taken

    @property
    def reasons(self) -> dict[int, str]:
        """Run → the sentence that says which loss or gradient was not finite."""
        return self._reasons

    @property
    def failed(self) -> Bool[np.ndarray, " run"]:
        """True where a run has a reason."""
        return np.array([run in self._reasons for run in range(len(self.seeds))])

    @torch.no_grad()
    def act(self, z: Float32[np.ndarray, "run batch feature"]) -> ActionArray:
        """The mode of each run's policy, as an environment takes it; ``z`` are the recurrent model's features."""
        return np.stack([self.choose(run, rows) for run, rows in enumerate(z)])

    @torch.no_grad()
    def choose(self, run: int, z: Float32[np.ndarray, "batch feature"], chances: Float32[np.ndarray, "batch chance"] | None = None) -> Any:
        """Return actions of one run: the likeliest, or those at these uniform numbers."""
        learner = self.learners[run]
        distribution = learner.actor(torch.from_numpy(np.ascontiguousarray(z)).to(learner.device))
        drawn = distribution.likeliest if chances is None else distribution.draw(torch.from_numpy(chances).to(learner.device))
        return self.playable(drawn.cpu().numpy())

    def explore(self, z: Float32[np.ndarray, "run batch feature"], step: int, generators: Sequence[np.random.Generator]) -> ActionArray:
        """Draw actions; uniform ones until the first update."""
        played = []
        for run, (rows, generator) in enumerate(zip(z, generators, strict=True)):
            width, continuous = self.learners[run].actor.width, self.learners[run].actor.continuous
            chances = generator.random((len(rows), width if continuous else 1), dtype=np.float32)
            if step < self.config.warm_up:
                played.append(2 * chances - 1 if continuous else (chances[:, 0] * width).astype(np.int64))
            else:
                played.append(self.choose(run, rows, chances))
        return np.stack(played)

    def playable(self, drawn: Float32[np.ndarray, "batch action"]) -> Any:
        """Vectors as they are, or of one-hot rows the number of the action."""
        return drawn if self.learners[0].actor.continuous else drawn.argmax(-1)

    def action_vectors(self, actions: ActionArray) -> Float32[np.ndarray, "run action"]:
        """Return played actions as the model takes them: vectors, or one-hot."""
        if self.learners[0].actor.continuous:
            return np.asarray(actions, np.float32)
        return np.eye(self.learners[0].actor.width, dtype=np.float32)[actions]

    def learn(self, replay: SequenceReplay, generators: Sequence[np.random.Generator]) -> Float32[np.ndarray, " run"]:
        """Take one update of every run; return the world model's losses (NaN of a run that has failed)."""
        losses = np.full(len(self.seeds), np.nan, np.float32)
        for run, (learner, generator) in enumerate(zip(self.learners, generators, strict=True)):
            windows = replay.sample(run, self.config.batch, self.config.length, generator)
            if run not in self._reasons:
                try:
                    parts = learner.update(on_device(windows, learner.device))
                    losses[run] = parts["picture"] + parts["reward"]
                    self._note(run, parts)
                except Spoiled as error:
                    self._reasons[run] = f"{error}; it keeps its last weights"
        self._taken += 1
        return losses

    def _note(self, run: int, parts: dict[str, float]) -> None:
        """Add up the parts of the losses; at every mark their means join the curve."""
        sums = self._sums[run]
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value
        if (updates := self.learners[run].updates) % MARK == 0:
            self.curve.append((run, updates, {name: value / MARK for name, value in sums.items()}))
            sums.clear()

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Numbers in world model, actor and critic of every run."""
        return np.array([learner.parameters() for learner in self.learners])

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update, counted in a made-up one that changes nothing."""
        one, config = self.learners[0], self.config
        state, size = one.state_dict(), (config.batch, config.length)
        blank = StepWindows(
            np.zeros((*size, one.sizes.size, one.sizes.size, one.sizes.channels), np.uint8),
            np.zeros((*size, one.actor.width), np.float32),
            *(np.zeros(size, kind) for kind in (np.float32, np.bool_, np.bool_)),
        )
        with FlopCounterMode(display=False) as counter:
            one.updates = max(one.updates, one.frozen_updates)
            with contextlib.suppress(Spoiled):
                one.update(on_device(blank, one.device))
        one.load_state_dict(state)
        return np.full(len(self.seeds), counter.get_total_flops())

    def state_dict(self) -> dict[str, Any]:
        """Return all that a bit-exact continuation needs."""
        return {
            "learners": [one.state_dict() for one in self.learners],
            "reasons": self._reasons,
            "taken": self._taken,
            "curve": self.curve,
            "sums": self._sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back learners, reasons, the count of updates, and the curve of the losses with its open sums."""
        for one, its in zip(self.learners, state["learners"], strict=True):
            one.load_state_dict(its)
        self._reasons = {int(run): reason for run, reason in state["reasons"].items()}
        self._taken = int(state["taken"])
        self.curve = [(int(run), int(updates), dict(parts)) for run, updates, parts in state["curve"]]
        self._sums = [dict(sums) for sums in state["sums"]]


def on_device(windows: StepWindows, device: torch.device) -> PlayedWindows:
    """Copy every column of the windows to the device, as tensors of the same types."""
    return PlayedWindows(*(torch.from_numpy(column).to(device) for column in windows))
