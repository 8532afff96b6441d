"""Laws of Dot: its bounds, its goal as a picture, and that a finished copy stands still."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.worlds.core import random_actions
from layerscout.worlds.dot import LENGTH, REACHED, SPEED, Dot
from layerscout.worlds.pixels import make_world
from layerscout.worlds.registration import register

NAME = "layerscout/Dot-v0"


def play(world, choose):
    """Play one episode in every copy; whether each reached its goal, and in how many steps."""
    world.reset(np.arange(world.copies), np.arange(world.copies))
    alive, won, steps = np.ones(world.copies, bool), np.zeros(world.copies, bool), np.zeros(world.copies, int)
    while alive.any():
        reward, terminated, truncated = world.step(choose(world))
        assert not reward[~alive].any(), "a finished copy must stand still"
        np.testing.assert_array_equal(reward == 1.0, terminated)
        won, steps = won | terminated, steps + alive
        alive &= ~(terminated | truncated)
    return won, steps


def test_random_play_reaches_hardly_a_goal():
    generator = np.random.default_rng(0)
    won, steps = play(Dot(1000), lambda world: random_actions(world, generator))
    assert won.mean() <= 0.10
    assert (steps[~won] == LENGTH).all()


def test_the_expert_goes_straight_there():
    world = Dot(500)
    world.reset(np.arange(500), np.arange(500))
    way = world.distance()
    assert way.min() >= 10
    assert way.max() <= 18
    won, steps = play(world, lambda world: world.expert())
    assert won.all()
    assert (steps >= np.ceil((way - REACHED) / (SPEED * np.sqrt(2)))).all()


def test_a_goal_is_the_picture_that_is_seen_when_it_is_reached():
    world = Dot(6, ground="flat")
    world.reset(np.arange(6), np.arange(6))
    goals = world.goals()
    np.testing.assert_array_equal(goals[2:4], world.goals(np.array([2, 3])))
    world.place = world.goal.copy()
    np.testing.assert_array_equal(world.frames(), goals)


def test_a_picture_tells_where_the_disc_is_to_a_tenth_of_a_pixel():
    places = np.random.default_rng(0).uniform(5, 26, (50, 2))
    world = Dot(1, ground="flat")
    light = world.picture_of(places)[..., 0].astype(float) - 64
    rows, columns = np.mgrid[:32, :32]
    found = np.stack([(light * axis).sum((1, 2)) / light.sum((1, 2)) for axis in (rows, columns)], axis=1)
    np.testing.assert_allclose(found, places, atol=0.1)


def test_the_texture_is_the_same_in_every_episode_and_copy():
    frames = Dot(1).picture_of(np.array([[6.0, 6.0], [25.0, 25.0]]))
    assert frames[0, 12:20].std() > 5
    np.testing.assert_array_equal(frames[0, :, 12:20], frames[1, :, 12:20])


def test_gymnasium_sees_frame_and_goal_in_one_dictionary_also_at_another_size():
    register()
    game = gymnasium.make(NAME)
    seen, _ = game.reset(seed=0)
    assert sorted(seen) == ["desired_goal", "observation"]
    assert seen["desired_goal"].shape == seen["observation"].shape == (32, 32, 3)
    smaller = make_world(NAME, 3, size=16)
    smaller.reset(np.arange(3), np.arange(3))
    assert smaller.goals().shape == (3, 16, 16, 3)
    assert not hasattr(make_world("layerscout/Grid-v0", 1, size=16), "goals")


def test_an_unknown_ground_is_named():
    with pytest.raises(UsageError, match="did you mean 'flat'"):
        make_world(NAME, 1, options={"ground": "flatt"})
