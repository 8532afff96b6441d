"""Grid: the owner's video-like grid world; an agent walks to a goal, seen as planes or as RGB frames.

Rules: 8x8 cells; stay, up, down, left, right; +1 on reaching the goal (the episode ends), -0.01 for every
other step; truncated after 60 steps. As planes a frame is two one-hot pictures (agent, goal) with values
0 and 255; as RGB it is 32x32 pixels, 4 a cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.core import StepOutcome

CELLS = 8
PIXELS_PER_CELL = 4
STEP_REWARD = -0.01
STEP_LIMIT = 60
MOVES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])  # (row, column): stay, up, down, left, right
OBSERVATIONS = ("planes", "rgb")
FLOOR, AGENT, GOAL = (30, 30, 40), (60, 140, 240), (240, 190, 60)


class Grid:
    """Vectorised grid world. State: agent column, agent row, goal column, goal row, each in [-1, 1].

    Parameters
    ----------
    copies
        Games side by side.
    observation
        What a frame is: ``planes`` or ``rgb``.
    goal_reward
        Reward of the step that reaches the goal, above 0.
    step_reward
        Reward of every other step, at most 0.

    Raises
    ------
    UsageError
        An option is unknown or outside its range.
    """

    action_count = len(MOVES)
    action_dimensions = 0
    optimal_expert = True  # no policy earns more than the scripted one
    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, copies: int, observation: str = "rgb", goal_reward: float = 1.0, step_reward: float = STEP_REWARD) -> None:
        if observation not in OBSERVATIONS:
            raise UsageError(
                f"layerscout/Grid-v0: unknown observation '{observation}'{suggest(str(observation), OBSERVATIONS)}",
                hint=f"observation is one of: {', '.join(OBSERVATIONS)}",
            )
        if not (0.0 < goal_reward < math.inf and -math.inf < step_reward <= 0.0):
            raise UsageError(
                f"layerscout/Grid-v0: goal_reward={goal_reward}, step_reward={step_reward}",
                hint="goal_reward lies above 0, step_reward at or below it: the nearest way is then the best",
            )
        self.copies = copies
        self.observation = observation
        self.goal_reward, self.step_reward = goal_reward, step_reward
        self.frame_shape = (CELLS, CELLS, 2) if observation == "planes" else (CELLS * PIXELS_PER_CELL,) * 2 + (3,)
        self.agent = np.zeros((copies, 2), dtype=np.int64)
        self.goal = np.ones((copies, 2), dtype=np.int64)
        self.clock = np.zeros(copies, dtype=np.int64)
        self.done = np.ones(copies, dtype=bool)

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Draw two different cells for agent and goal of the copies ``which``, each pair by its seed."""
        for copy, seed in zip(which, seeds, strict=True):
            cells = np.random.default_rng(int(seed)).choice(CELLS * CELLS, size=2, replace=False)
            self.agent[copy], self.goal[copy] = (divmod(int(cell), CELLS) for cell in cells)
        self.clock[which] = 0
        self.done[which] = False

    def step(self, actions: NDArray[np.int64]) -> StepOutcome:
        """Move agents by one of five choices; copies that are done get reward 0. Too many steps truncate the episode."""
        live = ~self.done
        moved = np.clip(self.agent + MOVES[np.asarray(actions)], 0, CELLS - 1)
        self.agent = np.where(live[:, None], moved, self.agent)
        self.clock[live] += 1
        reached = live & (self.agent == self.goal).all(axis=1)
        truncated = live & ~reached & (self.clock >= STEP_LIMIT)
        reward = np.where(reached, self.goal_reward, np.where(live, self.step_reward, 0.0)).astype(np.float32)
        self.done |= reached | truncated
        return StepOutcome(reward, reached, truncated)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """Two planes of 0 and 255 a cell (agent, goal), or RGB pictures, as ``observation`` says; None: of all copies."""
        return self._planes(which) if self.observation == "planes" else self.pictures(which)

    def pictures(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """RGB pictures of coloured cells, whatever ``observation`` says."""
        planes = self._planes(which)
        picture = np.broadcast_to(np.array(FLOOR, dtype=np.uint8), (*planes.shape[:3], 3)).copy()
        picture[planes[..., 1] > 0] = GOAL
        picture[planes[..., 0] > 0] = AGENT
        return picture.repeat(PIXELS_PER_CELL, axis=1).repeat(PIXELS_PER_CELL, axis=2)

    def state(self) -> NDArray[np.float32]:
        """Agent column and row, goal column and row, in [-1, 1]."""
        cells = np.concatenate([self.agent[:, ::-1], self.goal[:, ::-1]], axis=1)
        return (2.0 * cells / (CELLS - 1) - 1.0).astype(np.float32)

    def expert(self) -> NDArray[np.int64]:
        """Walk the shortest way, rows before columns, and stay at the goal."""
        rows, columns = (self.goal - self.agent).T
        return np.where(rows < 0, 1, np.where(rows > 0, 2, np.where(columns < 0, 3, np.where(columns > 0, 4, 0))))

    def close(self) -> None:
        """The world holds neither files nor processes, so nothing is released."""

    def _planes(self, which: NDArray[np.intp] | None) -> NDArray[np.uint8]:
        agent, goal = (self.agent, self.goal) if which is None else (self.agent[which], self.goal[which])
        planes = np.zeros((len(agent), CELLS, CELLS, 2), dtype=np.uint8)
        rows = np.arange(len(agent))
        planes[rows, agent[:, 0], agent[:, 1], 0] = 255
        planes[rows, goal[:, 0], goal[:, 1], 1] = 255
        return planes
