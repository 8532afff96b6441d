"""Greedy policies in, episode returns out: every run plays a block of evaluation episodes of its own, all of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64, Shaped

from layerscout.rl.agents.base import ActionArray
from layerscout.rl.seeing.features import Observer
from layerscout.worlds.core import World, WorldActions
from layerscout.worlds.playing import episode_seed

# Collected data has seeds below 2^32. A seed sequence reads a large seed as 32-bit words, the lowest first, and pads with zeros: with
# one high word alone, (2^32, 0, 0) would be (0, 1, 0), the second episode of seed 0. Nothing collected has a third word above 1.
EVALUATION_STREAM = 2 << 64
SIDE_BY_SIDE = 1024  # games at once, at most, unless the world weighs more: see ``pixels.side_by_side``

GreedyPolicy = Callable[[Shaped[np.ndarray, "run episode *feature"]], ActionArray]


@dataclass(frozen=True)
class Stage:
    """Where runs are evaluated: a world for so many copies, and an observer that knows each copy's run.

    Attributes
    ----------
    runs
        How many play.
    make_world, make_observer
        Give so many copies of the game, and what looks at the copies of which runs.
    side_by_side
        How many games are held at once, at least one a run; it changes memory and speed, never a return.
    blocks
        Which block of evaluation episodes each run plays (default: block 0, the same for all). Runs that are compared with one another
        have one block, so that they are paired; runs that are averaged have different ones, so that luck with the episodes averages out.
    """

    runs: int
    make_world: Callable[[int], World]
    make_observer: Callable[[Int[np.ndarray, " copy"]], Observer]
    side_by_side: int | None = None
    blocks: tuple[int, ...] | None = None

    def evaluate(self, policy: GreedyPolicy, episodes: int) -> Float[np.ndarray, "run episode"]:
        """Play episodes 0 … episodes-1 of its own block with every run; return their undiscounted returns."""
        together = max(1, min(episodes, (self.side_by_side or SIDE_BY_SIDE) // self.runs))
        parts = [self._wave(policy, np.arange(first, min(episodes, first + together))) for first in range(0, episodes, together)]
        return np.concatenate(parts, axis=1)

    def seeds(self, numbers: Int64[np.ndarray, " episode"]) -> Int64[np.ndarray, "run episode"]:
        """Return the worlds' seeds of these episodes of every run's block."""
        blocks = (0,) * self.runs if self.blocks is None else self.blocks
        found = {block: evaluation_seeds(block, numbers) for block in set(blocks)}
        return np.stack([found[block] for block in blocks])

    def _wave(self, policy: GreedyPolicy, numbers: Int64[np.ndarray, " episode"]) -> Float[np.ndarray, "run episode"]:
        copies = self.runs * len(numbers)
        observer = self.make_observer(np.repeat(np.arange(self.runs), len(numbers)))
        everyone = np.arange(copies)
        live, returns = np.ones(copies, dtype=bool), np.zeros(copies)
        with closing(self.make_world(copies)) as world:
            world.reset(everyone, self.seeds(numbers).reshape(-1))
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


def blind_returns(
    make_world: Callable[[int], World],
    choose: Callable[[World, slice], WorldActions],
    seeds: Sequence[int] | Int64[np.ndarray, " episode"],
    together: int | None = None,
    most_steps: int | None = None,
) -> Float[np.ndarray, " episode"]:
    """Play the episodes of these seeds with a policy that looks at no picture; return their undiscounted returns.

    Parameters
    ----------
    choose
        (a world, which of the episodes its copies play) → the actions of all copies.
    together
        How many games are held at once (default: 1,024).
    most_steps
        An episode that is longer counts for what it earned until then (default: all are played to their end).
    """
    parts, together = [np.zeros(0)], together or SIDE_BY_SIDE
    for first in range(0, len(seeds), together):
        wave = np.asarray(seeds[first : first + together], dtype=np.int64)
        with closing(make_world(len(wave))) as world:
            world.reset(np.arange(len(wave)), wave)
            live, returns, steps = np.ones(len(wave), dtype=bool), np.zeros(len(wave)), 0
            while live.any() and (most_steps is None or steps < most_steps):
                outcome = world.step(choose(world, slice(first, first + len(wave))))
                returns += np.where(live, outcome.reward, 0.0)
                live &= ~(outcome.terminated | outcome.truncated)
                steps += 1
        parts.append(returns)
    return np.concatenate(parts)


def evaluation_seeds(block: int, numbers: Int64[np.ndarray, " episode"]) -> Int64[np.ndarray, " episode"]:
    """Return the worlds' seeds of evaluation episodes of one block; no two blocks, and no dataset and no training, have an episode in common."""
    return np.array([episode_seed(EVALUATION_STREAM + block, int(number)) for number in numbers], dtype=np.int64)
