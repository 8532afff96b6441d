"""Rows laid out for a buffer, and the products of buffers, are those of the transitions that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_layers import MemoryReader, columns_of, prepare

from layerscout.probe.config import ProbeConfig
from layerscout.probe.moments import products
from layerscout.probe.moments.moments import ReusableSums, accumulate, empty_sums
from layerscout.probe.moments.products import EMPTY, END, FIRST, GivenColumns, RunEnds, X, add_square, lay_out_rows
from layerscout.probe.moments.rows import StoredRows, bad_rows, blocks, pilot_mean, widen
from layerscout.probe.questions.targets import find_transitions


def test_every_run_of_transitions_ends_with_its_last_row_and_a_row_of_zeros() -> None:
    rows, role, transition = lay_out_rows(np.array([0, 1, 2, 7, 20, 21]), np.array([5, 6, 7, 9, 11, 12]))
    assert rows.tolist() == [0, 1, 2, 3, 3, 7, 8, 8, 20, 21, 22, 22]
    assert role.tolist() == [X | FIRST, X, X, END, EMPTY, X | FIRST, END, EMPTY, X | FIRST, X, END, EMPTY]
    assert transition.tolist() == [5, 6, 7, -1, -1, 9, -1, -1, 11, 12, -1, -1]


@pytest.mark.parametrize("width", [3, 8, 11])
def test_a_square_is_added_on_and_above_the_diagonal_with_signs(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(products, "PANEL", 4)
    rng = np.random.default_rng(0)
    rows, sign = rng.standard_normal((20, width)), rng.choice([-1.0, 1.0], 20)
    for signs in (None, sign):
        total = np.ones((width, width))
        add_square(rows, total, np.empty((width, width)), signs)
        weighted = rows if signs is None else rows * signs[:, None]
        np.testing.assert_allclose(np.triu(total), np.triu(1 + weighted.T @ rows))


@pytest.mark.parametrize("step", [1, 3, 50])
def test_ends_of_runs_are_what_next_squares_and_squares_differ_by(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(products, "EDGE_ROWS", 3)
    rng = np.random.default_rng(0)
    layer, row = rng.standard_normal((40, 5)), np.array([0, 1, 2, 5, 6, 10, 20, 21, 22, 38])
    bad = np.zeros(40, dtype=bool)
    bad[[6, 21]] = True
    for marked in (None, bad):
        ends, total, scratch = RunEnds(row, 5, np.float64), np.zeros((5, 5)), np.empty((5, 5))
        for start in range(0, 40, step):
            part = StoredRows(layer[start : start + step], np.zeros(5))
            ends.take(start, part, None if marked is None else marked[start : start + step], total, scratch)
        ends.flush(total, scratch)
        fine = row if marked is None else row[~marked[row] & ~marked[row + 1]]
        expected = layer[fine + 1].T @ layer[fine + 1] - layer[fine].T @ layer[fine]
        np.testing.assert_allclose(np.triu(total), np.triu(expected), atol=1e-12)


def moments_of(layer: np.ndarray, columns: dict[str, np.ndarray], precision: str = "float64"):
    config = ProbeConfig(store="memory", shifts=0, folds=3, groups=3)
    return accumulate("z", MemoryReader(layer, 7), *prepare(columns, config), precision, max_nonfinite=1.0)


def test_a_bad_row_that_begins_a_span_takes_only_its_own_transitions_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN exactly in the first row of a span; the last row of the span before is fine."""
    from layerscout.probe.moments import spans

    monkeypatch.setattr(spans, "LEAST_SPAN_ROWS", 20)
    monkeypatch.setattr(spans, "SPAN_ROWS_A_FEATURE", 0)
    monkeypatch.setattr(spans, "ALIGNMENT", 20)
    rng = np.random.default_rng(0)
    columns = columns_of([50, 8, 8, 8, 8, 8], rng)
    layer = rng.standard_normal((len(columns["step"]), 3))
    whole = moments_of(layer, columns)
    for row in (20, 19, 40):
        broken = layer.copy()
        broken[row, 1] = np.nan
        found = moments_of(broken, columns)
        assert found.nonfinite_rows == 1
        assert whole.groups.count.sum() - found.groups.count.sum() == 2  # to it and from it
        assert np.isfinite(found.groups.xx).all()
        assert np.isfinite(found.next_minus_latent).all()


