"""The settings of transfer from a teacher: frozen, closed to unknown keys, and readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from layerscout.rl.agents.configs import PPOConfig
from layerscout.settings import Config

REACHER_PPO = PPOConfig(
    lr=1e-3, batch=250, epochs=6, length=50, environments=40, reward_scale=0.1, lowest_log_deviation=-3.0
)  # 2,000 steps an iteration, whole episodes


class RepaintConfig(Config):
    """Settings of one arm; equal for all its seeds. Schedules are in shares of the iterations."""

    arm: Literal["baseline", "ks", "it", "repaint"] = Field(
        default="repaint", description="No teacher, kickstarting alone, instances alone, or both."
    )
    iterations: int = Field(default=60, ge=1, description="Rollouts that the student plays and learns from.")
    seeds: int = Field(default=8, ge=1, description="Runs.")
    beta: float = Field(default=1.0, ge=0.0, description="First weight of the cross-entropy from teacher to student.")
    beta_decay: float = Field(default=0.4, gt=0.0, description="Share of the iterations after which that weight is 0; it falls linearly.")
    alpha1: float = Field(default=1.0, gt=0.0, description="Weight of what is learned from the student's own steps.")
    alpha2: float = Field(default=1.0, ge=0.0, description="First weight of what is learned from the teacher's steps.")
    alpha2_decay: float = Field(
        default=0.25, gt=0.0, description="Share of the iterations after which that weight is 0, and the teacher plays no longer."
    )
    zeta: float = Field(default=1.0, description="Smallest advantage of a teacher's step that is kept, in standard deviations.")
    centred: bool = Field(default=True, description="Subtract the mean from the teacher's advantages before they are compared with zeta.")
    denominator: Literal["old", "teacher"] = Field(
        default="old", description="What the student's probability of a teacher's action is divided by: its own before, or the teacher's."
    )
    largest_ratio: float = Field(default=10.0, gt=1.0, description="Bound of that ratio.")
    instances: int = Field(default=128, ge=1, description="Kept steps of the teacher in one update.")
    alternating: bool = Field(default=False, description="Learn from student and teacher in turns, iteration by iteration.")
    evaluation_episodes: int = Field(
        default=64, ge=1, description="Greedy episodes after every iteration, the same for all arms and seeds."
    )
    ppo: PPOConfig = Field(default=REACHER_PPO, description="Settings of the student.")

    @property
    def kicks(self) -> bool:
        """Whether the student is drawn towards the teacher in its own states."""
        return self.arm in {"ks", "repaint"}

    @property
    def instructs(self) -> bool:
        """Whether the teacher plays and the student learns from its steps."""
        return self.arm in {"it", "repaint"}

    def beta_at(self, iteration: int) -> float:
        """Weight of the cross-entropy at an iteration, which count from 0; in the alternating form at even ones only."""
        turn = not (self.alternating and self.arm == "repaint") or iteration % 2 == 0
        return self.beta * faded(iteration, self.beta_decay * self.iterations) if self.kicks and turn else 0.0

    def alpha2_at(self, iteration: int) -> float:
        """Weight of the teacher's steps at an iteration; in the alternating form at odd ones only."""
        turn = not (self.alternating and self.arm == "repaint") or iteration % 2 == 1
        return self.alpha2 * faded(iteration, self.alpha2_decay * self.iterations) if self.instructs and turn else 0.0


def faded(iteration: int, until: float) -> float:
    """Return a weight that falls linearly from 1 at iteration 0 to 0 at iteration ``until``, and stays there."""
    return max(0.0, 1.0 - iteration / until)
