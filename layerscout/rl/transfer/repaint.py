"""A student's and a teacher's rollouts in, a student out: REPAINT on clipped PPO, in the order of algorithm 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from layerscout.rl.agents.densities import cross_entropy, log_probability
from layerscout.rl.agents.ppo import PPO, ActorCritic, Steps, clipped
from layerscout.rl.memory.rollout import Rollout
from layerscout.rl.transfer.config import RepaintConfig, ZetaUnit
from layerscout.rl.transfer.teacher import Teacher

CHOOSING = 5  # purpose of the random stream that draws among the teacher's kept steps


class Taught(NamedTuple):
    """What the teacher played, judged by the target task's rewards and the student's value, [run, step, ...]."""

    steps: Steps  # ``old`` is the denominator of the ratio, ``advantage`` is that of `in_unit`
    kept: Bool[np.ndarray, "run step"]
    effective: Float32[np.ndarray, " run"]  # (Σ ρ)² / (n Σ ρ²) of the kept steps, ρ by the teacher's density

    @property
    def kept_share(self) -> Float[np.ndarray, " run"]:
        """The share of the teacher's steps whose advantage passed the threshold, in [0, 1]."""
        return self.kept.mean(axis=1)


def in_unit(advantage: Float[Tensor, "run step"], unit: ZetaUnit) -> Float[Tensor, "run step"]:
    """Return every run's advantages as L_ins weighs them, and as ζ counts them unless the unit is the reward.

    Parameters
    ----------
    unit
        ``upward``: distances from the median, in root mean squares of those above it. At most half of the steps lie above 0, and a few very bad
        ones, which stretch a standard deviation, change nothing. ``deviation``: from the mean, in standard deviations. ``reward``: from 0, in
        standard deviations, so that α₂ weighs alike in all three.
    """
    if unit == "upward":
        above = advantage - advantage.median(1, keepdim=True).values
        upper = above.clamp(min=0.0).square().sum(1, keepdim=True) / (above > 0).sum(1, keepdim=True).clamp(min=1)
        return above / torch.where(upper > 0.0, upper, 1.0).sqrt()  # where nothing lies above, nothing passes
    centre = advantage.mean(1, keepdim=True) if unit == "deviation" else 0.0
    spread = advantage.std(1, keepdim=True) + 1e-8 if advantage.shape[1] > 1 else 1.0  # one step alone has none
    return (advantage - centre) / spread


@dataclass(frozen=True)
class Lesson:
    """What is learned in one iteration besides the rollout: weights of both losses, and the teacher's judged steps."""

    beta: float
    alpha2: float
    taught: Taught | None


