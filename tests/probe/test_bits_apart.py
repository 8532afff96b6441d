"""What is left of an action, with and without the next activations, is a regression written out; bits without groups and on new rows follow from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plain_solves import Rows, made_up, sums_of

from layerscout.probe.evidence import bits as information
from layerscout.probe.evidence.bits import NOISE_FLOOR, ActionResidual, Bits, bits, bits_of_rows_apart, bits_without_groups
from layerscout.probe.solve.scaling import FeatureScaling, feature_scaling, standardise

WIDTH, COUNT = 5, 300


def measured(rows: Rows, live: list[int] | None = None, discrete: bool = False) -> Bits:
    total = sums_of(rows)
    by: FeatureScaling = feature_scaling(total, np.zeros(rows.z.shape[1]))
    alive = (by.y_variance[: rows.z.shape[1]] > 0).astype(float)
    if live is not None:
        alive = np.isin(np.arange(rows.z.shape[1]), live).astype(float)
    moved = rows.following.T @ rows.following - rows.z.T @ rows.z
    return bits(total, standardise(total, by), moved, alive, discrete, by)


def scaled(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def by_regression(given: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residual of an action of variance 1 on features of variance 1, the noise floor on each, and its covariance with the floor."""
    covariance = given.T @ given / len(given) + NOISE_FLOOR * np.eye(given.shape[1])
    shared = given.T @ action / len(given)
    weights = np.linalg.solve(covariance, shared)
    left = action.T @ action / len(given) - shared.T @ weights + NOISE_FLOOR * np.eye(action.shape[1])
    return action - given @ weights, left


@pytest.mark.parametrize("live", [[0, 1, 2, 3], [0, 2, 3], [1]])
@pytest.mark.parametrize("offset", [0.0, 40.0])
def test_what_is_left_of_the_action_is_its_regression_on_the_features_that_live(live: list[int], offset: float) -> None:
    rows = made_up(COUNT, WIDTH, offset=offset)
    found = measured(rows, live)
    alone, both = found.residuals
    z, following, action = scaled(rows.z[:, live]), scaled(rows.following[:, live]), scaled(rows.actions)
    for fit, given, after in ((alone, z, False), (both, np.hstack([z, following]), True)):
        expected, covariance = by_regression(given, action)
        left = rows.x @ fit.left + (rows.following[:, : len(fit.right)] @ fit.right if after else 0.0)
        np.testing.assert_allclose(left - left.mean(axis=0), expected - expected.mean(axis=0), atol=2e-4)
        np.testing.assert_allclose(fit.covariance, covariance, atol=1e-6)
    assert not alone.right.any()
    assert len(both.right) == live[-1] + 1
    assert found.columns == 2
    dead = np.setdiff1d(np.arange(WIDTH), live)
    assert not alone.left[dead].any()
    assert not both.left[dead].any()


def test_bits_are_the_fall_of_what_is_left_less_what_chance_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information, "_by_chance", lambda *words: (0.25, 0.5))
    found = measured(made_up(COUNT, WIDTH))
    alone, both = (np.linalg.slogdet(fit.covariance)[1] for fit in found.residuals)
    assert found.action == pytest.approx((alone - both - 0.25) / (2 * math.log(2)))


@pytest.mark.parametrize("predictors", [1, 1.4, 0.3])
def test_one_predictor_gains_by_chance_what_a_beta_variable_does(predictors: float) -> None:
    """-ln of one minus R² of 3 targets on 50 degrees of freedom: R² is a beta variable of 3 / 2 and 48 / 2."""
    mean, deviation = information._by_chance(50, predictors, 3)
    drawn = -np.log(1 - np.random.default_rng(0).beta(1.5, 24, 200_000))
    assert mean == pytest.approx(drawn.mean(), rel=0.01)
    assert deviation == pytest.approx(drawn.std(), rel=0.01)


def test_one_column_of_a_level_alone_tells_nothing() -> None:
    rows = made_up(COUNT, WIDTH)
    assert measured(Rows(rows.z, rows.actions[:, :1], rows.following, rows.scalars), discrete=True).action is None


