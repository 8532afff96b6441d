"""A Meta-World task in, one environment with pixels and a scripted expert out.

An episode is a function of its seed: Meta-World's own ``reset`` ignores the seed it is given and draws from what
``seed`` set before, which is done here. The goal is shown where the task puts it.

References
----------
Yu et al. 2020, "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement Learning"; tasks, rewards and
experts are those of the package ``metaworld``, version 3.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscout.errors import UsageError, suggest
from layerscout.worlds.action_spaces import bounded_adapter
from layerscout.worlds.simulators import opengl
from layerscout.worlds.simulators.foreign import python_command
from layerscout.worlds.simulators.painter import Painter, check_camera, check_quality

UPSIDE_DOWN = ("corner", "corner2", "corner3", "corner4")  # how these cameras hang in the models; their pictures are turned
REWARDS = ("dense", "success")
GOALS = ("none", "picture")


class MetaWorld:
    """One Meta-World task. State: the observation of 39 numbers (hand, gripper, objects, now and one step ago, and the goal).

    Parameters
    ----------
    task
        For example ``drawer-open-v3``.
    size
        Side of the frames, pixels.
    quality, camera
        See ``painter``; ``corner`` is the view of most publications, drawn upright.
    reward
        "dense": Meta-World's own, 0 to 10 a step. "success": 1 on the first step that solves the task, which ends the episode,
        else 0, so that a mean return is a success rate.
    action_repeat
        How often the simulator takes each action; dense rewards are added up.
    max_episode_steps
        After so many actions the episode is truncated.

    Raises
    ------
    UsageError
        There is no such task, camera, quality or reward.
    MissingExtraError
        The package ``metaworld`` is not installed, or no OpenGL library works.
    """

    def __init__(
        self,
        task: str,
        size: int,
        quality: str = "fast",
        camera: str = "corner",
        reward: str = "dense",
        action_repeat: int = 1,
        max_episode_steps: int = 500,
        goal: str = "none",
    ) -> None:
        self.name = f"metaworld/{task}"
        self._task = task
        check_quality(self.name, quality)
        if reward not in REWARDS:
            raise UsageError(
                f"{self.name}: unknown reward '{reward}'{suggest(str(reward), REWARDS)}", hint=f"reward: {' or '.join(REWARDS)}"
            )
        if action_repeat < 1 or max_episode_steps < 1:
            raise UsageError(
                f"{self.name}: action_repeat {action_repeat}, max_episode_steps {max_episode_steps}", hint="both are whole numbers from 1"
            )
        if goal not in GOALS:
            raise UsageError(f"{self.name}: unknown goal '{goal}'", hint=f"goal: {' or '.join(GOALS)}")
        self._shows_goal = goal == "picture"
        self._goal_picture: NDArray[np.uint8] | None = None
        reward = "success" if self._shows_goal else reward
        self._kind, expert = _find_task(task)
        self._expert = expert()
        self._solving, self._repeat, self._limit = reward == "success", action_repeat, max_episode_steps
        self._environment = self._prepare(self._kind())
        self._pristine = copy.copy(self._environment.model)  # before any episode moved something in it
        self._painter = Painter(
            self._pristine, size, quality, check_camera(self.name, self._pristine, camera), upside_down=camera in UPSIDE_DOWN
        )
        space = self._environment.action_space
        self.actions = bounded_adapter(self.name, space.low, space.high)
        self.settings: Mapping[str, Any] = MappingProxyType({"quality": quality, "camera": camera})
        self._observation: NDArray[np.float64] = np.zeros(0)

    def reset(self, seed: int) -> None:
        """Begin the episode of this seed; where goals are shown, the expert first solves it once for the goal's picture."""
        self._begin(seed)
        if self._shows_goal:
            solved = False
            while not solved and not self.step(self.expert())[2]:
                solved = self._solved
            self._goal_picture = self.frame()
            self._begin(seed)

    def goal(self) -> NDArray[np.uint8] | None:
        """Return what is seen when the expert has solved this episode; None where goals are not shown."""
        return self._goal_picture

    def _begin(self, seed: int) -> None:
        self._environment.seed(seed)
        self._observation, _ = self._environment.reset()
        self._solved = False

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        """Repeat the action ``action_repeat`` times, fewer where the time is up or, with the reward "success", the task is solved."""
        total, solved, truncated = 0.0, False, False
        for _ in range(self._repeat):
            self._observation, reward, _, truncated, info = self._environment.step(action)
            solved = self._solving and bool(info["success"])
            total += float(solved if self._solving else reward)
            if solved or truncated:
                break
        self._solved = solved
        return total, solved, truncated and not solved

    def frame(self) -> NDArray[np.uint8]:
        """What the camera sees now, with the goal's marker at its place, uint8 ``[size, size, 3]``."""
        data = self._environment.data
        for site, place in self._environment._target_site_config:  # a reset moves the goal without showing it
            data.site(site).xpos = place
        return self._painter.draw(self._environment.model, data)

    def state(self) -> NDArray[np.float32]:
        """The 39 numbers of the last observation, float32."""
        return self._observation.astype(np.float32)

    def expert(self) -> NDArray[np.float32]:
        """Meta-World's own scripted policy for this task, clipped to [-1, 1]."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the experts warn that the environment clips what they say; it is clipped here
            return np.clip(self._expert.get_action(self._observation), -1.0, 1.0).astype(np.float32)

    def trial_command(self, seed: int, steps: int) -> str:
        """A Python command that plays random actions in Meta-World alone, to tell whose failure it is."""
        made = f"gymnasium.make('Meta-World/MT1', env_name={self._task!r}, seed={seed}, render_mode='rgb_array')"
        play = f"[e.step(e.action_space.sample()) for _ in range({steps * self._repeat})]"
        return python_command(["import gymnasium, metaworld", f"e = {made}", "e.reset()", *([play] if steps else []), "e.render()"])

    def another(self) -> MetaWorld:
        """A twin with an expert and a simulator of its own; the compiled model is copied rather than read again."""
        import mujoco

        def compiled(environment: Any) -> tuple[Any, Any]:
            model = copy.copy(self._pristine)  # a copy costs a fifteenth of reading the meshes again
            return model, mujoco.MjData(model)

        twin = copy.copy(self)
        twin._expert = type(self._expert)()
        twin._environment = self._prepare(type(self._kind.__name__, (self._kind,), {"_initialize_simulation": compiled})())
        return twin

    def close(self) -> None:
        """Free the renderer, then the environment; twins that share the renderer cannot draw afterwards."""
        self._painter.close()
        self._environment.close()

    def _prepare(self, environment: Any) -> Any:
        """Let every episode draw its own goal from the seed, and let the observation tell it."""
        environment._set_task_called = True
        environment._freeze_rand_vec = False
        environment.seeded_rand_vec = True
        environment._partially_observable = False
        del environment.sawyer_observation_space  # cached: without the goal
        environment.max_path_length = self._limit * self._repeat
        return environment


def _find_task(task: str) -> tuple[Any, Any]:
    """Return the classes of a task's environment and expert."""
    opengl.require_simulator(f"metaworld/{task}", "metaworld", "metaworld")
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    from metaworld.policies import ENV_POLICY_MAP

    if task not in ALL_V3_ENVIRONMENTS:
        raise UsageError(
            f"unknown Meta-World task '{task}'{suggest(task, ALL_V3_ENVIRONMENTS)}", hint=f"tasks: {', '.join(sorted(ALL_V3_ENVIRONMENTS))}"
        )
    return ALL_V3_ENVIRONMENTS[task], ENV_POLICY_MAP[task]
