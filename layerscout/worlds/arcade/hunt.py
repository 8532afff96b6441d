"""Hunt: touch a prey that runs straight and bounces off the walls; whoever walks to where it is comes too late."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.worlds.arcade.base import SIZE, ArcadeGame, blank, paint_disc, reflect
from layerscout.worlds.arcade.cells import MOVES

WALLS = (2.0, SIZE - 3.0)
HUNTER_SPEED = 0.8  # pixels a step, along one axis
TOUCH = 3.5  # pixels between the centres
STEP_REWARD = -0.01
FIELD, HUNTER, PREY = (50.0, 75.0, 40.0), (230.0, 80.0, 200.0), (240.0, 240.0, 240.0)


class Hunt(ArcadeGame):
    """Vectorised Hunt world. State: hunter column, row; prey column, row, column speed, row speed (pixels, pixels a step).

    Stay, up, down, left, right at 0.8 pixels a step; the prey runs faster. +1 when the centres are at most 3.5 pixels apart, which ends
    the episode, −0.01 for every other step; truncated after 60 steps. The expert walks to the first place on the prey's way that it can
    reach in time, one axis after the other.
    """

    action_count = len(MOVES)
    optimal_expert = False  # how to catch every prey is not known
    step_limit = 60

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.hunter = np.full((copies, 2), SIZE / 2)  # row, column
        self.prey = np.full((copies, 2), 4.0)
        self.speed = np.zeros((copies, 2))

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Place hunter and prey more than 10.5 pixels apart; the prey runs at 0.9 to 1.3 pixels a step in any direction."""
        while True:
            self.hunter[copy], self.prey[copy] = generator.uniform(4.0, SIZE - 5.0, (2, 2))
            if np.hypot(*(self.hunter[copy] - self.prey[copy])) > 3 * TOUCH:
                break
        angle = generator.uniform(0.0, 2 * np.pi)
        self.speed[copy] = generator.uniform(0.9, 1.3) * np.array([np.sin(angle), np.cos(angle)])

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move hunters by one of five choices and preys straight on; the reward is 1 within 3.5 pixels and else −0.01."""
        stepped = np.clip(self.hunter + HUNTER_SPEED * MOVES[actions], *WALLS)
        self.hunter = np.where(live[:, None], stepped, self.hunter)
        self.prey[live] += self.speed[live]
        outside = live[:, None] & ((self.prey < WALLS[0]) | (self.prey > WALLS[1]))
        self.prey[outside] = reflect(self.prey[outside], *WALLS)
        self.speed[outside] *= -1.0
        touched = np.hypot(*(self.hunter - self.prey).T) <= TOUCH
        return np.where(touched, 1.0, STEP_REWARD), touched

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """A field with a grid of dots, the prey, and over it the hunter."""
        pictures = blank(len(chosen), FIELD)
        pictures[:, ::8, ::8] += 30.0
        paint_disc(pictures, self.prey[chosen, 0], self.prey[chosen, 1], 1.6, PREY)
        paint_disc(pictures, self.hunter[chosen, 0], self.hunter[chosen, 1], 2.0, HUNTER)
        return pictures.astype(np.uint8)

    def state(self) -> Float32[np.ndarray, "copy 6"]:
        """Hunter column and row, prey column and row, prey column and row speed; pixels and pixels a step."""
        return np.concatenate([self.hunter[:, ::-1], self.prey[:, ::-1], self.speed[:, ::-1]], axis=1).astype(np.float32)

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """Walk along the longer axis to the first place that the prey and the hunter can reach together, and wait there."""
        gap = self._meeting() - self.hunter
        rows, columns = gap.T
        vertical = np.abs(rows) >= np.abs(columns)
        action = np.where(vertical, np.where(rows < 0, 1, 2), np.where(columns < 0, 3, 4))
        return np.where(np.abs(gap).max(axis=1) < 0.5 * HUNTER_SPEED, 0, action).astype(np.int64)

    def _meeting(self) -> Float[np.ndarray, "copy 2"]:
        """The first place on each prey's way that its hunter reaches in time, walking along the axes; else where the prey is last."""
        ahead = np.arange(1, self.step_limit + 1, dtype=np.float64)
        way = reflect(self.prey[:, None] + self.speed[:, None] * ahead[:, None], *WALLS)  # [copy, step, axis]
        walked = np.abs(way - self.hunter[:, None]).sum(axis=2)
        in_time = walked - TOUCH <= HUNTER_SPEED * ahead
        first = np.where(in_time.any(axis=1), in_time.argmax(axis=1), len(ahead) - 1)
        return way[np.arange(self.copies), first]
