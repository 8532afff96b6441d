"""Products of rows, sketches and their spectra equal their definitions on small matrices."""

from __future__ import annotations

import numpy as np
import pytest
from plain_solves import ridge
from synthetic_layers import MemoryReader, columns_of, prepare

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.solve.rank import effective_rank
from layerscout.probe.wide import dual, sketch, spectra
from layerscout.probe.wide.dual import FewRows, cross_fit_rows, evaluate_rows, gram, panels, row_target_share, spread
from layerscout.probe.wide.sketch import Axes, NarrowReader, SketchScale, find_axes, measure_features, narrow_rows, standardised
from layerscout.probe.wide.spectra import feature_sums, lost_squares, membership, spectrum_of_rows, spectrum_of_sketch

WIDTH = 11


@pytest.fixture(autouse=True)
def small_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual, "PANEL", 4)
    monkeypatch.setattr(sketch, "BLOCK_ROWS", 16)


def stored(count: int = 41, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, WIDTH)) * np.arange(1, WIDTH + 1) + 3.0
    found[:, 5] = 2.0
    return found


def few(actions: int = 2) -> FewRows:
    rng, layer = np.random.default_rng(1), stored()
    now = np.delete(np.arange(40), [13, 27])  # three runs
    fold = np.repeat([0, 1, 2, -1], [10, 10, 10, 8])
    return FewRows(layer, now, rng.standard_normal((38, actions)), rng.standard_normal((38, 3)), fold % 5, fold)


def test_panels_cut_the_features_and_spread_measures_them() -> None:
    assert panels(WIDTH) == [slice(0, 4), slice(4, 8), slice(8, 11)]
    layer, rows = stored(), np.array([3, 9, 4, 30])
    found = spread(layer, rows)
    np.testing.assert_allclose(found.mean, layer[rows].mean(axis=0))
    np.testing.assert_allclose(found.deviation, np.where(np.arange(WIDTH) == 5, 0.0, layer[rows].std(axis=0)))
    np.testing.assert_allclose(found.inverse[[4, 5]], [1 / layer[rows, 4].std(), 1.0])


def test_products_of_rows_are_those_of_the_scaled_features() -> None:
    layer, rows, mean, by = stored(), np.array([2, 5, 6]), np.arange(WIDTH) * 1.0, np.linspace(1, 2, WIDTH)
    scaled = (layer[rows] - mean) * by
    np.testing.assert_allclose(gram(layer, rows, mean, by), scaled @ scaled.T)


@pytest.mark.parametrize("actions", [0, 2])
def test_the_dual_fit_is_ridge_on_the_rows(actions: int) -> None:
    rows = few(actions)
    train, tested = rows.fold >= 1, rows.fold == 0
    share = np.linspace(0.1, 1.0, WIDTH)
    found = evaluate_rows(rows, train, tested, 0.05, np.array([0.05, 1.0, 1.0]), share)
    z, n = rows.stored[rows.now], rows.stored[rows.next]
    both = np.hstack([z, rows.inputs])
    weights, level = ridge(both[train], n[train], 0.05)
    error = (n[tested] - level - both[tested] @ weights) ** 2
    np.testing.assert_allclose(found.transition, error.sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.of_row, error @ share)
    weights, level = ridge(z[train], n[train], 0.05)
    assert found.alone == pytest.approx(float(((n[tested] - level - z[tested] @ weights) ** 2).sum(axis=0) @ share))
    for column, penalty in enumerate((0.05, 1.0, 1.0)):
        weights, level = ridge(z[train], rows.scalars[train][:, [column]], penalty)
        expected = (rows.scalars[tested][:, column] - level[0] - z[tested] @ weights[:, 0]) ** 2
        np.testing.assert_allclose(found.scalars[:, column], expected)


def test_cross_fitting_chooses_inside_and_tests_outside() -> None:
    rows, penalties, live = few(), (0.01, 0.3, 5.0), (np.arange(WIDTH) != 5).astype(float)
    found = cross_fit_rows(rows, 3, penalties, "pair", live)
    z, n = rows.stored[rows.now], rows.stored[rows.next]
    both, ranks = np.hstack([z, rows.inputs]), rows.fold >= 0
    total, losses = np.zeros(WIDTH), np.zeros((3, 3))
    for tested, validated in ((0, 1), (1, 0), (2, 0)):
        train, valid = ranks & ~np.isin(rows.fold, [tested, validated]), rows.fold == validated
        variance = np.where(live > 0, n[train].var(axis=0), np.inf)
        for place, penalty in enumerate(penalties):
            weights, level = ridge(both[train], n[train], penalty)
            losses[tested, place] = np.sum((n[valid] - level - both[valid] @ weights) ** 2 / variance) / live.sum()
        own = ranks & (rows.fold != tested)
        weights, level = ridge(both[own], n[own], penalties[int(losses[tested].argmin())])
        total += np.sum((n[rows.fold == tested] - level - both[rows.fold == tested] @ weights) ** 2, axis=0)
    np.testing.assert_array_equal(found.transition_choice, losses.argmin(axis=1))
    np.testing.assert_allclose(found.transition_path, 1 - losses.sum(axis=0) / 30)
    np.testing.assert_allclose(found.transition, total, atol=1e-8)
    share = row_target_share(rows, ranks, live)
    squares = np.sum((n[ranks] - n[ranks].mean(axis=0)) ** 2, axis=0)
    np.testing.assert_allclose(share, np.where(live > 0, 1 / np.where(live > 0, squares, 1), 0) / live.sum())
    assert found.transition_share.sum() == pytest.approx(total @ share)


