"""Rally: keep a ball in play against a wall, as long as it goes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.worlds.arcade.base import SIZE, ArcadeGame, blank, paint_bar, paint_disc, reflect, towards

CEILING, FLOOR = 2.0, SIZE - 5.0  # rows between which the ball flies
WALLS = (2.0, SIZE - 3.0)
PADDLE_SPEED, PADDLE_HALF = 0.8, 3.5  # pixels a step, pixels
HITS = 5  # an episode holds at most so many
COURT, BALL, PADDLE = (20.0, 70.0, 60.0), (250.0, 250.0, 250.0), (250.0, 200.0, 60.0)


class Rally(ArcadeGame):
    """Vectorised Rally world. State: ball column, ball row, column speed, row speed (downwards), paddle column (pixels, steps).

    +0.2 for every time the paddle sends the ball back, −1 and the end when it misses; after ``HITS`` returns the episode ends. The
    sideways speed after each return belongs to the episode, not to how the ball was hit. A first ball that no paddle can reach is
    drawn again, and the later ones fly longer: the optimum is 1.
    """

    action_count = 3  # left, stay, right
    step_limit = 400

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.ball = np.zeros((copies, 2))  # row, column
        self.speed = np.zeros((copies, 2))
        self.sideways = np.zeros((copies, HITS + 1))  # the column speed after each return
        self.hits = np.zeros(copies, dtype=np.int64)
        self.paddle = np.full(copies, SIZE / 2)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Serve a ball at 0.8 to 1.1 pixels a step downwards, with the sideways speeds of all returns, until the paddle can reach it."""
        self.hits[copy] = 0
        while True:
            self.sideways[copy] = generator.uniform(0.3, 1.1, HITS + 1) * generator.choice((-1.0, 1.0), HITS + 1)
            self.ball[copy] = generator.uniform(4.0, 8.0), generator.uniform(8.0, SIZE - 9.0)
            self.speed[copy] = generator.uniform(0.8, 1.1), self.sideways[copy, 0]
            self.paddle[copy] = self.ball[copy, 1] + generator.uniform(-4.0, 4.0)
            steps, column = self._landing(np.array([copy]))
            if abs(column[0] - self.paddle[copy]) <= PADDLE_SPEED * (steps[0] - 1) + 0.5 * PADDLE_HALF:
                return

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move paddles by one choice of left, stay, right; the reward is 0.2 for a return, −1 for a miss and else 0."""
        moved = np.clip(self.paddle + (actions - 1) * PADDLE_SPEED, *WALLS)
        self.paddle = np.where(live, moved, self.paddle)
        self.ball[live] += self.speed[live]
        outside = live & ((self.ball[:, 1] < WALLS[0]) | (self.ball[:, 1] > WALLS[1]))
        self.ball[outside, 1] = reflect(self.ball[outside, 1], *WALLS)
        self.speed[outside, 1] *= -1.0
        above = live & (self.ball[:, 0] < CEILING)
        self.ball[above, 0] = 2 * CEILING - self.ball[above, 0]
        self.speed[above, 0] *= -1.0
        down = live & (self.ball[:, 0] >= FLOOR) & (self.speed[:, 0] > 0)
        returned = down & (np.abs(self.ball[:, 1] - self.paddle) <= PADDLE_HALF)
        self.hits[returned] += 1
        self.ball[returned, 0] = 2 * FLOOR - self.ball[returned, 0]
        self.speed[returned, 0] *= -1.0
        self.speed[returned, 1] = self.sideways[returned, self.hits[returned]]
        missed = down & ~returned
        return np.where(missed, -1.0, np.where(returned, 1.0 / HITS, 0.0)), missed | (self.hits >= HITS)

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """The court with a lighter wall above, the paddle, and over both the ball."""
        pictures = blank(len(chosen), COURT)
        pictures[:, :2] += 60.0  # the wall above
        paint_bar(pictures, slice(SIZE - 4, SIZE - 1), self.paddle[chosen], PADDLE_HALF, PADDLE)
        paint_disc(pictures, self.ball[chosen, 0], self.ball[chosen, 1], 1.7, BALL)
        return pictures.astype(np.uint8)

    def state(self) -> Float32[np.ndarray, "copy 5"]:
        """Ball column and row, column and row speed, paddle column; pixels and pixels a step, downwards positive."""
        columns = (self.ball[:, 1], self.ball[:, 0], self.speed[:, 1], self.speed[:, 0], self.paddle)
        return np.stack(columns, axis=1).astype(np.float32)

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """Go to the column in which the ball will next come down: 0 left, 1 stay, 2 right."""
        return towards(self._landing(np.arange(self.copies))[1] - self.paddle, PADDLE_SPEED)

    def _landing(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.int64], Float[np.ndarray, " copy"]]:
        """Steps until each ball is next down, the ceiling on its way included, and the column where it is then."""
        row, speed = self.ball[chosen, 0], self.speed[chosen, 0]
        way = np.where(speed > 0, FLOOR - row, row - CEILING + FLOOR - CEILING)
        steps = np.maximum(np.ceil(way / np.maximum(np.abs(speed), 1e-9) - 1e-9), 0).astype(np.int64)
        return steps, reflect(self.ball[chosen, 1] + self.speed[chosen, 1] * steps, *WALLS)
