"""The fast solver equals its definition on rows: search, fit, errors, eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
from plain_solves import Rows, errors, made_up, ridge, sums_of

from layerscout.probe.moments.symmetric import mirror
from layerscout.probe.solve.eigen import eigenvalues, eigenvectors, eigenvectors_and_raised, recompose, rotated, tridiagonal
from layerscout.probe.solve.penalties import decompose, of_scalars, scalar_losses, validate
from layerscout.probe.solve.ridge import (
    NotPositiveDefinite,
    fit_ridge,
    squared_errors,
    squared_errors_of_both,
    weighted_errors,
)
from layerscout.probe.solve.scaling import feature_scaling, rounding, standardise, target_weights

PENALTIES = (1e-4, 1e-2, 1.0, 100.0)
WIDTHS = (5, 40)  # below and above the size from which LAPACK's steps are called one by one
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


def shift_of(width: int, precision: str, offset: float = 0.0) -> np.ndarray:
    return np.full(width, offset, dtype=precision)


def live_of(width: int) -> np.ndarray:
    return np.append(np.ones(width - 1), 0.0)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("width", WIDTHS)
def test_losses_of_the_search_are_those_of_fits_on_rows(width: int, precision: str) -> None:
    rows = made_up(300, width)
    train, valid = rows[:200], rows[200:]
    shift = shift_of(width, precision)
    validation = validate(decompose(sums_of(train), shift, live_of(width)), sums_of(valid))
    found = validation.transition(PENALTIES), validation.scalars(PENALTIES)
    np.testing.assert_array_equal(validation.scalars(PENALTIES), found[1])  # nothing is used up
    np.testing.assert_allclose(validation.scalars(PENALTIES[1:2], 1), found[1][1:2, :1], rtol=TOLERANCE[precision])
    variance = train.following.var(axis=0)
    weights = np.where(np.arange(width) < width - 1, 1 / np.where(variance > 0, variance, 1), 0.0) / (width - 1)
    for place, penalty in enumerate(PENALTIES):
        np.testing.assert_allclose(found[0][place], errors(train, valid, penalty, "both") @ weights, rtol=TOLERANCE[precision])
        # of a sum of squares, as R² is
        wrong = np.abs(found[1][place] - errors(train, valid, penalty, "scalars")) / np.sum(valid.scalars**2, axis=0)
        assert wrong.max() <= TOLERANCE[precision]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("width", [4, 40, 70])
def test_losses_of_scalars_alone_are_those_of_fits_on_rows(width: int, precision: str) -> None:
    rows = made_up(400, width)
    train, parts = rows[:200], (rows[200:280], rows[280:])
    train_sums, *others = (of_scalars(sums_of(part), width) for part in (train, *parts))
    found = scalar_losses(train_sums, others, shift_of(width, precision), PENALTIES)
    for losses, valid in zip(found, parts, strict=True):
        for place, penalty in enumerate(PENALTIES):
            wrong = np.abs(losses[place] - errors(train, valid, penalty, "scalars")) / np.sum(valid.scalars**2, axis=0)
            assert wrong.max() <= TOLERANCE[precision]


def test_a_tridiagonal_form_solves_what_it_was_made_of_and_says_when_it_cannot() -> None:
    rng = np.random.default_rng(0)
    matrix, right = (lambda a: a @ a.T / 50)(rng.standard_normal((50, 60))), rng.standard_normal((50, 3))
    form = tridiagonal(matrix)
    for penalty, found in zip((1e-6, 1.0), form.solve((1e-6, 1.0), right, np.float64), strict=True):
        np.testing.assert_allclose(found.T, np.linalg.solve(matrix + penalty * np.eye(50), right), rtol=1e-8)
    assert tridiagonal(matrix - np.eye(50)).solve((1e-3,), right, np.float64) is None
    assert tridiagonal(np.eye(4)) is None


@pytest.mark.parametrize("width", WIDTHS)
def test_a_search_without_actions_or_scalars_is_that_of_the_latents_alone(width: int) -> None:
    rows = made_up(300, width, actions=0, scalars=0)
    shift = shift_of(width, "float64")
    found = validate(decompose(sums_of(rows[:200]), shift, live_of(width)), sums_of(rows[200:]))
    transition, scalars = found.transition(PENALTIES), found.scalars(PENALTIES)
    assert scalars.shape == (len(PENALTIES), 0)
    with_actions = made_up(300, width)
    alone = Rows(with_actions.z, with_actions.actions[:, :0], with_actions.following, with_actions.scalars)
    found = validate(decompose(sums_of(alone[:200]), shift, live_of(width)), sums_of(alone[200:]))
    again, some = found.transition(PENALTIES), found.scalars(PENALTIES)
    assert some.shape == (len(PENALTIES), 3)
    assert transition.shape == again.shape
    assert np.isfinite(transition).all()


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("width", WIDTHS)
def test_fits_and_their_errors_are_those_on_rows(width: int, offset: float) -> None:
    rows = made_up(300, width, offset=offset)
    train, tested = rows[:200], rows[200:]
    shift = shift_of(width, "float64", offset)
    own = np.array([1e-4, 1e-2, 1e-2])  # one penalty is the latents' own, one is shared
    with_action, removal, scalars = fit_ridge(sums_of(train, shift), shift, 1e-4, own)
    np.testing.assert_allclose(with_action.weights, ridge(train.x, train.following, 1e-4)[0], atol=1e-8)
    for column, penalty in enumerate(own):
        np.testing.assert_allclose(scalars.weights[:width, column], ridge(train.z, train.scalars[:, [column]], penalty)[0][:, 0], atol=1e-8)
    assert not scalars.weights[width:].any()

    sums, latents, all_scalars = sums_of(tested, shift), slice(0, width), slice(width, None)
    with_it, without_it = squared_errors_of_both(with_action, removal, sums, latents)
    np.testing.assert_allclose(with_it, errors(train, tested, 1e-4, "both"), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(without_it, errors(train, tested, 1e-4, "alone"), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(squared_errors(with_action, sums, latents), with_it, rtol=1e-9, atol=1e-7)
    for column, penalty in enumerate(own):
        expected = errors(train, tested, penalty, "scalars")[column]
        np.testing.assert_allclose(squared_errors(scalars, sums, all_scalars)[column], expected, rtol=1e-8)
        alone = squared_errors(scalars.select(np.array([column])), sums, width + np.array([column]))
        np.testing.assert_allclose(alone, [expected], rtol=1e-8)


@pytest.mark.parametrize("width", WIDTHS)
def test_weighted_errors_of_groups_add_up_to_those_of_their_rows(width: int) -> None:
    rows = made_up(300, width)
    shift = shift_of(width, "float64")
    with_action, _, _ = fit_ridge(sums_of(rows[:200]), shift, 0.01, np.zeros(3) + 0.01)
    share = np.random.default_rng(0).random(width)
    groups, latents = [sums_of(rows[200:230]), sums_of(rows[230:])], slice(0, width)
    found = weighted_errors(with_action, groups, latents, share)
    np.testing.assert_allclose(found, [share @ squared_errors(with_action, one, latents) for one in groups], rtol=1e-9)
    np.testing.assert_allclose(sum(found), share @ errors(rows[:200], rows[200:], 0.01, "both"), rtol=1e-7)


def test_a_penalty_below_rounding_is_refused_and_names_the_way_out() -> None:
    rows = made_up(50, 6)
    sums = sums_of(rows)
    negative = np.diag([1.0, 1, 1, 1, 1, -1e-3, 0, 0])
    sums = type(sums)(sums.count, sums.x, sums.y, sums.xx + 50 * negative * 1e5, sums.xy, sums.yy)
    with pytest.raises(NotPositiveDefinite, match="below the rounding") as refused:
        fit_ridge(sums, shift_of(6, "float32"), 1e-7, np.zeros(0))
    assert "probe.precision=float64" in str(refused.value.hint)


def test_scales_are_those_of_the_standard_scaler_and_a_constant_has_scale_one() -> None:
    rows = made_up(100, 5, offset=7.0)
    by = feature_scaling(sums_of(rows), shift_of(5, "float64"))
    np.testing.assert_allclose(by.x_mean, rows.x.mean(axis=0))
    np.testing.assert_allclose(by.x_scale, np.append(np.append(rows.z.std(axis=0)[:4], 1.0), rows.actions.std(axis=0)))
    np.testing.assert_allclose(by.y_variance[:5], np.append(rows.following.var(axis=0)[:4], 0.0), atol=1e-12)
    own = feature_scaling(sums_of(rows), shift_of(5, "float64"), scaled=False)
    assert own.x_scale[:5].tolist() == [1.0] * 5
    np.testing.assert_allclose(own.x_scale[5:], by.x_scale[5:])
    xx, xy, yy = standardise(sums_of(rows), by, 1 / 100)
    standard = (rows.x - by.x_mean) / by.x_scale
    np.testing.assert_allclose(xx, standard.T @ standard / 100, atol=1e-10)
    np.testing.assert_allclose(xy, standard.T @ (rows.y - by.y_mean) / 100, atol=1e-10)
    np.testing.assert_allclose(yy, np.sum((rows.y - by.y_mean) ** 2, axis=0), atol=1e-8)


def test_weights_of_targets_make_a_loss_of_one_for_the_mean() -> None:
    spread, live = np.array([4.0, 9.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(target_weights(spread, live), [1 / 12, 1 / 27, 0, 0])
    np.testing.assert_allclose(target_weights(spread, np.array([1.0, 1, 1, 3]), scaled=False) @ spread, 13 / 16 + 3 / 16)
    np.testing.assert_allclose(target_weights(spread, np.array([1.0, 1, 1, 3]), scaled=False), np.array([1, 1, 1, 3]) / 16)
    assert not target_weights(np.zeros(3), np.zeros(3)).any()


def test_rounding_grows_with_the_root_of_the_width_and_is_that_of_the_products() -> None:
    assert rounding("float32", 400) == pytest.approx(20 * 1e-7)
    assert rounding("float64", 100) == pytest.approx(10 * 2e-16)


@pytest.mark.parametrize("scale", [1e-60, 1.0, 1e60])
@pytest.mark.parametrize("size", [1, 3, 33, 50])
def test_eigenvectors_put_a_symmetric_matrix_together_again(size: int, scale: float) -> None:
    rows = np.random.default_rng(size).standard_normal((2 * size, size))
    matrix = rows.T @ rows * scale
    values, vectors = eigenvectors(np.triu(matrix))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), rtol=1e-8, atol=1e-12 * matrix.max())
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(recompose(values, vectors), matrix, rtol=1e-9, atol=1e-12 * matrix.max())
    np.testing.assert_allclose(eigenvalues(matrix), values, rtol=1e-8, atol=1e-12 * matrix.max())
    single = eigenvectors(matrix, np.float32)
    assert single[1].dtype == np.float32
    np.testing.assert_allclose(single[0], values, rtol=1e-14)
    np.testing.assert_allclose(np.abs(np.sum(single[1] * vectors, axis=0)), 1.0, atol=1e-5)


def test_a_matrix_of_zeros_has_only_zeros_and_any_axes() -> None:
    values, vectors = eigenvectors(np.zeros((40, 40)))
    assert not values.any()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(40))
    assert not eigenvalues(np.zeros((40, 40))).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [3, 129, 160])
def test_products_taken_in_half_are_whole(size: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    square = rng.standard_normal((size, size))
    square = (square + square.T).astype(dtype)
    vectors = np.linalg.qr(rng.standard_normal((size, size)))[0].astype(dtype)
    values = rng.standard_normal(size)  # of either sign
    tolerance = {np.float32: 1e-4, np.float64: 1e-10}[dtype]
    np.testing.assert_allclose(rotated(square, vectors), vectors.T @ square @ vectors, atol=tolerance)
    np.testing.assert_allclose(recompose(values, vectors), (vectors * values) @ vectors.T, atol=tolerance)
    half = np.triu(square)
    mirror(half)
    np.testing.assert_array_equal(half, square)


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("length", [0.0, 1e-6, 1.0, 1e4])
def test_raised_eigenvalues_are_those_of_the_matrix_with_a_product_added(size: int, length: float) -> None:
    rng = np.random.default_rng(size)
    matrix, added = np.cov(rng.standard_normal((size, 80)) * np.arange(1, size + 1)[:, None]), length * rng.standard_normal(size)
    values, vectors, raised = eigenvectors_and_raised(matrix, added)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-12 * values[-1])
    np.testing.assert_allclose((vectors * values) @ vectors.T, matrix, atol=1e-12 * values[-1])
    np.testing.assert_allclose(raised, np.linalg.eigvalsh(matrix + np.outer(added, added)), atol=1e-13 * raised[-1])


@pytest.mark.parametrize("precision", TOLERANCE)
def test_a_search_of_scalars_may_use_the_latents_decomposition(precision: str) -> None:
    rows, shift = made_up(400, 40), shift_of(40, precision)
    train, valid = sums_of(rows[:200]), of_scalars(sums_of(rows[200:]), 40)
    known = decompose(train, shift, live_of(40))
    alone = scalar_losses(of_scalars(train, 40), [valid], shift, PENALTIES)[0]
    found = scalar_losses(of_scalars(train, 40), [valid], shift, PENALTIES, known=known)[0]
    np.testing.assert_allclose(found / valid.yy, alone / valid.yy, atol=TOLERANCE[precision])
