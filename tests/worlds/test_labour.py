"""Laws of the labour worlds: figures in closed form, luck that has the right distribution, and scenes that show what was done."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from scipy import stats

from layerscout.errors import UsageError
from layerscout.worlds.labour.base import STATE_SCALES, binomial, poisson
from layerscout.worlds.labour.bricklaying import Bricklaying
from layerscout.worlds.labour.dishwashing import Dishwashing
from layerscout.worlds.labour.trade import Prices, expected_hour, optimum, shadow_price
from layerscout.worlds.pixels import make_world
from layerscout.worlds.registration import register

TRADES = (Dishwashing, Bricklaying)
GRID = np.meshgrid(np.linspace(0, 1, 50), np.linspace(0, 1, 50), indexing="ij")


def at_damage(dollars: float) -> Prices:
    return replace(Dishwashing.trade.prices, damage=dollars)


def work(world, action, seed: int = 0):
    """Work one hour in every copy at a constant speed and care; return the dollars of every copy."""
    world.reset(np.arange(world.copies), np.arange(world.copies) + seed)
    chosen = np.tile(2.0 * np.asarray(action) - 1.0, (world.copies, 1))
    earned = np.zeros(world.copies)
    for minute in range(60):
        outcome = world.step(chosen)
        earned += outcome.reward
        assert not outcome.terminated.any()
        assert outcome.truncated.all() == (minute == 59)
    return earned


@pytest.mark.parametrize(("floor", "productive"), [(True, 1621), (False, 506)])
def test_feasible_actions_of_the_grid_are_counted_exactly(floor, productive):
    hour = expected_hour(Dishwashing.trade, *GRID, floor=floor)
    allowed = hour.error_rate <= 0.06 + 1e-12
    assert allowed.sum() == 1997
    assert (allowed & (hour.marginal_product >= 80)).sum() == productive


@pytest.mark.parametrize(
    ("damage", "largest", "profit", "care"),
    [(1.0, 1.0, 28.426, 0.927), (0.0, 1.0, 32.960, 0.040), (0.0, 0.06, 32.316, 0.519), (0.1, 0.06, 31.667, 0.519)],
)
def test_the_best_hour_at_the_sink(damage, largest, profit, care):
    best = optimum(Dishwashing.trade, at_damage(damage), largest)
    assert (best.speed, best.care) == (pytest.approx(1.0), pytest.approx(care, abs=1e-3))
    assert best.hour.profit == pytest.approx(profit, abs=1e-3)


@pytest.mark.parametrize(("damage", "expected"), [(0.0, 21.4), (0.1, 10.3)])
def test_the_shadow_price_of_an_error_limit(damage, expected):
    assert shadow_price(Dishwashing.trade, 0.06, at_damage(damage)) == pytest.approx(expected, abs=0.3)


def test_a_limit_that_does_not_bind_has_no_price():
    assert shadow_price(Dishwashing.trade, 0.06) == 0.0


def test_the_best_hour_at_the_wall_is_neither_at_full_speed_nor_at_full_care():
    best = optimum(Bricklaying.trade)
    assert best.speed == pytest.approx(0.529, abs=1e-3)
    assert best.care == pytest.approx(0.877, abs=1e-3)
    assert best.hour.profit == pytest.approx(35.896, abs=1e-3)


def test_a_limit_that_nothing_meets_is_refused():
    with pytest.raises(UsageError, match=r"errs as little as 0\.01"):
        optimum(Dishwashing.trade, largest_error=0.01)


def test_an_hour_pays_its_profit_to_the_cent():
    world = Dishwashing(1)
    world.attempts[:], world.errors[:], world.clock[:] = 111, 2, 60
    assert round(float(world.earned()[0]), 2) == 30.64


@pytest.mark.parametrize("kind", TRADES)
def test_hours_earn_on_average_what_the_closed_form_says(kind):
    world = kind(4000)
    earned = work(world, (0.8, 0.6))
    hour = expected_hour(world.trade, 0.8, 0.6)
    np.testing.assert_allclose(earned, world.earned(), atol=1e-4)  # rewards add up to the hour's profit
    assert earned.mean() == pytest.approx(hour.profit, abs=4 * earned.std() / np.sqrt(4000) + 0.05)
    completed, attempts, errors = world.counts().sum(0) / 4000
    assert attempts == pytest.approx(hour.attempts, rel=0.01)
    assert errors / attempts == pytest.approx(hour.error_rate, rel=0.05)
    assert completed == pytest.approx(attempts - errors)


def test_luck_is_poisson_and_binomial():
    luck = np.random.default_rng(0).random(5000)
    np.testing.assert_array_equal(poisson(np.full(5000, 1.7), luck), stats.poisson.ppf(luck, 1.7))
    np.testing.assert_array_equal(binomial(np.full(5000, 5), np.full(5000, 0.13), luck), stats.binom.ppf(luck, 5, 0.13))
    assert binomial(np.zeros(3, dtype=int), np.full(3, 0.4), np.array([0.1, 0.5, 0.999999])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", TRADES)
def test_an_hour_is_a_function_of_its_seed_and_actions_whatever_stands_beside_it(kind):
    alone, among = kind(1), kind(7)
    alone.reset(np.array([0]), np.array([5]))
    among.reset(np.arange(7), np.arange(7))
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    for action in actions:
        assert alone.step(action[None]).reward[0] == among.step(np.tile(action, (7, 1))).reward[5]
    np.testing.assert_array_equal(alone.frames()[0], among.frames(np.array([5]))[0])


@pytest.mark.parametrize("kind", TRADES)
def test_a_scene_shows_speed_care_and_errors(kind):
    world = kind(2)
    world.reset(np.arange(2), np.array([3, 3]))
    world.step(np.array([[0.0, 0.0], [0.0, 0.0]]))
    before = world.frames()
    np.testing.assert_array_equal(before[0], before[1])
    for column, values in (("action", ([0.2, 0.5], [0.9, 0.5])), ("action", ([0.5, 0.1], [0.5, 0.9])), ("minute_errors", (0, 1))):
        kept = getattr(world, column).copy()
        getattr(world, column)[:] = values
        first, second = world.frames()
        assert (first != second).any(axis=-1).sum() > 20, column
        getattr(world, column)[:] = kept


@pytest.mark.parametrize("kind", TRADES)
def test_a_minute_is_a_second_of_film_whose_hand_moves_from_frame_to_frame(kind):
    world = kind(1)
    world.reset(np.array([0]), np.array([1]))
    world.step(np.array([[1.0, 0.0]]))
    film = world.film()[0]
    assert film.shape == (24, 64, 64, 3)
    np.testing.assert_array_equal(film[-1], world.frames()[0])
    assert all((film[frame] != film[frame + 1]).any() for frame in range(23))


def test_gymnasium_takes_speed_and_care_as_they_are_and_gives_the_state():
    register()
    raw = gymnasium.make("layerscout/Dishwashing-v0", observation="state", raw=True).unwrapped
    scaled = gymnasium.make("layerscout/Dishwashing-v0", observation="state").unwrapped
    assert (raw.action_space.low.tolist(), raw.action_space.high.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    raw.reset(seed=1)
    scaled.reset(seed=1)
    counts, numbers = raw.step(np.array([1.0, 0.5]))[0], scaled.step(np.array([1.0, 0.5]))[0]
    assert counts[0] == 60.0
    assert counts[1] == counts[2] - counts[3]
    np.testing.assert_allclose(numbers, counts / STATE_SCALES, rtol=1e-6)
    assert raw.unwrapped._world.action[0].tolist() == [1.0, 0.5]
    assert gymnasium.make("layerscout/Bricklaying-v0").metadata["render_fps"] == 24


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"price": 0.0}, "price is 0.0 dollars"),
        ({"price": float("nan")}, "price is nan"),
        ({"damage": -1.0}, "damage is -1.0"),
        ({"observation": "pixel"}, "did you mean 'pixels'"),
    ],
)
def test_wrong_options_are_named(options, complaint):
    with pytest.raises(UsageError, match=complaint):
        make_world("layerscout/Dishwashing-v0", 1, options=options)
