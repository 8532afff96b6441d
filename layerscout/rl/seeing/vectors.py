"""Worlds whose frames are numbers in, those numbers out; worlds with pictures in, worlds that show their state out: learners on state vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped
from numpy.typing import NDArray

from layerscout.errors import UsageError
from layerscout.rl.seeing.features import FeatureObserver
from layerscout.rl.seeing.representation import Scaler
from layerscout.worlds.core import StepOutcome, World, random_actions

MEASURED_STEPS, MEASURED_SEED = 200, 0  # random play over which the numbers of a state are scaled


class VectorObserver:
    """The newest frame itself, a vector of ``width`` numbers."""

    def __init__(self, copies: int, width: int) -> None:
        self.shape: tuple[int, ...] = (width,)
        self._seen = np.zeros((copies, width), np.float32)

    def start(self, which: Int[np.ndarray, " started"], frames: Shaped[np.ndarray, "started feature"]) -> None:
        """Begin an episode of these copies."""
        self._seen[which] = frames

    def push(self, which: Int[np.ndarray, " moved"], frames: Shaped[np.ndarray, "moved feature"]) -> None:
        """Take the next frame of these copies."""
        self._seen[which] = frames

    def observe(self, live: Bool[np.ndarray, " copy"]) -> Float32[np.ndarray, "copy feature"]:
        """The last vector of every copy, copied; those of copies that are not live stay as they were."""
        return self._seen.copy()


class StateWorld:
    """A world whose frames are its scaled states; no picture is drawn.

    Parameters
    ----------
    scale
        What is done to a state before it is seen; fixed, so that what a policy learned stays true.
    pictures
        Frames are pairs: the picture, and the scaled state.

    Raises
    ------
    UsageError
        The world does not tell its state, or its state has another width than the scale.
    """

    def __init__(self, world: World, scale: Scaler, pictures: bool = False) -> None:
        self._world, self._scale, self._pictures = world, scale, pictures
        self.copies, self.settings = world.copies, world.settings
        self.action_count, self.action_dimensions = world.action_count, world.action_dimensions
        self.frame_shape: tuple[int, ...] = scale.mean.shape
        if state_of(world).shape[1:] != scale.mean.shape:
            world.close()
            raise UsageError(
                f"a state here has {state_of(world).shape[1]} numbers and is expected to have {len(scale.mean)}",
                hint="teachers and students must see the same",
            )
        self._both = np.dtype([("picture", np.uint8, world.frame_shape), ("state", np.float32, scale.mean.shape)]) if pictures else None

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Begin new episodes in the inner world."""
        self._world.reset(which, seeds)

    def step(self, actions: Any) -> StepOutcome:
        """Take the inner world's step, whose reward and ends are passed on."""
        return self._world.step(actions)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Return scaled states, or pairs of pictures and states."""
        states = self._scale(state_of(self._world) if which is None else state_of(self._world)[which])
        if self._both is None:
            return states
        pairs = np.empty(len(states), self._both)
        pairs["picture"], pairs["state"] = self._world.frames(which), states
        return pairs

    def state(self) -> NDArray[np.float32]:
        """The inner world's state as it is, unscaled.

        Raises
        ------
        UsageError
            The world does not tell its state.
        """
        return state_of(self._world)

    def expert(self) -> Any:
        """The inner world's expert, or None."""
        return self._world.expert()

    def close(self) -> None:
        """Close the inner world."""
        self._world.close()


class PairObserver:
    """What a layer makes of the pictures, followed by the scaled state: students see the first part, teachers the second."""

    def __init__(self, features: FeatureObserver, copies: int, width: int) -> None:
        self._features, self._states = features, VectorObserver(copies, width)
        self.shape: tuple[int, ...] = (features.width + width,)

    def start(self, which: Int[np.ndarray, " started"], frames: Shaped[np.ndarray, " started"]) -> None:
        """Begin an episode of these copies."""
        self._features.start(which, frames["picture"])
        self._states.start(which, frames["state"])

    def push(self, which: Int[np.ndarray, " moved"], frames: Shaped[np.ndarray, " moved"]) -> None:
        """Take the next frames of these copies."""
        self._features.push(which, frames["picture"])
        self._states.push(which, frames["state"])

    def observe(self, live: Bool[np.ndarray, " copy"]) -> Float32[np.ndarray, "copy feature"]:
        """Return both parts for every copy; features of copies that are not live are zero."""
        return np.concatenate([self._features.observe(live), self._states.observe(live)], axis=1)


def state_of(world: World) -> Float32[np.ndarray, "copy feature"]:
    """Return the true state of every copy.

    Raises
    ------
    UsageError
        The world does not tell it.
    """
    state = world.state()
    if state is None:
        raise UsageError("this environment does not tell its state", hint="let students see a layer: --store and --layer")
    return state


def shows_vectors(world: World) -> bool:
    """Whether a world's frames are vectors, which are seen as they are."""
    frame: tuple[int, ...] = world.frame_shape
    return len(frame) == 1


def measured_scale(world: World) -> Scaler:
    """Bring each number of a state to mean 0 and standard deviation 1 over random play, the same every time.

    Parameters
    ----------
    world
        Copies that are played from their beginning; they are of no further use.
    """
    generator = np.random.default_rng(MEASURED_SEED)
    world.reset(np.arange(world.copies), np.arange(world.copies))
    live, rows = np.ones(world.copies, np.bool_), []
    for _ in range(MEASURED_STEPS):
        rows.append(state_of(world)[live])
        outcome = world.step(random_actions(world, generator))
        live &= ~(outcome.terminated | outcome.truncated)
        if not live.any():
            break
    return Scaler.measure(rows)
