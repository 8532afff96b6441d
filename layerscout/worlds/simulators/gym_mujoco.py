"""One of Gymnasium's MuJoCo environments in, one environment with pixels from our renderer out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from layerscout.worlds.action_spaces import read_action_space
from layerscout.worlds.simulators import opengl
from layerscout.worlds.simulators.foreign import one_number
from layerscout.worlds.simulators.gym_world import make_environment, trial_command
from layerscout.worlds.simulators.painter import FREE, Painter, cameras, check_camera, check_quality

MODULE = "gymnasium.envs.mujoco"
FOLLOWING = "track"  # the camera that the locomotion models bring
VIEWS = {"Reacher": {"lookat": (0.0, 0.0, 0.0), "distance": 0.8, "azimuth": 90.0, "elevation": -90.0}}  # free views of our own: from above


class GymMujoco:
    """``Reacher-v5``, ``HalfCheetah-v5``, ``Ant-v5`` and their like. State: the environment's observation vector.

    Parameters
    ----------
    environment_id
        An id that Gymnasium registers from its own MuJoCo environments.
    size
        Side of the frames, pixels.
    quality, camera
        See ``painter``; None is the camera that follows the robot where the model has one, else the free view.
    options
        Passed to ``gymnasium.make``, e.g. ``max_episode_steps=200``.

    Raises
    ------
    UsageError
        There is no such camera, quality or option.
    MissingExtraError
        The package ``mujoco`` is not installed, or no OpenGL library works.
    """

    def __init__(self, environment_id: str, size: int, quality: str = "fast", camera: str | None = None, **options: Any) -> None:
        self.name = environment_id
        check_quality(environment_id, quality)
        opengl.require_simulator(environment_id, "mujoco", "mujoco")
        self._options = options
        self._environment = make_environment(environment_id, options)
        self.actions = read_action_space(environment_id, self._environment.action_space)
        inner = self._inner()
        camera = check_camera(environment_id, inner.model, camera or (FOLLOWING if FOLLOWING in cameras(inner.model) else FREE))
        view = VIEWS.get(environment_id.rpartition("-v")[0], inner.mujoco_renderer.default_cam_config)
        self._painter = Painter(copy.copy(inner.model), size, quality, camera, view)
        self.settings: Mapping[str, Any] = MappingProxyType({"quality": quality, "camera": camera})
        self._observation: NDArray[np.float64] = np.zeros(0)

    def reset(self, seed: int) -> None:
        """Begin the episode of this seed and keep its first observation as the state."""
        self._observation, _ = self._environment.reset(seed=seed)

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        """Take one action in the environment's own bounds; return its reward, and whether it terminated or was truncated."""
        self._observation, reward, terminated, truncated, _ = self._environment.step(action)
        return one_number(self.name, reward), bool(terminated), bool(truncated)

    def frame(self) -> NDArray[np.uint8]:
        """What the camera sees now, uint8 ``[size, size, 3]``."""
        inner = self._inner()
        return self._painter.draw(inner.model, inner.data)

    def state(self) -> NDArray[np.float32]:
        """The last observation vector, float32."""
        return np.asarray(self._observation, dtype=np.float32)

    def expert(self) -> None:
        """Answers None: Gymnasium has no scripted players."""

    def trial_command(self, seed: int, steps: int) -> str:
        """A Python command that plays random actions in Gymnasium alone, to tell whose failure it is."""
        return trial_command(self.name, self._options | {"render_mode": "rgb_array"}, seed, steps)

    def another(self) -> GymMujoco:
        """A twin with an environment of its own; the renderer is shared."""
        twin = copy.copy(self)
        twin._environment = make_environment(self.name, self._options)
        return twin

    def close(self) -> None:
        """Free the renderer, then the environment; twins that share the renderer cannot draw afterwards."""
        self._painter.close()
        self._environment.close()

    def _inner(self) -> Any:
        return self._environment.unwrapped


def is_mujoco(specification: gymnasium.envs.registration.EnvSpec) -> bool:
    """Say whether Gymnasium registers this id from its own MuJoCo environments; imports none of them."""
    return str(specification.entry_point).startswith(MODULE)
