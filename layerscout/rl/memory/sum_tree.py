"""Priorities in, places drawn in proportion to them out: one binary tree of sums a run, all runs moved by one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from layerscout.errors import UsageError


class SumTree:
    """Priorities of ``capacity`` places a run; drawing and changing cost as many passes as the tree is deep.

    Parameters
    ----------
    runs, capacity
        How many trees, and places a tree. A place of priority 0 is never drawn.
    """

    def __init__(self, runs: int, capacity: int) -> None:
        self.runs, self.capacity = runs, capacity
        self.depth = max(1, (capacity - 1).bit_length())
        self.leaves = 1 << self.depth
        self.sums = np.zeros((runs, 2 * self.leaves))  # node i holds the sum of nodes 2 i and 2 i + 1; node 1 holds all
        self._first = (np.arange(runs) * 2 * self.leaves)[:, None]

    def total(self) -> Float[np.ndarray, " run"]:
        """The root of every run's tree, copied: the sum of its priorities."""
        return self.sums[:, 1].copy()

    def at(self, places: Int64[np.ndarray, "run batch"]) -> Float[np.ndarray, "run batch"]:
        """Priorities of the leaves at these places, each run's own, copied."""
        return self.sums.reshape(-1).take(self._first + self.leaves + places)

    def change(self, places: Int64[np.ndarray, "run batch"], priorities: Float[np.ndarray, "run batch"]) -> None:
        """Set priorities; of a place that is named twice, the later one counts.

        Raises
        ------
        UsageError
            A priority is negative or not finite.
        """
        if not (np.isfinite(priorities).all() and (priorities >= 0.0).all()):
            raise UsageError("a priority is negative or not finite", hint="give finite priorities, at least 0")
        flat, nodes = self.sums.reshape(-1), places + self.leaves
        flat[self._first + nodes] = priorities
        for _ in range(self.depth):
            nodes = nodes >> 1
            left = self._first + 2 * nodes
            flat[self._first + nodes] = flat.take(left) + flat.take(left + 1)

    def draw(self, batch: int, generators: Sequence[np.random.Generator]) -> Int64[np.ndarray, "run batch"]:
        """Draw places with replacement, each with probability priority / total; a run draws from its own generator.

        Raises
        ------
        UsageError
            A run has no priority above 0.
        """
        if not (self.sums[:, 1] > 0.0).all():
            raise UsageError(f"run {int(np.argmin(self.sums[:, 1]))} has nothing to draw from", hint="give a place a priority above 0")
        rest = np.stack([generator.random(batch) for generator in generators]) * self.sums[:, 1:2]
        flat, nodes = self.sums.reshape(-1), np.ones((self.runs, batch), np.int64)
        for _ in range(self.depth):
            left = self._first + 2 * nodes
            below, beside = flat.take(left), flat.take(left + 1)
            right = (rest >= below) & (beside > 0.0)  # rounding never leads into an empty half
            rest -= np.where(right, below, 0.0)
            nodes = 2 * nodes + right
        return nodes - self.leaves
