"""Ridge from batches equals ridge on all rows, however they are cut, merged and offset."""

from __future__ import annotations

import copy
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import check_estimator

from layerscout.probe.solve.batches import _blocks
from layerscout.probe.solve.streaming import StreamingRidge

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def rows(offset: float = 0.0, count: int = 400, width: int = 12, targets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features with a mean of ``offset`` standard deviations, and noisy linear targets that are offset too."""
    rng = np.random.default_rng(0)
    centred = rng.standard_normal((count, width))
    y = centred @ rng.standard_normal((width, targets)) + rng.standard_normal((count, targets))
    return centred * 2.0 + 2.0 * offset, y + offset


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_is_a_scikit_learn_estimator(precision: str) -> None:
    check_estimator(StreamingRidge(precision=precision), on_skip=None)


@pytest.mark.parametrize("one_target", [True, False])
@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("precision", TOLERANCE)
def test_equals_ridge_on_all_rows_whatever_the_mean(precision: str, offset: float, one_target: bool) -> None:
    x, y = rows(offset)
    x = x.astype(precision)
    y = y[:, 0] if one_target else y
    found = StreamingRidge(alpha=3.0, precision=precision)
    for start in range(0, len(x), 70):
        found.partial_fit(x[start : start + 70], y[start : start + 70])
    expected = Ridge(alpha=3.0).fit(x.astype(np.float64), y)
    assert np.shape(found.coef_) == np.shape(expected.coef_)
    assert np.shape(found.intercept_) == np.shape(expected.intercept_)
    assert relative(found.coef_, expected.coef_) <= TOLERANCE[precision]
    assert relative(found.predict(x) - offset, expected.predict(x.astype(np.float64)) - offset) <= 100 * TOLERANCE[precision]
    assert found.n_samples_seen_ == len(x)


def test_without_an_intercept_it_is_ridge_through_zero() -> None:
    x, y = rows(offset=3.0)
    found, expected = StreamingRidge(fit_intercept=False).fit(x, y), Ridge(fit_intercept=False).fit(x, y)
    assert relative(found.coef_, expected.coef_) <= 1e-10
    assert not np.any(found.intercept_)
    np.testing.assert_allclose(found.predict(x), expected.predict(x), rtol=1e-9)


def test_half_precision_rows_are_exact_in_single_precision_products() -> None:
    x, y = rows()
    x = x.astype(np.float16)
    found, expected = StreamingRidge(precision="float32").fit(x, y), Ridge().fit(x.astype(np.float64), y)
    assert relative(found.coef_, expected.coef_) <= 1e-6


@given(
    cuts=st.lists(st.integers(1, 399), min_size=1, max_size=5, unique=True),
    order=st.randoms(use_true_random=False),
    one_shift=st.booleans(),
    offset=st.sampled_from([0.0, 1000.0]),
)
def test_any_tree_of_merges_in_any_order_is_the_whole(cuts: list[int], order, one_shift: bool, offset: float) -> None:
    x, y = rows(offset)
    whole = StreamingRidge().fit(x, y)
    parts = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(x)], strict=True):
        part = whole.empty_copy() if one_shift else StreamingRidge()
        parts.append(part.partial_fit(x[begin:end], y[begin:end]))
    while len(parts) > 1:
        order.shuffle(parts)
        left, right = parts.pop(), parts.pop()
        parts.append(left.merge(right))
    assert parts[0].n_samples_seen_ == len(x)
    assert relative(parts[0].coef_, whole.coef_) <= 1e-10
    assert relative(parts[0].intercept_, whole.intercept_) <= 1e-10


def test_merging_parts_of_one_shift_commutes_to_the_last_bit_and_leaves_the_other_alone() -> None:
    x, y = rows(offset=5.0)
    first = StreamingRidge().partial_fit(x[:150], y[:150])
    second = first.empty_copy().partial_fit(x[150:], y[150:])
    before = second.coef_.copy()
    forward = copy.deepcopy(first).merge(second)
    backward = copy.deepcopy(second).merge(first)
    np.testing.assert_array_equal(forward.coef_, backward.coef_)
    np.testing.assert_array_equal(second.coef_, before)
    assert second.n_samples_seen_ == 250


def test_another_penalty_needs_no_data() -> None:
    x, y = rows()
    found = StreamingRidge(alpha=1.0).fit(x, y)
    first = found.coef_
    np.testing.assert_array_equal(found.set_params(alpha=50.0).coef_, StreamingRidge(alpha=50.0).fit(x, y).coef_)
    np.testing.assert_array_equal(found.set_params(alpha=1.0).coef_, first)


def test_more_rows_change_the_weights_and_fit_forgets() -> None:
    x, y = rows()
    found = StreamingRidge().fit(x[:100], y[:100])
    first = found.coef_
    assert relative(found.partial_fit(x[100:], y[100:]).coef_, first) > 1e-3
    np.testing.assert_array_equal(found.fit(x[:100], y[:100]).coef_, first)


def test_what_is_kept_does_not_grow_with_the_rows() -> None:
    x, y = rows(count=3000, width=80)
    found, held = StreamingRidge(), []
    tracemalloc.start()
    for _ in range(20):
        found.partial_fit(x, y)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[0] < x.nbytes / 10
    assert held[-1] < 1.1 * held[1]


def test_mistakes_are_named() -> None:
    x, y = rows()
    with pytest.raises(NotFittedError):
        StreamingRidge().predict(x)
    with pytest.raises(ValueError, match="alpha is -1"):
        StreamingRidge(alpha=-1).fit(x, y)
    with pytest.raises(ValueError, match="precision is 'float8'"):
        StreamingRidge(precision="float8").fit(x, y)
    with pytest.raises(ValueError, match=r"y has shape \(400,\); in the batches before it was \[row, 3\]"):
        StreamingRidge().fit(x, y).partial_fit(x, y[:, 0])
    with pytest.raises(ValueError, match="depend on each other, and alpha=0"):
        StreamingRidge(alpha=0).fit(np.hstack([x, x]), y)
    with pytest.raises(ValueError, match="cannot merge: n_features_in is 12 here and 11 there"):
        StreamingRidge().fit(x, y).merge(StreamingRidge().fit(x[:, 1:], y))
    with pytest.raises(ValueError, match="cannot merge: 3 targets here and 2 there"):
        StreamingRidge().fit(x, y).merge(StreamingRidge().fit(x, y[:, :2]))
    with pytest.raises(ValueError, match="cannot merge: precision is float64 here and float32 there"):
        StreamingRidge().fit(x, y).merge(StreamingRidge(precision="float32").fit(x, y))


def drifting(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose features or targets leave the place where they began, or are of no usual size."""
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((3000, 16)), rng.standard_normal(3000)
    y = x @ rng.standard_normal(16) + noise
    after = np.arange(3000)[:, None] >= (1 if "one row" in kind else 1000)
    if "features" in kind:
        x = x + 1000 * after
    if "targets" in kind:
        y = y + 1e5 * after[:, 0]
    if kind == "a steady drift":
        x, y = x + np.linspace(0, 1000, 3000)[:, None], y + np.linspace(0, 1e6, 3000)
    if kind == "a random walk":
        x = x + np.cumsum(rng.standard_normal((3000, 16)), axis=0)
    if kind == "a large mean of targets":
        y = y + 1e8
    return x * {"huge": 1e20, "tiny": 1e-25}.get(kind, 1.0) * (10.0 ** np.linspace(-25, 25, 16) if kind == "of all sizes" else 1.0), y


DRIFTS = ("features after 1000 rows", "features after one row", "targets after 1000 rows", "targets and features after one row")


@pytest.mark.parametrize("kind", [*DRIFTS, "a steady drift", "a random walk", "a large mean of targets", "huge", "tiny", "of all sizes"])
@pytest.mark.parametrize("precision", TOLERANCE)
def test_neither_drift_nor_size_costs_digits(precision: str, kind: str) -> None:
    """Against ``Ridge`` in float64 on features that were put to their own scale first, where no digit is lost."""
    x, y = drifting(kind)
    scale = x.std(axis=0)
    expected = Ridge(alpha=1e-9).fit((x - x.mean(axis=0)) / scale, y).score((x - x.mean(axis=0)) / scale, y)
    found = StreamingRidge(alpha=0.0, precision=precision)
    parts = [StreamingRidge(alpha=0.0, precision=precision) for _ in range(3)]
    for number, start in enumerate((0, 1, 600, 1200, 1800, 2400)):
        stop = (1, 600, 1200, 1800, 2400, 3000)[number]
        found.partial_fit(x[start:stop], y[start:stop])
        parts[number % 3].partial_fit(x[start:stop], y[start:stop])
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert found.score(x, y) == pytest.approx(expected, abs=1e-5)
    assert merged.score(x, y) == pytest.approx(expected, abs=1e-5)
    assert found.predict(x).dtype == np.float64


@pytest.mark.parametrize("kind", [*DRIFTS, "a steady drift"])
def test_a_drift_inside_one_batch_costs_no_digits(kind: str) -> None:
    x, y = drifting(kind)
    found = StreamingRidge(alpha=1.0, precision="float32").fit(x, y)
    assert found.score(x, y) == pytest.approx(Ridge(alpha=1.0).fit(x, y).score(x, y), abs=1e-5)


def test_a_block_is_cut_where_it_drifts_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    plain, targets = rng.standard_normal((3000, 3)), rng.standard_normal((3000, 1))
    rare, two_valued = np.eye(1, 3000, 7)[0] + np.eye(1, 3000, 2000)[0], 1000.0 * rng.integers(0, 2, 3000)
    steady = np.column_stack([plain, rare, two_valued, np.full(3000, 0.1)])
    sizes = {
        name: [len(x) for x, _ in _blocks(x, targets, "float32")]
        for name, x in (("steady", steady), ("step", plain + 1000 * (np.arange(3000) > 1500)[:, None]))
    }
    assert sizes["steady"] == [2048, 952]
    assert sum(sizes["step"]) == 3000
    assert 16 <= min(sizes["step"]) <= 64
    assert len(sizes["step"]) < 12


def test_rows_of_float32_are_exact_whatever_their_mean() -> None:
    x, y = drifting("features after 1000 rows")
    x = x.astype(np.float32)
    found, expected = StreamingRidge(precision="float32").fit(x, y), Ridge().fit(x.astype(np.float64), y)
    assert relative(found.coef_, expected.coef_) <= 1e-3  # the one block that holds both places
    assert found.score(x, y) == pytest.approx(expected.score(x.astype(np.float64), y), abs=1e-5)


def test_squares_beyond_float64_are_refused_and_what_was_learned_stays() -> None:
    x, y = rows()
    found = StreamingRidge().fit(x, y)
    before = found.coef_
    for batch in ((x * 1e200, y), (x, y * 1e200)):
        with pytest.raises(ValueError, match="squares of X or y exceed the range of float64"):
            found.partial_fit(*batch)
        with pytest.raises(ValueError, match="squares of X or y"):
            StreamingRidge().partial_fit(*batch)
    np.testing.assert_array_equal(found.coef_, before)
    assert found.n_samples_seen_ == len(x)


def test_the_shift_follows_the_rows_and_a_constant_column_moves_it_no_further() -> None:
    x, y = rows()
    x[:, 3] = 0.1
    found = StreamingRidge().partial_fit(x[:200], y[:200])
    kept = found._shift[0]
    assert found.partial_fit(x[200:], y[200:])._shift[0] is kept
    found = StreamingRidge().partial_fit(x[:1], y[:1])
    more = np.vstack([x[:100]] * 200) + 1e4
    found.partial_fit(more, np.vstack([y[:100]] * 200))
    np.testing.assert_allclose(found._shift[0], (x[0] + more.sum(axis=0)) / 20001, rtol=1e-9)
