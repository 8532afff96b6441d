"""Worlds whose frames are numbers in, those numbers out: what a learner on state vectors sees."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped


class VectorObserver:
    """The newest frame itself, a vector of ``width`` numbers."""

    def __init__(self, copies: int, width: int) -> None:
        self.shape: tuple[int, ...] = (width,)
        self._seen = np.zeros((copies, width), np.float32)

    def start(self, which: Int[np.ndarray, " started"], frames: Shaped[np.ndarray, "started feature"]) -> None:
        """Begin an episode of these copies."""
        self._seen[which] = frames

    def push(self, which: Int[np.ndarray, " moved"], frames: Shaped[np.ndarray, "moved feature"]) -> None:
        """Take the next frame of these copies."""
        self._seen[which] = frames

    def observe(self, live: Bool[np.ndarray, " copy"]) -> Float32[np.ndarray, "copy feature"]:
        """Return what every copy shows now."""
        return self._seen.copy()
