"""Rank correlation within tasks, tests over tasks, and decisions by score: against scipy, closed forms, brute force and known truths."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from layerscout.report.numbers import decisions
from layerscout.report.numbers.association import regret_at
from layerscout.report.numbers.blocks import arrangements, block_test
from layerscout.report.numbers.over_tasks import FEWEST_TASKS, over_tasks
from layerscout.report.numbers.reliability import reliability
from layerscout.report.numbers.within import TaskCells, correlations_within_groups, task_correlations

GENERATORS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed))
LAYERS = st.integers(3, 9)


def task(scores: np.ndarray, returns: np.ndarray, name: str = "task") -> TaskCells:
    return TaskCells(name, np.atleast_2d(scores).astype(float), np.asarray(returns, dtype=float).reshape(len(returns), -1))


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """The benchmark that simulates whole studies."""
    folder = Path(__file__).parents[2] / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("study_power", folder / "study_power.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["study_power"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


@pytest.mark.parametrize(("tasks", "groups", "layers"), [(6, 1, 8), (8, 4, 4)])
def test_smooth_layers_that_have_nothing_to_do_with_returns_are_called_significant_in_no_more_than_six_studies_of_a_hundred(
    simulation: ModuleType, tasks: int, groups: int, layers: int
) -> None:
    null = simulation.Design(tasks, groups, layers, phi=0.9)
    assert simulation.rates(null, 1_000, np.random.default_rng(1))["both"] <= 0.06
    assert simulation.rate_of_layers(null, 100, np.random.default_rng(1)) > 0.06  # what the null would be if layers were independent


def test_series_that_change_places_keep_their_level_within_one_task(simulation: ModuleType) -> None:
    assert simulation.rate_of_series(simulation.Design(1, 4, 4, phi=0.9), 1_000, np.random.default_rng(2)) <= 0.06


def test_eight_tasks_of_sixteen_cells_find_what_is_there(simulation: ModuleType) -> None:
    assert simulation.rates(simulation.Design(8, 4, 4, phi=0.5, seen=0.6), 300, np.random.default_rng(3))["both"] >= 0.9


@given(GENERATORS, st.integers(2, 12))
def test_the_test_over_tasks_is_students_and_leaves_unknown_tasks_out(generator: np.random.Generator, tasks: int) -> None:
    values = generator.normal(0.3, 1.0, tasks)
    found = over_tasks([math.nan, *values, math.nan])
    oracle = stats.ttest_1samp(values, 0)
    assert (found.tasks, found.mean.value, found.p) == (tasks, pytest.approx(values.mean()), pytest.approx(oracle.pvalue))
    assert (found.mean.low, found.mean.high) == pytest.approx(tuple(oracle.confidence_interval()))
    assert (abs(values.mean()) > found.needed) == (found.p < 0.05)


def test_a_single_task_is_no_test_and_equal_tasks_are_judged_by_signs() -> None:
    assert over_tasks([]) is None
    assert over_tasks([math.nan]) is None
    one = over_tasks([0.9])
    assert (one.mean.value, one.mean.low, one.p, one.p_flip, one.needed) == (0.9, None, None, None, None)
    same = over_tasks([0.5] * 6)
    assert (same.p, same.p_flip, same.needed) == (0.0, 2 / 64, 0.0)
    assert over_tasks([0.0] * 6).p == over_tasks([0.0] * 6).p_flip == 1.0
    assert FEWEST_TASKS == 6


@given(GENERATORS, LAYERS)
def test_one_task_is_scipys_spearman_and_kendall(generator: np.random.Generator, layers: int) -> None:
    scores, returns = generator.integers(0, 5, layers), generator.integers(0, 5, layers)
    if np.ptp(scores) == 0 or np.ptp(returns) == 0:
        return
    rho, tau = task_correlations(task(scores, returns))
    assert rho[0] == pytest.approx(stats.spearmanr(scores, returns).statistic)
    assert tau[0] == pytest.approx(stats.kendalltau(scores, returns).statistic)


def test_inside_groups_what_tells_groups_apart_counts_for_nothing() -> None:
    scores, returns = np.array([1.0, 2, 3, 11, 12, 13]), np.array([[3.0], [2], [1], [13], [12], [11]])
    groups = np.array([0, 0, 0, 1, 1, 1])
    cells = TaskCells("a", np.stack([scores, -scores, np.array([np.nan] * 6)]), returns, groups, groups)
    assert task_correlations(cells)[0][0] > 0.4
    assert correlations_within_groups(cells)[:2].tolist() == [-1.0, 1.0]
    assert math.isnan(correlations_within_groups(cells)[2])
    assert correlations_within_groups(task(scores, returns))[0] == pytest.approx(stats.spearmanr(scores, returns[:, 0]).statistic)


def test_whole_series_change_places_in_every_way_and_their_inner_order_stays() -> None:
    generator = np.random.default_rng(5)
    series = np.repeat(np.arange(4), 3)
    scores, means = generator.normal(size=12), generator.normal(size=12)
    found = block_test(scores, means, series)
    observed = abs(stats.spearmanr(scores, means).statistic)
    null = [
        abs(stats.spearmanr(scores, means.reshape(4, 3)[list(order)].reshape(-1)).statistic) for order in itertools.permutations(range(4))
    ]
    assert found.p == pytest.approx(np.mean(np.array(null) >= observed - 1e-9))
    assert found.needed is None or np.mean(np.array(null) >= found.needed - 1e-9) < 0.05


def test_too_few_series_are_no_test() -> None:
    scores = np.arange(12.0)
    assert block_test(scores, scores, np.zeros(12, int)) is None  # one series has one order
    assert block_test(scores, scores, np.repeat(np.arange(3), 4)) is None  # 3! = 6 ways: none is rarer than 5 %
    assert block_test(scores, scores, np.array([0] * 3 + [1] * 4 + [2] * 5)) is None  # of unequal length none can change places
    assert block_test(np.ones(12), scores, np.repeat(np.arange(4), 3)) is None
    assert arrangements(np.repeat(np.arange(4), 3)) == 24
    assert arrangements(np.array([0, 1, 2, 2, 3, 3])) == 4
    apart = block_test(scores, scores, np.repeat(np.arange(4), 3))
    assert apart.p == 1 / 24  # no other order is as far from nothing
    many = block_test(np.arange(18.0), np.random.default_rng(0).normal(size=18), np.repeat(np.arange(9), 2))
    assert 0 < many.p <= 1  # 9! ways: random ones


def test_returns_without_noise_repeat_and_pure_noise_does_not() -> None:
    generator = np.random.default_rng(0)
    true = np.arange(12.0)
    assert reliability([task(true, np.tile(true[:, None], 6))]) == pytest.approx(1.0)
    assert reliability([task(true, generator.normal(size=(12, 6))) for _ in range(8)]) < 0.35
    assert reliability([task(true, true[:, None])]) is None
    assert reliability([task(true, np.ones((12, 4)))]) is None


def test_reliability_is_the_share_of_variance_that_is_the_layers_own() -> None:
    generator, found = np.random.default_rng(4), []
    for _ in range(6):
        true = generator.normal(size=(300, 1))
        found.append(reliability([task(true[:, 0], true + 2.0 * generator.normal(size=(300, 8)))]))
    assert np.mean(found) == pytest.approx(1 / (1 + 4 / 8), abs=0.04)


def test_a_perfect_score_shows_its_noise_ceiling_and_no_more() -> None:
    generator, shown, ceilings = np.random.default_rng(6), [], []
    for _ in range(30):
        true = [generator.normal(size=(12, 1)) for _ in range(3)]
        tasks = [task(one[:, 0], one + 1.5 * generator.normal(size=(12, 6))) for one in true]
        shown.append(np.mean([task_correlations(one)[0][0] for one in tasks]))
        ceilings.append(math.sqrt(reliability(tasks)))
    assert np.mean(ceilings) < 0.9
    assert np.mean(shown) == pytest.approx(np.mean(ceilings), abs=0.04)


def test_seeds_that_shift_all_layers_alike_cost_no_reliability() -> None:
    generator = np.random.default_rng(5)
    returns = np.arange(8.0)[:, None] + 50 * generator.normal(size=6)
    assert reliability([task(np.arange(8.0), returns)]) == pytest.approx(1.0)
    returns[2, 3] = np.nan
    assert 0 < reliability([task(np.arange(8.0), returns)]) < 1


@given(GENERATORS, LAYERS, st.integers(1, 4))
def test_random_regret_is_the_mean_over_all_picks(generator: np.random.Generator, layers: int, best: int) -> None:
    returns = generator.normal(size=layers)
    picks = itertools.combinations(returns.tolist(), min(best, layers))
    assert decisions.random_regret(returns, best) == pytest.approx(returns.max() - np.mean([max(pick) for pick in picks]))


@given(GENERATORS, LAYERS)
def test_a_perfect_score_regrets_and_violates_nothing_and_all_layers_regret_nothing(generator: np.random.Generator, layers: int) -> None:
    returns, scores = generator.normal(size=layers), generator.normal(size=layers)
    assert decisions.rank_violation(np.exp(returns), returns) == 0.0
    assert decisions.regret(task(scores, returns), returns, 1) == pytest.approx(0.0)
    assert decisions.regret(task(scores, returns), scores, layers) == pytest.approx(0.0)
    assert decisions.rank_violation(scores, returns) <= np.ptp(returns) + 1e-12
    by_hand = np.mean(
        [max(abs(a - b) * ((s < u) != (a < b)) for b, u in zip(returns, scores, strict=True)) for a, s in zip(returns, scores, strict=True)]
    )
    assert decisions.rank_violation(scores, returns) == pytest.approx(by_hand)


def test_reversed_order_violates_most() -> None:
    returns = np.array([0.0, 1.0, 4.0])
    assert decisions.rank_violation(-returns, returns) == pytest.approx((4 + 3 + 4) / 3)
    assert 0 < decisions.random_violation(returns) < (4 + 3 + 4) / 3


@given(GENERATORS, LAYERS)
def test_shares_run_from_the_worst_layer_to_the_best(generator: np.random.Generator, layers: int) -> None:
    returns = generator.normal(size=(3, layers))
    shares = decisions.as_shares(returns)
    np.testing.assert_allclose(shares.min(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(shares.max(axis=1), 1)
    np.testing.assert_allclose(decisions.as_shares(7 * returns - 3), shares)
    np.testing.assert_array_equal(decisions.as_shares(np.ones(4)), np.ones(4))


@given(GENERATORS, LAYERS, st.integers(1, 3))
def test_regret_with_ties_is_the_mean_over_all_ways_to_break_them(generator: np.random.Generator, layers: int, best: int) -> None:
    scores, returns = generator.integers(0, 3, layers).astype(float), generator.normal(size=layers)
    lost = []
    for order in itertools.permutations(range(layers)) if layers <= 6 else [generator.permutation(layers) for _ in range(4000)]:
        first = sorted(order, key=lambda place: -scores[place])[:best]
        lost.append(returns.max() - returns[first].max())
    assert regret_at(scores, returns, best) == pytest.approx(np.mean(lost), abs=1e-9 if layers <= 6 else 0.2)


def test_blind_choices_are_made_among_pretrained_cells_and_held_against_the_best_of_all() -> None:
    cells = TaskCells("a", np.zeros((1, 4)), np.array([[0.0], [1.0], [2.0], [4.0]]), pretrained=np.array([True, True, True, False]))
    assert decisions.blind_regret(cells, 1) == pytest.approx(1 - 0.25)  # 1 on average, of 4
    assert decisions.blind_regret(cells, 3) == pytest.approx(1 - 0.5)
    assert decisions.seconds_saved(np.array([5.0, 1, 3, 2]), np.array([10.0, 20, 30, 40]), 1, 7.0) == 83.0
