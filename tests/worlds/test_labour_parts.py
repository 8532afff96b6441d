"""Parts of the labour worlds by hand: brushes pixel by pixel, what a moment of the minute shows, a minute's money, the trades' formulas."""

from __future__ import annotations

import itertools
import math

import gymnasium
import numpy as np
import pytest
from scipy import stats

from layerscout.errors import UsageError
from layerscout.worlds.gymnasium_api import WorldEnv, WorldVectorEnv
from layerscout.worlds.labour.base import STATE_SCALES, binomial, poisson
from layerscout.worlds.labour.bricklaying import Bricklaying
from layerscout.worlds.labour.dishwashing import Dishwashing
from layerscout.worlds.labour.scene import SIZE, backdrop, finish, paint_box, paint_clock, paint_ellipse
from layerscout.worlds.labour.trade import Prices, expected_hour, optimum
from layerscout.worlds.registration import register

TRADES = (Dishwashing, Bricklaying)
COLOUR = (200.0, 100.0, 50.0)


def canvas() -> np.ndarray:
    return backdrop(2, (10.0, 20.0, 30.0), (60.0, 70.0, 80.0), 40)


def plain(cover) -> np.ndarray:
    """Two canvases painted pixel by pixel with what ``cover(copy, row, column)`` covers."""
    painted = canvas()
    for copy in range(2):
        for row in range(SIZE):
            for column in range(SIZE):
                share = cover(copy, row, column)
                painted[copy, row, column] = [
                    (1 - share) * ground + share * over for ground, over in zip(painted[copy, row, column], COLOUR, strict=True)
                ]
    return painted


def test_a_room_has_a_wall_above_its_table():
    room = canvas()
    assert (room[:, :40] == (10.0, 20.0, 30.0)).all()
    assert (room[:, 40:] == (60.0, 70.0, 80.0)).all()


PLACES = [
    ((20.3, 50.9), (30.0, 9.6)),
    ((-3.0, 70.0), (1.0, 64.5)),
    ((200.0, -90.0), (32.0, 32.0)),
]  # in the picture, half out of it, outside


@pytest.mark.parametrize(("rows", "columns"), PLACES)
@pytest.mark.parametrize("strength", [1.0, (0.3, 0.0)])
def test_an_ellipse_covers_what_lies_within_it(rows, columns, strength):
    painted, strengths = canvas(), np.broadcast_to(np.array(strength), 2)
    paint_ellipse(painted, np.array(rows), np.array(columns), 3.0, 5.5, COLOUR, np.array(strength))

    def cover(copy: int, row: int, column: int) -> float:
        radius = math.hypot((row - rows[copy]) / 3.0, (column - columns[copy]) / 5.5)
        return float(strengths[copy]) * min(1.0, max(0.0, (1.0 - radius) * 3.0 + 0.5))

    np.testing.assert_allclose(painted, plain(cover), atol=1e-9)


@pytest.mark.parametrize(("rows", "columns"), PLACES)
@pytest.mark.parametrize("tilt", [0.0, (0.8, -1.5)])
def test_a_box_is_turned_around_its_centre(rows, columns, tilt):
    painted, tilts = canvas(), np.broadcast_to(np.array(tilt), 2)
    paint_box(painted, np.array(rows), np.array(columns), 2.0, 6.0, COLOUR, tilt=np.array(tilt))

    def cover(copy: int, row: int, column: int) -> float:
        across = column - columns[copy]
        down = row - rows[copy] - tilts[copy] * across
        return min(1.0, max(0.0, 2.5 - abs(down))) * min(1.0, max(0.0, 6.5 - abs(across)))

    np.testing.assert_allclose(painted, plain(cover), atol=1e-9)


@pytest.mark.parametrize(("share", "columns"), [(0.0, 0), (0.25, 16), (0.5, 32), (1.0, 64)])
def test_the_clock_fills_from_the_left_over_the_hour(share, columns):
    painted = canvas()
    paint_clock(painted, np.array([share, 1.0]))
    lit = (painted[0, 0] == (235.0, 200.0, 90.0)).all(-1)
    assert lit[:columns].all()
    assert not lit[columns:].any()
    assert (painted[1, :2] == (235.0, 200.0, 90.0)).all()
    np.testing.assert_array_equal(painted[0, 0], painted[0, 1])
    assert (painted[:, 2:] == canvas()[:, 2:]).all()


def test_a_scene_is_cut_to_bytes():
    assert finish(np.array([-3.0, 0.9, 254.99, 300.0])).tolist() == [0, 0, 254, 255]


# --- the world


