"""Many copies of one game as numpy vectors: what a world must provide, and what every stepper gives back.

A *world* holds ``copies`` games side by side and never resets by itself: the caller says which copies
start again and with which seed, so an episode is a function of its own seed alone. That is what lets
collection and training continue bit-exactly after a kill: seed, then replay the recorded actions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class StepOutcome(NamedTuple):
    """What one joint step gives: arrays of length ``copies``."""

    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class World(Protocol):
    """A game that advances ``copies`` independent episodes with one call."""

    copies: int
    action_count: int
    frame_shape: tuple[int, int, int]

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Start new episodes in the copies ``which``, each from its own seed."""

    def step(self, actions: NDArray[np.int64]) -> StepOutcome:
        """Advance every copy by one step; finished copies stay finished until they are reset."""

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """Pixels of the copies ``which`` (None: of all) now, uint8 ``[copy, height, width, channel]``."""

    def state(self) -> NDArray[np.float32] | None:
        """True state of every copy ``[copy, feature]``, or None when the game does not tell."""

    def expert(self) -> NDArray[np.int64] | None:
        """A scripted expert's action for every copy, or None when there is no expert."""

    def close(self) -> None:
        """Release windows, processes or files that the game holds; the world is of no use afterwards."""


class PicturedWorld(World, Protocol):
    """A world that can also show itself to a person, whatever its frames are."""

    def pictures(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """RGB pictures of the copies ``which`` (None: of all) now, uint8 ``[copy, height, width, 3]``."""