def test_rows_that_depend_on_each_other_name_the_way_out() -> None:
    with pytest.raises(DataError, match="rows depend on each other") as refused:
        dual._solve(-np.eye(3), 1e-9, np.eye(3))
    assert "begin probe.penalties higher" in str(refused.value.hint)


def test_sums_of_features_are_those_of_each_group_and_so_is_what_a_group_adds() -> None:
    layer, now, group = stored(), np.arange(40), np.arange(40) % 3
    shift = np.full(WIDTH, 2.5)
    found = feature_sums(layer, now, group, 3, shift)
    z, n = layer[now] - shift, layer[now + 1] - shift
    np.testing.assert_array_equal(membership(group, 3), (np.arange(3)[:, None] == group) * 1.0)
    for name, values in (("x", z), ("y", n), ("xx", z**2), ("xy", z * n), ("yy", n**2)):
        np.testing.assert_allclose(getattr(found, name), [values[group == number].sum(axis=0) for number in range(3)])
    about = [np.sum((some - some.mean(axis=0)) ** 2, axis=0) for some in (z, *(z[group != number] for number in range(3)))]
    np.testing.assert_allclose(lost_squares(found), [about[0] - without for without in about[1:]], atol=1e-9)


@pytest.mark.parametrize("correlated", [False, True])
def test_spectra_of_rows_are_those_of_the_covariance_and_without_a_group_nearly_exact(correlated: bool) -> None:
    layer, rows, group = stored(401), np.arange(400), np.repeat([0, 1, 2], [4, 8, 388])
    by = np.where(np.arange(WIDTH) == 5, 0.0, 1 / layer[rows].std(axis=0).clip(1e-9)) if correlated else np.ones(WIDTH)
    features = feature_sums(layer, rows, group, 3, np.zeros(WIDTH)) if correlated else None
    found, products = spectrum_of_rows(layer, rows, group, layer[rows].mean(axis=0), by, features)

    def entropy(some: np.ndarray) -> float:
        scale = np.where(some.std(axis=0) > 1e-9, some.std(axis=0), np.inf) if correlated else np.ones(WIDTH)
        return float(np.log(effective_rank(np.linalg.svd((some - some.mean(axis=0)) / scale, compute_uv=False) ** 2)))

    assert found.entropy[0] == pytest.approx(entropy(layer[rows]), abs=1e-9)
    for number, size in ((0, 4), (1, 8)):
        assert found.entropy[1 + number] == pytest.approx(entropy(layer[rows][group != number]), abs=20 * (size / 400) ** 2)
    assert found.shares.sum() == pytest.approx(1.0)
    assert (np.diff(found.shares) <= 0).all()
    scaled = (layer[rows] - layer[rows].mean(axis=0)) * by
    np.testing.assert_allclose(products, scaled @ scaled.T, atol=1e-9)


def sketched_problem() -> tuple:
    rng = np.random.default_rng(0)
    columns = columns_of([9] * 12, rng)
    layer = stored(len(columns["step"]))
    transitions, split = prepare(columns, ProbeConfig(store="memory", folds=3, groups=4, shifts=0))
    mean, deviation = layer.mean(axis=0), layer.std(axis=0)
    scale = SketchScale(mean, np.where(deviation > 1e-9, 1 / np.where(deviation > 1e-9, deviation, 1), 0.0))
    return layer, transitions, split, scale


def test_standardised_rows_have_zeros_for_bad_ones_and_say_which() -> None:
    layer, _, _, scale = sketched_problem()
    layer = layer.copy()
    layer[3, 2] = np.inf
    rows, finite = standardised(MemoryReader(layer), scale, 1, 6, np.float64)
    assert finite.tolist() == [True, True, False, True, True]
    assert not rows[2].any()
    np.testing.assert_allclose(rows[[0, 4]], ((layer - scale.mean) * scale.by)[[1, 5]])


