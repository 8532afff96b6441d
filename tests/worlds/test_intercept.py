"""Intercept's fast pictures against their plain definition, its rules against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.worlds.intercept import (
    BALL_RADIUS,
    LANDING,
    PADDLE_HALF,
    PADDLE_RANGE,
    PADDLE_SPEED,
    SIZE,
    WALLS,
    WAVES,
    Intercept,
)


def plain_picture(world: Intercept, copy: int) -> np.ndarray:
    """One copy drawn pixel by pixel in the order of the definition: background, paddle, ball."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    picture = np.full((SIZE, SIZE, 3), 0.0)
    light = np.empty((WAVES, SIZE, SIZE))
    for wave in range(WAVES):
        row_frequency, column_frequency, drift, phase = world.wave[copy, wave]
        light[wave] = 0.5 * np.sin(row_frequency * rows + column_frequency * columns + phase + drift * world.clock[copy]) + 0.5
    picture = 60.0 + 110.0 / WAVES * np.einsum("wij,wc->ijc", light, world.colour[copy])
    paddle = (rows >= SIZE - 3) * np.clip(PADDLE_HALF + 0.5 - np.abs(columns - world.paddle[copy]), 0.0, 1.0)
    picture += paddle[..., None] * (20.0 - picture)
    ball = np.clip(BALL_RADIUS + 0.5 - np.hypot(rows - world.ball[copy, 0], columns - world.ball[copy, 1]), 0.0, 1.0)
    picture += ball[..., None] * (235.0 - picture)
    return picture.astype(np.uint8)


@pytest.mark.parametrize("seeds", [range(9), [4] * 9, [0, 0, 0, 1, 1, 1, 2, 2, 2]], ids=["all different", "all one game", "three games"])
def test_what_several_games_show_once_is_what_each_shows(seeds):
    """Copies of one episode differ by their paddles alone; a ball that lands is drawn before the paddle."""
    world, rng = Intercept(9), np.random.default_rng(0)
    world.reset(np.arange(9), np.array(seeds))
    for _ in range(40):
        expected = np.stack([plain_picture(world, copy) for copy in range(9)])
        np.testing.assert_array_equal(world.frames(), expected)
        some = rng.permutation(9)[:5]
        np.testing.assert_array_equal(world.frames(some), expected[some])
        world.step(rng.integers(0, 3, 9))
    assert world.done.all()


def test_copies_of_one_episode_at_different_times_are_told_apart():
    world = Intercept(3)
    world.reset(np.arange(3), np.array([7, 7, 7]))
    for late in (1, 2):
        world.step(np.ones(3, np.int64))
        world.reset(np.array([late]), np.array([7]))
    np.testing.assert_array_equal(world.frames(), [plain_picture(world, copy) for copy in range(3)])
    assert len({frame.tobytes() for frame in world.frames()}) == 3


def test_nobody_is_drawn_for_nobody():
    assert Intercept(2).frames(np.array([], np.intp)).shape == (0, SIZE, SIZE, 3)


def test_the_ball_flies_straight_and_is_mirrored_at_the_walls():
    world = Intercept(50)
    world.reset(np.arange(50), np.arange(50))
    start, speed = world.ball.copy(), world.speed.copy()
    span = WALLS[1] - WALLS[0]
    for step in range(1, 15):
        world.step(np.ones(50, np.int64))
        straight = start[:, 1] + step * speed[:, 1]
        folded = np.mod(straight - WALLS[0], 2 * span)
        expected = WALLS[0] + np.where(folded > span, 2 * span - folded, folded)
        np.testing.assert_allclose(world.ball[:, 1], expected, atol=1e-9)
        np.testing.assert_allclose(world.ball[:, 0], start[:, 0] + step * speed[:, 0], atol=1e-9)


@pytest.mark.parametrize(("action", "direction"), [(0, -1), (1, 0), (2, 1)])
def test_the_paddle_moves_at_its_speed_within_its_range(action, direction):
    world = Intercept(20)
    world.reset(np.arange(20), np.arange(20))
    before = world.paddle.copy()
    for step in range(1, 12):
        world.step(np.full(20, action))
        expected = np.clip(before + direction * PADDLE_SPEED * step, *PADDLE_RANGE)
        np.testing.assert_allclose(world.paddle, expected, atol=1e-9)


def test_a_landing_is_judged_once_and_a_finished_copy_stands_still():
    world = Intercept(64)
    world.reset(np.arange(64), np.arange(64))
    total, ends = np.zeros(64), np.zeros(64, int)
    for _ in range(60):
        row, paddle, over = world.ball[:, 0].copy(), world.paddle.copy(), world.done.copy()
        outcome = world.step(np.zeros(64, np.int64))
        landed = ~over & (row + world.speed[:, 0] >= LANDING)
        np.testing.assert_array_equal(outcome.terminated, landed)
        caught = np.abs(world.ball[:, 1] - world.paddle) <= PADDLE_HALF
        np.testing.assert_array_equal(outcome.reward, np.where(landed, np.where(caught, 1.0, -1.0), 0.0))
        np.testing.assert_array_equal(world.paddle[over], paddle[over])
        assert not outcome.truncated.any()
        total, ends = total + outcome.reward, ends + outcome.terminated
    assert (ends == 1).all()
    assert set(total) == {-1.0, 1.0}


def test_the_expert_stands_where_the_ball_will_land_whatever_bounces():
    world = Intercept(300)
    world.reset(np.arange(300), np.arange(300))
    total = np.zeros(300)
    while not world.done.all():
        total += world.step(world.expert()).reward
    assert (total == 1.0).mean() > 0.95, "some balls fly faster than any paddle"


def test_the_distance_to_the_landing_place_is_the_reward_of_every_step_when_asked_for():
    plain, dense = Intercept(6), Intercept(6, reward="distance")
    for world in (plain, dense):
        world.reset(np.arange(6), np.arange(6))
    rng, paddles, rewards, landed = np.random.default_rng(0), [], [], np.full(6, np.nan)
    while not plain.done.all():
        actions, live = rng.integers(0, 3, 6), ~plain.done
        plain.step(actions)
        outcome = dense.step(actions)
        paddles.append(np.where(live, dense.paddle, np.nan))
        rewards.append(outcome.reward)
        landed = np.where(live & plain.done, plain.ball[:, 1], landed)
        np.testing.assert_array_equal(dense.frames(), plain.frames())
    distance = np.nan_to_num(np.abs(np.stack(paddles) - landed)) / (2 * PADDLE_HALF)
    np.testing.assert_allclose(-np.stack(rewards), distance, atol=1e-5)
    assert (plain.optimal_expert, dense.optimal_expert) == (True, False)
    with pytest.raises(UsageError, match="unknown reward 'distanse'; did you mean 'distance'"):
        Intercept(1, reward="distanse")
