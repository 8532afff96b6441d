"""Transitions of a fixed dataset in, policies in closed form out: one ridge for each action, or one that copies; no gradient, no iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, Shaped

from layerscout.errors import UsageError
from layerscout.rl.agents.base import ActionArray
from layerscout.rl.agents.configs import RidgeConfig
from layerscout.rl.memory.replay import ReplayRows

Form = Literal["improvement", "cloning"]
FEWEST = 2  # rows in which an action must have been taken, or it is never played


class LinearPolicy:
    """z ↦ z W + b: one column an action, of which the largest is played, or one a dimension of a continuous action.

    Parameters
    ----------
    weights, intercept
        W and b; W may have fewer rows than z has features, which are then its first ones.
    continuous
        Whether the values are the action itself, cut to [-1, 1].
    """

    def __init__(self, weights: Float[np.ndarray, "feature out"], intercept: Float[np.ndarray, " out"], continuous: bool = False) -> None:
        self.weights, self.intercept, self.continuous = weights.astype(np.float32), intercept.astype(np.float32), continuous

    def act(self, z: Float32[np.ndarray, "batch feature"]) -> Int64[np.ndarray, " batch"] | Float32[np.ndarray, "batch dimension"]:
        """Return the best discrete action, or the continuous one clipped to [-1, 1]."""
        values = z[..., : len(self.weights)] @ self.weights + self.intercept
        return values.clip(-1.0, 1.0) if self.continuous else values.argmax(-1)


class ClosedForm:
    """Runs that play solved policies. It has the face of a learner that has finished, so that it is evaluated and reported like one.

    Parameters
    ----------
    policies, arms
        The solved policies, and which of them each run plays. Runs of one policy differ only in the episodes that they are evaluated on.
    seeds
        One a run.
    flops
        What solving each policy took.
    """

    updates = 1  # solved once

    def __init__(self, policies: Sequence[LinearPolicy], arms: Sequence[int], seeds: Sequence[int], flops: Sequence[float]) -> None:
        self._policies, self._arms, self._flops = list(policies), np.asarray(arms), np.asarray(flops)
        self.seeds = tuple(seeds)
        self.failed: Bool[np.ndarray, " run"] = np.zeros(len(self.seeds), dtype=np.bool_)
        self.reasons: dict[int, str] = {}

    def act(self, z: Shaped[np.ndarray, "run batch feature"]) -> ActionArray:
        """Return what each run's policy plays."""
        return np.stack([self._policies[arm].act(own) for arm, own in zip(self._arms, z, strict=True)])

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Solved numbers of each run's policy."""
        sizes = np.array([policy.weights.size + policy.intercept.size for policy in self._policies], dtype=np.int64)
        return sizes[self._arms]

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of solving each run's policy."""
        return self._flops[self._arms].astype(np.int64)


def solve_policy(rows: ReplayRows, form: Form, config: RidgeConfig, actions: int) -> tuple[LinearPolicy, float]:
    """Solve a policy on all transitions of a table, and say what that took in floating-point operations.

    improvement
        For each action a, q_a(z) = the ridge regression of the returns that followed on the rows in which a was taken; the policy plays
        argmax_a q_a(z). With actions that know nothing this is one step of policy improvement: E[G | z, a] is Q of the policy that
        played, and a policy that is greedy in Q is no worse (Sutton and Barto 2018, §4.2). From data with an expert in it the returns
        of an action also tell when an expert takes it, and the step can lead anywhere.
    cloning
        The ridge regression of what was done, one column a discrete action or a dimension; the policy plays the largest column, or the
        action itself.

    The regression is min over W, b of mean |y − z W − b|² + λ |W|², λ = ``config.penalty``, on features of standard deviation 1.

    Parameters
    ----------
    rows
        One table, made by `rows_of_returns`: its ``reward`` is what followed.
    actions
        Discrete actions there are; 0 when they are continuous.

    Raises
    ------
    UsageError
        An improvement is asked for with continuous actions.
    """
    places = rows.transitions
    z, action = rows.tables[0][places], rows.action[places]
    if form == "cloning":
        target = np.eye(actions, dtype=np.float32)[action] if actions else action
        return LinearPolicy(*ridge(z, target, config.penalty), continuous=not actions), solving_flops(*z.shape)
    if not actions:
        raise UsageError("a ridge for each action needs discrete actions", hint='--set train.ridge.form=cloning, or train.algorithm="iql"')
    returns, known = rows.reward[places], np.bincount(action, minlength=actions) >= FEWEST
    weights, intercept = np.zeros((z.shape[1], actions)), np.full(actions, -np.inf)
    for one in np.flatnonzero(known):
        taken = action == one
        solved, constant = ridge(z[taken], returns[taken, None], config.penalty)
        weights[:, one], intercept[one] = solved[:, 0], constant[0]
    return LinearPolicy(weights, intercept), sum(solving_flops(int((action == one).sum()), z.shape[1]) for one in np.flatnonzero(known))


def ridge(
    z: Float[np.ndarray, "row feature"], target: Float[np.ndarray, "row out"], penalty: float
) -> tuple[Float[np.ndarray, "feature out"], Float[np.ndarray, " out"]]:
    """Solve min over W, b of mean |y − z W − b|² + penalty · |W|²; through the rows where there are fewer of them than features.

    Sums of products are in the features' own type; the system is solved in float64.
    """
    count, width = z.shape
    mean, middle = z.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    centred, wanted = z - mean.astype(z.dtype), target - middle
    if width <= count:
        gram = (centred.T @ centred).astype(np.float64)
        gram[np.diag_indices(width)] += penalty * count
        weights = np.linalg.solve(gram, centred.T.astype(np.float64) @ wanted)
    else:
        gram = (centred @ centred.T).astype(np.float64)
        gram[np.diag_indices(count)] += penalty * count
        weights = centred.T.astype(np.float64) @ np.linalg.solve(gram, wanted)
    return weights, middle - mean @ weights


def solving_flops(rows: int, width: int) -> float:
    """Multiply-adds times two of the sums of products and of one factorisation."""
    small, large = min(rows, width), max(rows, width)
    return float(2 * large * small**2 + 2 * small**3 // 3)


def rows_of_returns(table: Float32[np.ndarray, "row feature"], columns: dict[str, Any], config: RidgeConfig) -> ReplayRows:
    """Return a table's transitions with what followed each: Σ γⁱ r_{t+i} over ``config.steps`` steps, or to the end of its episode.

    Nothing stands for what comes after a truncation.
    """
    longest = int(np.max(columns["step"], initial=1))
    return ReplayRows([table], [0], **columns, steps=config.steps or max(longest, 1), gamma=config.gamma)
