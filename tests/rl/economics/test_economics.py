"""Laws of the economics: the table to the cent, splits that add up, multipliers that find the shadow price, figures that are absent."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from layerscout.errors import DataError, UsageError
from layerscout.rl.economics import wages
from layerscout.rl.economics.data_value import FIRST, GradientLine, RecursiveLine, data_value
from layerscout.rl.economics.episode_log import COLUMNS, NAMES, EpisodeLog, episode_row, read_episodes
from layerscout.rl.economics.lagrangian import Curriculum, ascend, hinged_violation, penalise, time_constant, violation
from layerscout.rl.economics.spread import allocate_spread
from layerscout.worlds.labour.dishwashing import Dishwashing
from layerscout.worlds.labour.trade import expected_hour

PRICES = Dishwashing.trade.prices


def test_the_table_is_met_to_the_cent():
    product, error = wages.marginal_product(109, 1.0), wages.error_rate(2, 111)
    wage = wages.implied_wage(0.30, product, error, 1.0)
    spread = allocate_spread(wage, 18.0, 1.0, 0.0, 1.0)
    figures = (wage, wages.hourly_profit(wage, 0.10), wages.wage_parity(wage, 18.0), spread.spread, error)
    assert [round(figure, 4) for figure in figures] == [30.7360, 30.6360, 1.7076, 12.7360, 0.0180]


def test_without_attempts_nothing_is_defined():
    row = episode_row(PRICES, (0, 0, 0), error_target=0.06)
    absent = ("error_rate", "implied_wage", "wage_parity", "profit", "violation", "penalty", "damage_cost", "customer_price")
    assert [row[name] for name in absent] == [None] * len(absent)
    assert allocate_spread(None, 18.0, 1.0, 1.0, 1.0) is None


@pytest.mark.parametrize(
    ("wage", "gains", "share"), [(30.0, (1.0, 4.0), 0.25), (30.0, (9.0, 4.0), 1.0), (30.0, (-1.0, 4.0), 0.0), (30.0, (1.0, -4.0), 0.0)]
)
def test_a_spread_is_split_without_rest(wage, gains, share):
    spread = allocate_spread(wage, 18.0, 2.0, *gains)
    assert spread.customer_share == pytest.approx(share, abs=1e-6)
    assert spread.customer_share + spread.platform_share == 1.0
    assert spread.rebate + spread.captured == pytest.approx(spread.value) == pytest.approx(24.0)


def test_up_to_parity_there_is_no_spread_and_no_share():
    assert allocate_spread(18.9, 18.0, 1.0, 1.0, 1.0) == (0.0, 0.0, None, None, 0.0, 0.0)


def test_a_customer_never_pays_more_than_a_person():
    for wage in (-3.0, 5.0, 18.0, 40.0):
        for rebate in (0.0, 10.0, 100.0):
            price = wages.customer_price(wage, rebate, 18.0, base_fee=1.0)
            assert 0.0 <= price <= 18.0
            assert wages.consumer_surplus(price, 18.0) == 18.0 - price


def test_the_wage_index_comes_to_the_market_without_inflation():
    index = 18.0
    for _ in range(200):
        index = wages.wage_index(index, 25.0)
    assert index == pytest.approx(25.0)
    assert wages.wage_index(20.0, 20.0, inflation=0.25) == 16.0


def test_violations_of_steps_add_up_to_the_hours_excess_and_a_ratio_would_not():
    attempts, errors = np.array([1, 2, 1, 3]), np.array([1, 0, 0, 1])
    steps = violation(errors, attempts, 0.06, usual_attempts=1.75)
    assert steps.mean() == pytest.approx(2 / 7 - 0.06)  # 7 attempts in 4 steps of 1.75
    assert np.mean(errors / attempts) - 0.06 != pytest.approx(2 / 7 - 0.06)


def test_hinged_violations_of_steps_add_up_to_the_hinge_of_the_hour():
    generator = np.random.default_rng(0)
    for probability in (0.02, 0.06, 0.2):
        attempts = 1 + generator.poisson(0.8, 60)
        errors = generator.binomial(attempts, probability)
        before = [np.cumsum(counts) - counts for counts in (errors, attempts)]
        steps = hinged_violation(errors, attempts, *before, 0.06, usual_attempts=attempts.mean())
        assert steps.mean() == pytest.approx(max(0.0, errors.sum() / attempts.sum() - 0.06))


def test_penalties():
    over = np.array([-0.02, 0.0, 0.04])
    np.testing.assert_allclose(penalise(np.full(3, 30.0), over, 20.0), [30.4, 30.0, 29.2])
    np.testing.assert_allclose(penalise(np.full(3, 30.0), over, 20.0, "hinge"), [30.0, 30.0, 29.2])


def follow(penalty: str, step_size: float, episodes: int) -> tuple[np.ndarray, float]:
    """Ascend at the sink without damage, where the worker answers best to the multiplier, 50 episodes late; return λ and the mean error."""
    generator = np.random.default_rng(0)
    care = np.linspace(0, 1, 201)
    profit = expected_hour(Dishwashing.trade, 1.0, care).marginal_product * 0.30
    error, attempts = Dishwashing.trade.error_probability(1.0, care), 115
    counts = np.arange(attempts + 1)
    excess = np.maximum(0.0, counts / attempts - 0.06)
    cost = error if penalty == "linear" else binom.pmf(counts, attempts, error[:, None]) @ excess
    multiplier, chosen, multipliers, errors = 0.0, 0.04, [], []
    for _ in range(episodes):
        chosen += (care[(profit - multiplier * cost).argmax()] - chosen) / 50
        probability = float(Dishwashing.trade.error_probability(1.0, chosen))
        multiplier = float(ascend(multiplier, generator.binomial(attempts, probability) / attempts, 0.06, step_size))
        multipliers.append(multiplier)
        errors.append(probability)
    return np.array(multipliers), float(np.mean(errors[-500:]))


def test_the_multiplier_of_the_linear_penalty_is_the_shadow_price():
    multipliers, error = follow("linear", 5.0, 1500)
    assert multipliers[-1000:].mean() == pytest.approx(21.4, rel=0.2)
    assert multipliers.max() < 1.5 * 21.4
    assert error == pytest.approx(0.06, abs=0.004)


def test_the_multiplier_of_the_hinge_is_about_twice_as_large():
    multipliers, error = follow("hinge", 5.0, 1500)
    assert 34 <= multipliers[-1000:].mean() <= 46
    assert error == pytest.approx(0.06, abs=0.005)


def test_a_step_of_a_hundredth_never_arrives():
    assert follow("linear", 0.01, 1500)[0].max() < 2.0
    assert time_constant(5.0, 0.0019) == pytest.approx(105, abs=1)


def test_an_episode_without_attempts_leaves_the_multiplier():
    np.testing.assert_array_equal(ascend(np.array([3.0, 3.0]), np.array([np.nan, 0.16]), 0.06, 5.0), [3.0, 3.5])


def test_a_curriculum_tightens():
    plan = Curriculum(0.10, 0.06, 600)
    assert [round(plan.target(episode), 4) for episode in (0, 300, 600, 900)] == [0.10, 0.08, 0.06, 0.06]
    assert Curriculum(0.06, 0.06, 0).target(0) == 0.06
    with pytest.raises(UsageError, match=r"from 0\.06 up to 0\.1"):
        Curriculum(0.06, 0.10)


@pytest.mark.parametrize("way", ["gradient", "recursive"])
def test_a_gain_that_follows_novelty_is_foretold(way):
    generator, model = np.random.default_rng(0), data_value(way)
    novelty = generator.random(3000)
    gains = 2.0 * novelty - 1.0 + generator.normal(0, 0.1, 3000)
    for count, (number, gain) in enumerate(zip(novelty, gains, strict=True)):
        assert (model.predict(0.5) is None) == (count < FIRST)
        model.update(number, gain)
    assert model.predict(1.0) == pytest.approx(1.0, abs=0.15)
    assert model.predict(0.0) == pytest.approx(-1.0, abs=0.15)
    assert model.predict(1e6) == 50.0


def test_recursive_squares_are_a_ridge_regression_and_steps_of_the_gradient_fall():
    generator = np.random.default_rng(1)
    x, y = generator.random(40), generator.normal(size=40)
    line, slope = RecursiveLine(penalty=0.3), GradientLine(0.1)
    for number, gain in zip(x, y, strict=True):
        line.update(number, gain)
        slope.update(number, gain)
    design = np.stack([np.ones(40), x], axis=1)
    np.testing.assert_allclose(line.weights, np.linalg.solve(design.T @ design + 0.3 * np.eye(2), design.T @ y))
    assert slope.first_step / 41**slope.power < 0.5 * slope.first_step


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: wages.marginal_product(1, 0.0), "hours is 0.0"),
        (lambda: wages.marginal_product(1, float("nan")), "hours is nan"),
        (lambda: wages.implied_wage(-0.3, 1, 0.1, 1), "price is -0.3"),
        (lambda: wages.wage_parity(1.0, 0.0), "human_wage is 0.0"),
        (lambda: wages.error_rate(3, 2), "3 errors in 2 attempts"),
        (lambda: data_value("adaptive"), "unknown way"),
        (lambda: ascend(0.0, 0.1, 0.0, 5.0), "target is 0.0"),
        (lambda: RecursiveLine().update(float("nan"), 1.0), "novelty is nan"),
        (lambda: penalise(np.zeros(1), np.zeros(1), 1.0, "square"), "unknown penalty 'square'"),
        (lambda: penalise(np.zeros(2), np.zeros(2), np.array([1.0, np.nan])), "multiplier is nan"),
        (lambda: violation(np.zeros(2), np.ones(2), 0.06, np.array([1.0, 0.0])), "usual_attempts is 0.0"),
        (lambda: GradientLine(power=1.5), "power is 1.5"),
    ],
)
def test_wrong_numbers_are_named(call, complaint):
    with pytest.raises(UsageError, match=re.escape(complaint)):
        call()


def test_the_log_holds_36_columns_twice_and_both_say_the_same(tmp_path):
    assert len(NAMES) == len(set(NAMES)) == 36
    first = episode_row(
        PRICES, (109, 111, 2), spread=allocate_spread(30.736, 18.0, 1.0, 1.0, 4.0), error_target=0.06, multiplier=2.0, episode=0, seed=7
    )
    second = episode_row(PRICES, (0, 0, 0), episode=1, seed=7, novelty=float("nan"))
    with EpisodeLog(tmp_path) as log:
        log.add(first)
        log.add(second)
    lines, table = read_episodes(tmp_path / "episodes.jsonl"), read_episodes(tmp_path / "episodes.csv")
    assert lines == [first, second]
    assert table == lines
    assert first["penalised_profit"] == pytest.approx(first["profit"] - 2.0 * (2 / 111 - 0.06))
    (tmp_path / "other.jsonl").write_text('{"episode": 1}\n')
    with pytest.raises(DataError, match="no log of episodes"):
        read_episodes(tmp_path / "other.jsonl")


def test_the_page_has_every_column_with_its_unit_and_formula():
    page = (Path(__file__).parents[3] / "docs/reference/economics.md").read_text()
    for number, column in enumerate(COLUMNS, 1):
        assert f"| {number} | `{column.name}` | {column.unit} | {column.formula} |" in page
