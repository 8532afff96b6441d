"""A task of the DeepMind Control Suite in, one environment with pixels out.

References
----------
Tassa et al. 2018, "DeepMind Control Suite"; domains, tasks and rewards are those of the package ``dm_control``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.action_spaces import bounded_adapter
from layerscout.worlds.simulators import opengl
from layerscout.worlds.simulators.foreign import python_command
from layerscout.worlds.simulators.painter import FREE, Painter, cameras, check_camera, check_quality
from layerscout.worlds.simulators.point_goal import Place, check_goal, draw_goal, is_reached, picture_at


class ControlSuite:
    """One task. State: the simulator's own (positions, velocities, activations). Rewards are 0 to 1 a simulator step.

    Parameters
    ----------
    task
        Domain and task, for example ``walker-walk`` or ``ball_in_cup-catch``.
    size
        Side of the frames, pixels.
    quality, camera
        See ``painter``; None is the model's first camera.
    action_repeat
        How often the simulator takes each action; rewards are added up.
    max_episode_steps
        After so many actions the episode is truncated; None: at the suite's own time limit (1,000 simulator steps as a rule).
    goal
        ``picture``: of a point mass, a place drawn from the seed and shown as a picture takes the place of the task: reward 1 and the end
        within 3 cm of it, else 0.

    Raises
    ------
    UsageError
        There is no such task, camera or quality.
    MissingExtraError
        The package ``dm_control`` is not installed, or no OpenGL library works.
    """

    def __init__(
        self,
        task: str,
        size: int,
        quality: str = "fast",
        camera: str | None = None,
        action_repeat: int = 1,
        max_episode_steps: int | None = None,
        goal: str = "none",
    ) -> None:
        self.name = f"dm_control/{task}"
        check_quality(self.name, quality)
        if action_repeat < 1 or (max_episode_steps is not None and max_episode_steps < 1):
            raise UsageError(
                f"{self.name}: action_repeat {action_repeat}, max_episode_steps {max_episode_steps}", hint="both are whole numbers from 1"
            )
        self._domain, self._task = _find_task(task)
        check_goal(self.name, self._domain, goal)
        self._repeat, self._limit, self._shows_goal = action_repeat, max_episode_steps, goal == "picture"
        self._goal: Place | None = None
        self._goal_picture: NDArray[np.uint8] | None = None
        self._load()
        model = self._environment.physics.model.ptr
        camera = check_camera(self.name, model, camera or (cameras(model) or [FREE])[0])
        self._painter = Painter(copy.copy(model), size, quality, camera)
        specification = self._environment.action_spec()
        self.actions = bounded_adapter(self.name, specification.minimum, specification.maximum, np.float64)
        self.settings: Mapping[str, Any] = MappingProxyType({"quality": quality, "camera": camera})

    def reset(self, seed: int) -> None:
        """Seed the task's own random numbers and begin; where goals are shown, draw one and its picture."""
        self._environment.task.random.seed(seed)
        self._environment.reset()
        self._clock = 0
        if self._shows_goal:
            self._goal = draw_goal(self._environment.physics, seed)
            self._goal_picture = picture_at(self._environment.physics, self._goal, self.frame)

    def goal(self) -> NDArray[np.uint8] | None:
        """Return the picture of this episode's goal; None where the task itself is the goal."""
        return self._goal_picture

    def step(self, action: NDArray[np.float64]) -> tuple[float, bool, bool]:
        """Repeat the action ``action_repeat`` times and add the rewards up; a discount of 0 terminates, the time limit truncates."""
        total, terminated, truncated = 0.0, False, False
        for _ in range(self._repeat):
            now = self._environment.step(action)
            total += float(now.reward)
            if now.last():  # the suite says by the discount whether the task ended (0) or only the time (1)
                terminated, truncated = now.discount == 0.0, now.discount != 0.0
                break
        self._clock += 1
        if self._goal is not None:
            terminated = is_reached(self._environment.physics, self._goal)
            total = float(terminated)
        return total, terminated, not terminated and (truncated or self._clock == self._limit)

    def frame(self) -> NDArray[np.uint8]:
        """What the camera sees now, uint8 ``[size, size, 3]``."""
        physics = self._environment.physics
        return self._painter.draw(physics.model.ptr, physics.data.ptr)

    def state(self) -> NDArray[np.float32]:
        """Positions, velocities and activations of MuJoCo, float32."""
        return self._environment.physics.get_state().astype(np.float32)

    def expert(self) -> None:
        """Answers None: the suite has no scripted players."""

    def trial_command(self, seed: int, steps: int) -> str:
        """A Python command that plays random actions in the suite alone, to tell whose failure it is."""
        play = f"[e.step(numpy.random.uniform(a.minimum, a.maximum)) for _ in range({steps * self._repeat})]"
        return python_command(
            [
                "import numpy",
                "from dm_control import suite",
                f"e = suite.load({self._domain!r}, {self._task!r}, task_kwargs={{'random': {seed}}})",
                "a = e.action_spec()",
                "e.reset()",
                *([play] if steps else []),
                "e.physics.render()",
            ]
        )

    def another(self) -> ControlSuite:
        """A twin with a simulator of its own; the renderer is shared."""
        twin = copy.copy(self)
        twin._load()
        return twin

    def close(self) -> None:
        """Free the renderer, then the simulator; twins that share the renderer cannot draw afterwards."""
        self._painter.close()
        self._environment.close()

    def _load(self) -> None:
        from dm_control import suite

        self._environment = suite.load(self._domain, self._task, task_kwargs={"random": 0})  # each episode seeds it anew
        self._clock = 0


def _find_task(task: str) -> tuple[str, str]:
    """Return the domain and the task of that name."""
    opengl.require_simulator(f"dm_control/{task}", "dm_control", "dm-control")
    from dm_control import suite

    known: dict[str, Any] = {f"{domain}-{name}": (domain, name) for domain, name in suite.ALL_TASKS}
    if task not in known:
        raise UsageError(f"unknown dm_control task '{task}'{suggest(task, known)}", hint=f"tasks: {', '.join(sorted(known))}")
    return known[task]
