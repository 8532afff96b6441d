"""A greedy policy in, episode returns out: the same evaluation episodes for every run, side by side."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64, Shaped

from layerscout.rl.agents.base import ActionArray
from layerscout.rl.seeing.features import Observer
from layerscout.worlds.core import World, random_actions
from layerscout.worlds.playing import episode_seed

# Collected data has seeds below 2^32. A seed sequence reads a large seed as 32-bit words, the lowest first, and pads with zeros: with
# one high word alone, (2^32, 0, 0) would be (0, 1, 0), the second episode of seed 0. Nothing collected has a third word above 1.
EVALUATION_STREAM = 2 << 64
SIDE_BY_SIDE = 1024  # games at once, at most, unless the world weighs more: see ``pixels.side_by_side``

GreedyPolicy = Callable[[Shaped[np.ndarray, "run episode *feature"]], ActionArray]


@dataclass(frozen=True)
class Stage:
    """Where runs are evaluated: a world for so many copies, and an observer that knows each copy's run.

    ``side_by_side`` is how many games are held at once, at least one a run; it changes memory and speed, never a return.
    """

    runs: int
    make_world: Callable[[int], World]
    make_observer: Callable[[Int[np.ndarray, " copy"]], Observer]
    side_by_side: int | None = None

    def evaluate(self, policy: GreedyPolicy, episodes: int) -> Float[np.ndarray, "run episode"]:
        """Play evaluation episodes 0 … episodes-1 with every run; return their undiscounted returns."""
        together = max(1, min(episodes, (self.side_by_side or SIDE_BY_SIDE) // self.runs))
        parts = [self._wave(policy, np.arange(first, min(episodes, first + together))) for first in range(0, episodes, together)]
        return np.concatenate(parts, axis=1)

    def _wave(self, policy: GreedyPolicy, numbers: Int64[np.ndarray, " episode"]) -> Float[np.ndarray, "run episode"]:
        copies = self.runs * len(numbers)
        observer = self.make_observer(np.repeat(np.arange(self.runs), len(numbers)))
        everyone = np.arange(copies)
        live, returns = np.ones(copies, dtype=bool), np.zeros(copies)
        with closing(self.make_world(copies)) as world:
            world.reset(everyone, np.tile(_evaluation_seeds(numbers), self.runs))
            observer.start(everyone, world.frames())
            while live.any():
                seen = observer.observe(live)
                actions = policy(seen.reshape(self.runs, len(numbers), *seen.shape[1:]))
                outcome = world.step(actions.reshape(copies, *actions.shape[2:]))
                returns += np.where(live, outcome.reward, 0.0)
                live &= ~(outcome.terminated | outcome.truncated)
                going_on = np.flatnonzero(live)
                if len(going_on):
                    observer.push(going_on, world.frames(going_on))
        return returns.reshape(self.runs, len(numbers))


def random_return(make_world: Callable[[int], World], episodes: int = 200, seed: int = 0, side_by_side: int | None = None) -> float:
    """Mean return of uniformly random actions on the evaluation episodes: what knowing nothing earns."""
    rng, parts, together = np.random.default_rng(seed), [], side_by_side or SIDE_BY_SIDE
    for first in range(0, episodes, together):
        numbers = np.arange(first, min(episodes, first + together))
        with closing(make_world(len(numbers))) as world:
            world.reset(np.arange(len(numbers)), _evaluation_seeds(numbers))
            live, returns = np.ones(len(numbers), dtype=bool), np.zeros(len(numbers))
            while live.any():
                outcome = world.step(random_actions(world, rng))
                returns += np.where(live, outcome.reward, 0.0)
                live &= ~(outcome.terminated | outcome.truncated)
        parts.append(returns)
    return float(np.concatenate(parts).mean())


def _evaluation_seeds(numbers: Int64[np.ndarray, " episode"]) -> Int64[np.ndarray, " episode"]:
    return np.array([episode_seed(EVALUATION_STREAM, int(number)) for number in numbers], dtype=np.int64)
