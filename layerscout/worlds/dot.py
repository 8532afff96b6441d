"""Dot: bring a disc to where a picture shows it; the goal is an image, never a number.

A disc is moved by a velocity over a fixed ground. An episode's goal is the picture of the disc at a place 10 to 18 pixels away; it is reached
within 3 pixels. Two pictures whose discs do not overlap differ by the same sum of squares however far apart they are, so a planner must judge
nearness by more than pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.core import StepOutcome

SIZE = 32  # pixels, square
SPEED = 2.5  # pixels a step along each axis, at an action of 1
RADIUS = 2.8  # pixels
RANGE = (4.0, SIZE - 5.0)  # the disc's centre stays in it
PLACES = (5.0, SIZE - 6.0)  # of starts and goals
NEAREST, FARTHEST = 10.0, 18.0  # pixels from start to goal
REACHED = 3.0  # pixels
LENGTH = 16  # steps
GROUNDS = ("textured", "flat")
GROUND_LIGHT, DISC_LIGHT = 64.0, 242.0  # of 255
WAVES, WAVE_LIGHT, TEXTURE_SEED = 4, 13.0, 11  # plane waves of the texture, which is the same in every episode


class Dot:
    """Vectorised Dot world. State: disc column, disc row, goal column, goal row (pixels).

    Parameters
    ----------
    copies
        Games side by side.
    ground
        ``textured``: a fixed texture; ``flat``: one grey.

    Raises
    ------
    UsageError
        There is no such ground.
    """

    action_count, action_dimensions = 0, 2  # velocity along rows and along columns
    optimal_expert = True  # no policy earns more than the scripted one
    settings: Mapping[str, Any] = MappingProxyType({})
    frame_shape = (SIZE, SIZE, 3)

    def __init__(self, copies: int, ground: str = "textured") -> None:
        if ground not in GROUNDS:
            raise UsageError(
                f"layerscout/Dot-v0: unknown ground '{ground}'{suggest(str(ground), GROUNDS)}",
                hint=f"ground is one of: {', '.join(GROUNDS)}",
            )
        self.copies = copies
        self.place, self.goal = np.full((copies, 2), SIZE / 2), np.full((copies, 2), SIZE / 2)  # row, column
        self.clock = np.zeros(copies, dtype=np.int64)
        self.done = np.ones(copies, dtype=bool)
        self._rows, self._columns = np.mgrid[:SIZE, :SIZE].astype(np.float64)
        self._ground = self._texture() if ground == "textured" else np.full((SIZE, SIZE), GROUND_LIGHT)

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Place disc and goal of the copies ``which`` by their seeds, as row and column in pixels."""
        for copy, seed in zip(which, seeds, strict=True):
            rng = np.random.default_rng(int(seed))
            self.place[copy] = rng.uniform(*PLACES, 2)
            self.goal[copy] = _goal(self.place[copy], rng)
        self.clock[which] = 0
        self.done[which] = False

    def step(self, actions: Float32[np.ndarray, "copy 2"]) -> StepOutcome:
        """Move discs by the vector (row, column) in [-1, 1] times the speed; the reward is 1 where the goal is reached and else 0."""
        live = ~self.done
        moved = np.clip(self.place + SPEED * np.clip(np.asarray(actions, np.float64), -1.0, 1.0), *RANGE)
        self.place = np.where(live[:, None], moved, self.place)
        self.clock[live] += 1
        reached = live & (self.distance() < REACHED)
        truncated = live & ~reached & (self.clock >= LENGTH)
        self.done |= reached | truncated
        return StepOutcome(reached.astype(np.float32), reached, truncated)

    def distance(self) -> Float[np.ndarray, " copy"]:
        """Pixels from every copy's disc to its goal."""
        return np.linalg.norm(self.place - self.goal, axis=1)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """The discs where they are, uint8 ``[copy, 32, 32, 3]``; the goal is not in them."""
        return self.picture_of(self.place if which is None else self.place[which])

    def goals(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """Frames that show the discs at their goals, uint8 ``[copy, 32, 32, 3]``; None: of all copies."""
        return self.picture_of(self.goal if which is None else self.goal[which])

    def pictures(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """The frames themselves, since they are RGB pictures already."""
        return self.frames(which)

    def picture_of(self, places: Float[np.ndarray, "copy 2"]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """Draw discs at places (row, column); antialiased, so that motion of less than a pixel is visible."""
        distance = np.hypot(self._rows - places[:, 0, None, None], self._columns - places[:, 1, None, None])
        cover = np.clip(RADIUS + 0.5 - distance, 0.0, 1.0)
        light = self._ground + cover * (DISC_LIGHT - self._ground)
        return np.repeat(light.astype(np.uint8)[..., None], 3, axis=3)

    def state(self) -> NDArray[np.float32]:
        """Disc column and row, goal column and row, in pixels."""
        return np.concatenate([self.place[:, ::-1], self.goal[:, ::-1]], axis=1).astype(np.float32)

    def expert(self) -> NDArray[np.float32]:
        """Go straight for the goal, with full speed on each axis until less than a step is left."""
        return np.clip((self.goal - self.place) / SPEED, -1.0, 1.0).astype(np.float32)

    def close(self) -> None:
        """The world holds neither files nor processes, so nothing is released."""

    def _texture(self) -> Float[np.ndarray, "32 32"]:
        waves = np.random.default_rng(TEXTURE_SEED).uniform((-0.9, -0.9, 0.0), (0.9, 0.9, 2 * np.pi), (WAVES, 3))
        angles = waves[:, 0, None, None] * self._rows + waves[:, 1, None, None] * self._columns + waves[:, 2, None, None]
        return GROUND_LIGHT + WAVE_LIGHT * np.sin(angles).sum(axis=0)


def _goal(place: Float[np.ndarray, "2"], rng: np.random.Generator) -> Float[np.ndarray, "2"]:
    """Draw a place at a distance uniform in [10, 18] pixels, in any direction that leads to one."""
    while True:
        radius, direction = rng.uniform(NEAREST, FARTHEST), rng.uniform(0.0, 2 * np.pi)
        goal = place + radius * np.array([np.cos(direction), np.sin(direction)])
        if (goal > PLACES[0]).all() and (goal < PLACES[1]).all():
            return goal
