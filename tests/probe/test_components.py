"""R² from sums are scikit-learn's on the rows, with all groups and without each; what has no variance has no figure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from plain_solves import Rows, stacked, sums_of
from sklearn.metrics import r2_score

from layerscout.probe.evidence.components import (
    Errors,
    columns_figure,
    components,
    divide,
    jackknife,
    left,
    mean_r2,
    shuffled_r2,
    single_r2,
    squares_of,
    target_share,
    transition_skill,
    whole,
)
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.questions.splits import Split

WIDTH = 3
CUTS = (slice(0, 7), slice(7, 19), slice(19, 30))
LATENTS, LIVE = slice(0, WIDTH), np.ones(WIDTH)


def rows_of(seed: int = 0, count: int = 30) -> Rows:
    rng = np.random.default_rng(seed)
    following = rng.standard_normal((count, WIDTH)) * [1.0, 5.0, 0.1] + [0.0, 3.0, -1.0]
    return Rows(rng.standard_normal((count, WIDTH)), np.zeros((count, 0)), following, rng.standard_normal((count, 2)))


def groups_of(rows: Rows, cuts: tuple[slice, ...] = CUTS) -> MomentSums:
    return stacked([sums_of(rows[cut]) for cut in cuts])


def squared(predicted: np.ndarray, true: np.ndarray, cuts: tuple[slice, ...] = CUTS) -> np.ndarray:
    """Squared error of each group and column."""
    return np.array([np.sum((predicted[cut] - true[cut]) ** 2, axis=0) for cut in cuts])


def without(cut: slice, values: np.ndarray) -> np.ndarray:
    return np.delete(values, np.arange(cut.start, cut.stop), axis=0)


def test_squares_are_about_the_mean_of_the_same_rows() -> None:
    rows = rows_of()
    expected = [np.sum((rows.y[cut] - rows.y[cut].mean(axis=0)) ** 2, axis=0) for cut in CUTS]
    np.testing.assert_allclose(squares_of(groups_of(rows)), expected)
    np.testing.assert_allclose(squares_of(groups_of(rows).pool(np.arange(3))), rows.y.var(axis=0) * 30)


def test_squares_of_no_rows_and_of_one_are_0_and_never_less() -> None:
    none, one = sums_of(rows_of()[:0]), sums_of(rows_of()[:1])
    assert squares_of(none).tolist() == [0] * 5
    assert (squares_of(one) >= 0).all()
    np.testing.assert_allclose(squares_of(one), 0, atol=1e-12)


def test_the_r2_of_one_target_is_scikit_learns_with_all_groups_and_without_each() -> None:
    rows = rows_of()
    true = rows.scalars[:, 1]
    predicted = 0.7 * true + 0.2 * rows.z[:, 0]
    found = single_r2(squared(predicted, true), groups_of(rows), WIDTH + 1)
    expected = [r2_score(true, predicted), *(r2_score(without(cut, true), without(cut, predicted)) for cut in CUTS)]
    np.testing.assert_allclose(found, expected)
    assert (whole(found), left(found)) == (pytest.approx(expected[0]), pytest.approx(tuple(expected[1:])))


def test_a_target_that_does_not_vary_has_no_r2() -> None:
    rows = rows_of()
    rows.scalars[:, 0] = 2.5
    found = single_r2(np.zeros(3), groups_of(rows), WIDTH)
    assert (whole(found), left(found)) == (None, None)


def test_a_target_that_varies_in_one_group_alone_has_an_r2_and_no_interval() -> None:
    rows = rows_of()
    rows.scalars[:, 0] = 0.0
    rows.scalars[CUTS[1], 0] = np.arange(12.0)
    error = squared(rows.scalars[:, 0] + 1, rows.scalars[:, 0])
    groups = groups_of(rows)
    # two groups of zeros with an arbitrary third: without it, nothing varies
    found = single_r2(error, groups, WIDTH)
    assert whole(found) == pytest.approx(r2_score(rows.scalars[:, 0], rows.scalars[:, 0] + 1))
    assert left(found) is None


def test_r2_is_never_above_one_whatever_rounding_did() -> None:
    rows = rows_of()
    assert single_r2(np.full(3, -1e-9), groups_of(rows), WIDTH).tolist() == [1.0] * 4
    assert shuffled_r2(np.array([-1e-9, 1.0, 3.0]), np.array([2.0, 2.0, 2.0])) == (1.0, 0.5, -0.5)


def test_shuffled_rewards_that_are_the_same_everywhere_are_left_out() -> None:
    assert shuffled_r2(np.array([1.0, 1.0, 0.0]), np.array([0.0, 4.0, 0.0])) == (0.75,)
    assert shuffled_r2(np.zeros(0), np.zeros(0)) == ()


def mean_of(rows: Rows, predicted: np.ndarray, live: np.ndarray = LIVE, cuts: tuple[slice, ...] = CUTS) -> np.ndarray:
    groups, error = groups_of(rows, cuts), squared(predicted, rows.following, cuts)
    return mean_r2(error.sum(axis=0), error @ target_share(groups, LATENTS, live), groups, LATENTS, live)


def test_the_mean_r2_is_scikit_learns_uniform_average_over_live_features() -> None:
    rows = rows_of()
    predicted = rows.following + 0.3 * rows.z
    assert mean_of(rows, predicted)[0] == pytest.approx(r2_score(rows.following, predicted))
    two = [0, 2]
    expected = r2_score(rows.following[:, two], predicted[:, two])
    assert mean_of(rows, predicted, np.array([1.0, 0.0, 1.0]))[0] == pytest.approx(expected)
    none = mean_of(rows, predicted, np.zeros(WIDTH))
    assert (whole(none), left(none)) == (None, None)


def test_a_constant_feature_divides_by_nothing_when_it_is_not_live() -> None:
    rows = rows_of()
    rows.following[:, 1] = 3.0
    predicted = rows.following + 0.3 * rows.z
    found = mean_of(rows, predicted, np.array([1.0, 0.0, 1.0]))
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(r2_score(rows.following[:, [0, 2]], predicted[:, [0, 2]]))


def test_without_a_group_the_mean_is_exact_where_groups_hold_the_same_share_of_each_target_as_of_rows() -> None:
    """Three groups with the same targets in another order: each holds a third of the rows and of every sum of squares."""
    rng, cuts = np.random.default_rng(3), (slice(0, 10), slice(10, 20), slice(20, 30))
    block = rng.standard_normal((10, WIDTH))
    rows = rows_of()
    rows.following[:] = np.concatenate([rng.permutation(block) for _ in cuts])
    predicted = rows.following + rng.standard_normal((30, WIDTH)) * np.repeat([0.1, 0.5, 2.0], 10)[:, None]
    found = mean_of(rows, predicted, cuts=cuts)
    expected = [r2_score(without(cut, rows.following), without(cut, predicted)) for cut in cuts]
    np.testing.assert_allclose(found[1:], expected)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_figure_of_columns_is_their_mean_r2_and_leaves_out_those_that_do_not_vary(columns: int) -> None:
    rows = rows_of()
    predicted = rows.scalars + 0.5 * rows.z[:, :2]
    error = squared(predicted, rows.scalars)[:, :columns]
    found = columns_figure(error, groups_of(rows), WIDTH)
    assert found.r2 == pytest.approx(r2_score(rows.scalars[:, :columns], predicted[:, :columns]))
    assert len(found.left) == 3
    rows.scalars[:, 0] = 1.0
    flat = columns_figure(squared(predicted, rows.scalars)[:, :columns], groups_of(rows), WIDTH)
    if columns == 1:
        assert flat is None
    else:
        assert flat.r2 == pytest.approx(r2_score(rows.scalars[:, 1], predicted[:, 1]))


@pytest.mark.parametrize(
    ("transition", "persistence", "autoregression", "skill"),
    [
        (0.8, 0.5, 0.6, 0.5),
        (0.8, -3.0, -1.0, 0.8),  # the mean is the best of the three
        (0.5, 0.6, 0.2, 0.0),  # below a trivial forecast there is none
        (1.0, 1.0, 0.0, 0.0),  # and none where nothing is left to explain
        (-0.5, -2.0, -2.0, 0.0),
    ],
)
def test_skill_is_the_share_that_is_left_by_the_best_trivial_forecast(
    transition: float, persistence: float, autoregression: float, skill: float
) -> None:
    given = (np.array([value]) for value in (transition, persistence, autoregression))
    assert transition_skill(*given)[0] == pytest.approx(skill)


def test_an_undefined_transition_has_no_skill_even_where_nothing_is_left() -> None:
    assert np.isnan(transition_skill(np.array([np.nan]), np.array([1.0]), np.array([1.0])))[0]


def condensed(covariance: list[float], correlation: list[float], rows: Rows | None = None):
    rows = rows or rows_of()
    groups, predicted = groups_of(rows), rows.following + rows.z * [0.3, 1.5, 0.03]
    error, share = squared(predicted, rows.following), target_share(groups, LATENTS, LIVE)
    flat = squared(np.broadcast_to(rows.following.mean(axis=0), rows.following.shape), rows.following)
    errors = Errors(None, error.sum(axis=0), error @ share, flat, flat)
    return components(groups, errors, LIVE, np.array(covariance), np.array(correlation)), rows, predicted


def test_components_are_the_figures_of_the_rows() -> None:
    found, rows, predicted = condensed([math.log(1.5)] * 4, [math.log(2.0)] * 4)
    assert found.transition_r2 == pytest.approx(r2_score(rows.following, predicted))
    assert found.persistence_r2 == pytest.approx(0.0, abs=1e-12)  # here it forecasts the mean
    assert found.transition_skill == pytest.approx(found.transition_r2)
    assert (found.reward_r2, found.reward_r2_left) == (None, None)
    assert found.effective_rank == pytest.approx(1.5 / WIDTH)
    assert found.log_rank == pytest.approx(math.log(2) / math.log(WIDTH))


def test_ranks_stay_within_their_bounds_however_far_a_first_order_value_lies() -> None:
    found, *_ = condensed([math.log(2.0), -5.0, 0.0, 900.0], [math.log(2.0), -5.0, 0.0, 900.0])
    assert found.effective_rank_left == pytest.approx((1 / WIDTH, 1 / WIDTH, 1.0))
    assert found.log_rank_left == pytest.approx((0.0, 0.0, 1.0))


def test_an_interval_is_students_around_the_figure_and_cut_at_its_bounds() -> None:
    values = (0.2, 0.5, 0.3, 0.6)
    error = math.sqrt(3 / 4 * sum((value - 0.4) ** 2 for value in values))
    reach = scipy.stats.t.ppf(0.975, 3) * error
    found = jackknife(0.45, values)
    assert (found.value, found.low, found.high) == pytest.approx((0.45, 0.45 - reach, 0.45 + reach))
    cut = jackknife(0.45, values, 0.0, 1.0)
    assert (cut.low, cut.high) == (max(0.45 - reach, 0.0), min(0.45 + reach, 1.0)) == (0.0, 1.0)
    assert jackknife(0.45, (0.4, 0.4)).low == 0.45, "no spread, no reach"
    assert jackknife(None, values) is None
    alone = jackknife(0.45, None)
    assert (alone.value, alone.low, alone.high) == (0.45, None, None)


def test_groups_that_rank_are_parted_from_those_of_the_confirmation_set() -> None:
    rows, episodes = rows_of(), np.arange(3)
    groups = groups_of(rows)
    ranking, held = divide(groups, Split(episodes, np.array([0, 1, -1])))
    assert held is not None
    np.testing.assert_array_equal(ranking.count, [7, 12])
    np.testing.assert_array_equal(held.y, groups.y[2:])
    assert divide(groups, Split(episodes, np.array([0, 1, 0])))[1] is None
