"""States in, how new each of them is out: one face for the ways to say so, one number a run and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float, Float32

from layerscout.rl.memory.replay import run_generators

NOVELTY = 7  # purpose of the random streams
REMEMBERED, NEIGHBOURS = 256, 5
LEAST, MOST = 0.05, 20.0


class Novelty(Protocol):
    """Says how new a state is, positive and about 1 for a usual one; remembers it afterwards."""

    def __call__(self, z: Float32[np.ndarray, "run feature"]) -> Float[np.ndarray, " run"]: ...


class ConstantNovelty:
    """Everything is equally new: 1."""

    def __call__(self, z: Float32[np.ndarray, "run feature"]) -> Float[np.ndarray, " run"]:
        return np.ones(len(z))


class RandomNovelty:
    """A draw from [0.5, 1) that looks at nothing: the control of every other way."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = run_generators(seeds, NOVELTY)

    def __call__(self, z: Float32[np.ndarray, "run feature"]) -> Float[np.ndarray, " run"]:
        return np.array([generator.uniform(0.5, 1.0) for generator in self._generators])


class NeighbourNovelty:
    """Distance to the fifth nearest of 256 remembered states, over its running mean; a state takes the place of a random one."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = run_generators(seeds, NOVELTY)
        self._memory: Float32[np.ndarray, "run memory feature"] | None = None
        self._seen, self._mean = 0, np.zeros(len(seeds))

    def __call__(self, z: Float32[np.ndarray, "run feature"]) -> Float[np.ndarray, " run"]:
        if self._memory is None:
            self._memory = np.zeros((len(z), REMEMBERED, z.shape[1]), np.float32)
        filled = min(self._seen, REMEMBERED)
        novelty = np.ones(len(z))
        if filled > NEIGHBOURS:
            apart = np.linalg.norm(self._memory[:, :filled] - z[:, None], axis=-1)
            distance = np.partition(apart, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1].astype(np.float64)
            self._mean = distance if not self._mean.any() else 0.99 * self._mean + 0.01 * distance
            novelty = np.clip(distance / np.maximum(self._mean, 1e-12), LEAST, MOST)
        for run, generator in enumerate(self._generators):
            place = self._seen if self._seen < REMEMBERED else int(generator.integers(REMEMBERED))
            self._memory[run, place] = z[run]
        self._seen += 1
        return novelty


def novelty_of(way: Literal["none", "random", "neighbours"], seeds: Sequence[int]) -> Novelty:
    """Return the measure of novelty that a setting names, for runs with these seeds."""
    if way == "neighbours":
        return NeighbourNovelty(seeds)
    return RandomNovelty(seeds) if way == "random" else ConstantNovelty()
