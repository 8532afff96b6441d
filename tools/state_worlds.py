"""Gymnasium ids in, worlds whose "frames" are their state vectors out: small control tasks for testing learners without pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from layerscout.worlds.core import StepOutcome


class StateWorld:
    """Copies of one environment, side by side; a finished copy repeats its last state until it is reset.

    Actions are as in every world: one of ``action_count``, or numbers in [-1, 1] that are scaled to the environment's bounds.
    """

    settings: Mapping[str, Any] = {}

    def __init__(self, environment: str, copies: int) -> None:
        self._games = [gymnasium.make(environment) for _ in range(copies)]
        actions = self._games[0].action_space
        self.copies = copies
        self.action_count = int(getattr(actions, "n", 0))
        self.action_dimensions = 0 if self.action_count else int(actions.shape[0])  # type: ignore[index]
        self._low, self._high = (None, None) if self.action_count else (actions.low, actions.high)  # type: ignore[attr-defined]
        self.width = int(self._games[0].observation_space.shape[0])  # type: ignore[index]
        self.frame_shape = (self.width, 1, 1)
        self._seen = np.zeros((copies, self.width), np.float32)
        self._over = np.ones(copies, np.bool_)

    def reset(self, which: np.ndarray, seeds: np.ndarray) -> None:
        for copy, seed in zip(which.tolist(), seeds.tolist(), strict=True):
            self._seen[copy] = self._games[copy].reset(seed=seed)[0]
            self._over[copy] = False

    def step(self, actions: Any) -> StepOutcome:
        outcome = StepOutcome(np.zeros(self.copies, np.float32), np.zeros(self.copies, np.bool_), np.zeros(self.copies, np.bool_))
        for copy in np.flatnonzero(~self._over).tolist():
            action = int(actions[copy]) if self.action_count else self._low + (actions[copy] + 1.0) / 2.0 * (self._high - self._low)
            seen, outcome.reward[copy], outcome.terminated[copy], outcome.truncated[copy], _ = self._games[copy].step(action)
            self._seen[copy] = seen
        self._over |= outcome.terminated | outcome.truncated
        return outcome

    def frames(self, which: np.ndarray | None = None) -> np.ndarray:
        return self._seen.copy() if which is None else self._seen[which]

    def state(self) -> np.ndarray:
        return self.frames()

    def expert(self) -> None:
        return None

    def close(self) -> None:
        for game in self._games:
            game.close()


class StateObserver:
    """What a learner on state vectors sees: the newest "frame" itself."""

    def __init__(self, copies: int, width: int) -> None:
        self.shape: tuple[int, ...] = (width,)
        self._seen = np.zeros((copies, width), np.float32)

    def start(self, which: np.ndarray, frames: np.ndarray) -> None:
        self._seen[which] = frames

    def push(self, which: np.ndarray, frames: np.ndarray) -> None:
        self._seen[which] = frames

    def observe(self, live: np.ndarray) -> np.ndarray:
        return self._seen.copy()
