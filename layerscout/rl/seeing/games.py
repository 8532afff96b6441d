"""One running game for every run, in lock step, each a function of its run's seed: observe, step, start again, continue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from layerscout.rl.seeing.features import Observer
from layerscout.worlds.core import StepOutcome, World
from layerscout.worlds.playing import episode_seed

TRAINING_STREAM = 3 << 64  # apart from collected and evaluation episodes, see rollouts.EVALUATION_STREAM


class Games:
    """The games that runs learn from. Episode e of seed s is the same for every arm, so arms are paired by seed.

    A game's state is never saved: the world is reset with the episode's seed and the recorded actions are played
    again, which continues any deterministic environment exactly.
    """

    def __init__(self, world: World, observer: Observer, seeds: Sequence[int]) -> None:
        self._world, self._observer, self._seeds = world, observer, tuple(seeds)
        self._episode = np.zeros(len(seeds), dtype=np.int64)
        self._actions: list[list[Any]] = [[] for _ in seeds]  # a number each, or a list of numbers where they are continuous
        self._gained = np.zeros(len(seeds))
        self._everyone = np.arange(len(seeds))
        self.returns: list[list[float]] = [[] for _ in seeds]
        self.frames_seen = 0
        self._begin(self._everyone)
        self._seen = self._look(np.ones(len(seeds), dtype=bool))

    @property
    def seen(self) -> Shaped[np.ndarray, "run *feature"]:
        """What the policy of every run observes now, [run, feature]."""
        return self._seen

    def step(
        self, actions: Int64[np.ndarray, " run"] | Float32[np.ndarray, "run dimension"]
    ) -> tuple[StepOutcome, Shaped[np.ndarray, "run *feature"]]:
        """Play one step of every game; return what came of it and what is seen then, before finished games start again."""
        outcome = self._world.step(actions)
        self._observer.push(self._everyone, self._world.frames())
        self._gained += outcome.reward
        for run, action in enumerate(actions.tolist()):  # float32 as JSON's float64 and back is exact
            self._actions[run].append(action)
        after = self._look(np.ones(len(self._seeds), dtype=bool))
        finished = np.flatnonzero(outcome.terminated | outcome.truncated)
        self._seen = after
        if len(finished):
            for run in map(int, finished):
                self.returns[run].append(float(self._gained[run]))
                self._actions[run] = []
            self._gained[finished] = 0.0
            self._episode[finished] += 1
            self._begin(finished)
            started = np.isin(self._everyone, finished)
            self._seen = np.where(started.reshape(-1, *[1] * (after.ndim - 1)), self._look(started), after)
        return outcome, after

    def state_dict(self) -> dict[str, Any]:
        """Return what continues every game: episode numbers, the actions played since each began, and what is seen now.

        What is seen could be had by looking again, but a model may round differently in a batch of another size.
        """
        return {
            "episode": self._episode.copy(),
            "actions": self._actions,
            "gained": self._gained.copy(),
            "returns": self.returns,
            "seen": self._seen,
            "frames_seen": self.frames_seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play every game again up to where it was saved."""
        self._episode[:] = state["episode"]
        self._gained[:] = state["gained"]
        self._actions = [list(actions) for actions in state["actions"]]
        self.returns = [list(returns) for returns in state["returns"]]
        lengths = np.array([len(actions) for actions in self._actions])
        for late in range(int(lengths.max()), -1, -1):  # the longest game starts first, so that all arrive together
            beginning = np.flatnonzero(lengths == late)
            if len(beginning):
                self._begin(beginning)
            if late:
                now = [actions[len(actions) - late] if len(actions) >= late else None for actions in self._actions]
                self._world.step(_joint(now))
                self._observer.push(self._everyone, self._world.frames())
        self._seen, self.frames_seen = state["seen"], state["frames_seen"]

    def _begin(self, which: Int64[np.ndarray, " started"]) -> None:
        seeds = [episode_seed(TRAINING_STREAM + self._seeds[run], int(self._episode[run])) for run in which]
        self._world.reset(which, np.array(seeds, dtype=np.int64))
        self._observer.start(which, self._world.frames(which))

    def _look(self, live: Shaped[np.ndarray, " run"]) -> Shaped[np.ndarray, "run *feature"]:
        self.frames_seen += int(live.sum())
        return self._observer.observe(live)


def _joint(actions: Sequence[Any]) -> Int64[np.ndarray, " run"] | Float32[np.ndarray, "run dimension"]:
    """Return what all games play at once; a game that has not begun plays zeros, which its reset undoes."""
    played = np.array(next(action for action in actions if action is not None))
    idle = np.zeros_like(played).tolist()
    return np.array([idle if action is None else action for action in actions], np.float32 if played.ndim else np.int64)
