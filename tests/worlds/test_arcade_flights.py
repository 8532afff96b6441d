"""Games of things that fall and fly: where they are put by hand, what one step moves, pays and ends is worked out by hand too."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.worlds.arcade.catch import BASKET_HALF, BASKET_SPEED, Catch
from layerscout.worlds.arcade.hunt import HUNTER_SPEED, Hunt
from layerscout.worlds.arcade.lob import GRAVITY, Lob
from layerscout.worlds.arcade.rally import HITS, Rally
from layerscout.worlds.arcade.two_balls import TwoBalls

STAY, UP, DOWN, LEFT, RIGHT = range(5)
LEFTWARDS, STILL, RIGHTWARDS = range(3)  # of a paddle


def begun(kind):
    world = kind(1)
    world.reset(np.array([0]), np.array([0]))
    return world


def one(world, action: int):
    """What a step gives: reward, terminated, truncated."""
    reward, terminated, truncated = world.step(np.array([action]))
    return round(float(reward[0]), 6), bool(terminated[0]), bool(truncated[0])


def test_a_leaf_is_blown_faster_at_every_step_and_stops_at_the_edge():
    world = begun(Catch)
    world.leaf[0], world.speed[0], world.wind[0], world.basket[0] = (5.0, 27.5), (1.0, 0.0), 0.2, 10.0
    for step, column in enumerate((27.7, 28.0, 28.0), 1):
        assert one(world, STILL) == (0.0, False, False)
        np.testing.assert_allclose(world.leaf[0], [5.0 + step, column])
        np.testing.assert_allclose(world.speed[0], [1.0, 0.2 * step])


@pytest.mark.parametrize(
    ("apart", "reward"), [(0.0, 1.0), (BASKET_HALF - 0.01, 1.0), (BASKET_HALF + 0.01, -1.0), (-BASKET_HALF - 0.01, -1.0)]
)
def test_a_leaf_counts_where_it_lands(apart, reward):
    world = begun(Catch)
    world.leaf[0], world.speed[0], world.wind[0], world.basket[0] = (27.5, 15.0), (1.0, 0.0), 0.0, 15.0 + apart
    assert one(world, STILL) == (reward, True, False)


@pytest.mark.parametrize(("action", "column"), [(LEFTWARDS, 15.0 - BASKET_SPEED), (STILL, 15.0), (RIGHTWARDS, 15.0 + BASKET_SPEED)])
def test_a_basket_moves_before_the_leaf_is_judged(action, column):
    world = begun(Catch)
    world.leaf[0], world.speed[0], world.wind[0], world.basket[0] = (27.5, 15.0 + BASKET_HALF + 0.3), (1.0, 0.0), 0.0, 15.0
    reward, terminated, _ = one(world, action)
    assert world.basket[0] == pytest.approx(column)
    assert terminated
    assert reward == (1.0 if action == RIGHTWARDS else -1.0)


@pytest.mark.parametrize("seed", range(5))
def test_where_a_leaf_lands_is_foretold_exactly(seed):
    world = Catch(1)
    world.reset(np.array([0]), np.array([seed]))
    steps, column = world._landing(np.array([0]))
    for step in range(int(steps[0])):
        assert not world.done[0], step
        world.step(np.array([STILL]))
    assert world.done[0]
    assert world.leaf[0, 1] == pytest.approx(column[0])


def test_a_ball_that_is_thrown_rises_slower_and_slower_and_is_judged_on_its_way_down():
    world = begun(Lob)
    world.ball[0], world.speed[0], world.paddle[0] = (28.5, 10.0), (-3 * GRAVITY, 0.5), 10.0
    heights = []
    for _ in range(3):
        reward, terminated, _ = one(world, STILL)
        heights.append(world.ball[0, 0])
        assert (reward, terminated) == (0.0, False), "below the line, but not on its way down"
    np.testing.assert_allclose(heights, [28.5 - 2 * GRAVITY, 28.5 - 3 * GRAVITY, 28.5 - 3 * GRAVITY])
    assert one(world, STILL) == (1.0, True, False)


@pytest.mark.parametrize("kind", [Lob, Rally, TwoBalls])
def test_a_ball_that_meets_a_side_wall_comes_back_with_its_speed_turned(kind):
    world = begun(kind)
    if kind is TwoBalls:
        world.ball[0], world.speed[0] = [[5.0, 28.5], [5.0, 2.5]], [[0.5, 1.0], [0.5, -1.0]]
        world.step(np.array([STILL]))
        np.testing.assert_allclose(world.ball[0, :, 1], [28.5, 2.5])
        np.testing.assert_allclose(world.speed[0, :, 1], [-1.0, 1.0])
        return
    world.ball[0], world.speed[0] = (15.0, 28.5), (0.5, 1.0)
    world.step(np.array([STILL]))
    assert world.ball[0, 1] == pytest.approx(28.5)  # half a pixel to the wall at 29, and half a pixel back
    assert world.speed[0, 1] == -1.0


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in (Lob, Rally) for seed in range(5)])
def test_where_a_ball_comes_down_is_foretold_exactly(kind, seed):
    world = kind(1)
    world.reset(np.array([0]), np.array([seed]))
    steps, column = world._landing(np.array([0]))
    world.paddle[0] = column[0]
    rewards = [one(world, STILL)[0] for _ in range(int(steps[0]))]
    assert rewards[:-1] == [0.0] * (len(rewards) - 1)
    assert rewards[-1] == (1.0 if kind is Lob else 1.0 / HITS)


def test_a_rally_of_five_returns_pays_one_and_ends():
    world, paid = begun(Rally), []
    while not world.done[0]:
        world.paddle[0] = world._landing(np.array([0]))[1][0]  # a paddle that is always there
        reward, terminated, truncated = one(world, STILL)
        if reward:
            paid.append(reward)
    assert paid == [pytest.approx(0.2)] * HITS
    assert (terminated, truncated) == (True, False)


def test_a_return_sends_the_ball_up_at_the_speed_that_belongs_to_the_episode():
    world = begun(Rally)
    world.ball[0], world.speed[0], world.paddle[0] = (26.5, 16.0), (1.0, 0.5), 19.0
    world.sideways[0] = [0.5, -0.9, 0.1, 0.1, 0.1, 0.1]
    assert one(world, STILL) == (0.2, False, False)
    np.testing.assert_allclose(world.ball[0], [26.5, 16.5])  # half a pixel to the floor at 27, and half a pixel back
    np.testing.assert_allclose(world.speed[0], [-1.0, -0.9])


def test_the_wall_above_sends_the_ball_down_again_and_a_miss_ends_the_rally():
    world = begun(Rally)
    world.ball[0], world.speed[0], world.paddle[0] = (2.25, 16.0), (-1.0, 0.0), 10.0
    assert one(world, STILL) == (0.0, False, False)
    assert (world.ball[0, 0], world.speed[0, 0]) == (2.75, 1.0)
    world.ball[0, 0] = 26.5
    assert one(world, STILL) == (-1.0, True, False), "the paddle is six pixels away"


def test_each_of_two_balls_pays_half_when_it_lands_and_the_second_ends_the_episode():
    world = begun(TwoBalls)
    world.ball[0], world.speed[0], world.paddle[0] = [[27.5, 10.0], [26.5, 20.0]], [[1.0, 0.0], [0.8, 0.0]], 10.0
    assert one(world, STILL) == (0.5, False, False)
    assert world.down.tolist() == [[True, False]]
    assert one(world, STILL) == (-0.5, True, False)


def test_a_ball_that_has_landed_pays_nothing_more_and_is_not_drawn():
    world = begun(TwoBalls)
    world.ball[0], world.speed[0], world.paddle[0] = [[27.5, 10.0], [5.0, 20.0]], [[1.0, 0.0], [0.5, 0.0]], 10.0
    quick = np.array([240.0, 90.0, 60.0])
    assert (world.frames()[0] == quick.astype(np.uint8)).all(-1).any()
    world.step(np.array([STILL]))
    assert not (world.frames()[0] == quick.astype(np.uint8)).all(-1).any()
    assert one(world, STILL) == (0.0, False, False)
    assert world.ball[0, 0].tolist() == [28.5, 10.0], "it stays where it fell"


def test_two_balls_that_land_in_one_step_are_paid_together():
    world = begun(TwoBalls)
    world.ball[0], world.speed[0], world.paddle[0] = [[27.5, 10.0], [27.8, 11.0]], [[1.0, 0.0], [0.5, 0.0]], 10.0
    assert one(world, STILL) == (1.0, True, False)


def test_a_prey_is_touched_within_its_distance_and_every_other_step_costs():
    world = begun(Hunt)
    world.hunter[0], world.prey[0], world.speed[0] = (10.0, 10.0), (10.0, 16.0), (0.0, -1.0)
    assert one(world, STAY) == (-0.01, False, False)
    assert one(world, RIGHT) == (1.0, True, False)  # 10.8 and 14: 3.2 pixels apart
    assert world.hunter[0].tolist() == [10.0, 10.0 + HUNTER_SPEED]


def test_a_prey_runs_from_wall_to_wall_in_both_directions():
    world = begun(Hunt)
    world.hunter[0], world.prey[0], world.speed[0] = (2.0, 2.0), (28.6, 28.8), (0.8, 1.0)
    assert one(world, UP) == (-0.01, False, False)
    np.testing.assert_allclose(world.prey[0], [28.6, 28.2])  # 29.4 and 29.8, folded at 29
    np.testing.assert_allclose(world.speed[0], [-0.8, -1.0])
    assert world.hunter[0].tolist() == [2.0, 2.0], "the wall stops the hunter too"


@pytest.mark.parametrize(
    ("prey", "action"), [((10.0, 25.0), RIGHT), ((10.0, 3.0), LEFT), ((25.0, 12.0), DOWN), ((3.0, 12.0), UP), ((10.2, 10.2), STAY)]
)
def test_a_hunter_walks_along_the_longer_axis_to_a_prey_that_stands(prey, action):
    world = begun(Hunt)
    world.hunter[0], world.prey[0], world.speed[0] = (10.0, 10.0), prey, (0.0, 0.0)
    assert world.expert().tolist() == [action]


def test_a_hunter_aims_at_the_first_place_where_it_can_be_in_time():
    """Step by step along the prey's way: the first place that is no further than the hunter can walk until then, less a touch."""
    world = Hunt(200)
    world.reset(np.arange(200), np.arange(200))
    advice = world.expert()
    for copy in range(200):
        place, speed = world.prey[copy].copy(), world.speed[copy].copy()
        for step in range(1, world.step_limit + 1):
            place += speed
            for axis in (0, 1):
                if not 2.0 <= place[axis] <= 29.0:
                    place[axis] = 4.0 - place[axis] if place[axis] < 2.0 else 58.0 - place[axis]
                    speed[axis] = -speed[axis]
            if np.abs(place - world.hunter[copy]).sum() - 3.5 <= HUNTER_SPEED * step + 1e-9:
                break
        down, right = place - world.hunter[copy]
        if abs(down) >= abs(right):
            expected = UP if down < 0 else DOWN
        else:
            expected = LEFT if right < 0 else RIGHT
        assert advice[copy] == (STAY if max(abs(down), abs(right)) < 0.5 * HUNTER_SPEED else expected), copy