class Repaint(PPO):
    """Clipped PPO that also learns from a teacher: drawn to it in its own states, and from those of its steps that serve the target task.

    θ ← θ + α₁ ∇(L_clip − β_k L_aux) + α₂ ∇L_ins; the value is fitted on the student's steps alone.

    Parameters
    ----------
    arm
        What is learned from the teacher, and how.
    network_factory, seeds, device
        See `PPO`.
    teacher
        None: the baseline.

    References
    ----------
    Tao, Genc, Chung, Sun & Mallya 2021, "REPAINT: knowledge transfer in deep reinforcement learning", algorithm 1, eq. 4.1 and 4.2.
    Schmitt et al. 2018, "Kickstarting deep reinforcement learning", arXiv 1803.03835, for L_aux.
    """

    def __init__(
        self,
        arm: RepaintConfig,
        network_factory: Callable[[Sequence[int]], ActorCritic],
        seeds: Sequence[int],
        teacher: Teacher | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(arm.ppo, network_factory, seeds, device)
        self.arm, self.teacher = arm, teacher
        self.choosing = self.random_streams("choosing", CHOOSING)

    @torch.no_grad()
    def judge(self, rollout: Rollout) -> Taught:
        """Select among a teacher's steps: A' ≥ ζ, with A' by the rewards that they have in the target task."""
        plain = self.prepare(rollout)
        advantage = in_unit(plain.advantage, self.arm.zeta_unit)
        kept = (plain.advantage if self.arm.zeta_unit == "reward" else advantage) >= self.arm.zeta
        assert self.teacher is not None, "a teacher played this"
        its = log_probability(*self.teacher.policy(plain.z), plain.action)
        ratio = (plain.old - its).clamp(max=30.0).exp() * kept
        effective = ratio.sum(1).square() / (ratio.square().sum(1) * kept.sum(1)).clamp(min=1e-30)
        old = its if self.arm.denominator == "teacher" else plain.old
        return Taught(plain._replace(old=old, advantage=advantage), kept.cpu().numpy(), effective.cpu().numpy())

    @torch.no_grad()
    def study(self, rollout: Rollout, lesson: Lesson) -> Float32[np.ndarray, "update run"]:
        """Learn from the student's rollout and a lesson; return the losses of every update."""
        steps, losses = self.prepare(rollout), []
        for _ in range(self.config.epochs):
            order = torch.from_numpy(np.stack([generator.permutation(rollout.steps) for generator in self.order]))
            for places in order.split(self.config.batch, dim=1):
                losses.append(self.counted(partial(self._improve, steps.at(places), lesson)))  # noqa: PERF401
        return np.stack(losses)

    def _improve(self, steps: Steps, lesson: Lesson) -> Float32[np.ndarray, " run"]:
        """L = −α₁ (L_clip − β H(π_T, π)) − α₂ L_ins + c_V (V − goal)²."""
        size, teacher = steps.z.shape[1], self.teacher
        taught = self._chosen(lesson.taught) if lesson.taught is not None else None
        states = steps.z if taught is None else torch.cat([steps.z, taught.z], dim=1)
        output, policy_tape = self.network.policy.record(states, learned=states.shape[1])
        value, value_tape = self.network.value.record(steps.z, learned=size)
        wanted = teacher.policy(steps.z) if teacher is not None and lesson.beta else None
        with torch.enable_grad():
            leaves = [leaf.requires_grad_() for leaf in (output, value)]
            loss = self.value_loss(steps, value) + self.arm.alpha1 * self.policy_loss(steps, output[:, :size])
            if wanted is not None:
                distance = cross_entropy(*wanted, output[:, :size], self.network.logarithm)
                loss = loss + self.arm.alpha1 * lesson.beta * distance.mean(1)
            if taught is not None and lesson.taught is not None:
                some = torch.from_numpy(lesson.taught.kept.any(axis=1))
                loss = loss - lesson.alpha2 * torch.where(some, self.instance_gain(taught, output[:, size:]).mean(1), 0.0)
        self.descend(loss, leaves, policy_tape, value_tape)
        return loss.detach().cpu().numpy()

    def instance_gain(self, taught: Steps, output: Float[Tensor, "run step out"]) -> Float[Tensor, "run step"]:
        """min(ρ A', clip(ρ, 1 − ε, 1 + ε) A') with ρ at most ``largest_ratio``."""
        distance = log_probability(output, self.network.logarithm, taught.action) - taught.old
        ratio = distance.clamp(max=float(np.log(self.arm.largest_ratio))).exp()
        return clipped(ratio, taught.advantage, self.config.clip)

    def _chosen(self, taught: Taught) -> Steps:
        """Draw among the kept steps with replacement; a run that kept none gets its first ones, which then count nothing."""
        drawn = np.zeros((len(self.seeds), self.arm.instances), np.int64)
        for run, (kept, generator) in enumerate(zip(taught.kept, self.choosing, strict=True)):
            places: Int64[np.ndarray, " kept"] = np.flatnonzero(kept)
            chances = generator.random(self.arm.instances)
            if len(places):
                drawn[run] = places[(chances * len(places)).astype(np.int64)]
        return taught.steps.at(torch.from_numpy(drawn))