def begun(kind, copies: int = 1):
    world = kind(copies)
    world.reset(np.arange(copies), np.arange(copies))
    return world


@pytest.mark.parametrize("kind", TRADES)
def test_a_film_counts_up_to_what_the_minute_made(kind):
    """Good units appear with the minute's time, errors at its half, and both end at the counts."""
    world = begun(kind, 40)
    for _ in range(7):
        world.step(np.full((40, 2), 0.9))
    moments = [world._moment(None, share) for share in (0.0, 0.25, 0.49, 0.5, 0.75, 1.0)]
    for before, after in itertools.pairwise(moments):
        assert (after.completed >= before.completed).all()
        assert (after.errors >= before.errors).all()
        assert (after.clock > before.clock).all()
        assert (after.phase > before.phase).all()
    completed, _, errors = world.counts().T
    np.testing.assert_array_equal(moments[-1].completed, completed)
    np.testing.assert_array_equal(moments[-1].errors, errors)
    np.testing.assert_allclose(moments[-1].clock, 7 / 60)
    np.testing.assert_allclose(moments[0].clock, 6 / 60)
    np.testing.assert_array_equal(moments[0].completed, completed - (world.minute_attempts - world.minute_errors))
    np.testing.assert_array_equal(moments[2].errors, errors - world.minute_errors)
    np.testing.assert_array_equal(moments[3].errors, errors)
    assert (moments[2].bad == 0).all()
    assert (moments[3].bad == world.minute_errors).all()


@pytest.mark.parametrize("kind", TRADES)
def test_a_minutes_reward_is_what_it_added_to_the_hour(kind):
    world = begun(kind, 5)
    prices, before = world.prices, np.zeros(5)
    for clock, action in enumerate(np.random.default_rng(0).uniform(-1, 1, (60, 5, 2)), 1):
        reward = world.step(action).reward
        good, errors = world.attempts - world.errors, world.errors
        earned = prices.price * good - prices.damage * errors / world.attempts * good - prices.energy * clock / 60
        np.testing.assert_allclose(reward, earned - before, atol=1e-5)
        before = earned
    assert world.step(np.zeros((5, 2))).reward.tolist() == [0.0] * 5, "the hour is over"


@pytest.mark.parametrize("kind", TRADES)
def test_at_least_one_unit_is_always_under_way(kind):
    world = begun(kind, 300)
    for _ in range(10):
        world.step(np.tile([-1.0, 1.0], (300, 1)))  # as slow and as careful as can be
        assert world.minute_attempts.min() >= 1
        assert (world.minute_errors <= world.minute_attempts).all()


def test_actions_beyond_the_ends_count_as_the_ends():
    world, other = begun(Dishwashing), begun(Dishwashing)
    world.step(np.array([[7.0, -9.0]]))
    other.step(np.array([[1.0, -1.0]]))
    np.testing.assert_array_equal(world.action, [[1.0, 0.0]])
    np.testing.assert_array_equal(world.counts(), other.counts())


def test_a_state_is_seconds_and_counts_scaled_or_as_they_are():
    scaled, raw = begun(Dishwashing), Dishwashing(1, raw=True)
    raw.reset(np.array([0]), np.array([0]))
    for world in (scaled, raw):
        for _ in range(3):
            world.step(np.zeros((1, 2)))
    assert raw.state()[0].tolist() == [180.0, *map(float, raw.counts()[0])]
    np.testing.assert_allclose(scaled.state() * STATE_SCALES, raw.state(), rtol=1e-6)
    assert (raw.state() <= raw.largest_state).all()
    assert (scaled.state() <= scaled.largest_state).all()


@pytest.mark.parametrize("kind", TRADES)
def test_the_expert_does_what_earns_most_at_these_prices(kind):
    dear = kind(2, damage=5.0)
    best = optimum(kind.trade, dear.prices)
    np.testing.assert_allclose(dear.expert(), [[2 * best.speed - 1, 2 * best.care - 1]] * 2, rtol=1e-6)
    assert best.hour.error_rate < optimum(kind.trade).hour.error_rate, "dearer errors are fewer"


@pytest.mark.parametrize(("rate", "probability"), [(0.1, 0.0), (1.0, 0.02), (2.4, 0.5)])
def test_luck_is_turned_by_the_inverse_of_the_distribution(rate, probability):
    luck = np.array([0.0, 0.3, 0.5, 0.9, 0.999, 1 - 1e-12])
    np.testing.assert_array_equal(poisson(np.full(6, rate), luck), np.maximum(0, stats.poisson.ppf(luck, rate)))
    attempts = np.array([0, 1, 2, 5, 9, 32])
    expected = np.maximum(0, stats.binom.ppf(luck, attempts, probability))
    np.testing.assert_array_equal(binomial(attempts, np.full(6, probability), luck), np.nan_to_num(expected))