def test_of_actions_by_level_the_last_column_is_left_out() -> None:
    rows = made_up(COUNT, WIDTH)
    levels = np.eye(3)[np.random.default_rng(1).integers(0, 3, COUNT)]
    found = measured(Rows(rows.z, levels, rows.following, rows.scalars), discrete=True)
    assert found.columns == 2
    assert found.residuals[0].covariance.shape == (2, 2)
    assert not found.residuals[0].left[WIDTH + 2].any()


def test_residuals_are_told_only_with_the_scales_that_they_need() -> None:
    rows = made_up(COUNT, WIDTH)
    total = sums_of(rows)
    by = feature_scaling(total, np.zeros(WIDTH))
    moved = rows.following.T @ rows.following - rows.z.T @ rows.z
    alive = (by.y_variance[:WIDTH] > 0).astype(float)
    without = bits(total, standardise(total, by), moved, alive, False)
    assert without.residuals is None
    assert without.action == measured(rows).action


def test_an_action_that_never_varies_tells_nothing_and_leaves_the_others_as_they_are() -> None:
    rows = made_up(COUNT, WIDTH)
    still = Rows(rows.z, np.hstack([rows.actions, np.full((COUNT, 1), 3.0)]), rows.following, rows.scalars)
    assert measured(still).action == pytest.approx(measured(rows).action, abs=1e-9)
    assert measured(still).columns == 2
    none = measured(Rows(rows.z, np.full((COUNT, 1), 3.0), rows.following, rows.scalars))
    assert (none.action, none.columns, none.residuals) == (None, 0, None)
    assert none.total > 0


def test_an_exact_forecast_has_as_many_bits_as_stand_above_a_noise_of_a_ten_thousandth() -> None:
    """A feature that stays what it is leaves about one such part of its variance, and one more is added: ½ log₂ (1 / 2e-4)."""
    z = np.random.default_rng(0).standard_normal((4000, 1))
    found = measured(Rows(z, np.zeros((4000, 0)), z, np.zeros((4000, 0))))
    assert found.total == pytest.approx(0.5 * math.log2(1 / 2e-4), abs=0.01)
    assert found.lost_apart == 0.0


# without groups, and on new rows

GROUP = np.repeat([0, 1, 2, 3], [12, 7, 20, 11])


