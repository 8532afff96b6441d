"""Laws of what was worked: hours become curves and correlations, the books remember one hour, a mean of weights is the sum by hand, prices sweep."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from layerscout.errors import UsageError
from layerscout.rl.economics import closed_forms
from layerscout.rl.economics.averaging import WeightMean
from layerscout.rl.economics.data_value import FIRST, data_value
from layerscout.rl.economics.episode_log import NAMES
from layerscout.rl.economics.worked import BLOCKS, CURVES, Books, Judgement, Work, WorkedHour
from layerscout.worlds.labour.bricklaying import Bricklaying
from layerscout.worlds.labour.dishwashing import Dishwashing
from layerscout.worlds.labour.trade import expected_hour, optimum, shadow_price

TRADE = Dishwashing.trade
PRICES = TRADE.prices
LOWEST_ERROR = float(TRADE.error_probability(0.0, 1.0))


def worked(**columns) -> Work:
    """Hours whose named columns are [episode][run] and whose others are absent."""
    work = Work(agent=SimpleNamespace())
    for hour in zip(*columns.values(), strict=True):
        rows = [dict.fromkeys(NAMES) | dict(zip(columns, values, strict=True)) for values in zip(*hour, strict=True)]
        work.take(WorkedHour(rows, None))
    return work


def test_a_column_is_hours_by_runs_and_what_is_absent_is_no_number():
    column = worked(gain=[[None, 1.0], [2.0, 3.0], [4.0, None]]).column("gain")
    assert column.shape == (3, 2)
    np.testing.assert_array_equal(column, [[np.nan, 1.0], [2.0, 3.0], [4.0, np.nan]])


@pytest.mark.parametrize("hours", [1, 7, BLOCKS, BLOCKS + 1, 250])
def test_blocks_cover_every_hour_once_and_end_with_the_last(hours):
    blocks = worked(profit=[[float(hour)] for hour in range(hours)]).blocks
    lengths = np.diff([-1, *blocks])
    assert len(blocks) == min(hours, BLOCKS)
    assert blocks[-1] == hours - 1
    assert lengths.min() >= 1
    assert lengths.max() - lengths.min() <= 1, "no block stands for many more hours than another"


def test_curves_average_what_is_defined_in_a_block_and_are_absent_where_nothing_is():
    hours = 2 * BLOCKS
    profit = [[float(hour), None if hour % 2 else 10.0] for hour in range(hours)]
    parity = [[None, 1.0] for _ in range(hours)]
    curves = {curve.column: curve for curve in worked(profit=profit, wage_parity=parity).curves()}
    assert tuple(curves) == CURVES
    assert (curves["profit"].unit, curves["wage_parity"].unit, curves["speed"].unit) == ("$/h", "ratio", "share")
    assert curves["profit"].values[0] == (0.5, 10.0)
    assert curves["profit"].values[-1] == (hours - 1.5, 10.0)
    assert set(curves["wage_parity"].values) == {(None, 1.0)}
    assert set(curves["care"].values) == {(None, None)}


def test_a_correlation_is_pearsons_over_the_hours_in_which_both_are_known():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 30))
    second += 0.5 * first
    told = [[None if hour in (3, 4) else float(first[hour])] for hour in range(30)]
    came = [[None if hour == 17 else float(second[hour])] for hour in range(30)]
    known = [hour for hour in range(30) if hour not in (3, 4, 17)]
    found = worked(predicted_gain=told, gain=came).correlations("predicted_gain", "gain")
    assert found == (pytest.approx(np.corrcoef(first[known], second[known])[0, 1]),)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1.0, 2.0], [3.0, 4.0]),  # a line through two points says nothing
        ([5.0, 5.0, 5.0, 5.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [7.0, 7.0, 7.0, 7.0]),
        ([None, 2.0, 3.0, None], [1.0, 2.0, 3.0, 4.0]),
        ([None] * 4, [None] * 4),
    ],
)
def test_a_correlation_without_two_things_that_vary_is_absent(first, second):
    columns = {"novelty": [[one] for one in first], "gain": [[one] for one in second]}
    assert worked(**columns).correlations("novelty", "gain") == (None,)


def test_three_hours_on_a_line_correlate_perfectly_in_each_run_by_itself():
    work = worked(novelty=[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], gain=[[2.0, 9.0], [4.0, 6.0], [6.0, 3.0]])
    assert work.correlations("novelty", "gain") == (pytest.approx(1.0), pytest.approx(-1.0))


def test_work_that_was_saved_as_plain_data_is_the_same_work():
    work = worked(profit=[[1.5, None], [2.5, 3.5]], episode=[[0, 0], [1, 1]])
    work.take(WorkedHour(work.rows[0], Judgement(3, *(np.array([number, number + 0.5]) for number in (30.0, 0.05, 0.9, 0.4)))))
    again = Work(agent=SimpleNamespace())
    again.load_state_dict(json.loads(json.dumps(work.state_dict())))
    assert again.rows == work.rows
    assert [judgement.record() for judgement in again.judgements] == [judgement.record() for judgement in work.judgements]
    assert again.judgements[0].record().model_dump() == {
        "episode": 3,
        "profit": (30.0, 30.5),
        "error": (0.05, 0.55),
        "speed": (0.9, 1.4),
        "care": (0.4, 0.9),
    }


def hour_of(*counts: tuple[int, int]) -> Dishwashing:
    """A finished hour at the sink, a pair of attempts and errors a copy."""
    world = Dishwashing(len(counts))
    world.attempts[:], world.errors[:] = np.array(counts).T
    world.clock[:] = 60
    return world


def close(books: Books, world: Dishwashing, run: int = 0, novelty: float = 1.0):
    return books.close(world, run, novelty, {"episode": 0}, error_target=0.06, multiplier=2.0, next_multiplier=3.0)


def test_the_books_know_a_gain_from_the_second_hour_on():
    books = Books([7, 9])
    first = [close(books, hour_of((100, 10), (50, 0)), run) for run in (0, 1)]
    assert [row["gain"] for row in first] == [None, None]
    assert [row["seed"] for row in first] == [7, 9]
    second = [close(books, hour_of((120, 10), (40, 5)), run) for run in (0, 1)]
    assert [row["gain"] for row in second] == [20.0, -15.0]  # 110 − 90 good units, and 35 − 50
    assert [line.seen for line in books.values] == [1, 1], "an hour without a gain teaches nothing"
    assert [row["predicted_gain"] for row in second] == [None, None]


def test_the_books_split_a_spread_by_what_was_foretold_before_the_gain_was_known():
    books, line = Books([0]), data_value()
    product = 60
    close(books, hour_of((product, 0)))
    for hour in range(FIRST + 1):
        novelty, gain = 1.0 + 0.25 * hour, hour % 3
        product += gain
        row = close(books, hour_of((product, 0)), novelty=novelty)
        foretold = line.predict(novelty)
        assert row["predicted_gain"] == foretold
        assert row["gain"] == gain
        line.update(novelty, gain)
    assert row["predicted_gain"] is not None
    spread = PRICES.price * product - PRICES.human_wage
    assert row["spread"] == pytest.approx(spread if spread > 0.05 * PRICES.human_wage else 0.0)


def test_books_that_were_saved_go_on_as_if_they_had_not_been():
    kept, hours = Books([0]), [(80 + 3 * hour % 7, hour % 4) for hour in range(24)]
    for hour, counts in enumerate(hours[:14]):
        close(kept, hour_of(counts), novelty=0.1 * hour)
    state, again = kept.state_dict(), Books([0])
    again.load_state_dict(state)
    for hour, counts in enumerate(hours[14:]):
        rows = [close(books, hour_of(counts), novelty=0.3 * hour) for books in (kept, again)]
        assert rows[0] == rows[1]
    assert rows[0]["predicted_gain"] is not None


@pytest.mark.parametrize("way", ["gradient", "recursive"])
def test_two_lines_that_go_on_from_one_state_do_not_touch_each_other(way):
    begun = data_value(way)
    for hour in range(FIRST):
        begun.update(0.1 * hour, float(hour))
    state = begun.state_dict()
    one, other = data_value(way), data_value(way)
    one.load_state_dict(state)
    other.load_state_dict(state)
    one.update(5.0, -30.0)
    assert other.predict(1.0) == begun.predict(1.0)
    assert one.predict(1.0) != begun.predict(1.0)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_a_mean_of_weights_weighs_each_update_by_its_number_to_the_power(power):
    """For a whole number p the weights of the running mean are t (t + 1) … (t + p − 1): for 0 all alike, for 1 the number itself."""
    generator = torch.Generator().manual_seed(0)
    history = [torch.randn(2, 3, generator=generator) for _ in range(9)]
    mean = WeightMean([torch.full((2, 3), 99.0)], power)
    for weights in history:
        mean.take([weights], begun=True)
    shares = np.array([math.gamma(t + power) / math.gamma(t) for t in range(1, 10)])
    expected = sum(share * weights for share, weights in zip(shares / shares.sum(), history, strict=True))
    torch.testing.assert_close(mean._means[0], expected, rtol=1e-5, atol=1e-6)


def test_until_a_mean_begins_it_is_the_newest_weights():
    weights, mean = torch.zeros(1, 2), WeightMean([torch.zeros(1, 2)], 0.0)
    for value in (1.0, 5.0):
        mean.take([weights.fill_(value)], begun=False)
    with mean.in_place([weights]):
        assert weights.tolist() == [[5.0, 5.0]]
    mean.take([weights.fill_(2.0)], begun=True)
    with mean.in_place([weights]):
        assert weights.tolist() == [[3.5, 3.5]], "the last ones before it began count as the first update"


def test_weights_that_the_mean_stood_in_for_come_back_even_after_a_failure():
    weights, mean = [torch.tensor([[1.0]]), torch.tensor([[4.0]])], WeightMean([torch.tensor([[7.0]]), torch.tensor([[8.0]])], 1.0)
    stood = []

    def fail():
        with mean.in_place(weights):
            stood.extend(values.item() for values in weights)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert stood == [7.0, 8.0]
    assert [values.item() for values in weights] == [1.0, 4.0]
    with mean.in_place(weights):
        weights[0].fill_(100.0)
    with mean.in_place(weights):
        assert weights[0].item() == 7.0, "what is done to the weights meanwhile does not reach the mean"


def test_a_mean_follows_weights_that_come_later():
    first, later = torch.tensor([[1.0]]), torch.tensor([[10.0, 20.0]])
    mean = WeightMean([first], 0.0)
    mean.take([first], begun=True)
    mean.follow([first, later])
    mean.take([first.fill_(3.0), later.fill_(0.0)], begun=True)
    assert [values.tolist() for values in mean._means] == [[[2.0]], [[5.0, 10.0]]]
    mean.follow([first, later])
    assert len(mean._means) == 2


def test_two_means_that_go_on_from_one_state_do_not_touch_each_other():
    mean = WeightMean([torch.tensor([[2.0]])], 0.0)
    mean.take([torch.tensor([[2.0]])], begun=True)
    state, one, other = mean.state_dict(), WeightMean([], 0.0), WeightMean([], 0.0)
    one.load_state_dict(state)
    other.load_state_dict(state)
    one.take([torch.tensor([[6.0]])], begun=True)
    mean.take([torch.tensor([[6.0]])], begun=True)
    assert one._means[0].item() == mean._means[0].item() == 4.0
    assert other._means[0].item() == 2.0


@pytest.mark.parametrize("trade", [Dishwashing.trade, Bricklaying.trade])
def test_an_hour_of_wages_is_the_profit_before_energy(trade):
    hour = closed_forms.wage_hour(trade, trade.prices, 0.7, 0.4)
    expected = expected_hour(trade, 0.7, 0.4)
    assert hour.profit == pytest.approx(expected.profit)
    per_unit = trade.prices.price - trade.prices.damage * expected.error_rate
    assert hour.wage == pytest.approx(per_unit * expected.marginal_product)
    assert hour.parity * trade.prices.human_wage == pytest.approx(hour.wage)
    assert hour.multiplier is None


def test_the_needed_product_is_four_thirds_of_a_persons():
    assert closed_forms.needed_product(PRICES) == pytest.approx(80.0)
    assert closed_forms.needed_product(replace(PRICES, human_wage=9.0, price=0.6)) == pytest.approx(20.0)


def test_counts_are_those_of_the_grid_and_a_tighter_limit_keeps_fewer():
    kept = [closed_forms.counts(TRADE, PRICES, limit)[0] for limit in (LOWEST_ERROR / 2, 0.03, 0.06, 1.0)]
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, 2500)
    good = expected_hour(TRADE, *np.meshgrid(np.linspace(0, 1, 50), np.linspace(0, 1, 50), indexing="ij")).marginal_product
    assert closed_forms.counts(TRADE, PRICES, 1.0)[1] == (good >= 80.0).sum()


def test_no_action_of_the_frontier_beats_the_best_hour():
    points, best = closed_forms.frontier(TRADE, PRICES, 0.06), closed_forms.best_hour(TRADE, PRICES, None)
    assert len({(point.speed, point.care) for point in points}) == 625
    assert max(point.profit for point in points) <= best.profit
    assert max(point.profit for point in points) == pytest.approx(best.profit, abs=0.1)
    assert [point.feasible for point in points] == [point.error <= 0.06 and point.product >= 80.0 for point in points]


def test_elasticities_move_one_price_at_a_time():
    points = closed_forms.elasticity(TRADE, PRICES, None)
    by_setting = {setting: [point for point in points if point.setting == setting] for setting in ("price", "damage", "human_wage")}
    assert [len(own) for own in by_setting.values()] == [8, 9, 8]
    profits = {setting: [point.hour.profit for point in own] for setting, own in by_setting.items()}
    assert profits["price"] == sorted(profits["price"]), "a dearer unit never earns less"
    assert profits["damage"] == sorted(profits["damage"], reverse=True)
    assert len(set(profits["human_wage"])) == 1, "what a person earns moves the parity alone"
    parities = [point.hour.parity * point.dollars for point in by_setting["human_wage"]]
    assert parities == pytest.approx([parities[0]] * 8)


def test_a_damage_of_nothing_is_swept_in_dollars():
    free = closed_forms.elasticity(TRADE, replace(PRICES, damage=0.0), None)
    assert [point.dollars for point in free if point.setting == "damage"] == list(closed_forms.FACTORS)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_limit_just_above_the_fewest_errors_has_a_price(share):
    """Below the fewest errors there is no hour, so the price is taken on the side on which there are hours."""
    limit = LOWEST_ERROR + share * 1e-3
    price = shadow_price(TRADE, limit)
    nearer = (optimum(TRADE, None, limit + 1e-3).hour.profit - optimum(TRADE, None, limit).hour.profit) / 1e-3
    assert nearer > 0.0
    assert price >= nearer * (1 - 1e-9), "the nearer to the fewest errors, the dearer"
    assert closed_forms.best_hour(TRADE, PRICES, limit).multiplier == price


def test_a_limit_below_the_fewest_errors_is_refused_by_its_own_number():
    with pytest.raises(UsageError, match=r"no action errs as little as 0\.0199"):
        shadow_price(TRADE, LOWEST_ERROR - 1e-4)


def test_a_gain_that_nobody_foretold_is_the_platforms():
    books = Books([0])
    rows = [close(books, hour_of((product, 0))) for product in (100, 110)]
    assert rows[1]["gain"] == 10.0
    assert rows[1]["spread_value"] == pytest.approx(0.30 * 110 - 18.0)
    assert (rows[1]["customer_share"], rows[1]["captured"]) == (0.0, rows[1]["spread_value"])
