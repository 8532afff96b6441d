"""Copies of a Gymnasium environment in, one world out: pixels from its observations or from its renderer."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.rl.envs.core import StepOutcome

MOST_CHANNELS = 4  # a last axis longer than this is not colour


class GymWorld:
    """A Gymnasium environment with discrete actions as a world of ``copies`` separate environments.

    An observation that is a picture (Box, uint8, three axes, at most four channels last) is the frame; otherwise the
    frame is what ``render()`` gives in mode ``rgb_array``. ``info["state"]`` is the state when the environment gives one.

    Parameters
    ----------
    environment_id
        An id in Gymnasium's registry.
    copies
        How many environments to hold; they step one after the other, so more copies cost memory and bring no speed.
    options
        Passed to ``gymnasium.make``, e.g. ``max_episode_steps=500``.

    Raises
    ------
    UsageError
        The options do not fit, the actions are not discrete, or there are no pixels.
    MissingExtraError
        The environment needs a package that is not installed.
    DataError
        The environment fails to start, or what it gives is not what it promised.
    """

    def __init__(self, environment_id: str, copies: int, **options: Any) -> None:
        self.copies = copies
        self._id = environment_id
        first = self._make(options)
        self._renders = not _is_picture(first.observation_space)
        modes = first.metadata.get("render_modes") or []
        if self._renders and "rgb_array" not in modes:
            raise UsageError(
                f"{environment_id} gives no pixels: observations are {first.observation_space}, render modes {modes}",
                hint="use an environment whose observation is a uint8 picture [height, width, channel] or that renders as 'rgb_array'",
            )
        self._offset, self.action_count = _actions(environment_id, first.action_space)
        if self._renders:
            first.close()
            options = options | {"render_mode": "rgb_array"}
            first = self._make(options)
        self._environments = [first, *(self._make(options) for _ in range(copies - 1))]
        self._ended = np.ones(copies, dtype=bool)
        observation, info = self._guard("reset", lambda: first.reset(seed=0))  # only to learn shapes; episodes are seeded by the caller
        self.frame_shape = self._look(0, observation, shape=None).shape
        self._frames = np.zeros((copies, *self.frame_shape), dtype=np.uint8)
        self._state = None if "state" not in info else np.zeros((copies, np.size(info["state"])), dtype=np.float32)

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        for copy, seed in zip(which, seeds, strict=True):
            observation, info = self._guard("reset", lambda copy=copy, seed=seed: self._environments[copy].reset(seed=int(seed)))
            self._keep(int(copy), observation, info)
        self._ended[which] = False

    def step(self, actions: NDArray[np.int64]) -> StepOutcome:
        reward = np.zeros(self.copies, dtype=np.float32)
        terminated, truncated = np.zeros((2, self.copies), dtype=bool)
        for copy in np.flatnonzero(~self._ended):
            action = self._offset + int(actions[copy])
            observation, value, terminated[copy], truncated[copy], info = self._guard(
                "step", lambda copy=copy, action=action: self._environments[copy].step(action)
            )
            if not np.isfinite(value):
                raise DataError(f"{self._id} gave the reward {value}", hint="rewards must be finite numbers")
            reward[copy] = value
            self._keep(int(copy), observation, info)
        self._ended |= terminated | truncated
        return StepOutcome(reward, terminated, truncated)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        return self._frames.copy() if which is None else self._frames[which]

    def state(self) -> NDArray[np.float32] | None:
        return None if self._state is None else self._state.copy()

    def expert(self) -> None:
        return None

    def close(self) -> None:
        for environment in self._environments:
            environment.close()

    def _make(self, options: dict[str, Any]) -> gymnasium.Env:
        try:
            return gymnasium.make(self._id, disable_env_checker=True, **options)
        except TypeError as error:  # an option that the environment does not take
            raise UsageError(f"{self._id} cannot be made with {options}: {error}", hint="check the options of the environment") from error
        except gymnasium.error.DependencyNotInstalled as error:
            raise MissingExtraError(f"{self._id} needs a package that is missing", hint=str(error)) from error
        except Exception as error:
            raise DataError(f"{self._id} cannot be made: {type(error).__name__}: {error}", hint=self._alone()) from error

    def _guard(self, what: str, call: Any) -> Any:
        try:
            return call()
        except Exception as error:
            raise DataError(f"{self._id} failed in {what}: {type(error).__name__}: {error}", hint=self._alone()) from error

    def _alone(self) -> str:
        mode = ", render_mode='rgb_array'" if getattr(self, "_renders", False) else ""
        return f"""try it alone: python -c "import gymnasium; gymnasium.make('{self._id}'{mode}).reset(seed=0)\""""

    def _keep(self, copy: int, observation: Any, info: dict[str, Any]) -> None:
        self._frames[copy] = self._look(copy, observation, self.frame_shape)
        if self._state is not None:
            value = np.asarray(info.get("state", ()), dtype=np.float32).ravel()
            if value.size != self._state.shape[1]:
                raise DataError(
                    f"{self._id} gave info['state'] of {self._state.shape[1]} numbers at first and of {value.size} now",
                    hint="give the state in the info of every reset and step, always of the same size",
                )
            self._state[copy] = value

    def _look(self, copy: int, observation: Any, shape: tuple[int, ...] | None) -> NDArray[np.uint8]:
        frame = self._guard("render", self._environments[copy].render) if self._renders else observation
        frame = np.asarray(frame)
        if frame.ndim != 3 or frame.dtype != np.uint8 or (shape is not None and frame.shape != shape):
            expected = f"uint8 {shape}" if shape else "uint8 [height, width, channel]"
            raise DataError(f"{self._id} gave a frame of {frame.dtype} {frame.shape}, expected {expected}", hint=self._alone())
        return frame


def _is_picture(space: gymnasium.Space) -> bool:
    return isinstance(space, gymnasium.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] <= MOST_CHANNELS


def _actions(environment_id: str, space: gymnasium.Space) -> tuple[int, int]:
    """Return the first action and how many there are."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.start), int(space.n)
    kind = "continuous actions" if isinstance(space, gymnasium.spaces.Box) else "actions that are not one choice of n"
    raise UsageError(
        f"{environment_id} has {kind} ({space}); layerscout needs Discrete",
        hint="use a discrete variant (CarRacing-v3 has the option continuous=false) or wrap the actions: docs/how-to/own-environment.md",
    )
