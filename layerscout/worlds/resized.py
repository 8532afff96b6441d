"""A world in, the same world with square frames of another size out."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from layerscout.worlds.core import StepOutcome, World, WorldActions


def resize(frames: UInt8[np.ndarray, "copy height width channel"], size: int) -> UInt8[np.ndarray, "copy size size channel"]:
    """Return every frame as ``size`` x ``size`` pixels, each the mean of the area it covers (Pillow's BOX filter).

    Frames that are not square are squeezed, not cropped, so that nothing leaves the picture.
    """
    out = np.empty((len(frames), size, size, frames.shape[3]), dtype=np.uint8)
    for copy, frame in enumerate(frames):
        if frame.shape[2] == 3:
            out[copy] = _box(frame, size)
        else:
            for channel in range(frame.shape[2]):
                out[copy, ..., channel] = _box(frame[..., channel], size)
    return out


def _box(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BOX))


class Resized:
    """A world whose frames are ``size`` x ``size``; everything else is the inner world's."""

    def __init__(self, world: World, size: int) -> None:
        self._world, self._size = world, size
        self.copies, self.settings = world.copies, world.settings
        self.action_count, self.action_dimensions = world.action_count, world.action_dimensions
        self.frame_shape = (size, size, world.frame_shape[2])
        self.optimal_expert = bool(getattr(world, "optimal_expert", False))

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Begin new episodes in the inner world; sizes do not enter."""
        self._world.reset(which, seeds)

    def step(self, actions: WorldActions) -> StepOutcome:
        """Take the inner world's step, whose reward and ends are passed on."""
        return self._world.step(actions)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """The inner world's frames averaged over boxes, uint8 ``[copy, size, size, channel]``."""
        return resize(self._world.frames(which), self._size)

    def __getattr__(self, name: str) -> Any:
        if name == "goals" and hasattr(self._world, "goals"):  # a world without goals keeps having none
            return self._goals
        if name == "pictures" and hasattr(self._world, "pictures"):  # what people see keeps its own size and colours
            return self._world.pictures
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")

    def _goals(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        return resize(self._world.goals(which), self._size)  # type: ignore[attr-defined]

    def state(self) -> NDArray[np.float32] | None:
        """The inner world's state, or None."""
        return self._world.state()

    def expert(self) -> WorldActions | None:
        """The inner world's expert, or None."""
        return self._world.expert()

    def close(self) -> None:
        """Close the inner world."""
        self._world.close()
