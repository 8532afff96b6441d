"""Intercept: catch a ball whose landing place only its motion gives away.

A ball crosses the screen at constant velocity and bounces off the side walls, over a textured background
that drifts and means nothing. A slow paddle must be under the ball when it lands: +1 if it is, -1 if not,
0 on the way. The ball moves sideways faster than the paddle, so following the ball's present position comes
too late; the landing place must be read from the motion. By option every step is rewarded, by how far the
paddle is from the landing place.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.core import StepOutcome

SIZE = 32  # pixels, square
BALL_RADIUS = 2.2  # pixels
PADDLE_HALF = 3.5  # pixels
PADDLE_SPEED = 0.8  # pixels a step
MIN_SIDEWAYS, SIDEWAYS = 0.4, 1.8  # the ball's sideways speed at its slowest and at its fastest, pixels a step
LANDING = SIZE - 4.0  # row at which the ball is judged
WALLS = (2.0, SIZE - 3.0)  # the ball's centre bounces between these columns
PADDLE_RANGE = (3.0, SIZE - 4.0)
PADDLE_ROW = SIZE - 3  # the first of the rows that the paddle fills
BALL_LIGHT, PADDLE_LIGHT = 235.0, 20.0  # of 255
REWARDS = ("catch", "distance")
WAVES = 3  # plane waves that make the background


class Intercept:
    """Vectorised Intercept world. State: ball column, ball row, column speed, row speed, paddle column (pixels, pixels a step).

    Parameters
    ----------
    copies
        Games side by side.
    sideways
        Fastest sideways speed of a ball, in pixels a step, above 0.4 and at most 4. Below the paddle's 0.8 following the ball suffices.
    gravity
        What the ball's downward speed gains at every step, in pixels a step², in [0, 0.2].

    reward
        ``catch``: +1 or -1 when the ball lands. ``distance``: at every step, minus the distance from the paddle to where the ball will
        land, in widths of the paddle.

    Raises
    ------
    UsageError
        An option is outside its range.
    """

    action_count = 3  # left, stay, right
    action_dimensions = 0
    settings: Mapping[str, Any] = MappingProxyType({})
    frame_shape = (SIZE, SIZE, 3)

    def __init__(self, copies: int, sideways: float = SIDEWAYS, gravity: float = 0.0, reward: str = REWARDS[0]) -> None:
        if not (MIN_SIDEWAYS < sideways <= 4.0 and 0.0 <= gravity <= 0.2):
            raise UsageError(
                f"layerscout/Intercept-v0: sideways={sideways}, gravity={gravity}",
                hint=f"sideways lies above {MIN_SIDEWAYS} and at most at 4 pixels a step, gravity in [0, 0.2] pixels a step²",
            )
        if reward not in REWARDS:
            raise UsageError(f"layerscout/Intercept-v0: unknown reward '{reward}'{suggest(reward, REWARDS)}", hint=" or ".join(REWARDS))
        self.sideways, self.gravity, self.reward = sideways, gravity, reward
        self.optimal_expert = reward == REWARDS[0]  # then no policy earns more than the scripted one
        self.copies = copies
        self.ball = np.zeros((copies, 2))  # row, column
        self.speed = np.zeros((copies, 2))
        self.paddle = np.full(copies, SIZE / 2)
        self.done = np.ones(copies, dtype=bool)
        self.clock = np.zeros(copies)
        self.wave = np.zeros((copies, WAVES, 4))  # row frequency, column frequency, drift, phase
        self.colour = np.zeros((copies, WAVES, 3))
        self._rows, self._columns = np.mgrid[:SIZE, :SIZE].astype(np.float64)

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Draw ball, speed, paddle and background waves of the copies ``which``, each by its own seed."""
        for copy, seed in zip(which, seeds, strict=True):
            rng = np.random.default_rng(int(seed))
            self.ball[copy] = rng.uniform(3.0, 7.0), rng.uniform(4.0, SIZE - 5.0)
            self.speed[copy] = rng.uniform(0.7, 1.2), rng.uniform(MIN_SIDEWAYS, self.sideways) * rng.choice((-1.0, 1.0))
            self.paddle[copy] = rng.uniform(SIZE / 2 - 4.0, SIZE / 2 + 4.0)
            self.wave[copy] = rng.uniform((-0.6, -0.6, -0.6, 0.0), (0.6, 0.6, 0.6, 2 * np.pi), (WAVES, 4))
            self.colour[copy] = rng.uniform(0.0, 1.0, (WAVES, 3))
        self.clock[which] = 0.0
        self.done[which] = False

    def step(self, actions: NDArray[np.int64]) -> StepOutcome:
        """Move paddles by one choice of left, stay, right; the reward is ±1 where a ball lands, or the dense one that was asked for."""
        live = ~self.done
        moved = np.clip(self.paddle + (np.asarray(actions) - 1) * PADDLE_SPEED, *PADDLE_RANGE)
        self.paddle = np.where(live, moved, self.paddle)
        self.ball[live] += self.speed[live]
        self.speed[live, 0] += self.gravity
        self.clock[live] += 1.0
        outside = live & ((self.ball[:, 1] < WALLS[0]) | (self.ball[:, 1] > WALLS[1]))
        self.ball[outside, 1] = _reflect(self.ball[outside, 1])
        self.speed[outside, 1] *= -1.0
        landed = live & (self.ball[:, 0] >= LANDING)
        caught = np.abs(self.ball[:, 1] - self.paddle) <= PADDLE_HALF
        reward = np.where(landed, np.where(caught, 1.0, -1.0), 0.0).astype(np.float32)
        if self.reward == REWARDS[1]:
            reward = np.where(live, -np.abs(self.paddle - self._landing_place()) / (2 * PADDLE_HALF), 0.0).astype(np.float32)
        self.done |= landed
        return StepOutcome(reward, landed, np.zeros(self.copies, dtype=bool))

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """Background waves, the paddle, and over them the ball, uint8 ``[copy, 32, 32, 3]``; None: of all copies."""
        chosen = np.arange(self.copies) if which is None else np.asarray(which, dtype=np.intp)
        scenes, shown = self._scenes(chosen)
        background, ball = self._background(scenes), self._ball(scenes)
        frames = _with(background, ball, BALL_LIGHT).astype(np.uint8)[shown]
        floor = background[shown, PADDLE_ROW:]  # only here copies of one scene differ; the ball flies before the paddle
        floor = _with(floor, np.broadcast_to(self._paddle(chosen)[:, None, :, None], (*floor.shape[:3], 1)), PADDLE_LIGHT)
        frames[:, PADDLE_ROW:] = _with(floor, ball[shown, PADDLE_ROW:], BALL_LIGHT).astype(np.uint8)
        return frames

    def _scenes(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Find copies that show different things apart from the paddle, and which of them each chosen one looks like.

        Agents that are compared play the same episodes, so most of what they see needs to be drawn only once.
        """
        parts = (self.wave[chosen].reshape(-1, WAVES * 4), self.colour[chosen].reshape(-1, WAVES * 3))
        looks = np.concatenate([*parts, self.clock[chosen, None], self.ball[chosen]], axis=1)
        keys = looks.view(np.dtype((np.void, looks.itemsize * looks.shape[1]))).ravel()
        _, first, shown = np.unique(keys, return_index=True, return_inverse=True)
        return chosen[first], shown.ravel()

    def _background(self, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        row_frequency, column_frequency, drift, phase = (self.wave[chosen, :, i, None, None] for i in range(4))
        angle = row_frequency * self._rows + column_frequency * self._columns + phase + drift * self.clock[chosen, None, None, None]
        light = 0.5 * np.sin(angle) + 0.5  # [copy, wave, height, width]
        return 60.0 + 110.0 / WAVES * np.einsum("nwij,nwc->nijc", light, self.colour[chosen])

    def _ball(self, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Share of each pixel that the ball covers; antialiased, so that motion of less than a pixel is visible."""
        distance = np.hypot(self._rows - self.ball[chosen, 0, None, None], self._columns - self.ball[chosen, 1, None, None])
        return np.clip(BALL_RADIUS + 0.5 - distance, 0.0, 1.0)[..., None]

    def _paddle(self, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Share of each column that the paddle covers."""
        return np.clip(PADDLE_HALF + 0.5 - np.abs(self._columns[0] - self.paddle[chosen, None]), 0.0, 1.0)

    def pictures(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """The frames themselves, since they are RGB pictures already."""
        return self.frames(which)

    def state(self) -> NDArray[np.float32]:
        """Ball column and row, column and row speed, paddle column; pixels and pixels a step."""
        return np.stack([self.ball[:, 1], self.ball[:, 0], self.speed[:, 1], self.speed[:, 0], self.paddle], axis=1).astype(np.float32)

    def expert(self) -> NDArray[np.int64]:
        """Go to the column in which the ball will land: 0 left, 1 stay, 2 right."""
        gap = self._landing_place() - self.paddle
        return np.where(np.abs(gap) < PADDLE_SPEED, 1, np.where(gap > 0, 2, 0)).astype(np.int64)

    def _landing_place(self) -> NDArray[np.float64]:
        """Return the column in which the ball will be judged."""
        return _reflect(self.ball[:, 1] + self.speed[:, 1] * np.maximum(self._steps_to_landing(), 0.0))

    def _steps_to_landing(self) -> NDArray[np.float64]:
        """Return n, the first for which row + n v + g n (n − 1) / 2 reaches the landing row: the speed grows by g after each step."""
        way, speed = LANDING - self.ball[:, 0], self.speed[:, 0]
        if self.gravity:
            middle = speed / self.gravity - 0.5
            return np.ceil(np.sqrt(middle**2 + 2 * np.maximum(way, 0.0) / self.gravity) - middle)
        return np.ceil(way / np.maximum(speed, 1e-9))

    def close(self) -> None:
        """The world holds neither files nor processes, so nothing is released."""


def _reflect(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fold a straight path into the walls: the column after any number of bounces."""
    low, high = WALLS
    span = high - low
    folded = np.mod(column - low, 2 * span)
    return low + np.where(folded > span, 2 * span - folded, folded)


def _with(picture: NDArray[np.float64], cover: NDArray[np.float64], light: float) -> NDArray[np.float64]:
    """Paint something of one brightness over a picture, where and as far as it covers it."""
    return picture + cover * (light - picture)
