"""A world in, Gymnasium environments out: one copy as ``Env``, many copies as ``VectorEnv`` with one numpy call a step.

Both draw an episode's seed from the copy's own ``np_random``, so copy i of the vector environment lives the same life
as the single environment that was reset with the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from layerscout import registry
from layerscout.errors import UsageError
from layerscout.worlds.core import PicturedWorld

FRAMES_PER_SECOND = 15
EPISODE_SEEDS = 2**63 - 1  # an episode's seed is drawn from [0, this)


class WorldEnv(gymnasium.Env):
    """One copy of a world behind Gymnasium's interface.

    Parameters
    ----------
    world
        The world's registered name, e.g. ``layerscout/Grid-v0``.
    render_mode
        None or ``rgb_array``.
    options
        Passed to the world, e.g. ``observation="planes"`` for the grid.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}

    def __init__(self, world: str, render_mode: str | None = None, **options: Any) -> None:
        _check_render_mode(render_mode)
        self.render_mode = render_mode
        self._world: PicturedWorld = registry.load_entry("world", world)(1, **options)
        self.metadata = self.metadata | _speed(self._world)  # type: ignore[misc]
        self.observation_space, self.action_space = _spaces(self._world)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; ``seed`` restarts the sequence of episodes, None goes on with the next one."""
        super().reset(seed=seed)
        self._world.reset(np.array([0]), np.array([_episode_seed(self.np_random)]))
        return _first(_observe(self._world)), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action in Gymnasium's terms; observation, reward, terminated, truncated and info come back as of one copy."""
        outcome = self._world.step(_to_world(self._world, np.array([action])))
        return (
            _first(_observe(self._world)),
            float(outcome.reward[0]),
            bool(outcome.terminated[0]),
            bool(outcome.truncated[0]),
            self._info(),
        )

    def render(self) -> NDArray[np.uint8] | None:
        """Return an RGB picture ``[height, width, 3]`` in mode ``rgb_array``."""
        return self._world.pictures()[0] if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the world; its windows, processes or files go with it."""
        self._world.close()

    def _info(self) -> dict[str, Any]:
        state = self._world.state()
        return {} if state is None else {"state": state[0]}


class WorldVectorEnv(VectorEnv):
    """``num_envs`` copies of a world that step together; a finished copy starts again at the *next* step.

    Seeding follows Gymnasium's ``SyncVectorEnv``: an int s means s, s+1, …; a sequence gives one seed a copy.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["rgb_array"],
        "render_fps": FRAMES_PER_SECOND,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(self, world: str, num_envs: int = 1, render_mode: str | None = None, **options: Any) -> None:
        _check_render_mode(render_mode)
        self.render_mode = render_mode
        self.num_envs = num_envs
        self._world: PicturedWorld = registry.load_entry("world", world)(num_envs, **options)
        self.metadata = self.metadata | _speed(self._world)  # type: ignore[misc]
        self.single_observation_space, self.single_action_space = _spaces(self._world)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every copy, or in those that ``options["reset_mask"]`` (bool per copy) names."""
        seeds = [None if seed is None else seed + i for i in range(self.num_envs)] if seed is None or isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise UsageError(f"{len(seeds)} seeds for {self.num_envs} environments", hint="give one seed for each, or one int")
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise UsageError(f"reset_mask is {mask.dtype} {mask.shape}", hint=f"give a bool array of shape ({self.num_envs},)")
        for copy in np.flatnonzero(mask):
            if seeds[copy] is not None:
                self._generators[copy] = seeding.np_random(seeds[copy])[0]
        self._start(mask)
        self._ended[mask] = False
        return _observe(self._world), self._info(mask)

    def step(self, actions: Any) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Advance every copy by one step; a copy that ended at the last step ignores its action and starts again."""
        outcome = self._world.step(_to_world(self._world, actions))  # ended copies stand still and give 0, False, False
        self._start(self._ended)
        self._ended = outcome.terminated | outcome.truncated
        info = self._info(np.ones(self.num_envs, dtype=bool))
        return _observe(self._world), outcome.reward.astype(np.float64), outcome.terminated, outcome.truncated, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return one RGB picture a copy in mode ``rgb_array``."""
        return tuple(self._world.pictures()) if self.render_mode == "rgb_array" else None

    def close_extras(self, **kwargs: Any) -> None:
        """Close the world with all its copies; Gymnasium calls this from ``close``."""
        self._world.close()

    def _start(self, mask: NDArray[np.bool_]) -> None:
        which = np.flatnonzero(mask)
        self._world.reset(which, np.array([_episode_seed(self._generators[copy]) for copy in which], dtype=np.int64))

    def _info(self, mask: NDArray[np.bool_]) -> dict[str, Any]:
        state = self._world.state()
        return {} if state is None else {"state": np.where(mask[:, None], state, np.float32(0)), "_state": mask}


def _spaces(world: PicturedWorld) -> tuple[gymnasium.spaces.Box | gymnasium.spaces.Dict, gymnasium.spaces.Discrete | gymnasium.spaces.Box]:
    low, high = _bounds(world)
    actions: gymnasium.spaces.Discrete | gymnasium.spaces.Box = (
        gymnasium.spaces.Box(low, high, (world.action_dimensions,), np.float32)
        if world.action_dimensions
        else gymnasium.spaces.Discrete(world.action_count)
    )
    if getattr(world, "observes_state", False):
        largest = world.largest_state  # type: ignore[attr-defined]
        return gymnasium.spaces.Box(np.zeros_like(largest), largest, dtype=np.float32), actions
    frames = gymnasium.spaces.Box(0, 255, world.frame_shape, np.uint8)
    return (gymnasium.spaces.Dict({"observation": frames, "desired_goal": frames}) if hasattr(world, "goals") else frames), actions


def _observe(world: PicturedWorld) -> Any:
    """Return what the environments give: frames, with the goals' pictures where there are goals, or the state where it was asked for."""
    state = world.state() if getattr(world, "observes_state", False) else None
    if state is not None:
        return state
    return {"observation": world.frames(), "desired_goal": world.goals()} if hasattr(world, "goals") else world.frames()


def _first(observed: Any) -> Any:
    return {name: frames[0] for name, frames in observed.items()} if isinstance(observed, dict) else observed[0]


def _bounds(world: PicturedWorld) -> tuple[float, float]:
    """Return the bounds of an environment's vectors: [-1, 1], unless the world's own words are others."""
    return getattr(world, "action_low", -1.0), getattr(world, "action_high", 1.0)


def _to_world(world: PicturedWorld, actions: Any) -> Any:
    """Scale an environment's vectors to [-1, 1], which worlds take; choices stay as they are."""
    low, high = _bounds(world)
    if not world.action_dimensions or (low, high) == (-1.0, 1.0):
        return actions
    return 2.0 * (np.asarray(actions, np.float64) - low) / (high - low) - 1.0


def _speed(world: PicturedWorld) -> dict[str, Any]:
    return {"render_fps": getattr(world, "frames_per_second", FRAMES_PER_SECOND)}


def _episode_seed(generator: np.random.Generator) -> int:
    return int(generator.integers(EPISODE_SEEDS))


def _check_render_mode(render_mode: str | None) -> None:
    if render_mode not in (None, "rgb_array"):
        raise UsageError(f"unknown render_mode '{render_mode}'", hint="render_mode is None or 'rgb_array'")
