"""Two balls: they fall at different speeds, and the paddle must be under each when it lands."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.worlds.arcade.base import SIZE, ArcadeGame, blank, paint_bar, paint_disc, reflect, towards

LANDING = SIZE - 4.0
WALLS = (2.0, SIZE - 3.0)
PADDLE_SPEED, PADDLE_HALF = 0.9, 3.0  # pixels a step, pixels
GROUND, PADDLE = (40.0, 60.0, 40.0), (230.0, 230.0, 230.0)
BALLS = ((240.0, 90.0, 60.0), (80.0, 160.0, 250.0))  # the quicker one, the slower one


class TwoBalls(ArcadeGame):
    """Vectorised world of two balls. State: for each ball column, row, column speed, row speed; then the paddle's column.

    +0.5 for a ball that lands on the paddle, −0.5 for one that does not; the episode ends with the second. Episodes in which the paddle
    cannot be under both are drawn again: the optimum is 1.
    """

    action_count = 3  # left, stay, right
    step_limit = 90

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.ball = np.zeros((copies, 2, 2))  # ball, (row, column)
        self.speed = np.zeros((copies, 2, 2))
        self.down = np.zeros((copies, 2), dtype=bool)
        self.paddle = np.full(copies, SIZE / 2)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Drop a quick ball (0.9 to 1.2 pixels a step) and a slow one (0.45 to 0.6), until the paddle can be under both in turn."""
        self.down[copy] = False
        while True:
            self.ball[copy] = generator.uniform((2.0, 4.0), (5.0, SIZE - 5.0), (2, 2))
            quick, slow = generator.uniform(0.9, 1.2), generator.uniform(0.45, 0.6)
            sideways = generator.uniform(0.2, 1.2, 2) * generator.choice((-1.0, 1.0), 2)
            self.speed[copy] = (quick, sideways[0]), (slow, sideways[1])
            self.paddle[copy] = generator.uniform(SIZE / 2 - 5.0, SIZE / 2 + 5.0)
            steps, column = self._landings(np.array([copy]))
            first, second = np.abs(column[0, 0] - self.paddle[copy]), np.abs(column[0, 1] - column[0, 0])
            near = 0.5 * PADDLE_HALF
            if first <= PADDLE_SPEED * (steps[0, 0] - 1) + near and second <= PADDLE_SPEED * (steps[0, 1] - steps[0, 0] - 1) + near:
                return

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move paddles by one choice of left, stay, right; each ball that lands gives ±0.5, and the second ends the episode."""
        moved = np.clip(self.paddle + (actions - 1) * PADDLE_SPEED, *WALLS)
        self.paddle = np.where(live, moved, self.paddle)
        flying = live[:, None] & ~self.down
        self.ball[flying] += self.speed[flying]
        outside = flying & ((self.ball[..., 1] < WALLS[0]) | (self.ball[..., 1] > WALLS[1]))
        self.ball[outside, 1] = reflect(self.ball[outside, 1], *WALLS)
        self.speed[outside, 1] *= -1.0
        landed = flying & (self.ball[..., 0] >= LANDING)
        caught = np.abs(self.ball[..., 1] - self.paddle[:, None]) <= PADDLE_HALF
        self.down |= landed
        return np.where(landed, np.where(caught, 0.5, -0.5), 0.0).sum(axis=1), self.down[:, 0] & self.down[:, 1]

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """Ground with lines, the paddle, and the balls that have not landed, each in its colour."""
        pictures = blank(len(chosen), GROUND)
        pictures[:, ::6] += 10.0
        paint_bar(pictures, slice(SIZE - 3, SIZE), self.paddle[chosen], PADDLE_HALF, PADDLE)
        for ball, colour in enumerate(BALLS):
            paint_disc(pictures, self.ball[chosen, ball, 0], self.ball[chosen, ball, 1], 1.9, colour, ~self.down[chosen, ball])
        return pictures.astype(np.uint8)

    def state(self) -> Float32[np.ndarray, "copy 9"]:
        """Column, row, column speed and row speed of each ball, then the paddle's column; pixels and pixels a step."""
        balls = np.stack([self.ball[..., 1], self.ball[..., 0], self.speed[..., 1], self.speed[..., 0]], axis=2).reshape(self.copies, 8)
        return np.concatenate([balls, self.paddle[:, None]], axis=1).astype(np.float32)

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """Go under the quick ball until it has landed, then under the slow one: 0 left, 1 stay, 2 right."""
        _, column = self._landings(np.arange(self.copies))
        aim = np.where(self.down[:, 0], column[:, 1], column[:, 0])
        return towards(aim - self.paddle, PADDLE_SPEED)

    def _landings(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.int64], Float[np.ndarray, "copy 2"]]:
        """Steps until each ball lands, and the column where it does."""
        speed = np.maximum(self.speed[chosen, :, 0], 1e-9)
        steps = np.maximum(np.ceil((LANDING - self.ball[chosen, :, 0]) / speed - 1e-9), 0).astype(np.int64)
        return steps, reflect(self.ball[chosen, :, 1] + self.speed[chosen, :, 1] * steps, *WALLS)