def test_narrow_rows_are_products_in_whole_blocks_and_nan_where_a_row_is_bad() -> None:
    layer, _, _, scale = sketched_problem()
    layer = layer.copy()
    layer[20, 0] = np.nan
    matrix = np.random.default_rng(0).standard_normal((WIDTH, 3))
    reader = NarrowReader(MemoryReader(layer), scale, matrix)
    assert reader.shape == (len(layer), 3)
    whole = reader.read(0, len(layer))
    expected = (layer - scale.mean) * scale.by @ matrix
    np.testing.assert_allclose(np.delete(whole, 20, axis=0), np.delete(expected, 20, axis=0))
    assert np.isnan(whole[20]).all()
    np.testing.assert_array_equal(reader.read(17, 35), whole[17:35])


def test_features_are_measured_over_all_transitions_of_fine_rows() -> None:
    layer, transitions, split, _ = sketched_problem()
    layer = layer.copy()
    layer[16, 0] = np.nan  # at a border of blocks
    found = measure_features(MemoryReader(layer), transitions, split, np.zeros(WIDTH))
    fine = ~np.isin(transitions.row, [15, 16])
    group = split.group_of_episode[transitions.episode]
    for number in range(split.groups):
        own = transitions.row[fine & (group == number)]
        assert found.count[number, 0] == len(own)
        np.testing.assert_allclose(found.xy[number], np.sum(layer[own] * layer[own + 1], axis=0))


def test_axes_are_orthonormal_hold_the_leading_directions_and_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "LEADING", 4)
    monkeypatch.setattr(sketch, "RANDOM", 2)
    layer, transitions, split, scale = sketched_problem()
    layer = layer + 30 * np.outer(np.random.default_rng(3).standard_normal(len(layer)), np.ones(WIDTH) * (scale.by > 0))
    scale = SketchScale(layer.mean(axis=0), np.where(scale.by > 0, 1 / np.where(scale.by > 0, layer.std(axis=0), 1), 0.0))
    found = find_axes(MemoryReader(layer), scale, transitions, split, 0, np.float64)
    np.testing.assert_allclose(found.matrix.T @ found.matrix, np.eye(6), atol=1e-12)
    assert found.stands_for.tolist() == [1, 1, 1, 1, 3, 3]  # 10 features vary: 6 are left out of 4 leading ones, by 2
    rows = (layer - scale.mean) * scale.by
    first = np.linalg.svd(rows, full_matrices=False)[2][0]
    assert np.linalg.norm(found.matrix[:, :4].T @ first) == pytest.approx(1.0, abs=1e-3)
    assert not np.abs(found.matrix[5]).max() > 1e-12  # a feature that does not vary is on no axis
    again = find_axes(MemoryReader(layer), scale, transitions, split, 1, np.float64)
    assert np.abs(again.matrix - found.matrix).max() > 1e-3


def test_moments_of_coordinates_are_those_of_the_rows_in_memory() -> None:
    rows, scale = few(), SketchScale(np.arange(WIDTH) * 1.0, np.linspace(0.5, 1, WIDTH))
    axes = Axes(np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, 3)))[0], np.ones(3))
    found = narrow_rows(rows, scale, axes, 5)
    z, n = (((rows.stored[at] - scale.mean) * scale.by) @ axes.matrix for at in (rows.now, rows.next))
    x, y = np.hstack([z, rows.inputs]), np.hstack([n, rows.scalars])
    for number in range(5):
        own = rows.group == number
        assert found.groups.count[number] == own.sum()
        np.testing.assert_allclose(found.groups.xy[number], x[own].T @ y[own], atol=1e-12)
        np.testing.assert_allclose(found.groups.yy[number], np.sum(y[own] ** 2, axis=0))


def test_a_sketch_that_holds_every_direction_has_the_spectrum_of_the_rows() -> None:
    rows, scale = few(), SketchScale(np.zeros(WIDTH), np.ones(WIDTH))
    axes = Axes(np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, WIDTH)))[0], np.ones(WIDTH))
    moments = narrow_rows(rows, scale, axes, 5)
    used = np.unique(rows.group)
    groups = type(moments.groups)(*(getattr(moments.groups, name)[used] for name in moments.groups.__dataclass_fields__))
    place = np.searchsorted(used, rows.group)
    features = feature_sums(rows.stored, rows.now, place, len(used), np.zeros(WIDTH))
    found = spectrum_of_sketch(groups, WIDTH, np.eye(WIDTH), (np.arange(WIDTH) != 5) * 1.0, features)
    z = rows.stored[rows.now]
    assert found.entropy[0] == pytest.approx(np.log(effective_rank(np.linalg.svd(z - z.mean(axis=0), compute_uv=False) ** 2)), abs=1e-9)
    exact, _ = spectrum_of_rows(rows.stored, rows.now, place, z.mean(axis=0), np.ones(WIDTH))
    np.testing.assert_allclose(found.entropy, exact.entropy, atol=1e-6)
    assert spectra.Spectra(found, exact).rankme == (None, None)
