"""Many copies of one game as numpy vectors: what a world must provide, and what every stepper gives back.

A *world* holds ``copies`` games side by side and never resets by itself: the caller says which copies
start again and with which seed, so an episode is a function of its own seed alone. That is what lets
collection and training continue bit-exactly after a kill: seed, then replay the recorded actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

WorldActions = NDArray[np.int64] | NDArray[np.float32]  # [copy], or [copy, dimension] in [-1, 1]


class StepOutcome(NamedTuple):
    """What one joint step gives: arrays of length ``copies``."""

    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class World(Protocol):
    """A game that advances ``copies`` independent episodes with one call.

    Actions are one choice of ``action_count`` (then ``action_dimensions`` is 0), or vectors of ``action_dimensions``
    numbers in [-1, 1] (then ``action_count`` is 0); the world scales vectors to the environment's own bounds.
    ``settings`` are options that decide the pixels with their defaults filled in, so that a dataset can record them.
    """

    copies: int
    action_count: int
    action_dimensions: int
    frame_shape: tuple[int, int, int]
    settings: Mapping[str, Any]

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Start new episodes in the copies ``which``, each from its own seed."""

    def step(self, actions: Any) -> StepOutcome:
        """Advance every copy by one step; finished copies stay finished until they are reset.

        ``actions`` are int64 ``[copy]``, or float32 ``[copy, dimension]`` in [-1, 1].
        """

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """Pixels of the copies ``which`` (None: of all) now, uint8 ``[copy, height, width, channel]``."""

    def state(self) -> NDArray[np.float32] | None:
        """True state of every copy ``[copy, feature]``, or None when the game does not tell."""

    def expert(self) -> WorldActions | None:
        """A scripted expert's action for every copy, or None when there is no expert."""

    def close(self) -> None:
        """Release windows, processes or files that the game holds; the world is of no use afterwards."""


class PicturedWorld(World, Protocol):
    """A world that can also show itself to a person, whatever its frames are."""

    def pictures(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """RGB pictures of the copies ``which`` (None: of all) now, uint8 ``[copy, height, width, 3]``."""


class GoalWorld(PicturedWorld, Protocol):
    """A world whose episodes ask for a state that a picture shows; an episode terminates when it is reached, and only then."""

    def goals(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """Pictures of the goals of the copies ``which`` (None: of all), of the frames' own shape."""


def random_actions(world: World, generator: np.random.Generator) -> WorldActions:
    """Draw one uniformly random action for every copy."""
    if world.action_dimensions:
        return generator.uniform(-1.0, 1.0, (world.copies, world.action_dimensions)).astype(np.float32)
    return generator.integers(world.action_count, size=world.copies)
