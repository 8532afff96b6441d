"""Forecasts without a probe, and bits about the next activations, equal their definitions on rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plain_solves import Rows, made_up, stacked, sums_of

from layerscout.errors import DataError
from layerscout.probe.evidence import bits as information
from layerscout.probe.evidence.bits import NOISE_FLOOR, Bits, bits
from layerscout.probe.evidence.controls import Diagonals, autoregression_error, autoregression_out_of_fold, diagonals, persistence_error
from layerscout.probe.solve.scaling import feature_scaling, standardise

WIDTH = 4


def cut(count: int = 4) -> list[Rows]:
    """Groups of different sizes."""
    rows, edges = made_up(200, WIDTH), [0, 30, 75, 140, 200]
    return [rows[edges[place] : edges[place + 1]] for place in range(count)]


def joined(parts: list[Rows]) -> Rows:
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__))


def test_diagonals_are_the_moments_of_each_feature_with_itself_and_its_next_value() -> None:
    parts = cut()
    found = diagonals(stacked([sums_of(part) for part in parts]), WIDTH)
    np.testing.assert_array_equal(found.count[:, 0], [len(part.z) for part in parts])
    for name, expected in (
        ("x", lambda part: part.z),
        ("y", lambda part: part.following),
        ("xx", lambda part: part.z**2),
        ("xy", lambda part: part.z * part.following),
        ("yy", lambda part: part.following**2),
    ):
        np.testing.assert_allclose(getattr(found, name), [expected(part).sum(axis=0) for part in parts])


def test_persistence_forecasts_the_present_value() -> None:
    parts = cut()
    found = persistence_error(diagonals(stacked([sums_of(part) for part in parts]), WIDTH))
    np.testing.assert_allclose(found, [np.sum((part.following - part.z) ** 2, axis=0) for part in parts], atol=1e-8)


def test_autoregression_is_a_line_through_each_feature_and_a_constant_where_it_does_not_vary() -> None:
    parts = cut()
    train, tested = parts[:3], parts[3:]
    found = autoregression_error(*(diagonals(stacked([sums_of(part) for part in some]), WIDTH) for some in (train, tested)))
    seen, rows = joined(train), tested[0]
    for feature in range(WIDTH):
        slope, offset = np.polyfit(seen.z[:, feature], seen.following[:, feature], 1) if feature < WIDTH - 1 else (0.0, 1.0)
        expected = np.sum((rows.following[:, feature] - offset - slope * rows.z[:, feature]) ** 2)
        assert found[0, feature] == pytest.approx(expected, abs=1e-8)


def test_a_feature_that_did_not_vary_in_training_is_forecast_by_the_mean_that_followed_whatever_it_is_now() -> None:
    count, x, y = np.full((1, 1), 4.0), np.full((1, 1), 8.0), np.full((1, 1), 12.0)  # z = 2 four times, followed by 3 on average
    train = Diagonals(count, x, y, np.full((1, 1), 16.0), np.full((1, 1), 24.0), np.full((1, 1), 40.0))
    now, following = np.array([5.0, -2.0]), np.array([4.0, 1.0])
    tested = Diagonals(
        np.full((1, 1), 2.0), *(np.array([[part.sum()]]) for part in (now, following, now**2, now * following, following**2))
    )
    assert autoregression_error(train, tested)[0, 0] == pytest.approx(np.sum((following - 3.0) ** 2))


def of_values(now: list[float], following: list[float]) -> Diagonals:
    """The moments of one feature of one group."""
    z, after = np.array(now), np.array(following)
    return Diagonals(np.full((1, 1), float(len(z))), *(np.array([[part.sum()]]) for part in (z, after, z**2, z * after, after**2)))


@pytest.mark.parametrize(
    ("now", "unit", "varies"),
    [
        ([9.5, 10.5, 9.5, 10.5], 0.01, False),  # a variance of 1 in 4 rows, of a mean square of 401
        ([9.5, 10.5, 9.5, 10.5], 0.001, True),
        ([0.1, -0.1, 0.1, -0.1], 0.01, True),
        ([0.0, 0.0, 0.0, 0.0], 0.01, False),
    ],
)
def test_a_feature_varies_whose_variance_is_above_a_share_of_its_mean_square(now: list[float], unit: float, varies: bool) -> None:
    following = [1.0, 3.0, 1.0, 3.0]
    train, tested = of_values(now, following), of_values([now[0]], [0.0])
    forecast = 1.0 if varies else 2.0  # what follows such a value, or the mean
    assert autoregression_error(train, tested, unit)[0, 0] == pytest.approx(forecast**2)


@pytest.mark.parametrize("fold", [[0, 1, 0, 1], [0, 1, 2, 0]])
def test_each_group_is_forecast_by_the_other_folds(fold: list[int]) -> None:
    parts = cut()
    whole = diagonals(stacked([sums_of(part) for part in parts]), WIDTH)
    found = autoregression_out_of_fold(whole, np.array(fold))
    for place, part in enumerate(parts):
        others = diagonals(stacked([sums_of(parts[other]) for other in range(4) if fold[other] != fold[place]]), WIDTH)
        alone = diagonals(stacked([sums_of(part)]), WIDTH)
        np.testing.assert_allclose(found[place], autoregression_error(others, alone)[0])


def one_chain(rows: Rows) -> tuple:
    """What ``bits`` takes, from rows: the noise floor on every covariance is part of its definition."""
    total = sums_of(rows)
    by = feature_scaling(total, np.zeros(rows.z.shape[1]))
    difference = rows.following.T @ rows.following - rows.z.T @ rows.z
    return total, standardise(total, by), difference, (by.y_variance[: rows.z.shape[1]] > 0).astype(float)


def plain_bits(rows: Rows, live: np.ndarray, actions: np.ndarray) -> tuple[float, float]:
    """Log-determinants of residual covariances, with the floor, and no correction for chance: of the action, and in total."""
    count = len(rows.z)
    z, n = rows.z[:, live] - rows.z[:, live].mean(axis=0), rows.following[:, live] - rows.following[:, live].mean(axis=0)
    z, n, a = z / z.std(axis=0), n / n.std(axis=0), (actions - actions.mean(axis=0)) / actions.std(axis=0)
    floor = NOISE_FLOOR * np.eye(z.shape[1])
    present, across = z.T @ z / count + floor, z.T @ n / count
    residual = n.T @ n / count - across.T @ np.linalg.solve(present, across)
    acted = z.T @ a / count
    own = a.T @ a / count - acted.T @ np.linalg.solve(present, acted) + NOISE_FLOOR * np.eye(a.shape[1])
    shared = a.T @ n / count - acted.T @ np.linalg.solve(present, across)
    explained = shared @ np.linalg.solve(residual + floor, shared.T)
    gained = np.linalg.slogdet(own)[1] - np.linalg.slogdet(own - explained)[1]
    known = np.linalg.slogdet(n.T @ n / count + floor)[1] - np.linalg.slogdet(residual + floor)[1]
    return gained / 2 / math.log(2), (known + gained) / 2 / math.log(2)


def test_bits_are_those_of_residual_covariances_less_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made_up(400, WIDTH)
    given = one_chain(rows)
    monkeypatch.setattr(information, "_by_chance", lambda *words: (0.0, 2.0))
    found = bits(*given, discrete=False)
    action, total = plain_bits(rows, np.arange(WIDTH - 1), rows.actions)
    assert found.action == pytest.approx(action, rel=1e-6)
    assert found.total == pytest.approx(total, rel=1e-6)
    assert found.action_by_chance == pytest.approx(1.645 * 2.0 / (2 * math.log(2)))
    monkeypatch.setattr(information, "_by_chance", lambda *words: (3.0, 2.0))
    less = bits(*given, discrete=False)
    assert found.action - less.action == pytest.approx(3.0 / (2 * math.log(2)))
    assert found.total - less.total == pytest.approx(6.0 / (2 * math.log(2)))  # once for z, once for the action


def test_chance_is_counted_in_rows_less_one_less_all_predictors(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = made_up(400, WIDTH), []

    def chance(freedom: float, predictors: float, targets: float) -> tuple[float, float]:
        asked.append((freedom, predictors, targets))
        return 0.0, 0.0

    monkeypatch.setattr(information, "_by_chance", chance)
    bits(*one_chain(rows), discrete=False)
    (freedom, predictors, following), (freedom_of_z, present, whole) = asked
    assert predictors == 2
    assert present == pytest.approx(3, abs=0.01)  # each of three features stands far above the floor
    assert following == pytest.approx(3, abs=0.2)  # what the action leaves is nearer the floor
    assert whole == pytest.approx(3, abs=0.01)
    assert freedom_of_z == pytest.approx(400 - 1 - present)
    assert freedom == pytest.approx(freedom_of_z - 2)


def test_one_of_the_levels_follows_from_the_others_and_an_unseen_one_tells_nothing() -> None:
    rows = made_up(400, WIDTH)
    codes = np.random.default_rng(1).integers(0, 3, 400)
    levels = np.eye(3)[codes]
    discrete = bits(*one_chain(Rows(rows.z, levels, rows.following, rows.scalars)), discrete=True)
    unseen = np.hstack([levels, np.zeros((400, 2))])
    again = bits(*one_chain(Rows(rows.z, unseen, rows.following, rows.scalars)), discrete=True)
    assert again.action == pytest.approx(discrete.action, abs=1e-9)
    assert again.total == pytest.approx(discrete.total, abs=1e-9)
    two = bits(*one_chain(Rows(rows.z, levels[:, :2], rows.following, rows.scalars)), discrete=False)
    assert two.action == pytest.approx(discrete.action, abs=1e-9)


def test_what_cannot_be_had_is_none() -> None:
    rows = made_up(400, WIDTH)
    total, standardised, difference, live = one_chain(rows)
    assert bits(total, standardised, difference, 0 * live, False) == Bits()
    alone = bits(*one_chain(Rows(rows.z, rows.actions[:, :0], rows.following, rows.scalars)), discrete=False)
    assert (alone.action, alone.action_by_chance) == (None, None)
    assert alone.total > 0
    few = made_up(6, WIDTH)
    assert bits(*one_chain(few), discrete=False) == Bits()  # fewer rows than unknowns
    only_total = bits(*one_chain(made_up(9, WIDTH, actions=5)), discrete=False)
    assert only_total.action is None


def test_independent_predictors_gain_what_wilks_lambda_says() -> None:
    """The mean and spread of -ln Λ over draws of noise, against their formula."""
    rng, count, predictors, targets = np.random.default_rng(0), 60, 3, 5
    drawn = []
    for _ in range(2000):
        x, y = rng.standard_normal((count, predictors)), rng.standard_normal((count, targets))
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        drawn.append(np.linalg.slogdet(y.T @ y)[1] - np.linalg.slogdet(left.T @ left)[1])
    mean, deviation = information._by_chance(count - 1 - predictors, predictors, targets)
    assert np.mean(drawn) == pytest.approx(mean, rel=0.02)
    assert np.std(drawn) == pytest.approx(deviation, rel=0.05)
    assert all(math.isnan(value) for value in information._by_chance(3, 2, 4))
    assert not any(math.isnan(value) for value in information._by_chance(4, 2, 4))


def test_a_matrix_that_rounding_left_negative_names_the_way_out() -> None:
    with pytest.raises(DataError, match="exceeds what the action could explain") as refused:
        information._factor(np.diag([1.0, -1.0]), NOISE_FLOOR)
    assert "probe.precision=float64" in str(refused.value.hint)
    lower, rank = information._factor(np.diag([1.0, 0.0]), NOISE_FLOOR)
    np.testing.assert_allclose(lower @ lower.T, np.diag([1 + NOISE_FLOOR, NOISE_FLOOR]))
    assert rank == pytest.approx(2 - NOISE_FLOOR / (1 + NOISE_FLOOR) - 1)
