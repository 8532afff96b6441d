"""A world with vector actions that is a line of arithmetic: what continuous machinery is tested on."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from layerscout.worlds.core import StepOutcome


class Slide:
    """A point in the plane starts at random and moves by the action; the reward is minus its distance from the origin.

    Terminated on reaching the disc of radius 0.2, truncated after 12 steps. Actions act four times weaker than the expert thinks
    necessary, so several steps are needed.
    """

    action_count = 0
    action_dimensions = 2
    frame_shape = (4, 4, 3)
    settings = MappingProxyType({})

    def __init__(self, copies: int) -> None:
        self.copies = copies
        self.place = np.zeros((copies, 2))
        self.clock = np.zeros(copies, dtype=int)
        self.done = np.ones(copies, dtype=bool)

    def reset(self, which, seeds):
        for copy, seed in zip(which, seeds, strict=True):
            self.place[copy] = np.random.default_rng(int(seed)).uniform(-1, 1, 2)
        self.clock[which], self.done[which] = 0, False

    def step(self, actions):
        assert actions.shape == (self.copies, 2)
        assert actions.dtype == np.float32
        live = ~self.done
        self.place[live] += 0.25 * actions[live]
        self.clock[live] += 1
        distance = np.linalg.norm(self.place, axis=1)
        arrived = live & (distance < 0.2)
        late = live & ~arrived & (self.clock >= 12)
        self.done |= arrived | late
        return StepOutcome(np.where(live, -distance, 0).astype(np.float32), arrived, late)

    def frames(self, which=None):
        place = self.place if which is None else self.place[which]
        frames = np.zeros((len(place), 4, 4, 3), dtype=np.uint8)
        frames[..., 0], frames[..., 1] = ((np.clip(place, -2, 2) + 2) * 63).astype(np.uint8).T[:, :, None, None]
        return frames

    def pictures(self, which=None):
        return self.frames(which)

    def state(self):
        return self.place.astype(np.float32)

    def expert(self):
        return np.clip(-4 * self.place, -1, 1).astype(np.float32)

    def close(self):
        pass
