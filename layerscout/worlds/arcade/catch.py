"""Catch: a leaf in the wind; how hard it blows can be seen in the leaf's path and in the streaks behind it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.worlds.arcade.base import COLUMNS, ROWS, SIZE, ArcadeGame, blank, paint_bar, paint_disc, towards

LANDING = SIZE - 4.0  # row at which the leaf is judged
BASKET_SPEED = 0.55  # pixels a step
BASKET_HALF = 3.0  # pixels
EDGES = (3.0, SIZE - 4.0)  # columns that leaf and basket keep
STREAK_SPEED = 12.0  # how many pixels a step the streaks move for a wind of 1 pixel a step²
SKY, LEAF, BASKET = (70.0, 110.0, 150.0), (220.0, 150.0, 40.0), (60.0, 40.0, 30.0)


class Catch(ArcadeGame):
    """Vectorised Catch world. State: leaf column, leaf row, column speed, row speed, wind, basket column (pixels, steps).

    The leaf starts at rest sideways and is pushed by a constant wind (pixels a step²); it stops at the edges. It must be over the
    basket when it lands: +1 if it is, −1 if not. An episode whose leaf no basket can reach is drawn again, so the optimum is 1.
    """

    action_count = 3  # left, stay, right
    step_limit = 60

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.leaf = np.zeros((copies, 2))  # row, column
        self.speed = np.zeros((copies, 2))
        self.wind = np.zeros(copies)
        self.basket = np.full(copies, SIZE / 2)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Drop a leaf at 0.8 to 1.1 pixels a step in wind of ±0.02 to ±0.08 pixels a step², until the basket can reach it."""
        while True:
            leaf = generator.uniform((2.0, 5.0), (5.0, SIZE - 6.0))
            falling = generator.uniform(0.8, 1.1)
            wind = generator.uniform(0.02, 0.08) * generator.choice((-1.0, 1.0))
            basket = generator.uniform(SIZE / 2 - 6.0, SIZE / 2 + 6.0)
            self.leaf[copy], self.speed[copy], self.wind[copy], self.basket[copy] = leaf, (falling, 0.0), wind, basket
            steps, column = self._landing(np.array([copy]))
            if abs(column[0] - basket) <= BASKET_SPEED * (steps[0] - 1) + 0.5 * BASKET_HALF:
                return

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move baskets by one choice of left, stay, right; the reward is ±1 in the step that a leaf lands and else 0."""
        moved = np.clip(self.basket + (actions - 1) * BASKET_SPEED, *EDGES)
        self.basket = np.where(live, moved, self.basket)
        self.speed[live, 1] += self.wind[live]
        self.leaf[live] += self.speed[live]
        self.leaf[live, 1] = np.clip(self.leaf[live, 1], *EDGES)
        landed = self.leaf[:, 0] >= LANDING
        caught = np.abs(self.leaf[:, 1] - self.basket) <= BASKET_HALF
        return np.where(landed, np.where(caught, 1.0, -1.0), 0.0), landed

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """Sky with slanted streaks that the wind drives, the basket, and over both the leaf."""
        pictures = blank(len(chosen), SKY)
        blown = STREAK_SPEED * self.wind[chosen] * self.clock[chosen]
        streaks = np.sin(0.55 * (COLUMNS - blown[:, None, None]) + 1.9 * ROWS)  # slanted, so that no row looks like the next
        pictures += 14.0 * streaks[..., None]
        paint_bar(pictures, slice(SIZE - 4, SIZE - 1), self.basket[chosen], BASKET_HALF, BASKET)
        paint_disc(pictures, self.leaf[chosen, 0], self.leaf[chosen, 1], 1.8, LEAF)
        return pictures.astype(np.uint8)

    def state(self) -> Float32[np.ndarray, "copy 6"]:
        """Leaf column and row, column and row speed, wind, basket column; pixels and steps."""
        columns = (self.leaf[:, 1], self.leaf[:, 0], self.speed[:, 1], self.speed[:, 0], self.wind, self.basket)
        return np.stack(columns, axis=1).astype(np.float32)

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """Go to the column in which the leaf will land: 0 left, 1 stay, 2 right."""
        _, column = self._landing(np.arange(self.copies))
        return towards(column - self.basket, BASKET_SPEED)

    def _landing(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.int64], Float[np.ndarray, " copy"]]:
        """Steps until each leaf lands, and the column where it does, with the edges."""
        row, column, speed = self.leaf[chosen, 0], self.leaf[chosen, 1].copy(), self.speed[chosen, 1].copy()
        steps = np.maximum(np.ceil((LANDING - row) / np.maximum(self.speed[chosen, 0], 1e-9)), 0).astype(np.int64)
        for step in range(int(steps.max(initial=0))):
            falling = step < steps
            speed += np.where(falling, self.wind[chosen], 0.0)
            column = np.clip(column + np.where(falling, speed, 0.0), *EDGES)
        return steps, column
