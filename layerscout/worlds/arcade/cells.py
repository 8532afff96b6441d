"""A board of cells: moves, walls, shortest ways, and how a board is drawn."""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import Bool, Int64

CELLS = 8  # a side
PIXELS = 4  # a cell
MOVES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])  # (row, column): stay, up, down, left, right
FAR = CELLS * CELLS  # more steps than any way has


def distances(walls: Bool[np.ndarray, "8 8"], goal: tuple[int, int]) -> Int64[np.ndarray, "8 8"]:
    """Steps from every cell to the goal by the shortest way around the walls; ``FAR`` where there is none."""
    steps = np.full((CELLS, CELLS), FAR, dtype=np.int64)
    steps[goal] = 0
    waiting = deque([goal])
    while waiting:
        row, column = waiting.popleft()
        for down, right in MOVES[1:]:
            near = int(row + down), int(column + right)
            if min(near) >= 0 and max(near) < CELLS and not walls[near] and steps[near] == FAR:
                steps[near] = steps[row, column] + 1
                waiting.append(near)
    return steps


def moved(
    cells: Int64[np.ndarray, "copy 2"], actions: Int64[np.ndarray, " copy"], walls: Bool[np.ndarray, "copy 8 8"]
) -> Int64[np.ndarray, "copy 2"]:
    """Return where each copy is after its action: it stays where a wall or the board's edge stops it."""
    wanted = np.clip(cells + MOVES[actions], 0, CELLS - 1)
    blocked = walls[np.arange(len(cells)), wanted[:, 0], wanted[:, 1]]
    return np.where(blocked[:, None], cells, wanted)


def downhill(steps: Int64[np.ndarray, "copy 8 8"], cells: Int64[np.ndarray, "copy 2"]) -> Int64[np.ndarray, " copy"]:
    """Return the action that comes nearer to the goal in every copy: the first of the best, or to stay where nothing does."""
    copies = np.arange(len(cells))
    reached = np.clip(cells[:, None] + MOVES, 0, CELLS - 1)  # [copy, action, 2]
    return steps[copies[:, None], reached[..., 0], reached[..., 1]].argmin(axis=1).astype(np.int64)


def scaled(*cells: Int64[np.ndarray, "copy 2"]) -> np.ndarray:
    """Column and row of each thing, in [-1, 1], beside one another."""
    return np.concatenate([2.0 * cell[:, ::-1] / (CELLS - 1) - 1.0 for cell in cells], axis=1).astype(np.float32)
