"""A point mass of the Control Suite in, a goal to bring it to out: a place drawn from the episode's seed, shown as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from layerscout.errors import UsageError

DOMAIN = "point_mass"
GOALS = ("none", "picture")
NEAREST, FARTHEST = 0.10, 0.22  # m from start to goal
WITHIN = 0.25  # m: goals lie in the square of this half side, the walls at 0.3
REACHED = 0.03  # m
STREAM = 5  # of the seed, apart from what the suite draws

Place = Float[np.ndarray, "2"]


def check_goal(name: str, domain: str, goal: str) -> None:
    """Refuse goals that this task cannot show.

    Raises
    ------
    UsageError
        There is no such word, or the task is not a point mass.
    """
    if goal not in GOALS:
        raise UsageError(f"{name}: unknown goal '{goal}'", hint=f"goal: {' or '.join(GOALS)}")
    if goal != "none" and domain != DOMAIN:
        raise UsageError(f"{name} shows no goals", hint="--set collect.options.goal=picture is for dm_control/point_mass-easy and -hard")


def draw_goal(physics: Any, seed: int) -> Place:
    """Return a place 10 to 22 cm away, in any direction that leads to one."""
    generator, start = np.random.default_rng((seed, STREAM)), physics.data.qpos[:2].copy()
    while True:
        radius, direction = generator.uniform(NEAREST, FARTHEST), generator.uniform(0.0, 2 * np.pi)
        goal: Place = start + radius * np.array([np.cos(direction), np.sin(direction)])
        if (np.abs(goal) < WITHIN).all():
            return goal


def picture_at(physics: Any, goal: Place, draw: Any) -> NDArray[np.uint8]:
    """Put the mass at the goal for one picture, and restore the simulator's whole state after it."""
    before = physics.get_state().copy()
    with physics.reset_context():
        physics.data.qpos[:2] = goal
    picture = draw()
    with physics.reset_context():
        physics.set_state(before)
    return picture


def is_reached(physics: Any, goal: Place) -> bool:
    """Tell whether the mass is within 3 cm of the goal."""
    return bool(np.linalg.norm(physics.data.qpos[:2] - goal) < REACHED)
