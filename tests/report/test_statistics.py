"""The statistics of few seeds: against scipy, closed forms, known critical values, and their own coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from layerscout.report.numbers import association as assoc
from layerscout.report.numbers import statistics as own

pytestmark = pytest.mark.numeric  # figures that must hold on every instruction set

FIGURES = st.floats(-100, 100, allow_subnormal=False)
SEEDS = st.lists(FIGURES, min_size=1, max_size=20)


@given(SEEDS)
def test_interquartile_mean_is_scipys_trimmed_mean(values: list[float]) -> None:
    assert own.interquartile_mean(np.array(values)) == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-9)


@given(st.lists(FIGURES, min_size=5, max_size=12), st.floats(-10, 10), st.floats(0.1, 10))
def test_bootstrap_follows_shift_and_scale(values: list[float], shift: float, scale: float) -> None:
    plain = own.bootstrap([np.array(values)], draws=200)
    moved = own.bootstrap([np.array(values) * scale + shift], draws=200)
    for before, after in zip((plain.value, plain.low, plain.high), (moved.value, moved.low, moved.high), strict=True):
        assert after == pytest.approx(before * scale + shift, abs=1e-6)


def test_bootstrap_of_a_mean_approaches_the_normal_interval() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    estimate = own.bootstrap([values], own.mean_over_seeds, draws=4000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.06)


def test_strata_keep_differences_between_tasks_out_of_the_interval() -> None:
    tasks = [np.array([0.0, 0.1, 0.2]), np.array([100.0, 100.1, 100.2])]
    stratified = own.bootstrap(tasks, own.mean_over_seeds)
    pooled = own.bootstrap([np.concatenate(tasks)], own.mean_over_seeds)
    assert stratified.high - stratified.low < 0.3
    assert pooled.high - pooled.low > 30


def test_too_few_values_have_no_interval_and_no_values_no_estimate() -> None:
    assert own.bootstrap([np.array([])]) is None
    assert own.mean_interval(np.array([])) is None
    for single in (own.bootstrap([np.array([1.5])]), own.mean_interval(np.array([1.5]))):
        assert (single.value, single.low, single.high) == (1.5, None, None)


def test_mean_interval_is_scipys_t_interval() -> None:
    values = np.random.default_rng(1).normal(3, 2, 7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    estimate = own.mean_interval(values)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))


def test_mean_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    estimates = [own.mean_interval(generator.normal(1.0, 1.0, 6)) for _ in range(1500)]
    assert np.mean([one.low <= 1.0 <= one.high for one in estimates]) == pytest.approx(0.95, abs=0.02)


@given(st.lists(FIGURES, min_size=2, max_size=9))
def test_sign_flip_is_scipys_paired_permutation_test(values: list[float]) -> None:
    rounded = np.round(np.array(values) * 4) / 4  # quarters add up exactly, so that a tie is a tie for the oracle too
    oracle = stats.permutation_test(
        (rounded, np.zeros_like(rounded)), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    one_sided = min(
        stats.permutation_test(
            (rounded, np.zeros_like(rounded)),
            lambda a, b, axis: np.mean(a - b, axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
            alternative=side,
        ).pvalue
        for side in ("less", "greater")
    )
    assert oracle.pvalue == pytest.approx(min(1.0, 2 * one_sided))
    assert own.sign_flip_p(rounded) == pytest.approx(oracle.pvalue)


@pytest.mark.parametrize("seeds", [1, 3, 5, 6, 8, 10, 12])
def test_smallest_p_is_reached_when_every_seed_agrees(seeds: int) -> None:
    differences = np.linspace(0.1, 1.0, seeds)
    assert own.sign_flip_p(differences) == own.smallest_p(seeds) == 2 / 2**seeds
    assert own.sign_flip_p(-differences) == own.smallest_p(seeds)


def test_sign_flip_is_one_for_no_difference_and_none_for_no_seeds() -> None:
    assert own.sign_flip_p(np.zeros(6)) == 1.0
    assert own.sign_flip_p(np.array([])) is None


def test_random_flips_agree_with_a_t_test_and_repeat() -> None:
    differences = np.random.default_rng(4).normal(0.4, 1.0, 30)
    p = own.sign_flip_p(differences)
    assert p == own.sign_flip_p(differences)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)


def test_sign_flip_rejects_a_true_null_no_more_often_than_it_says() -> None:
    generator = np.random.default_rng(5)
    rejected = np.mean([own.sign_flip_p(generator.standard_normal(8)) <= 0.05 for _ in range(1500)])
    assert 0.03 <= rejected <= 0.065


def test_seeds_needed() -> None:
    assert [own.seeds_needed(comparisons) for comparisons in (1, 2, 4, 5, 7)] == [6, 7, 8, 8, 9]


def test_holm_worked_example() -> None:
    assert own.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert own.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_lies_between_raw_and_bonferroni_and_ignores_order(p_values: list[float], random) -> None:
    adjusted = own.holm(p_values)
    assert all(p <= q <= min(1.0, len(p_values) * p) + 1e-12 for p, q in zip(p_values, adjusted, strict=True))
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert own.holm([p_values[i] for i in order]) == pytest.approx([adjusted[i] for i in order])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=15))
def test_rank_correlations_are_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=float).T
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert assoc.associate(first, list(second[:, None])) is None
        return
    assert assoc.spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert assoc.kendall(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)


def test_association_of_a_perfect_order() -> None:
    scores = np.arange(8.0)
    result = assoc.associate(scores, [np.array([score, score + 0.1, score - 0.1]) for score in scores])
    assert (result.spearman.value, result.kendall.value, result.regret) == (1.0, 1.0, 0.0)
    assert (result.spearman.low, result.spearman.high) == (1.0, 1.0)  # no draw of seeds changes the order


def test_association_interval_widens_with_the_noise_of_seeds() -> None:
    generator, scores = np.random.default_rng(7), np.arange(8.0)
    quiet = assoc.associate(scores, [score + 0.1 * generator.standard_normal(3) for score in scores])
    noisy = assoc.associate(scores, [score + 6.0 * generator.standard_normal(3) for score in scores])
    width = [one.spearman.high - one.spearman.low for one in (quiet, noisy)]
    assert width[1] > 3 * width[0]
    assert all(one.spearman.low <= one.spearman.value <= one.spearman.high for one in (quiet, noisy))


def test_association_interval_knows_the_spread_of_seeds_behind_equal_means() -> None:
    scores, spread = np.arange(8.0), np.array([-1.0, 0.0, 1.0])
    tight, wide = (assoc.associate(scores, [score + scale * spread for score in scores]) for scale in (0.01, 5.0))
    assert tight.spearman.value == wide.spearman.value == 1.0
    assert tight.spearman.low > 0.99
    assert wide.spearman.low < 0.7


def test_association_takes_layers_with_unequal_numbers_of_seeds_and_refuses_three() -> None:
    returns = [np.arange(count) + 0.5 * count for count in (3.0, 2.0, 5.0, 4.0)]
    assert assoc.associate(np.array([3.0, 2, 5, 4]), returns).spearman.value == 1.0
    assert assoc.associate(np.array([3.0, 2, 5]), returns[:3]) is None


@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=2, max_size=8))
def test_regret_falls_to_zero_as_more_layers_are_tried(pairs: list[tuple[float, float]]) -> None:
    scores, returns = np.array(pairs).T
    regrets = [round(assoc.regret_at(scores, returns, best), 9) for best in range(1, len(pairs) + 1)]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[-1] == 0.0
