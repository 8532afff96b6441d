"""An environment's own actions in, our two kinds out: one choice of n, or a vector in [-1, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from jaxtyping import Float, Float32, Int, Int64
from numpy.typing import DTypeLike

from layerscout.errors import DataError, UsageError

MOST_FLATTENED = 1024  # combinations of several choices that are taken as one choice


class ActionAdapter(Protocol):
    """What an environment takes, in our words. ``count`` is 0 for vectors, ``dimensions`` is 0 for choices."""

    @property
    def count(self) -> int:
        """How many choices there are; 0 for vectors."""

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; 0 for choices."""

    def native(self, action: Any) -> Any:
        """Translate one of our actions into the environment's."""


@dataclass(frozen=True)
class DiscreteAdapter:
    """One of ``count`` actions; the environment calls the first one ``first``."""

    count: int
    first: int = 0
    dimensions: int = field(default=0, init=False)

    def native(self, action: Any) -> int:
        """Add ``first`` to a choice in [0, count)."""
        return self.first + int(action)


@dataclass(frozen=True)
class CombinationAdapter:
    """Several choices at once as one choice of all their combinations, counted with the last choice varying fastest."""

    choices: Int64[np.ndarray, "*shape"]  # how many there are of each
    first: Int64[np.ndarray, "*shape"]  # what the environment calls the first one of each
    dtype: DTypeLike = np.int64
    dimensions: int = field(default=0, init=False)

    @property
    def count(self) -> int:
        """The product of ``choices``."""
        return math.prod(self.choices.ravel().tolist())

    def native(self, action: Any) -> Int[np.ndarray, "*shape"]:
        """Split a choice in [0, count) into one choice each, of the shape of ``choices``, counted from ``first``."""
        chosen = np.unravel_index(int(action), self.choices.ravel().tolist())
        return (np.array(chosen).reshape(self.choices.shape) + self.first).astype(self.dtype)


@dataclass(frozen=True)
class VectorAdapter:
    """A vector whose every component goes linearly from ``low`` (our -1) to ``high`` (our 1)."""

    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]
    dtype: DTypeLike = np.float32
    count: int = field(default=0, init=False)

    @property
    def dimensions(self) -> int:
        """How many components the environment's array has, whatever its shape."""
        return int(self.low.size)

    def native(self, action: Float32[np.ndarray, " dimension"]) -> Float[np.ndarray, "*shape"]:
        """Scale a vector in [-1, 1] to [low, high], in the environment's own shape and dtype."""
        centre, half = (self.high + self.low) / 2, (self.high - self.low) / 2  # exact where the bounds are -1 and 1
        scaled = centre + half * np.asarray(action, dtype=np.float64).reshape(self.low.shape)
        return np.clip(scaled, self.low, self.high).astype(self.dtype)  # clip: rounding must not leave the space


def read_action_space(environment_id: str, space: gymnasium.Space) -> ActionAdapter:
    """Read a Gymnasium action space.

    Raises
    ------
    UsageError
        The space is neither ``Discrete`` nor a bounded ``Box`` of floating-point numbers, nor a ``MultiDiscrete`` of at most 1,024
        combinations.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return DiscreteAdapter(int(space.n), int(space.start))
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        combinations = CombinationAdapter(space.nvec.astype(np.int64), space.start.astype(np.int64), space.dtype)
        if combinations.count <= MOST_FLATTENED:
            return combinations
        raise UsageError(
            f"{environment_id} has {combinations.count:,} combinations of several choices ({space}), and layerscout takes at most "
            f"{MOST_FLATTENED:,} as one choice",
            hint="let the environment offer fewer: docs/how-to/own-environment.md",
        )
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return bounded_adapter(environment_id, space.low, space.high, space.dtype)
    raise UsageError(
        f"{environment_id} has actions that are neither one choice of n nor a vector of numbers ({space})",
        hint="layerscout takes Discrete, MultiDiscrete and bounded Box actions; wrap the environment: docs/how-to/own-environment.md",
    )


def bounded_adapter(environment_id: str, low: Any, high: Any, dtype: DTypeLike = np.float32) -> VectorAdapter:
    """Return the vector of actions between two bounds.

    Raises
    ------
    UsageError
        A bound is infinite, so there is nothing to which [-1, 1] could be scaled.
    """
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    unbounded = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)).ravel())
    if len(unbounded) or not low.size:
        which = f"dimension {unbounded[0]} goes from {low.flat[unbounded[0]]} to {high.flat[unbounded[0]]}" if low.size else "no dimension"
        raise UsageError(
            f"{environment_id} has unbounded actions ({which}); layerscout scales actions from [-1, 1]",
            hint="give the environment finite bounds, e.g. with gymnasium.wrappers.RescaleAction: docs/how-to/own-environment.md",
        )
    return VectorAdapter(low, high, dtype)


def check_vectors(name: str, actions: Any, copies: int, dimensions: int, live: np.ndarray) -> Float32[np.ndarray, "copy dimension"]:
    """Return the actions of all copies as float32.

    Raises
    ------
    DataError
        The shape is wrong, or a live copy's action is not a number in [-1, 1].
    """
    actions = np.asarray(actions, dtype=np.float32)
    if actions.shape != (copies, dimensions):
        raise DataError(f"{name} takes actions [{copies}, {dimensions}], it was given {list(actions.shape)}", hint="one vector a copy")
    wrong = np.argwhere(live[:, None] & ~(np.abs(actions) <= 1.0))  # written so that NaN is wrong
    if len(wrong):
        copy, dimension = map(int, wrong[0])
        raise DataError(
            f"{name}: the action of copy {copy} has {actions[copy, dimension]} in dimension {dimension}, expected a number in [-1, 1]",
            hint="did the agent diverge? policies and agents give actions in [-1, 1]; the world scales them to the environment's bounds",
        )
    return actions
