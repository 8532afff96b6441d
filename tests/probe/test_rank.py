"""Ranks equal their definitions on the matrices that they are named after; without a group, the exact derivative."""

from __future__ import annotations

import numpy as np
import pytest
from plain_solves import Rows, stacked, sums_of

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.rank import (
    correlation_entropy,
    covariance_entropy,
    effective_rank,
    entropy_without_groups,
    massive_features,
    participation_ratio,
    rankme,
)

WIDTH = 16


def rows_of_rank(rank: int, count: int = 400, width: int = WIDTH, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(rank)
    return rng.standard_normal((count, rank)) * np.arange(1, rank + 1) @ rng.standard_normal((rank, width)) + offset


def sums(z: np.ndarray) -> MomentSums:
    return sums_of(Rows(z, np.zeros((len(z), 0)), z, np.zeros((len(z), 0))))


def entropy(z: np.ndarray) -> float:
    values = np.maximum(np.linalg.eigvalsh(np.cov(z.T, bias=True)), 0)
    return float(np.log(effective_rank(np.where(values > 1e-12 * values.max(), values, 0.0))))


@pytest.mark.parametrize("rank", [3, WIDTH])
def test_entropies_and_their_shares_are_those_of_the_covariance(rank: int) -> None:
    z = rows_of_rank(rank)
    found = covariance_entropy(sums(z), WIDTH)
    assert found.value == pytest.approx(entropy(z), abs=1e-9)
    values = np.linalg.eigvalsh(np.cov(z.T, bias=True))[::-1]
    np.testing.assert_allclose(found.shares, np.maximum(values, 0) / values.sum(), atol=1e-12)
    correlation = correlation_entropy(np.corrcoef(z.T), z.std(axis=0))
    assert correlation.value == pytest.approx(entropy(z / z.std(axis=0)), abs=1e-9)


@pytest.mark.parametrize("rank", [3, WIDTH])
@pytest.mark.parametrize("which", ["covariance", "correlation"])
def test_the_slope_is_the_derivative_inside_the_span_of_the_rows(rank: int, which: str) -> None:
    """A layer of rank 3 in 16 dimensions too: directions without variance have no slope."""
    z = rows_of_rank(rank)
    scale = z.std(axis=0)
    found = covariance_entropy(sums(z), WIDTH) if which == "covariance" else correlation_entropy(np.corrcoef(z.T), scale)
    direction = np.cov(z[:50].T, bias=True)  # of the same span
    covariance, step = np.cov(z.T, bias=True), 1e-5

    def at(matrix: np.ndarray) -> float:
        spread = np.sqrt(np.diagonal(matrix)) if which == "correlation" else np.ones(WIDTH)
        values = np.linalg.eigvalsh(matrix / spread / spread[:, None])
        return float(np.log(effective_rank(np.where(values > 1e-10 * values.max(), values, 0.0))))

    expected = (at(covariance + step * direction) - at(covariance - step * direction)) / (2 * step)
    assert np.vdot(found.slope, direction) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_directions_without_variance_have_no_slope() -> None:
    """Rank 3 in 16 dimensions, against the closed form -(ln p + H) / trace on the three."""
    z = np.zeros((60, WIDTH))
    z[:, :3] = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 4)) - 0.0)[0][:, :3]
    z[:, :3] -= z[:, :3].mean(axis=0)
    found = covariance_entropy(sums(z), WIDTH)
    values, vectors = np.linalg.eigh(np.cov(z[:, :3].T, bias=True))
    share = values / values.sum()
    expected = (vectors * -(np.log(share) - np.sum(share * np.log(share))) / values.sum()) @ vectors.T
    np.testing.assert_allclose(found.slope[:3, :3], expected, rtol=1e-9, atol=1e-9 / values.sum())
    assert not found.slope[3:].any()
    assert not found.slope[:, 3:].any()


@pytest.mark.parametrize("rank", [3, WIDTH])
def test_a_small_group_left_out_moves_the_entropy_as_its_rows_do(rank: int) -> None:
    """First order: against the exact value without the group, the error falls with the square of the group's share."""
    z = rows_of_rank(rank, 4000, offset=2.0)
    parts = [z[:20], z[20:60], z[60:]]
    groups = stacked([sums(part) for part in parts])
    total = sums(z)
    whole = covariance_entropy(total, WIDTH)
    found = entropy_without_groups([whole.value, whole.value], [whole.slope, 0 * whole.slope], groups, total, WIDTH)
    for place, size in ((0, 20), (1, 40)):
        exact = entropy(np.vstack([part for other, part in enumerate(parts) if other != place]))
        assert found[0][place] == pytest.approx(exact, abs=5 * (size / 4000) ** 2)
        assert abs(found[0][place] - whole.value) > 1e-6
    np.testing.assert_array_equal(found[1], whole.value)


def test_a_layer_that_does_not_vary_has_one_dimension_and_no_slope() -> None:
    found = covariance_entropy(sums(np.full((50, WIDTH), 3.0)), WIDTH)
    assert found.value == 0
    assert not found.slope.any()
    np.testing.assert_array_equal(found.shares, np.eye(1, WIDTH)[0])


def test_rankme_is_the_entropy_of_singular_values_with_and_without_the_mean() -> None:
    z = rows_of_rank(WIDTH, offset=5.0)
    shift = np.full(WIDTH, 5.0)
    total = sums(z - shift)
    found = rankme(total, shift, covariance_entropy(total, WIDTH), 1e-15)
    assert found[0] == pytest.approx(effective_rank(np.linalg.svd(z, compute_uv=False)), rel=1e-9)
    assert found[1] == pytest.approx(effective_rank(np.linalg.svd(z - z.mean(axis=0), compute_uv=False)), rel=1e-9)
    # values that are a small share of the largest count as rounding
    few = rankme(total, shift, covariance_entropy(total, WIDTH), 0.5)
    values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    assert few[1] == pytest.approx(effective_rank(np.where(values**2 > 0.5 * values[0] ** 2, values, 0.0)))


def test_effective_dimensions_have_their_closed_forms() -> None:
    assert effective_rank(np.array([2.0, 2.0, 2.0, 0.0, -1e-9])) == pytest.approx(3.0)
    assert effective_rank(np.zeros(4)) == 1.0
    assert participation_ratio(np.array([0.5, 0.25, 0.25])) == pytest.approx(1 / 0.375)


def test_massive_features_exceed_ten_times_the_median_of_those_that_vary() -> None:
    assert massive_features(np.array([1.0, 1.0, 1.0, 100.0, 0.0, 0.0, 0.0])) == 0
    assert massive_features(np.array([1.0, 1.0, 1.0, 100.1, 0.0, 0.0, 0.0])) == 1
    assert massive_features(np.zeros(3)) == 0
