"""What a head sees: features on one scale whatever the chunks, random layers of a stated width, all rows as single ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from layerscout.extract.device import one_thread_a_product
from layerscout.rl.arms import ArmSpec
from layerscout.rl.config import TrainConfig
from layerscout.rl.seeing.representation import FLOOR, RandomLayer, Representation, Scaler, whitening

RNG = np.random.default_rng


def rows_of(kind: str, count: int = 301) -> np.ndarray:
    draw = RNG(0)
    if kind == "plain":
        return draw.standard_normal((count, 5))
    if kind == "far from zero":  # where sums of squares would lose everything
        return 1e4 + draw.standard_normal((count, 5))
    if kind == "of many sizes":
        return draw.standard_normal((count, 5)) * 10.0 ** np.arange(-2, 3)
    return np.where(np.arange(5) == 2, 7.5, draw.standard_normal((count, 5)))  # one feature is constant


@pytest.mark.parametrize("kind", ["plain", "far from zero", "of many sizes", "one constant"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_features_get_mean_zero_and_deviation_one(kind: str, dtype: type) -> None:
    rows = rows_of(kind).astype(dtype)
    scaled = Scaler.measure([rows])(rows).astype(np.float64)
    exact = rows.astype(np.float64)
    live = exact.std(axis=0) > 1e-6 * np.maximum(np.abs(exact.mean(axis=0)), 1.0)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=0), live, atol=1e-3)


def test_a_constant_feature_is_zero_and_stays_so_for_new_rows() -> None:
    rows = rows_of("one constant")
    scaler = Scaler.measure([rows])
    assert not scaler(rows)[:, 2].any()
    assert not scaler(rows + 100.0)[:, 2].any()


@pytest.mark.parametrize("cuts", [[1], [150], [7, 8, 9], [100, 200, 300]])
def test_chunks_do_not_change_the_scale(cuts: list[int]) -> None:
    rows = rows_of("far from zero")
    whole, parts = Scaler.measure([rows]), Scaler.measure(np.split(rows, cuts))
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(parts.inverse, whole.inverse, rtol=1e-6)


def test_unchanged_is_the_identity_in_float32() -> None:
    rows = rows_of("of many sizes")
    np.testing.assert_array_equal(Scaler.unchanged(5)(rows), rows.astype(np.float32))


def test_a_random_layer_is_tanh_of_normal_sums_of_the_scaled_pixels() -> None:
    pixels = RNG(1).uniform(0, 1, (400, 64)).astype(np.float32)
    scaler = Scaler.measure([pixels])
    layer = RandomLayer.drawn(scaler, 2000, seed=3)
    np.testing.assert_allclose(layer(pixels), np.tanh(scaler(pixels) @ layer.weight), rtol=1e-6)
    assert layer.weight.std() == pytest.approx(64**-0.5, rel=0.02)
    assert abs(layer.weight.mean()) < 1e-3
    assert not np.array_equal(layer.weight, RandomLayer.drawn(scaler, 2000, seed=4).weight)


@pytest.mark.parametrize("random_width", [None, 12])
@pytest.mark.parametrize("standardise", [True, False])
def test_all_rows_are_what_each_row_is(synthetic_store, random_width, standardise) -> None:
    arm = ArmSpec("any", "any", "pixels", synthetic_store, "mlp", (8,), None, random_width=random_width)
    representation, reader = Representation.measure(arm, standardise), synthetic_store.layer("pixels")
    table = representation.all_rows(reader)
    assert table.dtype == np.float32
    assert table.shape == (synthetic_store.rows, random_width or arm.width)
    few = [0, 5, synthetic_store.rows - 1]
    np.testing.assert_allclose(np.concatenate([representation(reader.read(row, row + 1)) for row in few]), table[few], atol=1e-5)
    if not standardise and random_width is None:
        np.testing.assert_array_equal(table, reader.all().astype(np.float32))


def correlated(count: int = 4000) -> np.ndarray:
    """Features of which one is nearly the sum of two others, and one is constant; of variance 1 where they vary."""
    draw = RNG(2).standard_normal((count, 5)).astype(np.float32)
    draw[:, 2] = draw[:, 0] + draw[:, 1] + 1e-2 * draw[:, 2]
    draw[:, 4] = 3.0
    return Scaler.measure([draw])(draw)


def test_whitened_features_are_uncorrelated_and_their_variances_are_those_above_the_floor() -> None:
    rows = correlated()
    variances = np.linalg.eigvalsh(rows.T @ rows / len(rows))
    white = rows @ whitening([rows])
    after = np.linalg.eigvalsh(white.T @ white / len(white))
    np.testing.assert_allclose(after, np.sort(variances / (variances + FLOOR)), atol=1e-3)
    assert after[-1] < 1.0
    assert after[1] < 0.05, "what is mostly rounding stays small"
    assert not white[:, 4].any()


def test_whitening_is_the_symmetric_one_however_the_rows_are_cut() -> None:
    rows = correlated()
    whole = whitening([rows])
    np.testing.assert_allclose(whole, whole.T, atol=1e-4)
    np.testing.assert_allclose(whitening(np.split(rows, [7, 1000])), whole, rtol=1e-3, atol=1e-4)
    swapped = [1, 0, 3, 2, 4]
    np.testing.assert_allclose(whitening([rows[:, swapped]]), whole[np.ix_(swapped, swapped)], rtol=1e-3, atol=1e-4)


def test_a_head_sees_whitened_rows_alone_as_all_together(synthetic_store) -> None:
    arm = ArmSpec("any", "ranked", "random_wide", synthetic_store, "mlp", (8,), None)
    reader = synthetic_store.layer("random_wide")
    plain, white = Representation.measure(arm, True), Representation.measure(arm, True, whiten=True)
    table = white.all_rows(reader)
    np.testing.assert_allclose(table[5:9], white(reader[5:9]), rtol=1e-4, atol=1e-4)
    covariance = table.T @ table / len(table)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.35 * np.abs(np.cov(plain.all_rows(reader).T)).max()
    with pytest.raises(ValidationError, match="leave standardise on"):
        TrainConfig(environment="any", selection=Path("selection.json"), whiten=True, standardise=False)


def test_whitening_is_the_same_to_the_last_bit_whatever_threads_products_may_have() -> None:
    """Spread over two threads it differs in the sixth digit; where there is one core, nothing is asked."""
    rows = RNG(0).standard_normal((300, 128), dtype=np.float32) @ RNG(1).standard_normal((128, 128), dtype=np.float32)
    found = []
    for count in (1, 2):
        with threadpool_limits(limits=count, user_api="blas"), one_thread_a_product():
            found.append(whitening([rows]))
    np.testing.assert_array_equal(*found)
