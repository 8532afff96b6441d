"""A greedy policy in, episode returns out: the same evaluation episodes for every run, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64, Shaped

from layerscout.rl.envs.core import World
from layerscout.rl.features import Observer
from layerscout.rl.playing import episode_seed

EVALUATION_STREAM = 2**32  # collected data has seeds below this, so evaluation episodes are never in the dataset
SIDE_BY_SIDE = 512  # games at once, at most

Policy = Callable[[Shaped[np.ndarray, "run episode *feature"]], Int64[np.ndarray, "run episode"]]


@dataclass(frozen=True)
class Stage:
    """Where runs are evaluated: a world for so many copies, and an observer that knows each copy's run."""

    runs: int
    make_world: Callable[[int], World]
    make_observer: Callable[[Int[np.ndarray, " copy"]], Observer]

    def evaluate(self, policy: Policy, episodes: int) -> Float[np.ndarray, "run episode"]:
        """Play evaluation episodes 0 … episodes-1 with every run; return their undiscounted returns."""
        together = max(1, min(episodes, SIDE_BY_SIDE // self.runs))
        parts = [self._wave(policy, np.arange(first, min(episodes, first + together))) for first in range(0, episodes, together)]
        return np.concatenate(parts, axis=1)

    def _wave(self, policy: Policy, numbers: Int64[np.ndarray, " episode"]) -> Float[np.ndarray, "run episode"]:
        copies = self.runs * len(numbers)
        world, observer = self.make_world(copies), self.make_observer(np.repeat(np.arange(self.runs), len(numbers)))
        seeds = np.array([episode_seed(EVALUATION_STREAM, int(number)) for number in numbers], dtype=np.int64)
        everyone = np.arange(copies)
        world.reset(everyone, np.tile(seeds, self.runs))
        observer.start(everyone, world.frames())
        live, returns = np.ones(copies, dtype=bool), np.zeros(copies)
        while live.any():
            seen = observer.observe(live)
            actions = policy(seen.reshape(self.runs, len(numbers), *seen.shape[1:])).reshape(-1)
            outcome = world.step(actions)
            returns += np.where(live, outcome.reward, 0.0)
            live &= ~(outcome.terminated | outcome.truncated)
            going_on = np.flatnonzero(live)
            if len(going_on):
                observer.push(going_on, world.frames(going_on))
        world.close()
        return returns.reshape(self.runs, len(numbers))


def random_return(make_world: Callable[[int], World], episodes: int = 200, seed: int = 0) -> float:
    """Mean return of uniformly random actions on the evaluation episodes: what knowing nothing earns."""
    copies = min(episodes, SIDE_BY_SIDE)
    world, rng = make_world(copies), np.random.default_rng(seed)
    world.reset(np.arange(copies), np.array([episode_seed(EVALUATION_STREAM, number) for number in range(copies)], dtype=np.int64))
    live, returns = np.ones(copies, dtype=bool), np.zeros(copies)
    while live.any():
        outcome = world.step(rng.integers(0, world.action_count, copies))
        returns += np.where(live, outcome.reward, 0.0)
        live &= ~(outcome.terminated | outcome.truncated)
    world.close()
    return float(returns.mean())
