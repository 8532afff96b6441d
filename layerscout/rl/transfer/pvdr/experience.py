"""Rounds of play in, clips with the actions done in them out: what an agent has lived through, as tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor

from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.rl.transfer.pvdr.alignment import seen
from layerscout.rl.transfer.pvdr.rounds import Round
from layerscout.rl.transfer.pvdr.tokens import coded, pictures


class ActionClips(NamedTuple):
    """Clips of m + n frames; the action is the one done after the m-th frame, and ``seen`` says where things are in that frame."""

    tokens: Int64[Tensor, "clip time row column"]
    seen: Float32[Tensor, "clip feature"]
    actions: Float32[Tensor, "clip dimension"]


class Experience:
    """Frames as tokens and as where things are, with actions, of episodes in a row.

    Parameters
    ----------
    tokenizer
        Codes the frames; it no longer changes.
    history, future
        m and n of the clips.
    """

    def __init__(self, tokenizer: FrameTokenizer, history: int, future: int) -> None:
        self.tokenizer, self.history, self.future = tokenizer, history, future
        self.tokens: UInt8[np.ndarray, "row row_ column"] = np.zeros((0, 0, 0), np.uint8)
        self.seen: Float32[np.ndarray, "row feature"] = np.zeros((0, 0), np.float32)
        self.actions: Float32[np.ndarray, "row dimension"] = np.zeros((0, 0), np.float32)  # NaN after an episode's last frame
        self.lengths: list[int] = []  # frames of every episode

    def add(self, played: Round) -> None:
        """Keep what was played."""
        frames, actions = list[np.ndarray](), list[np.ndarray]()
        done = np.clip(played.actions, -1.0, 1.0)
        for copy, steps in enumerate(played.lengths):
            frames.append(played.frames[: steps + 1, copy])
            actions.append(np.concatenate([done[:steps, copy], np.full((1, done.shape[2]), np.nan, np.float32)]))
            self.lengths.append(int(steps) + 1)
        joined = np.concatenate(frames)
        new = (coded(self.tokenizer, joined), seen(pictures(joined)).numpy(), np.concatenate(actions))
        kept = (self.tokens, self.seen, self.actions)
        self.tokens, self.seen, self.actions = (
            np.concatenate([old, part]) if len(old) else part for old, part in zip(kept, new, strict=True)
        )

    def _ends(self) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
        """First and last row of the episode that every row belongs to."""
        lengths = np.array(self.lengths, dtype=np.int64)
        first = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return first, first + np.repeat(lengths, lengths) - 1

    def whole(self) -> Int64[np.ndarray, " row"]:
        """Return the rows after which n more frames and before which m − 1 lie in the same episode."""
        first, last = self._ends()
        rows = np.arange(len(first))
        return rows[(rows - first >= self.history - 1) & (rows + self.future <= last)]

    def clips(self, rows: Int64[np.ndarray, " clip"]) -> ActionClips:
        """Return the clips whose present frames are these rows, which are some of ``whole()``."""
        around = rows[:, None] + np.arange(1 - self.history, self.future + 1)
        tokens = torch.from_numpy(self.tokens[around].astype(np.int64))
        return ActionClips(tokens, torch.from_numpy(self.seen[rows]), torch.from_numpy(self.actions[rows]))

    def ahead(self, rows: Int64[np.ndarray, " row"], share: Float64[np.ndarray, " row"], most: int) -> Int64[np.ndarray, " row"]:
        """Return for every row a later one of its episode, at most ``most`` steps on; ``share`` in [0, 1) says which."""
        _, last = self._ends()
        room = np.minimum(last[rows] - rows, most)
        return rows + 1 + np.minimum((share * room).astype(np.int64), room - 1)

    def acted(self) -> Int64[np.ndarray, " row"]:
        """Return the rows after which something was done."""
        return np.flatnonzero(np.isfinite(self.actions).all(axis=1))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that was kept."""
        return {"tokens": self.tokens, "seen": self.seen, "actions": self.actions, "lengths": list(self.lengths)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.tokens, self.seen, self.actions = state["tokens"], state["seen"], state["actions"]
        self.lengths = [int(length) for length in state["lengths"]]
