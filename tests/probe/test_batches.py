"""Sums of a batch are those of its rows by definition, however far the rows drift, whatever their scale, and about whatever shift."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve import batches
from layerscout.probe.solve.batches import batch_sums, centre_of, less, no_sums, shift_sums

FEATURES, TARGETS = 5, 3


def rows(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, FEATURES)) + np.arange(FEATURES), rng.standard_normal((count, TARGETS)) - 2.0


def defined(x: np.ndarray, y: np.ndarray) -> MomentSums:
    return MomentSums(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, np.sum(y**2, axis=0))


def near(found: MomentSums, expected: MomentSums, digits: float = 1e-12) -> None:
    for name in MomentSums.__dataclass_fields__:
        right = np.asarray(getattr(expected, name))
        np.testing.assert_allclose(getattr(found, name), right, rtol=digits, atol=digits * np.abs(right).max(initial=1e-300), err_msg=name)


SHIFT = (np.linspace(-1, 2, FEATURES), np.array([3.0, -2.0, 0.5]))


@pytest.mark.parametrize("block", [1, 7, 60, 100])
def test_sums_are_about_the_shift_however_the_rows_are_cut(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(batches, "BLOCK_ROWS", block)
    x, y = rows()
    near(batch_sums(x, y, SHIFT, "float64"), defined(x - SHIFT[0], y - SHIFT[1]))


def test_no_rows_have_sums_of_zeros() -> None:
    x, y = rows(0)
    found = no_sums(FEATURES, TARGETS)
    near(found, defined(x, y))
    near(shift_sums(found, *SHIFT), defined(x, y))


def test_moving_the_sums_is_moving_the_rows_and_back_again_changes_nothing() -> None:
    x, y = rows()
    by = np.array([0.5, -3.0, 0.0, 10.0, 1e3]), np.array([1.0, 0.0, -7.0])
    here = defined(x, y)
    there = shift_sums(here, *by)
    near(there, defined(x + by[0], y + by[1]))
    near(shift_sums(there, -by[0], -by[1]), here, 1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_in_single_precision_no_digit_is_lost_to_an_offset(offset: float) -> None:
    """About a shift beside the rows, the sums are as good as the rows: not as good as their squares in float32."""
    x, y = rows()
    near(batch_sums(x + offset, y, (SHIFT[0] + offset, SHIFT[1]), "float32"), defined(x - SHIFT[0], y - SHIFT[1]), 1e-5)


def test_rows_that_drift_are_cut_where_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(512)
    drift = np.linspace(0, 1e5, 512)[:, None]
    seen = []
    whole = batches._block_sums
    monkeypatch.setattr(batches, "_block_sums", lambda block, *rest: seen.append(len(block[0])) or whole(block, *rest))
    zero = np.zeros(FEATURES), np.zeros(TARGETS)
    near(batch_sums(x + drift, y, zero, "float32"), defined(x + drift, y), 1e-5)
    assert max(seen) < 512
    assert sum(seen) == 512
    seen.clear()
    batch_sums(x, y, zero, "float32")
    assert seen == [512], "steady rows are multiplied at once"


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_squares_that_leave_the_range_of_float32_are_scaled_by_powers_of_two(scale: float) -> None:
    x, y = rows()
    x, y = (x - x.mean(axis=0)) * scale, (y - y.mean(axis=0)) * scale
    zero = np.zeros(FEATURES), np.zeros(TARGETS)
    found = batch_sums(x, y, zero, "float32")
    expected = defined(x, y)
    np.testing.assert_allclose(found.xx, expected.xx, rtol=1e-4, atol=1e-6 * np.abs(expected.xx).max())
    np.testing.assert_allclose(found.yy, expected.yy, rtol=1e-4)
    assert (np.diagonal(found.xx) > 0).all()


def test_batches_add_up_in_any_cut() -> None:
    x, y = rows()
    whole = batch_sums(x, y, SHIFT, "float64")
    parts = [batch_sums(x[some], y[some], SHIFT, "float64") for some in (slice(0, 13), slice(13, 14), slice(14, 60))]
    near(MomentSums(*(sum(getattr(part, name) for part in parts) for name in MomentSums.__dataclass_fields__)), whole)


@pytest.mark.parametrize(
    ("stored", "precision", "wide"),
    [(np.float16, "float32", np.float32), (np.float64, "float32", np.float64), (np.float32, "float64", np.float64)],
)
def test_a_centre_has_the_larger_of_both_precisions(stored: type, precision: str, wide: type) -> None:
    some = (np.arange(6.0).reshape(3, 2) + 0.25).astype(stored)
    centre = centre_of(some, precision)
    assert centre.dtype == wide
    np.testing.assert_array_equal(centre, some.mean(axis=0, dtype=np.float64))
    taken = less(some, centre, precision)
    assert taken.dtype == np.dtype(precision)
    np.testing.assert_array_equal(taken, np.array([[-2.0, -2.0], [0.0, 0.0], [2.0, 2.0]]))


def test_rows_of_more_digits_are_rounded_after_the_subtraction() -> None:
    some = np.array([[1.0 + 2.0**-40], [1.0 - 2.0**-40]])
    np.testing.assert_array_equal(less(some, np.array([1.0]), np.float32), np.array([[2.0**-40], [-(2.0**-40)]], np.float32))
