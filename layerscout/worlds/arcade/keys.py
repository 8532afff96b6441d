"""Keys: fetch the key, then go to the door; what is in the hand decides where to go."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from numpy.typing import NDArray

from layerscout.worlds.arcade.base import ArcadeGame
from layerscout.worlds.arcade.cells import CELLS, MOVES, PIXELS, scaled

STEP_REWARD = -0.01
FLOOR, AGENT, HOLDER = (30, 30, 40), (60, 140, 240), (140, 240, 140)
KEY, DOOR = (240, 220, 80), (170, 80, 60)


class Keys(ArcadeGame):
    """Vectorised Keys world. State: agent, key and door (column, row, each in [-1, 1]), then 1 when the key is held and 0 otherwise.

    8 × 8 cells; stay, up, down, left, right. Reaching the key gives +0.5, reaching the door with the key +0.5 and the end, every other
    step −0.01; a door without the key is floor. Truncated after 80 steps. The optimum is 1 − 0.01 · (steps − 2) by the shortest way.
    """

    action_count = len(MOVES)
    step_limit = 80

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.agent = np.zeros((copies, 2), dtype=np.int64)
        self.key = np.ones((copies, 2), dtype=np.int64)
        self.door = np.full((copies, 2), 2, dtype=np.int64)
        self.held = np.zeros(copies, dtype=bool)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Draw three different cells for agent, key and door; nothing is held."""
        places = generator.choice(CELLS * CELLS, 3, replace=False)
        self.agent[copy], self.key[copy], self.door[copy] = (divmod(int(place), CELLS) for place in places)
        self.held[copy] = False

    def advance(
        self, actions: Int64[np.ndarray, " copy"], live: Bool[np.ndarray, " copy"]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Move agents by one of five choices; the reward is 0.5 for fetching the key and for opening the door, else −0.01."""
        stepped = np.clip(self.agent + MOVES[actions], 0, CELLS - 1)
        self.agent = np.where(live[:, None], stepped, self.agent)
        fetched = live & ~self.held & (self.agent == self.key).all(axis=1)
        opened = live & self.held & (self.agent == self.door).all(axis=1)
        self.held |= fetched
        return np.where(fetched | opened, 0.5, STEP_REWARD), opened

    def draw(self, chosen: NDArray[np.intp]) -> UInt8[np.ndarray, "copy 32 32 3"]:
        """One colour a cell; the key disappears and the agent changes its colour once it holds the key."""
        pictures = np.broadcast_to(np.array(FLOOR, dtype=np.uint8), (len(chosen), CELLS, CELLS, 3)).copy()
        copies, held = np.arange(len(chosen)), self.held[chosen]
        pictures[copies, self.door[chosen, 0], self.door[chosen, 1]] = DOOR
        pictures[copies[~held], self.key[chosen[~held], 0], self.key[chosen[~held], 1]] = KEY
        pictures[copies, self.agent[chosen, 0], self.agent[chosen, 1]] = np.where(held[:, None], HOLDER, AGENT)
        return pictures.repeat(PIXELS, axis=1).repeat(PIXELS, axis=2)

    def state(self) -> Float32[np.ndarray, "copy 7"]:
        """Agent, key and door as column and row in [-1, 1], then 1.0 where the key is held and else 0.0."""
        return np.concatenate([scaled(self.agent, self.key, self.door), self.held[:, None].astype(np.float32)], axis=1)

    def expert(self) -> Int64[np.ndarray, " copy"]:
        """Walk to the key, and from there to the door, rows before columns."""
        rows, columns = (np.where(self.held[:, None], self.door, self.key) - self.agent).T
        return np.where(rows < 0, 1, np.where(rows > 0, 2, np.where(columns < 0, 3, np.where(columns > 0, 4, 0)))).astype(np.int64)