def rows_of(columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    alone = rng.standard_normal((50, columns)) @ (np.eye(columns) + 0.3) + 5.0
    return alone, 0.5 * alone + 0.1 * rng.standard_normal((50, columns))


def covariance(values: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(values, rowvar=False, bias=True))


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_covariances_are_numpys_over_all_rows_and_without_each_group(columns: int) -> None:
    values = rows_of(columns)[0]
    expected = [covariance(values), *(covariance(values[group != GROUP]) for group in range(4))]
    np.testing.assert_allclose(information._covariances(values, GROUP, 4), expected, atol=1e-12)


def test_a_group_without_rows_takes_nothing_away() -> None:
    values = rows_of(2)[0]
    found = information._covariances(values, GROUP, 5)
    np.testing.assert_allclose(found[5], found[0])
    whole = information._covariances(values, np.zeros(50, int), 1)
    assert np.isfinite(whole).all(), "without its only group there are no rows"


def test_a_row_that_is_left_alone_does_not_vary() -> None:
    found = information._covariances(np.array([[1.0], [2.0], [7.0]]), np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(found[:, 0, 0], [np.var([1, 2, 7]), 0.0, 0.25], atol=1e-12)


def fitted(columns: int, lost: float = 0.0) -> Bits:
    rng = np.random.default_rng(5)
    kept = [covariance(rng.standard_normal((80, columns)) * size) for size in (2.0, 1.0)]
    none = np.zeros((1, columns))
    return Bits(0.75, 0.1, 1.0, columns, (ActionResidual(none, none, kept[0]), ActionResidual(none, none, kept[1])), lost)


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("columns", [1, 2])
def test_without_a_group_bits_move_by_what_its_residuals_add_to_their_covariance(columns: int, share: float) -> None:
    found, residuals = fitted(columns), rows_of(columns)
    without = []
    for group in range(4):
        logs = []
        for fit, rows in zip(found.residuals, residuals, strict=True):
            moved = fit.covariance + covariance(rows[group != GROUP]) - covariance(rows)
            logs.append(math.log2(np.linalg.det(moved)))
        without.append((logs[0] - logs[1]) / 2)
    mean = sum(without) / 4
    expected = [found.action + math.sqrt(share) * (value - mean) for value in without]
    assert bits_without_groups(found, residuals, GROUP, 4, share) == pytest.approx(tuple(expected))
    assert sum(expected) / 4 == pytest.approx(found.action)
    if share == 1.0:
        assert bits_without_groups(found, residuals, GROUP, 4) == pytest.approx(tuple(expected)), (
            "unless said otherwise, all rows are there"
        )


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("lost", [0.0, 0.125])
def test_bits_of_new_rows_are_the_fall_of_their_own_covariance_and_what_a_fit_loses_there(columns: int, lost: float) -> None:
    alone, both = rows_of(columns)
    floor = NOISE_FLOOR * np.eye(columns)
    expected = [
        0.5 * math.log2(np.linalg.det(covariance(alone[kept]) + floor) / np.linalg.det(covariance(both[kept]) + floor)) + lost
        for kept in (GROUP >= 0, *(group != GROUP for group in range(4)))
    ]
    np.testing.assert_allclose(bits_of_rows_apart(fitted(columns, lost), (alone, both), GROUP, 4), expected)


def test_new_rows_that_are_too_few_or_leave_a_group_empty_have_no_bits() -> None:
    alone, both = rows_of(2)
    for few in (20, 19):
        group = np.arange(few) % 2
        found = bits_of_rows_apart(fitted(2), (alone[:few], both[:few]), group, 2)
        assert len(found) == 3
        assert np.isnan(found).all() == (few < 20)  # ten a column
    empty = bits_of_rows_apart(fitted(2), (alone, both), GROUP, 5)
    assert len(empty) == 6
    assert np.isnan(empty).all()


@pytest.mark.parametrize(("rows", "actions", "known", "told"), [(100, 1, 0, 4), (100, 2, 3, 4), (20, 1, 10, 7.5)])
def test_predictors_that_tell_nothing_lose_on_new_rows_what_normal_ones_do(rows: float, actions: int, known: float, told: float) -> None:
    """p predictors fitted on n rows leave sigma squared times 1 + p / (n - p - 2): the factor of all over that of those known."""
    factor = (1 + (known + told) / (rows - known - told - 2)) / (1 + known / (rows - known - 2))
    assert information._lost_apart(rows, actions, known, told) == pytest.approx(actions * math.log2(factor) / 2)


@pytest.mark.parametrize(("rows", "lost"), [(9, False), (9.5, True), (8, False)])
def test_with_as_few_rows_as_predictors_nobody_knows_what_is_lost(rows: float, lost: bool) -> None:
    assert math.isnan(information._lost_apart(rows, 1, 3, 4)) == (not lost)


def test_a_fit_on_rows_of_noise_loses_on_new_ones_what_is_foretold() -> None:
    """Mean fall over draws, of actions that nothing tells of."""
    rng, count, known, told = np.random.default_rng(0), 40, 3, 4
    factors = []
    for _ in range(400):
        x, a = rng.standard_normal((count, known + told)), rng.standard_normal(count)
        new, fresh = rng.standard_normal((200, known + told)), rng.standard_normal(200)
        wrong = []
        for some in (known, known + told):
            given = np.hstack([x[:, :some], np.ones((count, 1))])
            weights = np.linalg.lstsq(given, a, rcond=None)[0]
            wrong.append(np.mean((fresh - new[:, :some] @ weights[:-1] - weights[-1]) ** 2))
        factors.append(wrong)
    alone, both = np.mean(factors, axis=0)
    assert math.log2(both / alone) / 2 == pytest.approx(information._lost_apart(count, 1, known, told), rel=0.15)


@pytest.mark.parametrize(("rows", "columns"), [([1, 2, 3], [0, 1]), ([0, 2], [1, 2]), ([2], [0, 3]), ([], [1]), ([1], [])])
def test_rows_and_columns_are_picked_in_order_and_side_by_side_without_a_copy(rows: list[int], columns: list[int]) -> None:
    matrix = np.arange(20.0).reshape(5, 4)
    found = information._pick(matrix, np.array(rows, int), np.array(columns, int))
    np.testing.assert_array_equal(
        found, [[matrix[row, column] for column in columns] for row in rows] if rows else np.empty((0, len(columns)))
    )
    assert np.shares_memory(found, matrix) == (rows == [1, 2, 3])
