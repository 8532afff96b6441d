"""A goal world and a policy in, a round of episodes out: every copy plays one episode, and what was seen, done and planned is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from layerscout.worlds.core import GoalWorld

Frames = UInt8[np.ndarray, "copy height width channel"]


class Deed(NamedTuple):
    """What a policy does now, and what it planned: zeros where it plans nothing."""

    action: Float32[np.ndarray, "copy dimension"]  # before it is cut to [−1, 1]
    z: Tensor | None = None  # [copy, z]
    planned: Tensor | None = None  # the next picture of the plan, [copy, channel, height, width]
    ending: Tensor | None = None  # the last picture of the plan


class GoalPolicy(Protocol):
    """What chooses actions towards goal pictures."""

    def act(self, past: UInt8[np.ndarray, "copy m height width channel"], goals: Frames, live: Bool[np.ndarray, " copy"]) -> Deed:
        """Choose an action for every copy; what is chosen for copies that are not live is not done."""


@dataclass(frozen=True)
class Round:
    """One episode of every copy, padded to the longest: after its end a copy stands still and is not live.

    Attributes
    ----------
    frames
        [time + 1, copy, height, width, channel]: what was seen, the beginning included.
    goals
        The goals' pictures.
    deeds
        What the policy did, step by step.
    live
        Whether a copy still played, [time, copy].
    reached
        Whether it reached its goal.
    """

    frames: UInt8[np.ndarray, "times copy height width channel"]
    goals: Frames
    deeds: tuple[Deed, ...]
    live: Bool[np.ndarray, "time copy"]
    reached: Bool[np.ndarray, " copy"]

    @property
    def steps(self) -> int:
        """Environment steps that were really played."""
        return int(self.live.sum())

    @property
    def actions(self) -> Float32[np.ndarray, "time copy dimension"]:
        """What the policy asked for at every step, before it is clipped to [−1, 1]; a copy that no longer plays has some too."""
        return np.stack([deed.action for deed in self.deeds])

    @property
    def lengths(self) -> Int64[np.ndarray, " copy"]:
        """Environment steps of each copy's episode."""
        return self.live.sum(axis=0).astype(np.int64)


def play_round(world: GoalWorld, policy: GoalPolicy, seeds: Int64[np.ndarray, " copy"], history: int) -> Round:
    """Play one episode of every copy; at its beginning the first frame stands for those before it."""
    world.reset(np.arange(world.copies), seeds)
    goals, frames = world.goals(), [world.frames()]
    live, reached = np.ones(world.copies, bool), np.zeros(world.copies, bool)
    deeds, alive = list[Deed](), list[np.ndarray]()
    while live.any():
        past = np.stack([frames[max(0, len(frames) - 1 - back)] for back in range(history - 1, -1, -1)], axis=1)
        deed = policy.act(past, goals, live)
        outcome = world.step(np.clip(deed.action, -1.0, 1.0))
        deeds.append(deed)
        alive.append(live.copy())
        frames.append(world.frames())
        reached |= live & outcome.terminated
        live &= ~(outcome.terminated | outcome.truncated)
    return Round(np.stack(frames), goals, tuple(deeds), np.stack(alive), reached)


class HeldActions:
    """Random vectors that are held for a while, geometrically distributed; looks at nothing."""

    def __init__(self, dimensions: int, hold: float, generator: np.random.Generator) -> None:
        self.dimensions, self.hold, self.generator = dimensions, hold, generator
        self._held: Float32[np.ndarray, "copy dimension"] | None = None

    def act(self, past: UInt8[np.ndarray, "copy m height width channel"], goals: Frames, live: Bool[np.ndarray, " copy"]) -> Deed:
        """Return each copy's action in [−1, 1]: the one it held, or with probability 1 / hold a new one."""
        drawn = self.generator.uniform(-1.0, 1.0, (len(past), self.dimensions)).astype(np.float32)
        fresh = self.generator.random(len(past)) < 1.0 / self.hold
        self._held = drawn if self._held is None or len(self._held) != len(past) else np.where(fresh[:, None], drawn, self._held)
        return Deed(self._held.copy())
