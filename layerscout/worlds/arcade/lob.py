"""Lob: a ball thrown upwards under gravity, to be caught where it comes down; it bounces off the side walls."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.worlds.arcade.base import SIZE, ArcadeGame, blank, paint_bar, paint_disc, reflect, towards

GRAVITY = 0.06  # pixels a step²
LANDING = SIZE - 4.0  # row at which the ball is judged, on its way down
WALLS = (2.0, SIZE - 3.0)
PADDLE_SPEED, PADDLE_HALF = 0.7, 3.0  # pixels a step, pixels
NIGHT, BALL, PADDLE = (25.0, 25.0, 45.0), (240.0, 240.0, 120.0), (200.0, 90.0, 90.0)


class Lob(ArcadeGame):
    """Vectorised Lob world. State: ball column, ball row, column speed, row speed (downwards), paddle column (pixels, steps).

    +1 when the ball comes down on the paddle, −1 when it does not. Throws that no paddle can reach are drawn again: the optimum is 1.
    """

    action_count = 3  # left, stay, right
    step_limit = 80

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.ball = np.zeros((copies, 2))  # row, column
        self.speed = np.zeros((copies, 2))
        self.paddle = np.full(copies, SIZE / 2)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Throw a ball up at 1.1 to 1.6 pixels a step from below the middle, until the paddle can reach where it lands."""
        while True:
            self.ball[copy] = generator.uniform(22.0, 26.0), generator.uniform(4.0, SIZE - 5.0)
            self.speed[copy] = -generator.uniform(1.1, 1.6), generator.uniform(0.3, 1.3) * generator.choice((-1.0, 1.0))
            self.paddle[copy] = generator.uniform(SIZE / 2 - 5.0, SIZE / 2 + 5.0)
            steps, column = self._landing(np.array([copy]))
            if abs(column[0] - self.paddle[copy]) <= PADDLE_SPEED * (steps[0] - 1) + 0.5 * PADDLE_HALF:
                return

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move paddles by one choice of left, stay, right; the reward is ±1 in the step that a ball comes down and else 0."""
        moved = np.clip(self.paddle + (actions - 1) * PADDLE_SPEED, *WALLS)
        self.paddle = np.where(live, moved, self.paddle)
        self.speed[live, 0] += GRAVITY
        self.ball[live] += self.speed[live]
        outside = live & ((self.ball[:, 1] < WALLS[0]) | (self.ball[:, 1] > WALLS[1]))
        self.ball[outside, 1] = reflect(self.ball[outside, 1], *WALLS)
        self.speed[outside, 1] *= -1.0
        landed = (self.ball[:, 0] >= LANDING) & (self.speed[:, 0] > 0)
        caught = np.abs(self.ball[:, 1] - self.paddle) <= PADDLE_HALF
        return np.where(landed, np.where(caught, 1.0, -1.0), 0.0), landed

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """Night with faint posts every eight pixels, the paddle, and over both the ball."""
        pictures = blank(len(chosen), NIGHT)
        pictures[:, :, ::8] += 12.0  # faint posts, so that a place can be told
        paint_bar(pictures, slice(SIZE - 3, SIZE), self.paddle[chosen], PADDLE_HALF, PADDLE)
        paint_disc(pictures, self.ball[chosen, 0], self.ball[chosen, 1], 2.0, BALL)
        return pictures.astype(np.uint8)

    def state(self) -> Float32[np.ndarray, "copy 5"]:
        """Ball column and row, column and row speed, paddle column; pixels and pixels a step, downwards positive."""
        columns = (self.ball[:, 1], self.ball[:, 0], self.speed[:, 1], self.speed[:, 0], self.paddle)
        return np.stack(columns, axis=1).astype(np.float32)

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """Go to the column in which the ball will come down: 0 left, 1 stay, 2 right."""
        _, column = self._landing(np.arange(self.copies))
        return towards(column - self.paddle, PADDLE_SPEED)

    def _landing(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.int64], Float[np.ndarray, " copy"]]:
        """Steps until each ball is down, and the column where it is then."""
        height, speed = LANDING - self.ball[chosen, 0], self.speed[chosen, 0]
        # after k steps the ball has fallen k·v + g·k(k+1)/2: the larger root, rounded up to whole steps
        half = speed / GRAVITY + 0.5
        root = -half + np.sqrt(np.maximum(half**2 + 2.0 * height / GRAVITY, 0.0))
        steps = np.maximum(np.ceil(root - 1e-9), 0).astype(np.int64)
        return steps, reflect(self.ball[chosen, 1] + self.speed[chosen, 1] * steps, *WALLS)
