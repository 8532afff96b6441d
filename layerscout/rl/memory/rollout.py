"""Steps of all runs as they are played in, one rollout and its advantages out: what a learner on its own policy learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Real, Shaped

from layerscout.errors import DataError

COLUMNS = ("z", "action", "reward", "terminated", "truncated", "ahead")


class Rollout(NamedTuple):
    """Steps that every run has played with the policy that it has now, in each of its environments."""

    z: Shaped[np.ndarray, "run time environment *feature"]
    action: Shaped[np.ndarray, "run time environment *dimension"]  # as drawn: a continuous one is not cut to [-1, 1]
    reward: Float32[np.ndarray, "run time environment"]
    terminated: Bool[np.ndarray, "run time environment"]
    truncated: Bool[np.ndarray, "run time environment"]
    ahead: Float32[np.ndarray, "run time environment"]  # the value of what was seen last, where an episode was truncated
    last: Shaped[np.ndarray, "run environment *feature"]  # what is seen after the last step

    @property
    def steps(self) -> int:
        """Steps of one run: length · environments."""
        return self.reward.shape[1] * self.reward.shape[2]

    def flat(self, name: str) -> np.ndarray:
        """A column with its axes step and environment made one, ``[run, step, ...]``; nothing is copied."""
        column: np.ndarray = getattr(self, name)
        return column.reshape(len(column), self.steps, *column.shape[3:])


class RolloutBuffer:
    """The steps that were played since the last round of updates, at most ``length`` of each environment.

    Parameters
    ----------
    shape, dtype
        Of one ``z``.
    action_dimensions
        Numbers of a continuous action; 0 = discrete actions.
    """

    def __init__(
        self,
        runs: int,
        environments: int,
        length: int,
        shape: tuple[int, ...],
        dtype: type | np.dtype = np.float32,
        *,
        action_dimensions: int = 0,
    ) -> None:
        place = (runs, length, environments)
        self.length, self.filled = length, 0
        self.z = np.zeros((*place, *shape), dtype)
        self.action = np.zeros((*place, action_dimensions), np.float32) if action_dimensions else np.zeros(place, np.int64)
        self.reward, self.ahead = np.zeros(place, np.float32), np.zeros(place, np.float32)
        self.terminated, self.truncated = np.zeros(place, np.bool_), np.zeros(place, np.bool_)

    @property
    def full(self) -> bool:
        """True when every environment has played ``length`` steps since the last round of updates."""
        return self.filled == self.length

    def add(
        self,
        z: Shaped[np.ndarray, "run environment *feature"],
        action: Shaped[np.ndarray, "run environment *dimension"],
        reward: Real[np.ndarray, "run environment"],
        terminated: Bool[np.ndarray, "run environment"],
        truncated: Bool[np.ndarray, "run environment"],
        ahead: Float32[np.ndarray, "run environment"],
    ) -> None:
        """Store one step of every environment."""
        for name, value in zip(COLUMNS, (z, action, reward, terminated, truncated, ahead), strict=True):
            getattr(self, name)[:, self.filled] = value
        self.filled += 1

    def take(self, last: Shaped[np.ndarray, "run environment *feature"]) -> Rollout:
        """Return what was played, up to what is seen now, and begin anew; the arrays are valid until the next `add`."""
        columns = {name: getattr(self, name)[:, : self.filled] for name in COLUMNS}
        self.filled = 0
        return Rollout(**columns, last=last)

    def state_dict(self) -> dict[str, Any]:
        """Return the filled part as plain arrays."""
        return {name: getattr(self, name)[:, : self.filled].copy() for name in COLUMNS}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put a saved state back.

        Raises
        ------
        DataError
            The state is of other runs, environments or features.
        """
        filled = state["reward"].shape[1]
        for name in COLUMNS:
            saved, own = state[name], getattr(self, name)
            if filled > self.length or saved.shape != (own.shape[0], filled, *own.shape[2:]):
                raise DataError(
                    f"the saved rollout holds '{name}' {saved.shape}, expected {own.shape}",
                    hint="continue with the same arms, seeds and environments",
                )
            own[:, :filled] = saved
        self.filled = filled


def advantages(
    reward: Float32[np.ndarray, "run time environment"],
    value: Float32[np.ndarray, "run time environment"],
    last_value: Float32[np.ndarray, "run environment"],
    terminated: Bool[np.ndarray, "run time environment"],
    truncated: Bool[np.ndarray, "run time environment"],
    ahead: Float32[np.ndarray, "run time environment"],
    gamma: float,
    gae: float,
) -> Float32[np.ndarray, "run time environment"]:
    """Generalised advantage estimates: A_t = δ_t + γ λ A_{t+1} within an episode, δ_t = r_t + γ V_{t+1} − V_t.

    V_{t+1} is nothing after a *terminated* step; after a *truncated* one it is ``ahead``, the value of what was seen last, since the task goes on
    there (Pardo et al. 2018, arXiv 1712.00378); after the last step it is ``last_value``.

    References
    ----------
    Schulman et al. 2016, arXiv 1506.02438, eq. 16.
    """
    found, following, sum_ahead = np.empty_like(value), last_value, np.zeros_like(last_value)
    goes_on = ~(terminated | truncated)
    for time in range(value.shape[1] - 1, -1, -1):
        after = np.where(truncated[:, time], ahead[:, time], following)
        after = np.where(terminated[:, time], np.float32(0.0), after)
        error = reward[:, time] + np.float32(gamma) * after - value[:, time]
        sum_ahead = error + np.float32(gamma * gae) * goes_on[:, time] * sum_ahead
        found[:, time], following = sum_ahead, value[:, time]
    return found
