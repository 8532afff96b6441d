"""A Gymnasium id in, one environment with pixels out: pixels from its observations or from its renderer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.worlds.action_spaces import read_action_space
from layerscout.worlds.simulators.foreign import one_number, python_command, vector

COLOURS = (1, 3)  # channels of a picture; two or four are frames on top of each other, or colours with alpha: video models take neither
WATCHED = 4  # steps after which three channels that all moved by one place each time are taken for three frames


class GymSingle:
    """A Gymnasium environment with discrete actions, several discrete ones at once, or vectors of bounded numbers.

    An observation that is a picture (Box, uint8, three axes, one or three channels last) is the frame; otherwise the
    frame is what ``render()`` gives in mode ``rgb_array``. The state is ``info["state"]`` when the environment gives one,
    else the memory of an Atari machine, else, with vector actions and rendered frames, the observation if it is a vector.

    Parameters
    ----------
    environment_id
        An id in Gymnasium's registry.
    options
        Passed to ``gymnasium.make``, e.g. ``max_episode_steps=500``.

    Raises
    ------
    UsageError
        The options or the actions do not fit, or there are no pixels.
    MissingExtraError
        The environment needs a package that is not installed.
    DataError
        The environment fails when it is made.
    """

    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, environment_id: str, options: Mapping[str, Any]) -> None:
        self.name, self._options = environment_id, dict(options)
        environment = make_environment(environment_id, self._options)
        space = environment.observation_space
        self._renders = not _is_picture(space)
        modes = environment.metadata.get("render_modes") or []
        if self._renders and "rgb_array" not in modes:
            raise UsageError(
                f"{environment_id} gives no pixels: observations are {space}, render modes {modes}",
                hint="use an environment whose observation is a uint8 picture [height, width, 1 or 3] or that renders as 'rgb_array'; "
                "frames must not be stacked, a video model gets the earlier ones anyway",
            )
        self.actions = read_action_space(environment_id, environment.action_space)
        if self._renders:
            environment.close()
            self._options |= {"render_mode": "rgb_array"}
            environment = make_environment(environment_id, self._options)
        self._tells = self._renders and self.actions.dimensions > 0 and isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
        self._take(environment)

    def _take(self, environment: gymnasium.Env) -> None:
        self._environment = environment
        self._machine = getattr(environment.unwrapped, "ale", None)
        self._observation: Any = None
        self._info: dict[str, Any] = {}
        self._moved = 0  # steps in which all channels but one were those of the step before; below 0, no longer looked at

    def reset(self, seed: int) -> None:
        """Begin the episode of this seed and keep its first observation."""
        self._observation, self._info = self._environment.reset(seed=seed)

    def step(self, action: Any) -> tuple[float, bool, bool]:
        """Take one of the environment's own actions; return reward, terminated, truncated.

        Raises
        ------
        DataError
            The reward is not one number, or three stacked frames stand in the place of three colours.
        """
        before = self._observation
        self._observation, reward, terminated, truncated, self._info = self._environment.step(action)
        if not self._renders and self._moved >= 0:
            self._require_colours(before)
        return one_number(self.name, reward), bool(terminated), bool(truncated)

    def _require_colours(self, before: Any) -> None:
        """Refuse three frames that stand where colours are expected: at each step two of them move on by one place."""
        now = self._observation
        if np.shape(before) != np.shape(now) or np.shape(now)[-1] != COLOURS[-1] or (now == now[..., :1]).all():
            return  # still pictures and grey ones tell nothing
        if not (np.array_equal(now[..., :-1], before[..., 1:]) or np.array_equal(now[..., 1:], before[..., :-1])):
            self._moved = -1
            return
        self._moved += 1
        if self._moved == WATCHED:
            message = f"the observations of {self.name} are three frames in the place of three colours"
            raise DataError(message, hint="make the environment without stacking frames: a video model gets the earlier ones anyway")

    def frame(self) -> NDArray[np.uint8]:
        """The observation itself where it is a picture, else what ``render()`` gives; uint8 ``[height, width, channel]``."""
        return self._environment.render() if self._renders else self._observation

    def state(self) -> NDArray[np.float32] | None:
        """``info["state"]``, else the memory of an Atari machine (128 bytes), else the observation vector, else None."""
        if "state" in self._info:
            return vector(self.name, "info['state']", self._info["state"])
        if self._machine is not None:
            return np.asarray(self._machine.getRAM(), dtype=np.float32)
        return np.asarray(self._observation, dtype=np.float32) if self._tells else None

    def expert(self) -> None:
        """Answers None: Gymnasium has no scripted players."""

    def trial_command(self, seed: int, steps: int) -> str:
        """A Python command that plays random actions in Gymnasium alone, to tell whose failure it is."""
        return trial_command(self.name, self._options, seed, steps)

    def another(self) -> GymSingle:
        """A twin with an environment of its own, made with the same options."""
        twin = copy.copy(self)
        twin._take(make_environment(self.name, self._options))
        return twin

    def close(self) -> None:
        """Close the environment and whatever window it opened."""
        self._environment.close()


def make_environment(environment_id: str, options: Mapping[str, Any]) -> gymnasium.Env:
    """Make a Gymnasium environment, or say in one line why it cannot be made.

    Raises
    ------
    UsageError
        An option that the environment does not take.
    MissingExtraError
        The environment needs a package that is not installed.
    DataError
        Anything else that goes wrong.
    """
    try:
        return gymnasium.make(environment_id, disable_env_checker=True, **options)
    except TypeError as error:  # an option that the environment does not take
        raise UsageError(
            f"{environment_id} cannot be made with {dict(options)}: {error}", hint="check the options of the environment"
        ) from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingExtraError(f"{environment_id} needs a package that is missing", hint=str(error)) from error
    except Exception as error:
        hint = f"try it alone: {trial_command(environment_id, options, 0, 0)}"
        raise DataError(f"{environment_id} cannot be made: {type(error).__name__}: {error}", hint=hint) from error


def trial_command(environment_id: str, options: Mapping[str, Any], seed: int, steps: int) -> str:
    """Return the command that plays one episode's first steps with random actions, without layerscout."""
    given = f", **{dict(options)!r}" if options else ""
    return python_command(
        [
            "import gymnasium",
            f"e = gymnasium.make({environment_id!r}, disable_env_checker=True{given})",
            f"e.reset(seed={seed})",
            *([f"[e.step(e.action_space.sample()) for _ in range({steps})]"] if steps else []),
            *(["e.render()"] if options.get("render_mode") else []),
        ]
    )


def _is_picture(space: gymnasium.Space) -> bool:
    return isinstance(space, gymnasium.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] in COLOURS
