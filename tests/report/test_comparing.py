"""Unpaired comparisons, profiles, gaps and learning speed: against rliable's metrics, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from example_records import example_ranking, example_runs
from hypothesis import given
from hypothesis import strategies as st
from rliable import metrics
from scipy import stats

from layerscout.cache.records import Run
from layerscout.report.numbers import comparing, profiles, speed
from layerscout.report.numbers import statistics as own
from layerscout.report.verdict import judge_record

TABLES = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed))


@given(TABLES, st.integers(2, 12), st.integers(1, 5))
def test_aggregates_are_rliables(generator: np.random.Generator, runs: int, tasks: int) -> None:
    first, second = generator.normal(0, 1, (runs, tasks)), generator.integers(-2, 3, (runs + 1, tasks)).astype(float)
    assert own.bootstrap(list(first.T), draws=20).value == pytest.approx(metrics.aggregate_iqm(first))
    assert profiles.optimality_gap(list(first.T), 0.5).value == pytest.approx(metrics.aggregate_optimality_gap(first, 0.5))
    found = comparing.improvement(list(np.round(first).T), list(second.T), draws=20)
    assert found.value == pytest.approx(metrics.probability_of_improvement(np.round(first), second))


def test_probability_of_improvement_is_mann_whitney_u() -> None:
    generator = np.random.default_rng(6)
    first, second = generator.integers(0, 5, 9).astype(float), generator.integers(0, 5, 7).astype(float)
    assert comparing.probability_of_improvement(first, second) == pytest.approx(stats.mannwhitneyu(first, second).statistic / 63)
    assert comparing.improvement([first], [first]).value == 0.5
    assert comparing.improvement([first], [np.array([])]) is None
    assert comparing.improvement([first], [first[:1]]).low is None


def test_interval_of_improvement_is_scipys_bootstrap() -> None:
    generator = np.random.default_rng(7)
    first, second = generator.normal(0.4, 1, 10), generator.normal(0, 1, 8)
    ours = comparing.improvement([first], [second], draws=4000)
    theirs = stats.bootstrap(
        (first, second),
        lambda a, b, axis: comparing.probability_of_improvement(a, b),
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.03)


@given(TABLES, st.integers(2, 9), st.integers(2, 9))
def test_welch_is_scipys(generator: np.random.Generator, count: int, other: int) -> None:
    first, second = generator.normal(0.5, 2, count), generator.normal(0, 1, other)
    oracle = stats.ttest_ind(first, second, equal_var=False)
    difference, p = comparing.welch(first, second)
    assert p == pytest.approx(oracle.pvalue)
    assert (difference.low, difference.high) == pytest.approx(tuple(oracle.confidence_interval()))
    assert comparing.welch(first[:1], second)[1] is None
    assert comparing.welch(first[:0], second) == (None, None)


def test_arms_that_share_no_seed_are_compared_by_welch() -> None:
    record = example_runs()
    shifted = [run.model_copy(update={"seed": run.seed + 100}) if run.arm == "scratch" else run for run in record.runs]
    judged = judge_record(record.model_copy(update={"runs": tuple(shifted)}), example_ranking())
    row = next(one for one in judged.comparisons if one.control == "scratch")
    ours, theirs = ([run.final for run in record.runs if run.arm == name] for name in ("blocks.5", "scratch"))
    assert (row.paired, row.seeds) == (False, 6)
    assert row.p == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
    assert judged.outcome == "supported"


@given(TABLES)
def test_a_performance_profile_is_the_survival_function_inside_its_band(generator: np.random.Generator) -> None:
    tasks = [generator.normal(0, 1, 7), generator.normal(1, 1, 5)]
    values = np.concatenate(tasks)
    levels = profiles.common_levels(tasks)
    found = profiles.performance_profile(tasks, levels, draws=200)
    np.testing.assert_allclose(found.share, stats.ecdf(values).sf.evaluate(levels))
    assert (found.share[0], found.share[-1]) == (1.0, 0.0)
    assert np.all(np.diff(found.share) <= 0)
    assert np.all((found.low <= found.share) & (found.share <= found.high))
    assert np.trapezoid(found.share, levels) + levels[0] == pytest.approx(values.mean(), abs=2 * (levels[1] - levels[0]))


def test_the_optimality_gap_cannot_be_made_up_for() -> None:
    values = [np.array([0.0, 1.0, 5.0])]
    assert profiles.optimality_gap(values, 1.0).value == pytest.approx(1 / 3)
    assert profiles.optimality_gap([values[0] * 0 + 9], 1.0).value == 0.0
    assert profiles.optimality_gap(values, None) is None


def run(*points: tuple[int, float], returns: tuple[float, ...] = ()) -> Run:
    evaluations = tuple((at, (value - 0.5, value + 0.5)) for at, value in points)
    return Run(arm="a", seed=0, returns=returns, evaluations=evaluations, final=0.0, status="done")


def test_area_under_a_straight_line_is_its_middle_however_it_is_sampled() -> None:
    assert speed.area_under_curve(run((0, 0.0), (10, 1.0))) == pytest.approx(0.5)
    assert speed.area_under_curve(run((0, 0.0), (1, 0.1), (2, 0.2), (10, 1.0))) == pytest.approx(0.5)  # the plain mean would say 0.325
    assert speed.area_under_curve(run((5, 0.7))) == pytest.approx(0.7)
    assert speed.area_under_curve(run()) is None
    assert speed.area_under_curve(run(returns=(1.0, 2.0, 3.0))) == pytest.approx(2.0)


def test_a_run_that_never_arrives_counts_as_later_than_all_others() -> None:
    fast, slow, never = run((1, 1.0)), run((1, 0.0), (7, 1.0)), run((1, 0.0), (9, 0.5))
    assert [speed.work_to_level(one, 1.0) for one in (fast, slow, never)] == [1.0, 7.0, None]
    assert speed.median_arrival([fast, slow, never], 1.0) == speed.Arrival(7.0, 2, 3)
    assert speed.median_arrival([fast, never, never], 1.0) == speed.Arrival(None, 1, 3)
    assert speed.median_arrival([fast, never], 1.0).median is None
    lucky = run(returns=(0.0,) * 60 + (9.0,) + (0.0,) * 10)
    assert speed.work_to_level(lucky, 1.0) is None  # one episode is no arrival


def test_the_level_of_a_task_lies_between_chance_and_the_best() -> None:
    record = example_runs().model_copy(update={"random_policy_return": 0.0, "best_possible": 2.0})
    assert speed.learned_level(record) == pytest.approx(1.5)
    best = max(float(own.interquartile_mean(np.array([one.final for one in record.runs if one.arm == arm.name]))) for arm in record.arms)
    assert speed.learned_level(record.model_copy(update={"best_possible": None})) == pytest.approx(0.75 * best)
    assert speed.learned_level(record.model_copy(update={"random_policy_return": None})) is None
    assert speed.learned_level(record.model_copy(update={"random_policy_return": 3.0})) is None


def test_too_few_seeds_are_said_so_plainly() -> None:
    assert [own.seed_warning(seeds) is None for seeds in (1, 3, 5, 6, 10)] == [False, False, False, True, True]
    assert "0.25" in own.seed_warning(3)
    assert "At least 6 seeds" in own.seed_warning(3)
