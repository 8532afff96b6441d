"""Maze: the owner's grid world with walls, so that the way is longer than the distance tells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.arcade.base import ArcadeGame
from layerscout.worlds.arcade.cells import CELLS, FAR, MOVES, PIXELS, distances, downhill, moved, scaled

WALLS = 16  # cells of 64
LAYOUTS = ("drawn", "fixed")
FIXED_SEED = 3  # the layout that every episode shares when walls are fixed: all its free cells hang together
STEP_REWARD = -0.01
FLOOR, WALL, AGENT, GOAL = (30, 30, 40), (120, 120, 120), (60, 140, 240), (240, 190, 60)


class Maze(ArcadeGame):
    """Vectorised Maze world. State: agent column, agent row, goal column, goal row, each in [-1, 1].

    8 × 8 cells, 16 of them walls, drawn anew until a way leads from the agent to the goal, or with ``walls="fixed"`` the same in all
    episodes, so that a policy can learn the ways by heart; stay, up, down, left, right; +1 on reaching
    the goal, which ends the episode, −0.01 for every other step; truncated after 80 steps. The expert walks the shortest way, which is
    the optimum: 1 − 0.01 · (steps − 1).
    """

    action_count = len(MOVES)
    step_limit = 80

    def __init__(self, copies: int, walls: str = "drawn") -> None:
        if walls not in LAYOUTS:
            raise UsageError(
                f"layerscout/Maze-v0: unknown walls '{walls}'{suggest(str(walls), LAYOUTS)}", hint=f"walls is one of: {', '.join(LAYOUTS)}"
            )
        super().__init__(copies)
        self.layout = draw_walls(np.random.default_rng(FIXED_SEED)) if walls == "fixed" else None
        self.walls = np.zeros((copies, CELLS, CELLS), dtype=bool)
        self.steps = np.zeros((copies, CELLS, CELLS), dtype=np.int64)  # to the goal
        self.agent = np.zeros((copies, 2), dtype=np.int64)
        self.goal = np.ones((copies, 2), dtype=np.int64)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Draw walls (unless they are fixed), agent and goal until a way leads from one to the other."""
        while True:
            if self.layout is None:
                places = generator.choice(CELLS * CELLS, WALLS + 2, replace=False)
                walls = np.zeros((CELLS, CELLS), dtype=bool)
                walls.flat[places[2:]] = True
            else:
                walls = self.layout
                places = generator.choice(np.flatnonzero(~walls), 2, replace=False)
            agent, goal = (divmod(int(place), CELLS) for place in places[:2])
            steps = distances(walls, goal)
            if steps[agent] < FAR:
                self.walls[copy], self.steps[copy] = walls, steps
                self.agent[copy], self.goal[copy] = agent, goal
                return

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move agents by one of five choices; a wall or the edge stops them. The reward is 1 at the goal and else −0.01."""
        self.agent = np.where(live[:, None], moved(self.agent, actions, self.walls), self.agent)
        reached = (self.agent == self.goal).all(axis=1)
        return np.where(reached, 1.0, STEP_REWARD), reached

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """One colour a cell: floor, wall, goal, and over them the agent."""
        pictures = np.broadcast_to(np.array(FLOOR, dtype=np.uint8), (len(chosen), CELLS, CELLS, 3)).copy()
        pictures[self.walls[chosen]] = WALL
        copies = np.arange(len(chosen))
        for cell, colour in ((self.goal, GOAL), (self.agent, AGENT)):
            pictures[copies, cell[chosen, 0], cell[chosen, 1]] = colour
        return pictures.repeat(PIXELS, axis=1).repeat(PIXELS, axis=2)

    def state(self) -> Float32[np.ndarray, "copy 4"]:
        """Agent column and row, goal column and row, in [-1, 1]; the walls are seen in the frame alone."""
        return scaled(self.agent, self.goal)

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """Step to a neighbouring cell that is one step nearer to the goal."""
        return downhill(self.steps, self.agent)


def draw_walls(generator: np.random.Generator) -> Bool[np.ndarray, "8 8"]:
    """Draw a layout of ``WALLS`` walls whose free cells all hang together."""
    while True:
        walls = np.zeros(CELLS * CELLS, dtype=bool)
        walls[generator.choice(CELLS * CELLS, WALLS, replace=False)] = True
        free = np.flatnonzero(~walls)
        steps = distances(walls.reshape(CELLS, CELLS), divmod(int(free[0]), CELLS)).ravel()
        if (steps[free] < FAR).all():
            return walls.reshape(CELLS, CELLS)
