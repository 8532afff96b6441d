"""Steps as they are played in, windows of consecutive steps out: a memory that keeps the newest frames of every run, in order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8

from layerscout.errors import DataError
from layerscout.rl.memory.sampling import aligned


class StepWindows(NamedTuple):
    """Windows of one run's steps. ``first`` is True where an episode begins and at the beginning of every window."""

    frames: UInt8[np.ndarray, "window time height width channel"]
    actions: Float32[np.ndarray, "window time action"]
    rewards: Float32[np.ndarray, "window time"]
    terminated: Bool[np.ndarray, "window time"]
    first: Bool[np.ndarray, "window time"]


class SequenceReplay:
    """A ring of frames for every run. A frame stands with the action that led to it, the reward on arrival, and whether the task ended there.

    Parameters
    ----------
    runs, capacity
        How many runs, and frames that each keeps.
    frame_shape
        Height, width, channels.
    actions
        Width of an action; a discrete one is one-hot.
    """

    def __init__(self, runs: int, capacity: int, frame_shape: tuple[int, ...], actions: int) -> None:
        self.capacity = capacity
        self._columns: dict[str, Shaped[np.ndarray, "run frame *what"]] = {
            "frames": np.zeros((runs, capacity, *frame_shape), np.uint8),
            "actions": np.zeros((runs, capacity, actions), np.float32),
            "rewards": np.zeros((runs, capacity), np.float32),
            "terminated": np.zeros((runs, capacity), np.bool_),
            "first": np.zeros((runs, capacity), np.bool_),
        }
        self._added = np.zeros(runs, np.int64)
        self._out: UInt8[np.ndarray, "window time height width channel"] | None = None  # of the newest sample: its place is used again

    @property
    def size(self) -> Int64[np.ndarray, " run"]:
        """Frames that are held of every run, at most ``capacity``."""
        return np.minimum(self._added, self.capacity)

    def begin(self, which: Int64[np.ndarray, " started"], frames: UInt8[np.ndarray, "started height width channel"]) -> None:
        """Add the first frames of new episodes of the runs ``which``."""
        zeros = np.zeros(len(which), np.float32)
        self._add(which, frames, np.zeros((len(which), self._columns["actions"].shape[2]), np.float32), zeros, zeros > 0, zeros == 0)

    def add(
        self,
        frames: UInt8[np.ndarray, "run height width channel"],
        actions: Float32[np.ndarray, "run action"],
        rewards: Float32[np.ndarray, " run"],
        terminated: Bool[np.ndarray, " run"],
    ) -> None:
        """Add what every run's action led to."""
        self._add(np.arange(len(rewards)), frames, actions, rewards, terminated, np.zeros(len(rewards), np.bool_))

    def sample(self, run: int, batch: int, length: int, generator: np.random.Generator) -> StepWindows:
        """Draw windows of one run that begin anywhere; the arrays of frames are used again by the next call."""
        size, oldest = int(self.size[run]), int(self._added[run] - self.size[run])
        begins = generator.integers(0, size - length + 1, batch)
        places = (oldest + begins[:, None] + np.arange(length)) % self.capacity
        found = {name: column[run][places] for name, column in self._columns.items() if name != "frames"}
        frames = self._columns["frames"][run]
        if self._out is None or self._out.shape[:2] != (batch, length):
            self._out = aligned((batch, length, *frames.shape[1:]), frames.dtype)
        np.take(frames, places, axis=0, out=self._out, mode="clip")
        found["first"][:, 0] = True
        return StepWindows(self._out, **found)

    def state_dict(self) -> dict[str, Any]:
        """Return what is held; nothing of places that were never filled."""
        most = int(self.size.max())
        return {"columns": {name: column[:, :most] for name, column in self._columns.items()}, "added": self._added.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved memory back; one in which nothing has made room yet fits into any that holds it.

        Raises
        ------
        DataError
            The state is of another shape, or of another capacity at which frames made room.
        """
        added = state["added"]
        for name, column in self._columns.items():
            saved = state["columns"][name].shape
            fits = (saved[0], *saved[2:]) == (len(column), *column.shape[2:]) and saved[1] <= self.capacity
            if not fits or (saved[1] < self.capacity and int(added.max(initial=0)) > saved[1]):  # where room was made, all places are held
                raise DataError(
                    f"saved memory holds {name!r} {saved}, expected {column.shape}",
                    hint="continue with the same arms, seeds and replay capacity",
                )
        self._added[:] = added
        for name, column in self._columns.items():
            column[:, : state["columns"][name].shape[1]] = state["columns"][name]

    def _add(self, which: Int64[np.ndarray, " some"], frames: Any, actions: Any, rewards: Any, terminated: Any, first: Any) -> None:
        places = self._added[which] % self.capacity
        for name, values in zip(self._columns, (frames, actions, rewards, terminated, first), strict=True):
            self._columns[name][which, places] = values
        self._added[which] += 1
