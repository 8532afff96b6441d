"""Gymnasium's Reacher-v5 solved by hand, many copies as numpy vectors: an analytic twin whose "frames" are scaled state vectors.

Both joints have an armature of 1, beside which the links' inertia is a thousandth. So each joint moves by itself, q'' = 200 a − q', which is
integrated exactly over one frame of 0.02 s. A test holds it against the simulator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscout.errors import UsageError
from layerscout.worlds.core import StepOutcome

FRAME = 0.02  # seconds
GEAR = 200.0  # torque of an action of 1
LIMIT = 3.0  # rad: the second joint stops there
LENGTH = 50  # steps of an episode
LINKS = (0.10, 0.11)  # m, to the fingertip
REACH = 0.2  # m: goals lie within
DECAY = math.exp(-FRAME)
# what a learner sees is brought to numbers of about 1: goals are within 0.2, speeds within 10
SCALE = np.array([1, 1, 1, 1, 5, 5, 0.1, 0.1, 5, 5], np.float32)


class ReacherTwin:
    """Two joints bring a fingertip to a goal. State: cos q, sin q, goal, q', fingertip − goal (rad, m, rad/s), as in Reacher-v5.

    r = −w_distance ‖fingertip − goal‖ − w_control ‖a‖²; an episode is truncated after 50 steps.

    Parameters
    ----------
    copies
        Games side by side.
    distance, control
        Weights of the two parts of the reward.

    Raises
    ------
    UsageError
        A weight is not finite.
    """

    action_count, action_dimensions = 0, 2
    settings: Mapping[str, Any] = MappingProxyType({})
    frame_shape = (len(SCALE),)

    def __init__(self, copies: int, distance: float = 1.0, control: float = 1.0) -> None:
        if not (math.isfinite(distance) and math.isfinite(control)):
            raise UsageError(f"reward weights {distance} and {control} are not finite", hint="Reacher-v5 has 1 and 1")
        self.copies, self.distance, self.control = copies, distance, control
        self.angle, self.speed, self.goal = (np.zeros((copies, 2)) for _ in range(3))
        self.clock = np.full(copies, LENGTH)

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Draw goals evenly on a disc, angles within 0.1 rad and speeds within 0.005 rad/s of 0, each copy by its seed."""
        for copy, seed in zip(which, seeds, strict=True):
            radius, direction, *rest = np.random.default_rng(int(seed)).random(6)
            place = REACH * math.sqrt(radius)
            self.goal[copy] = place * math.cos(math.tau * direction), place * math.sin(math.tau * direction)
            self.angle[copy] = 0.2 * np.array(rest[:2]) - 0.1
            self.speed[copy] = 0.01 * np.array(rest[2:]) - 0.005
        self.clock[which] = 0

    def step(self, actions: NDArray[np.float32]) -> StepOutcome:
        """Apply torques in [-1, 1], times the gear, for one step of the exact solution of the damped joints."""
        live = self.clock < LENGTH
        torque = GEAR * np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        angle = self.angle + self.speed * (1.0 - DECAY) + torque * (FRAME - (1.0 - DECAY))
        speed = self.speed * DECAY + torque * (1.0 - DECAY)
        speed[np.abs(angle[:, 1]) > LIMIT, 1] = 0.0
        angle[:, 1] = angle[:, 1].clip(-LIMIT, LIMIT)
        self.angle[live], self.speed[live] = angle[live], speed[live]
        self.clock[live] += 1
        away = np.linalg.norm(self._fingertip() - self.goal, axis=1)
        reward = -self.distance * away - self.control * np.square(torque / GEAR).sum(axis=1)
        return StepOutcome(np.where(live, reward, 0.0).astype(np.float32), np.zeros(self.copies, np.bool_), live & (self.clock == LENGTH))

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Return the scaled state, [copy, 10], as float32."""
        scaled = self.state() * SCALE
        return scaled if which is None else scaled[which]

    def state(self) -> NDArray[np.float32]:
        """Cosines and sines of both joints, goal, joint speeds, fingertip − goal: ten numbers; rad, m and rad/s."""
        parts = (np.cos(self.angle), np.sin(self.angle), self.goal, self.speed, self._fingertip() - self.goal)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def expert(self) -> None:
        """Answers None: no script plays this world."""

    def close(self) -> None:
        """The world holds neither files nor processes, so nothing is released."""

    def _fingertip(self) -> NDArray[np.float64]:
        first, both = self.angle[:, 0], self.angle.sum(axis=1)
        return np.stack([LINKS[0] * np.cos(first) + LINKS[1] * np.cos(both), LINKS[0] * np.sin(first) + LINKS[1] * np.sin(both)], axis=1)
