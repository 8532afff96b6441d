"""The small games as they begin and as they look: within what is said of them, and pixel by pixel what the definition says."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.worlds.arcade.base import SIZE
from layerscout.worlds.arcade.catch import Catch
from layerscout.worlds.arcade.hunt import Hunt
from layerscout.worlds.arcade.lob import Lob
from layerscout.worlds.arcade.rally import HITS, Rally
from layerscout.worlds.arcade.two_balls import TwoBalls

MANY = 300


def begun(kind, copies: int = MANY):
    world = kind(copies)
    world.reset(np.arange(copies), np.arange(copies))
    return world


def within(values, low: float, high: float) -> None:
    """All lie between the bounds, and some near either of them, so that the bounds are these."""
    margin = 0.1 * (high - low)
    assert low <= values.min() < low + margin
    assert high - margin < values.max() <= high


def reached(column, start, speed: float, steps, half: float):
    """Whether a paddle of this speed can have half of itself over a column in time."""
    return np.abs(column - start) <= speed * (steps - 1) + 0.5 * half


def test_a_leaf_begins_where_a_basket_can_catch_it():
    world = begun(Catch)
    within(world.leaf[:, 0], 2.0, 5.0)
    within(world.leaf[:, 1], 5.0, 26.0)
    within(world.speed[:, 0], 0.8, 1.1)
    within(np.abs(world.wind), 0.02, 0.08)
    within(world.basket, 10.0, 22.0)
    assert not world.speed[:, 1].any()
    assert 0.4 < (world.wind > 0).mean() < 0.6, "it blows from either side"
    steps, column = world._landing(np.arange(MANY))
    np.testing.assert_array_equal(steps, np.ceil((28.0 - world.leaf[:, 0]) / world.speed[:, 0]))
    assert reached(column, world.basket, 0.55, steps, 3.0).all()
    assert not reached(column, world.basket, 0.55, steps, 0.0).all(), "half a basket's half may be missing"


def test_a_throw_begins_where_a_paddle_can_catch_it():
    world = begun(Lob)
    within(world.ball[:, 0], 22.0, 26.0)
    within(world.ball[:, 1], 4.0, 27.0)
    within(-world.speed[:, 0], 1.1, 1.6)
    within(np.abs(world.speed[:, 1]), 0.3, 1.3)
    within(world.paddle, 11.0, 21.0)
    steps, column = world._landing(np.arange(MANY))
    assert reached(column, world.paddle, 0.7, steps, 3.0).all()


def test_two_balls_begin_where_a_paddle_can_be_under_both_in_turn():
    world = begun(TwoBalls)
    within(world.ball[..., 0], 2.0, 5.0)
    within(world.ball[..., 1], 4.0, 27.0)
    within(world.speed[:, 0, 0], 0.9, 1.2)
    within(world.speed[:, 1, 0], 0.45, 0.6)
    within(np.abs(world.speed[..., 1]), 0.2, 1.2)
    within(world.paddle, 11.0, 21.0)
    steps, column = world._landings(np.arange(MANY))
    assert reached(column[:, 0], world.paddle, 0.9, steps[:, 0], 3.0).all()
    assert reached(column[:, 1], column[:, 0], 0.9, steps[:, 1] - steps[:, 0], 3.0).all()
    assert (steps[:, 0] < steps[:, 1]).all()


def test_a_rally_begins_with_a_ball_that_can_be_sent_back():
    world = begun(Rally)
    within(world.ball[:, 0], 4.0, 8.0)
    within(world.ball[:, 1], 8.0, 23.0)
    within(world.speed[:, 0], 0.8, 1.1)
    within(np.abs(world.sideways), 0.3, 1.1)
    assert world.sideways.shape == (MANY, HITS + 1)
    np.testing.assert_array_equal(world.speed[:, 1], world.sideways[:, 0])
    assert np.abs(world.paddle - world.ball[:, 1]).max() <= 4.0
    steps, column = world._landing(np.arange(MANY))
    assert reached(column, world.paddle, 0.8, steps, 3.5).all()


def test_a_hunt_begins_far_from_a_prey_that_is_faster():
    world = begun(Hunt)
    within(world.hunter, 4.0, 27.0)
    within(world.prey, 4.0, 27.0)
    assert np.hypot(*(world.hunter - world.prey).T).min() > 10.5
    within(np.hypot(*world.speed.T), 0.9, 1.3)
    quarters = np.histogram(np.arctan2(*world.speed.T), np.linspace(-np.pi, np.pi, 9))[0]
    assert quarters.min() > MANY / 8 / 2, "it runs in any direction"


# --- pictures


def disc(picture, row: float, column: float, radius: float, colour) -> None:
    for y in range(SIZE):
        for x in range(SIZE):
            cover = min(1.0, max(0.0, radius + 0.5 - float(np.hypot(y - row, x - column))))
            picture[y, x] = [(1 - cover) * under + cover * over for under, over in zip(picture[y, x], colour, strict=True)]


def bar(picture, rows, column: float, half: float, colour) -> None:
    for y in rows:
        for x in range(SIZE):
            cover = min(1.0, max(0.0, half + 0.5 - abs(x - column)))
            picture[y, x] = [(1 - cover) * under + cover * over for under, over in zip(picture[y, x], colour, strict=True)]


def ground(colour) -> np.ndarray:
    return np.tile(np.array(colour, float), (SIZE, SIZE, 1))


def catch(world: Catch) -> np.ndarray:
    picture = ground((70, 110, 150))
    for y in range(SIZE):
        for x in range(SIZE):
            picture[y, x] += 14.0 * np.sin(0.55 * (x - 12.0 * world.wind[0] * world.clock[0]) + 1.9 * y)
    bar(picture, (28, 29, 30), world.basket[0], 3.0, (60, 40, 30))
    disc(picture, *world.leaf[0], 1.8, (220, 150, 40))
    return picture


def lob(world: Lob) -> np.ndarray:
    picture = ground((25, 25, 45))
    picture[:, (0, 8, 16, 24)] += 12.0
    bar(picture, (29, 30, 31), world.paddle[0], 3.0, (200, 90, 90))
    disc(picture, *world.ball[0], 2.0, (240, 240, 120))
    return picture


def two_balls(world: TwoBalls) -> np.ndarray:
    picture = ground((40, 60, 40))
    picture[(0, 6, 12, 18, 24, 30), :] += 10.0
    bar(picture, (29, 30, 31), world.paddle[0], 3.0, (230, 230, 230))
    for ball, colour in enumerate(((240, 90, 60), (80, 160, 250))):
        if not world.down[0, ball]:
            disc(picture, *world.ball[0, ball], 1.9, colour)
    return picture


def rally(world: Rally) -> np.ndarray:
    picture = ground((20, 70, 60))
    picture[:2] += 60.0
    bar(picture, (28, 29, 30), world.paddle[0], 3.5, (250, 200, 60))
    disc(picture, *world.ball[0], 1.7, (250, 250, 250))
    return picture


def hunt(world: Hunt) -> np.ndarray:
    picture = ground((50, 75, 40))
    for y in range(0, SIZE, 8):
        for x in range(0, SIZE, 8):
            picture[y, x] += 30.0
    disc(picture, *world.prey[0], 1.6, (240, 240, 240))
    disc(picture, *world.hunter[0], 2.0, (230, 80, 200))
    return picture


@pytest.mark.parametrize(("kind", "plain"), [(Catch, catch), (Lob, lob), (TwoBalls, two_balls), (Rally, rally), (Hunt, hunt)])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_picture_is_painted_in_the_order_of_its_definition(kind, plain, seed):
    world, generator = kind(1), np.random.default_rng(seed)
    world.reset(np.array([0]), np.array([seed]))
    for _ in range(3):
        for _ in range(9):
            world.step(generator.integers(world.action_count, size=1))
        apart = world.frames()[0].astype(int) - plain(world)
        assert apart.min() > -1.0 - 1e-6, "brightness is cut to whole numbers"
        assert apart.max() < 1e-6
