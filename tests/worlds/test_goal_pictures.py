"""Laws of simulators that show a goal: it is what is seen when it is reached, of the episode's seed, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import MissingExtraError, UsageError
from layerscout.worlds.pixels import make_world

POINT, REACH = "dm_control/point_mass-easy", "metaworld/reach-v3"


def made(name: str, copies: int, size: int = 32, **options):
    try:
        return make_world(name, copies, size, options)
    except MissingExtraError as error:
        pytest.skip(f"runs where the simulator is installed and can draw: {error.hint}")


def point(copies: int, **options):
    return made(POINT, copies, **({"goal": "picture", "max_episode_steps": 12} | options))


def reset(world, seeds):
    world.reset(np.arange(world.copies), np.asarray(seeds))


def test_the_goal_of_a_point_mass_is_what_is_seen_there():
    world = point(2)
    reset(world, [3, 4])
    goals = world.goals()
    assert goals.shape == (2, 32, 32, 3)
    assert not np.array_equal(goals, world.frames())
    single = world._singles[0]
    start = single._environment.physics.data.qpos[:2].copy()
    assert 0.10 <= np.linalg.norm(single._goal - start) <= 0.22
    with single._environment.physics.reset_context():
        single._environment.physics.data.qpos[:2] = single._goal
    np.testing.assert_array_equal(single.frame(), goals[0])
    outcome = world.step(np.zeros((2, 2), np.float32))
    assert outcome.terminated.tolist() == [True, False], "it lies at its goal"
    assert outcome.reward.tolist() == [1.0, 0.0]
    world.close()


def test_a_point_mass_that_is_steered_arrives_and_one_that_is_not_does_not():
    world = point(6, action_repeat=5, max_episode_steps=24)
    reached = {}
    for steered in (True, False):
        reset(world, range(6))
        goals, generator, won = np.array([single._goal for single in world._singles]), np.random.default_rng(0), np.zeros(6, bool)
        for _ in range(24):
            state = world.state()
            wanted = 15 * (goals - state[:, :2]) - 4 * state[:, 2:4]
            outcome = world.step(
                np.clip(wanted, -1, 1).astype(np.float32) if steered else generator.uniform(-1, 1, (6, 2)).astype(np.float32)
            )
            won |= outcome.terminated
        reached[steered] = won.mean()
    assert reached[True] == 1.0
    assert reached[False] <= 0.2
    world.close()


def test_showing_the_goal_leaves_the_episode_as_it_is():
    shown, plain = point(1), made(POINT, 1, max_episode_steps=12)
    frames = []
    for world in (shown, plain):
        reset(world, [9])
        frames.append([world.frames()])
        for _ in range(3):
            world.step(np.array([[1.0, -0.5]], np.float32))
            frames[-1].append(world.frames())
    np.testing.assert_array_equal(*frames)
    assert not hasattr(plain, "goals")
    again = point(1)
    reset(again, [9])
    np.testing.assert_array_equal(shown.goals(), again.goals())
    for world in (shown, plain, again):
        world.close()


def test_the_goal_of_meta_world_is_what_the_expert_comes_to():
    world = made(REACH, 1, goal="picture", max_episode_steps=150)
    reset(world, [5])
    goal, ended = world.goals()[0], False
    while not ended:
        outcome = world.step(world.expert())
        ended = bool(outcome.terminated[0] | outcome.truncated[0])
    assert outcome.terminated[0]
    np.testing.assert_array_equal(world.frames()[0], goal)
    world.close()


def test_goals_that_nobody_can_show_are_refused():
    made(POINT, 1, size=8).close()
    for name, goal, message in [("dm_control/walker-walk", "picture", "shows no goals"), (POINT, "film", "unknown goal 'film'")]:
        with pytest.raises(UsageError, match=message):
            make_world(name, 1, 16, {"goal": goal})