def test_a_hunter_that_nothing_brings_there_in_time_goes_where_its_prey_is_last():
    world = begun(Hunt)
    world.step_limit = 3
    world.hunter[0], world.prey[0], world.speed[0] = (27.0, 5.0), (5.0, 20.0), (0.0, 1.0)
    place = world._meeting()[0]
    assert place.tolist() == [5.0, 23.0]
    assert world.expert().tolist() == [UP]


@pytest.mark.parametrize(
    ("down", "right", "action"), [(5.0, 5.0, DOWN), (-5.0, 5.0, UP), (0.39, 0.39, STAY), (0.41, 0.0, DOWN), (0.0, -0.41, LEFT)]
)
def test_a_hunter_walks_rows_first_where_both_ways_are_as_long_and_waits_within_half_a_step(down, right, action):
    world = begun(Hunt)
    world.hunter[0], world.prey[0], world.speed[0] = (15.0, 15.0), (15.0 + down, 15.0 + right), (0.0, 0.0)
    assert world.expert().tolist() == [action]


def test_states_name_columns_before_rows_in_the_order_that_is_told():
    hunt, catch, lob, rally, two = (begun(kind) for kind in (Hunt, Catch, Lob, Rally, TwoBalls))
    hunt.hunter[0], hunt.prey[0], hunt.speed[0] = (1, 2), (3, 4), (5, 6)
    assert hunt.state().tolist() == [[2, 1, 4, 3, 6, 5]]
    catch.leaf[0], catch.speed[0], catch.wind[0], catch.basket[0] = (1, 2), (3, 4), 5, 6
    assert catch.state().tolist() == [[2, 1, 4, 3, 5, 6]]
    for world in (lob, rally):
        world.ball[0], world.speed[0], world.paddle[0] = (1, 2), (3, 4), 5
        assert world.state().tolist() == [[2, 1, 4, 3, 5]]
    two.ball[0], two.speed[0], two.paddle[0] = ((1, 2), (3, 4)), ((5, 6), (7, 8)), 9
    assert two.state().tolist() == [[2, 1, 6, 5, 4, 3, 8, 7, 9]]


@pytest.mark.parametrize(("action", "edge"), [(LEFTWARDS, 3.0), (RIGHTWARDS, 28.0)])
def test_a_basket_stops_at_the_edges(action, edge):
    world = begun(Catch)
    world.basket[0] = edge + 0.1 * (1 if action == LEFTWARDS else -1)
    world.step(np.array([action]))
    assert world.basket[0] == edge