def test_memory_that_is_used_again_is_empty_again() -> None:
    space = ReusableSums()
    first = space.empty(2, 3, 1, 2)
    for name in first.__dataclass_fields__:
        getattr(first, name)[...] = 7
    again = space.empty(2, 3, 1, 2)
    assert again is first
    expected = empty_sums(2, 3, 1, 2)
    for name in first.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(expected, name))
    assert space.empty(2, 4, 1, 2).x.shape == (2, 5)
    assert space.empty(2, 3, 1, 2) is not first


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_stored_rows_are_widened_where_they_are_wanted_and_tell_which_are_bad(dtype: type) -> None:
    rng = np.random.default_rng(0)
    layer = rng.standard_normal((150, 3)).astype(dtype)  # more than two slabs
    layer[7] = [np.finfo(dtype).max, np.finfo(dtype).min, 0]  # large, and fine in its own type
    shift, at = np.array([0.5, 0.0, -1.0]), rng.integers(0, 150, 140)
    stored = StoredRows(layer, shift)
    assert stored.bad() is None
    np.testing.assert_array_equal(stored.some(at), layer[at].astype(np.float64) - shift)
    for row, value in ((3, np.nan), (70, -np.inf), (149, np.inf)):
        layer[row, 1] = value
        assert np.flatnonzero(stored.bad()).tolist() == [one for one in (3, 70, 149) if one <= row]
    narrow = StoredRows(np.array([[1e300], [1.0]]), np.zeros(1, np.float32))
    with np.errstate(over="ignore"):
        assert narrow.bad().tolist() == [True, False]  # an infinity in the precision of the products


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_rows_are_widened_and_shifted_exactly(dtype: type, precision: type) -> None:
    rows = np.array([[0.0, -0.0, 1.5, 6e-8], [65504.0, np.inf, -np.inf, np.nan]]).astype(dtype)
    shift, out = np.array([0.5, 0.0, 1.0, 0.25]).astype(precision), np.empty((2, 4), precision)
    with np.errstate(invalid="ignore"):
        widen(rows, shift, out)
        expected = rows.astype(precision) - shift
    np.testing.assert_array_equal(out, expected)


def test_every_number_of_float16_is_widened_exactly() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for numbers in (every[np.isfinite(every)], every):
        out = np.empty((1, len(numbers)), np.float32)
        with np.errstate(invalid="ignore"):  # a NaN may be a signalling one
            widen(numbers[None], np.zeros(1, np.float32), out)
        np.testing.assert_array_equal(out[0], numbers.astype(np.float32))


def test_bad_rows_are_told_from_large_ones() -> None:
    rows = np.ones((4, 3), dtype=np.float32)
    assert bad_rows(rows) is None
    rows[2, 1] = 1e30  # its square overflows, and it is finite
    assert bad_rows(rows) is None
    rows[3, 0] = np.nan
    assert bad_rows(rows).tolist() == [False, False, False, True]


def test_the_pilot_mean_is_that_of_the_finite_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from layerscout.probe.moments import rows as module

    monkeypatch.setattr(module, "PILOT_ROWS", 4)
    layer = np.arange(12.0).reshape(6, 2)
    layer[1, 0] = np.inf
    np.testing.assert_array_equal(pilot_mean(MemoryReader(layer), "float32"), layer[[0, 2, 3]].mean(axis=0).astype(np.float32))
    np.testing.assert_array_equal(pilot_mean(MemoryReader(np.full((3, 2), np.nan)), "float64"), np.zeros(2))


def test_no_chunk_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from layerscout.probe.moments import rows as module

    monkeypatch.setattr(module, "READ_ROWS", 10)
    layer = np.arange(100.0)[:, None]
    spans = [(start, start + len(rows)) for start, rows in blocks(MemoryReader(layer, 7), 20, 75)]
    assert spans == [(20, 28), (28, 42), (42, 56), (56, 70), (70, 75)]  # whole chunks of 7, at least 10 rows, cut at the ends


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_held_as_numbers_are_those_that_are_made_each_time(dtype: type) -> None:
    rng = np.random.default_rng(0)
    rows, episodes = 60, 6
    columns = {
        "episode": np.arange(rows) // 10,
        "step": np.arange(rows) % 10,
        "action": rng.integers(0, 3, rows),
        "reward": rng.standard_normal(rows),
    }
    found = find_transitions(columns, ProbeConfig(store="made up", confirmation=0, shifts=5))
    assert len(found) == rows - episodes
    wanted = np.array([4, -1, 0, 53, -1])
    both = [GivenColumns(found.inputs, found.scalars, dtype, keep) for keep in (True, False)]
    out = [np.full((len(wanted), one.width), 7, dtype) for one in both]
    for one, place in zip(both, out, strict=True):
        one.write(wanted, place)
    np.testing.assert_array_equal(*out)
    assert not out[0][[1, 4]].any()
    np.testing.assert_array_equal(out[0][[0, 2, 3], :3], np.asarray(found.inputs[wanted[[0, 2, 3]]]))
