"""The sums of a layer are those of its rows, and the same bits for any chunking, any cutting and any order of work."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_layers import MemoryReader, columns_of, prepare

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.moments import products, rows, spans
from layerscout.probe.moments.moments import Moments, MomentSums, accumulate
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import Transitions

SUMS = ("count", "x", "y", "xx", "xy", "yy")


@pytest.fixture(autouse=True)
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Borders, full buffers and panels within a few hundred rows."""
    monkeypatch.setattr(spans, "LEAST_SPAN_ROWS", 128)
    monkeypatch.setattr(spans, "SPAN_ROWS_A_FEATURE", 0)
    monkeypatch.setattr(spans, "ALIGNMENT", 64)
    monkeypatch.setattr(products, "BUFFER_ROWS", {4: 16, 8: 16})
    monkeypatch.setattr(products, "PANEL", 4)
    monkeypatch.setattr(products, "EDGE_ROWS", 8)
    monkeypatch.setattr(rows, "READ_ROWS", 32)
    monkeypatch.setattr(rows, "PILOT_ROWS", 64)


def plain(layer: np.ndarray, transitions: Transitions, split: Split, shift: np.ndarray) -> tuple[MomentSums, np.ndarray]:
    """The sums as their definition says, in float64; transitions from or to a row that is not finite are left out."""
    z = layer.astype(np.float64) - shift
    finite = np.isfinite(z[transitions.row]).all(axis=1) & np.isfinite(z[transitions.row + 1]).all(axis=1)
    group = np.where(finite, split.group_of_episode[transitions.episode], -1)
    x, y = np.hstack([z[transitions.row], transitions.inputs]), np.hstack([z[transitions.row + 1], transitions.scalars])
    parts = [
        (np.count_nonzero(own), x[own].sum(axis=0), y[own].sum(axis=0), x[own].T @ x[own], x[own].T @ y[own], (y[own] ** 2).sum(axis=0))
        for own in (group == number for number in range(split.groups))
    ]
    ranks = finite & (split.fold_of_group[group] >= 0)
    after, before = z[transitions.row + 1][ranks], z[transitions.row][ranks]
    return MomentSums(*(np.array(part) for part in zip(*parts, strict=True))), after.T @ after - before.T @ before


def assert_equal(found: Moments, expected: Moments) -> None:
    for name in SUMS:
        np.testing.assert_array_equal(getattr(found.groups, name), getattr(expected.groups, name), err_msg=name)
    np.testing.assert_array_equal(found.next_minus_latent, expected.next_minus_latent)
    assert found.nonfinite_rows == expected.nonfinite_rows


def problem(lengths: list[int], width: int, seed: int = 0, dtype: str = "float16") -> tuple[np.ndarray, Transitions, Split]:
    rng = np.random.default_rng(seed)
    columns = columns_of(lengths, rng)
    layer = (rng.standard_normal((len(columns["step"]), width)) * 3 + rng.uniform(-9, 9, width)).astype(dtype)
    return layer, *prepare(columns, ProbeConfig(store="memory", shifts=2, folds=3, groups=4))


episodes = st.lists(st.integers(1, 90), min_size=8, max_size=20)


@settings(max_examples=40, deadline=None)
@given(lengths=episodes, width=st.integers(1, 9), seed=st.integers(0, 99), bad=st.lists(st.integers(0, 7), max_size=6), data=st.data())
def test_sums_are_those_of_the_definition(lengths: list[int], width: int, seed: int, bad: list[int], data: st.DataObject) -> None:
    precision = data.draw(st.sampled_from(["float32", "float64"]))
    layer, transitions, split = problem(lengths, width, seed, data.draw(st.sampled_from(["float16", "float32"])))
    start = data.draw(st.integers(0, len(layer) - 1))
    for row in {(start + step) % len(layer) for step in bad}:
        layer[row, 0] = data.draw(st.sampled_from([np.nan, np.inf]))
    found = accumulate("z", MemoryReader(layer, data.draw(st.integers(1, 300))), transitions, split, precision, max_nonfinite=1.0)
    expected, edges = plain(layer, transitions, split, found.shift)
    tolerance = {"float32": 1e-4, "float64": 1e-9}[precision]  # of sums of up to 1,800 products of about 100
    np.testing.assert_array_equal(found.groups.count, expected.count)
    for name in SUMS[1:]:
        np.testing.assert_allclose(getattr(found.groups, name), getattr(expected, name), rtol=tolerance, atol=100 * tolerance, err_msg=name)
    np.testing.assert_allclose(found.next_minus_latent, edges, rtol=tolerance, atol=100 * tolerance)
    assert found.nonfinite_rows == np.count_nonzero(~np.isfinite(layer).all(axis=1))


@settings(max_examples=30, deadline=None)
@given(lengths=episodes, seed=st.integers(0, 99), chunk_rows=st.integers(1, 400), bad=st.lists(st.integers(0, 399), max_size=5))
def test_any_chunking_gives_the_same_bits(lengths: list[int], seed: int, chunk_rows: int, bad: list[int]) -> None:
    layer, transitions, split = problem(lengths, 5, seed)
    layer[[row % len(layer) for row in bad], 2] = np.nan
    expected = accumulate("z", MemoryReader(layer, len(layer)), transitions, split, max_nonfinite=1.0)
    assert_equal(accumulate("z", MemoryReader(layer, chunk_rows), transitions, split, max_nonfinite=1.0), expected)


class EndlessReader:
    """A layer that is made as it is read, so that only the probe's own memory counts."""

    def __init__(self, rows: int, width: int) -> None:
        self.shape = (rows, width)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.random.default_rng(start).standard_normal((stop - start, self.shape[1]), dtype=np.float32).astype(np.float16)


@pytest.mark.slow
def test_memory_of_sixteen_spans_is_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "LEAST_SPAN_ROWS", 512)
    peaks = []
    for count in (1, 16):
        transitions, split = prepare(
            columns_of([31] * (16 * count), np.random.default_rng(0)), ProbeConfig(store="memory", shifts=2, groups=8, confirmation=0)
        )
        tracemalloc.start()
        accumulate("z", EndlessReader(512 * count, 128), transitions, split, scratch=tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert list(tmp_path.iterdir()) == []


def test_squares_beyond_float32_are_an_error_with_the_way_out() -> None:
    layer, transitions, split = problem([20] * 12, 3, dtype="float32")
    layer[::7] *= 1e20
    with pytest.raises(DataError, match="squares of the activations of layer 'z' exceed the range of float32") as found:
        accumulate("z", MemoryReader(layer), transitions, split)
    assert "probe.precision=float64" in found.value.hint
    assert np.isfinite(accumulate("z", MemoryReader(layer), transitions, split, "float64").groups.yy).all()
