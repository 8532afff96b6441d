"""Rank correlation over several tasks, and decisions by score: against scipy, closed forms, brute force and known truths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from layerscout.report.numbers import decisions, nested, pooled
from layerscout.report.numbers.pooled import TaskLayers

GENERATORS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed))
LAYERS = st.integers(3, 9)


def task(scores: np.ndarray, returns: np.ndarray, name: str = "task") -> TaskLayers:
    return TaskLayers(name, np.atleast_2d(scores).astype(float), np.asarray(returns, dtype=float).reshape(len(returns), -1))


@given(GENERATORS, LAYERS)
def test_one_task_is_scipys_spearman_and_kendall(generator: np.random.Generator, layers: int) -> None:
    scores, returns = generator.integers(0, 5, layers), generator.integers(0, 5, layers)
    if np.ptp(scores) == 0 or np.ptp(returns) == 0:
        return
    rho, tau = pooled.pooled_correlations([task(scores, returns)])
    assert rho[0] == pytest.approx(stats.spearmanr(scores, returns).statistic)
    assert tau[0] == pytest.approx(stats.kendalltau(scores, returns).statistic)


@given(GENERATORS, st.integers(2, 4), LAYERS)
def test_tasks_of_equal_size_weigh_equally_and_their_units_do_not_matter(generator: np.random.Generator, tasks: int, layers: int) -> None:
    scores, returns = generator.normal(size=(2, tasks, layers))
    plain = [task(a, b) for a, b in zip(scores, returns, strict=True)]
    moved = [task(np.exp(a), 10.0**place * b + 5 * place) for place, (a, b) in enumerate(zip(scores, returns, strict=True))]
    rho, tau = pooled.pooled_correlations(plain)
    assert rho[0] == pytest.approx(np.mean([stats.spearmanr(a, b).statistic for a, b in zip(scores, returns, strict=True)]))
    assert tau[0] == pytest.approx(np.mean([stats.kendalltau(a, b).statistic for a, b in zip(scores, returns, strict=True)]))
    assert pooled.pooled_correlations(moved)[0][0] == pytest.approx(rho[0])


def test_pooling_ranks_within_tasks_sees_through_a_difference_between_tasks() -> None:
    generator = np.random.default_rng(0)
    tasks = [task(100 * place - np.arange(6.0), 100 * place + np.arange(6.0) + 0.1 * generator.random(6)) for place in range(3)]
    assert pooled.pooled_correlations(tasks)[0][0] == -1.0
    together = stats.spearmanr(np.concatenate([one.measures[0] for one in tasks]), np.concatenate([one.means for one in tasks])).statistic
    assert together > 0.7


def test_a_measure_that_a_task_does_not_know_leaves_that_task_out() -> None:
    first, second = np.array([[1.0, 2, 3, 4], [4.0, 2, 3, 1]]), np.array([[1.0, 2, 3, 4], [np.nan] * 4])
    returns = np.array([[1.0], [3], [2], [4]])
    rho, _ = pooled.pooled_correlations([TaskLayers("a", first, returns), TaskLayers("b", second, returns)])
    assert rho[1] == pooled.pooled_correlations([TaskLayers("a", first[1:], returns)])[0][0]
    drawn, _ = nested.nested_bootstrap([TaskLayers("a", first, returns), TaskLayers("b", second, returns)], draws=50)
    assert np.isfinite(drawn[0]).any()
    p = pooled.permutation_p([TaskLayers("b", second, returns)])
    assert math.isnan(p[1])


def test_p_of_two_small_tasks_is_that_of_all_orders() -> None:
    scores, returns = np.arange(4.0), [np.array([0.0, 1, 3, 2]), np.array([0.0, 2, 1, 3])]
    tasks = [task(scores, one) for one in returns]
    observed = pooled.pooled_correlations(tasks)[0][0]
    orders = list(itertools.permutations(range(4)))
    null = [
        pooled.pooled_correlations([task(scores, returns[0][list(a)]), task(scores, returns[1][list(b)])])[0][0]
        for a in orders
        for b in orders
    ]
    exact = np.mean(np.abs(null) >= observed - 1e-9)
    assert pooled.permutation_p(tasks)[0] == pytest.approx(exact, abs=0.01)


def test_p_rejects_a_true_null_no_more_often_than_it_says() -> None:
    generator = np.random.default_rng(3)
    tables = [[task(generator.normal(size=(40, 6)), generator.normal(size=6)) for _ in range(2)] for _ in range(12)]
    p_values = np.concatenate([pooled.permutation_p(tasks) for tasks in tables])
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=0.035)


@pytest.mark.parametrize(
    ("layers", "possible"), [((4,), False), ((5,), True), ((3, 3), False), ((3, 3, 3), True), ((2, 2, 2, 2), False), ((4, 4), True)]
)
def test_significance_is_refused_where_no_order_could_reach_it(layers: tuple[int, ...], possible: bool) -> None:
    needed = pooled.needed_correlation(layers)
    assert (needed is not None) == possible == (2 / math.prod(map(math.factorial, layers)) < 0.05)
    perfect = [task(np.arange(float(count)), np.arange(float(count))) for count in layers]
    assert (pooled.permutation_p(perfect)[0] < 0.05) == possible


def test_more_tasks_need_less() -> None:
    needed = [pooled.needed_correlation([8] * tasks) for tasks in (1, 2, 3)]
    assert needed[0] == pytest.approx(0.738, abs=5e-4)
    assert needed == sorted(needed, reverse=True)
    assert needed[2] == pytest.approx(1.96 / math.sqrt(3 * 7), abs=0.03)  # Spearman's ρ has variance 1/(n − 1) under the null


def test_the_interval_covers_the_true_correlation() -> None:
    generator, rho, hits = np.random.default_rng(1), 0.7, []
    truth = 6 / math.pi * math.asin(rho / math.sqrt(1 + 0.25 / 6) / 2)  # of normal scores and means of six noisy seeds
    for number in range(120):
        tasks = []
        for _ in range(3):
            scores = generator.normal(size=12)
            true = rho * scores + math.sqrt(1 - rho**2) * generator.normal(size=12)
            tasks.append(task(scores, true[:, None] + 0.5 * generator.normal(size=(12, 6))))
        (estimate,) = nested.correlation_intervals(
            pooled.pooled_correlations(tasks)[0], nested.nested_bootstrap(tasks, draws=200, seed=number)[0]
        )
        hits.append(estimate.low <= truth <= estimate.high)
    assert np.mean(hits) >= 0.93


def test_other_tasks_widen_the_interval_only_when_tasks_disagree() -> None:
    scores = np.arange(12.0)
    agree = [task(scores, scores[:, None] + np.random.default_rng(place).normal(0, 2, (12, 4))) for place in range(3)]
    disagree = [*agree[:2], task(scores, -agree[2].returns)]
    width = []
    for tasks in (agree, disagree):
        (estimate,) = nested.correlation_intervals(pooled.pooled_correlations(tasks)[0], nested.nested_bootstrap(tasks)[0])
        width.append(estimate.high - estimate.low)
    assert width[1] > 3 * width[0]


def test_measures_share_their_resamples() -> None:
    scores = np.random.default_rng(0).normal(size=8)
    drawn, _ = nested.nested_bootstrap([task(np.stack([scores, scores, -scores]), np.random.default_rng(1).normal(size=(8, 5)))], draws=40)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_allclose(drawn[0], -drawn[2])


def test_returns_without_noise_repeat_and_pure_noise_does_not() -> None:
    generator = np.random.default_rng(0)
    true = np.arange(12.0)
    assert nested.reliability([task(true, np.tile(true[:, None], 6))]) == pytest.approx(1.0)
    assert nested.reliability([task(true, generator.normal(size=(12, 6))) for _ in range(8)]) < 0.35
    assert nested.reliability([task(true, true[:, None])]) is None
    assert nested.reliability([task(true, np.ones((12, 4)))]) is None


def test_reliability_is_the_share_of_variance_that_is_the_layers_own() -> None:
    generator, found = np.random.default_rng(4), []
    for _ in range(6):
        true = generator.normal(size=(300, 1))
        found.append(nested.reliability([task(true[:, 0], true + 2.0 * generator.normal(size=(300, 8)))]))
    assert np.mean(found) == pytest.approx(1 / (1 + 4 / 8), abs=0.04)


def test_a_perfect_score_shows_its_noise_ceiling_and_no_more() -> None:
    generator, shown, ceilings = np.random.default_rng(6), [], []
    for _ in range(30):
        true = [generator.normal(size=(12, 1)) for _ in range(3)]
        tasks = [task(one[:, 0], one + 1.5 * generator.normal(size=(12, 6))) for one in true]
        shown.append(pooled.pooled_correlations(tasks)[0][0])
        ceilings.append(math.sqrt(nested.reliability(tasks)))
    assert np.mean(ceilings) < 0.9
    assert np.mean(shown) == pytest.approx(np.mean(ceilings), abs=0.04)


def test_seeds_that_shift_all_layers_alike_cost_no_reliability() -> None:
    generator = np.random.default_rng(5)
    returns = np.arange(8.0)[:, None] + 50 * generator.normal(size=6)
    assert nested.reliability([task(np.arange(8.0), returns)]) == pytest.approx(1.0)
    returns[2, 3] = np.nan
    assert 0 < nested.reliability([task(np.arange(8.0), returns)]) < 1


@given(GENERATORS, LAYERS, st.integers(1, 4))
def test_random_regret_is_the_mean_over_all_picks(generator: np.random.Generator, layers: int, best: int) -> None:
    returns = generator.normal(size=layers)
    picks = itertools.combinations(returns.tolist(), min(best, layers))
    assert decisions.random_regret(returns, best) == pytest.approx(returns.max() - np.mean([max(pick) for pick in picks]))


@given(GENERATORS, LAYERS)
def test_a_perfect_score_regrets_and_violates_nothing_and_all_layers_regret_nothing(generator: np.random.Generator, layers: int) -> None:
    returns, scores = generator.normal(size=layers), generator.normal(size=layers)
    assert decisions.rank_violation(np.exp(returns), returns) == 0.0
    assert decisions.regrets(returns, returns[None], 1)[0] == 0.0
    assert decisions.regrets(scores, returns[None], layers)[0] == 0.0
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


def test_the_middle_layer_and_the_seconds_saved() -> None:
    depths, returns = np.array([0.0, 1, 2, 3]), np.array([5.0, 1, 3, 2])
    assert decisions.middle_regret(depths, returns) == 2.0
    assert decisions.seconds_saved(returns, np.array([10.0, 20, 30, 40]), 1, 7.0) == 83.0
    assert decisions.seconds_saved(returns, np.array([10.0, 20, 30, 40]), 4, 7.0) == -7.0
