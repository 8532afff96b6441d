"""Many copies of one small game in, the face of a world out: who is alive, whose time is up, what a step gives; and how discs are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.worlds.core import StepOutcome

SIZE = 32  # pixels, square
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE].astype(np.float64)


class ArcadeGame:
    """What the games of this room share: 32 × 32 RGB frames, one choice of a few actions, episodes that are functions of their seed.

    A game says how an episode begins (``begin``), what one step does to all copies (``advance``) and how chosen copies look
    (``draw``). A copy that is done stands still until it is reset; an episode whose time is up is truncated, not terminated.
    """

    action_count: int
    action_dimensions = 0
    optimal_expert = True  # no policy earns more than the scripted one
    settings: Mapping[str, Any] = MappingProxyType({})
    frame_shape = (SIZE, SIZE, 3)
    step_limit: int

    def __init__(self, copies: int) -> None:
        self.copies = copies
        self.done = np.ones(copies, dtype=bool)
        self.clock = np.zeros(copies, dtype=np.int64)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Put one copy into the first moment of an episode, drawn from its own generator."""
        raise AssertionError("every game says how it begins")

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move all copies that live by one step; return rewards and which episodes ended, both only looked at where a copy lives."""
        raise AssertionError("every game says what a step does")

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """Paint the chosen copies in their present state; drawing changes nothing."""
        raise AssertionError("every game says how it looks")

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Begin new episodes in the copies ``which``, each by a generator of its own seed."""
        for copy, seed in zip(which, seeds, strict=True):
            self.begin(int(copy), np.random.default_rng(int(seed)))
        self.clock[which] = 0
        self.done[which] = False

    def step(self, actions: Int64[np.ndarray, " copy"]) -> StepOutcome:
        """Advance the copies that live, one choice of ``action_count`` each; copies that are done get reward 0."""
        live = ~self.done
        reward, ended = self.advance(np.asarray(actions), live)
        self.clock[live] += 1
        terminated = live & ended
        truncated = live & ~terminated & (self.clock >= self.step_limit)
        self.done |= terminated | truncated
        return StepOutcome(np.where(live, reward, 0.0).astype(np.float32), terminated, truncated)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """What the agent sees, uint8 ``[copy, 32, 32, 3]``; None: of all copies."""
        return self.draw(np.arange(self.copies) if which is None else np.asarray(which, dtype=np.intp))

    def pictures(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """The frames themselves, since they are RGB pictures already."""
        return self.frames(which)

    def state(self) -> Float32[np.ndarray, "copy feature"]:
        """What decides the rest of each episode, in the order that the game's class gives."""
        raise AssertionError("every game tells its state")

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """The choice of a scripted player with access to the state, for every copy."""
        raise AssertionError("every game has an expert")

    def close(self) -> None:
        """Games hold neither files nor processes, so nothing is released."""


def blank(copies: int, colour: tuple[float, float, float]) -> Float[np.ndarray, "copy 32 32 3"]:
    """Return empty pictures of one colour, as numbers to paint on."""
    return np.broadcast_to(np.array(colour), (copies, SIZE, SIZE, 3)).copy()


def paint_disc(
    pictures: Float[np.ndarray, "copy 32 32 3"],
    row: Float[np.ndarray, " copy"],
    column: Float[np.ndarray, " copy"],
    radius: float,
    colour: tuple[float, float, float],
    shown: Bool[np.ndarray, " copy"] | None = None,
) -> None:
    """Paint one disc a picture, antialiased, so that motion of less than a pixel can be seen; only where ``shown``."""
    distance = np.hypot(ROWS - row[:, None, None], COLUMNS - column[:, None, None])
    cover = np.clip(radius + 0.5 - distance, 0.0, 1.0)[..., None]
    if shown is not None:
        cover = cover * shown[:, None, None, None]
    pictures += cover * (np.array(colour) - pictures)


def paint_bar(
    pictures: Float[np.ndarray, "copy 32 32 3"],
    rows: slice,
    column: Float[np.ndarray, " copy"],
    half: float,
    colour: tuple[float, float, float],
) -> None:
    """Paint one horizontal bar a picture, centred on a column and antialiased at its ends."""
    cover = np.clip(half + 0.5 - np.abs(COLUMNS[0] - column[:, None]), 0.0, 1.0)[:, None, :, None]
    pictures[:, rows] += cover * (np.array(colour) - pictures[:, rows])


def towards(gap: Float[np.ndarray, " copy"], speed: float) -> Int64[np.ndarray, " copy"]:
    """Return the action (0 left, 1 stay, 2 right) that closes a gap in columns, for a paddle of this speed."""
    return np.where(np.abs(gap) < 0.5 * speed, 1, np.where(gap > 0, 2, 0)).astype(np.int64)


def reflect(column: Float[np.ndarray, " copy"], low: float, high: float) -> Float[np.ndarray, " copy"]:
    """Fold a straight path into two walls: the column after any number of bounces."""
    span = high - low
    folded = np.mod(column - low, 2 * span)
    return low + np.where(folded > span, 2 * span - folded, folded)