# --- the trades


@pytest.mark.parametrize("kind", TRADES)
def test_rates_and_errors_are_the_formulas(kind):
    trade = kind.trade
    for speed, care in ((0.0, 0.0), (1.0, 1.0), (0.3, 0.8)):
        rate = trade.base_rate * (0.5 + 0.5 * speed) * (1 - trade.care_cost * care)
        assert trade.rate(speed, care) == pytest.approx(max(0.1, rate))
        error = trade.least_error + trade.haste * speed**trade.haste_power
        error += trade.slip * speed**trade.speed_power * (1 - care) ** trade.care_power
        assert trade.error_probability(speed, care) == pytest.approx(min(0.5, error))


@pytest.mark.parametrize("kind", TRADES)
def test_an_expected_hour_is_the_sum_over_everything_that_can_happen(kind):
    trade, prices = kind.trade, kind.trade.prices
    rate, error = float(trade.rate(0.8, 0.3)), float(trade.error_probability(0.8, 0.3))
    counts = np.arange(0, 60)
    attempts = 60 * float((np.maximum(1, counts) * stats.poisson.pmf(counts, rate)).sum())
    hour = expected_hour(trade, 0.8, 0.3)
    assert hour.attempts == pytest.approx(attempts)
    assert hour.marginal_product == pytest.approx(attempts * (1 - error))
    assert hour.profit == pytest.approx((prices.price - prices.damage * error) * attempts * (1 - error) - prices.energy)
    assert expected_hour(trade, 0.8, 0.3, floor=False).attempts == pytest.approx(60 * rate)


@pytest.mark.parametrize("kind", TRADES)
@pytest.mark.parametrize("limit", [1.0, 0.05])
def test_no_action_of_a_fine_grid_earns_more_than_the_optimum(kind, limit):
    best = optimum(kind.trade, largest_error=limit)
    grid = np.meshgrid(np.linspace(0, 1, 401), np.linspace(0, 1, 401), indexing="ij")
    hour = expected_hour(kind.trade, *grid)
    highest = hour.profit[hour.error_rate <= limit].max()
    assert best.hour.profit >= highest - 1e-9
    assert best.hour.profit == pytest.approx(highest, abs=0.02)
    assert best.hour.error_rate <= limit + 1e-9


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"price": 0.0}, ("price is 0.0 dollars", "price is a finite number above 0")),
        ({"human_wage": -1.0}, ("human_wage is -1.0 dollars", "human_wage is a finite number above 0")),
        ({"energy": -0.1}, ("energy is -0.1 dollars", "energy is a finite number at least 0")),
        ({"damage": float("inf")}, ("damage is inf dollars", "damage is a finite number at least 0")),
    ],
)
def test_prices_that_are_none_are_named(change, told):
    with pytest.raises(UsageError) as caught:
        Prices(**({"price": 0.3, "damage": 0.0, "energy": 0.0, "human_wage": 18.0} | change))
    assert (str(caught.value), caught.value.hint) == told


# --- Gymnasium's side


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": [1, 2]}, "2 seeds for 3 environments"),
        ({"options": {"reset_mask": np.ones(2, bool)}}, r"reset_mask is bool \(2,\)"),
        ({"options": {"reset_mask": np.ones(3)}}, r"reset_mask is float64 \(3,\)"),
    ],
)
def test_seeds_and_masks_that_do_not_fit_are_refused(options, message):
    environments = WorldVectorEnv("layerscout/Grid-v0", 3)
    with pytest.raises(UsageError, match=message):
        environments.reset(**options)
    environments.close()


@pytest.mark.parametrize("kind", [WorldEnv, WorldVectorEnv])
def test_another_way_to_render_is_refused_and_none_renders_nothing(kind):
    with pytest.raises(UsageError, match="unknown render_mode 'human'"):
        kind("layerscout/Grid-v0", render_mode="human")
    plain_one = kind("layerscout/Grid-v0")
    plain_one.reset(seed=0)
    assert plain_one.render() is None


def test_a_film_runs_as_fast_as_its_world_says():
    register()
    assert gymnasium.make("layerscout/Dishwashing-v0").metadata["render_fps"] == 24
    assert gymnasium.make("layerscout/Grid-v0").metadata["render_fps"] == 15
    assert WorldEnv.metadata["render_fps"] == 15, "one environment's speed is not its class's"
