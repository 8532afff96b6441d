"""Feature covariances in; effective ranks and their relatives, over all rows and without each episode group, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.eigen import eigenvalues, eigenvectors, eigenvectors_and_raised, recompose
from layerscout.probe.solve.scaling import varying

LEADING = 128  # directions that are kept
LEAST_VARIANCE = 1e-4  # of a direction of the correlation matrix: what varies less is not made as loud as the others
MASSIVE = 10.0  # times the median standard deviation of the features that vary


@dataclass(frozen=True)
class SpectralEntropy:
    """Spectral entropy H = -Σ p ln p of a matrix, with p = eigenvalues / their sum.

    Attributes
    ----------
    shares
        p, falling.
    slope
        Derivative of H in the covariance of z_t, also where H is that of the correlation.
    leading
        The ``LEADING`` directions of most variance, each over its standard deviation there, the widest last.
    about_zero
        Eigenvalues of the mean of z_t z_t' as they are, rising, where they were asked for.
    """

    value: float
    shares: Float[np.ndarray, " feature"]
    slope: Float[np.ndarray, "feature feature"]
    leading: Float[np.ndarray, "feature direction"]
    about_zero: Float[np.ndarray, " feature"] | None = None


def effective_rank(values: Float[np.ndarray, " feature"]) -> float:
    """erank = exp(-Σ p ln p) with p = values / their sum: between 1 and the number of features.

    All zeros (a constant layer) count as one dimension.

    References
    ----------
    Roy and Vetterli (2007), The effective rank, Definition 1 (here with eigenvalues of the covariance).
    """
    share = _shares(values)
    return float(np.exp(-np.sum(share * np.log(np.where(share > 0, share, 1.0)))))


def _shares(values: Float[np.ndarray, " feature"]) -> Float[np.ndarray, " feature"]:
    values = np.maximum(values, 0.0)
    if not values.any():
        return np.eye(1, len(values))[0]
    return values / values.sum()


def scatter(sums: MomentSums, width: int) -> Float[np.ndarray, "feature feature"]:
    """Centred second moments of z_t: covariance times rows."""
    return sums.xx[:width, :width] - np.outer(sums.x[:width], sums.x[:width] / sums.count)


def covariance_entropy(
    total: MomentSums, width: int, dtype: Any = np.float64, pilot: Float[np.ndarray, " feature"] | None = None
) -> SpectralEntropy:
    """Spectral entropy of the covariance of z_t.

    Parameters
    ----------
    dtype
        The precision of the products, and that of the derivative.
    pilot
        The shift that the moments are about, where ``about_zero`` is wanted.
    """
    matrix = scatter(total, width) / total.count
    if pilot is None:
        return _entropy(matrix, dtype)
    still = ~varying(total, pilot)
    matrix[still], matrix[:, still] = (
        0.0,
        0.0,
    )  # what is left of features that do not vary is rounding, and would be all of a layer that does not
    return _entropy(matrix, dtype, total.x[:width] / total.count + pilot)


def correlation_entropy(
    correlation: Float[np.ndarray, "feature feature"], scale: Float[np.ndarray, " feature"], dtype: Any = np.float64
) -> SpectralEntropy:
    """Spectral entropy of the correlation matrix of z_t: blind to a few features of huge scale.

    Its derivative in the covariance takes with it that the scales move too. ``scale`` holds the standard deviations, 1 for
    a feature that does not vary, whose row of ``correlation`` is then near 0.
    """
    found = _entropy(correlation, dtype)
    slope = found.slope / scale / scale[:, None]
    slope.flat[:: len(scale) + 1] -= np.sum(found.slope * correlation, axis=1) / scale**2
    return SpectralEntropy(found.value, found.shares, slope, found.leading)


def _entropy(
    matrix: Float[np.ndarray, "feature feature"], dtype: Any, mean: Float[np.ndarray, " feature"] | None = None
) -> SpectralEntropy:
    about_zero = None
    if mean is None:
        values, vectors = eigenvectors(matrix, dtype)
    else:
        values, vectors, about_zero = eigenvectors_and_raised(matrix, mean, dtype)
    share, entropy = _shares(values), np.log(effective_rank(values))
    kept = slice(max(len(values) - LEADING, 0), None)
    leading = vectors[:, kept] / np.sqrt(np.maximum(values[kept], LEAST_VARIANCE)).astype(vectors.dtype)
    trace = max(float(np.trace(matrix)), np.finfo(float).tiny)
    slope = np.where(share > 0, -(np.log(np.where(share > 0, share, 1.0)) + entropy), 0.0) / trace
    if values.max() <= 0:
        return SpectralEntropy(float(entropy), np.sort(share)[::-1], np.zeros_like(matrix), leading, about_zero)
    return SpectralEntropy(float(entropy), share[::-1], recompose(slope, vectors), leading, about_zero)


def entropy_without_groups(
    entropies: Sequence[float], slopes: Sequence[Float[np.ndarray, "feature feature"]], groups: MomentSums, total: MomentSums, width: int
) -> list[Float[np.ndarray, " group"]]:
    """Spectral entropies without each group, to first order: one decomposition serves all groups.

        H₍₋g₎ = H + ⟨slope, n_g Σ - lost_g⟩ / (n - n_g)

    with Σ the covariance of all rows and lost_g what the group adds to the scatter: its rows about their mean, and that mean
    about the others'. Several entropies are taken at once, so that each group's moments are read once.
    """
    count = np.asarray(groups.count, dtype=np.float64)
    mean, centre = groups.x[:, :width] / np.maximum(count, 1)[:, None], total.x[:width] / total.count
    apart, weight = mean - centre, count * total.count / (total.count - count)
    inside = np.array([[np.vdot(square[:width, :width], slope) for slope in slopes] for square in groups.xx])
    spread = scatter(total, width) / total.count
    found = []
    for place, (entropy, slope) in enumerate(zip(entropies, slopes, strict=True)):
        lost = inside[:, place] - count * np.sum((mean @ slope) * mean, axis=1) + weight * np.sum((apart @ slope) * apart, axis=1)
        found.append(entropy + (count * float(np.vdot(spread, slope)) - lost) / (total.count - count))
    return found


def participation_ratio(shares: Float[np.ndarray, " feature"]) -> float:
    """(Σ λ)² / Σ λ² of a covariance's eigenvalues, in dimensions."""
    return float(1 / np.sum(shares**2))


def rankme(total: MomentSums, pilot: Float[np.ndarray, " feature"], covariance: SpectralEntropy, noise: float) -> tuple[float, float]:
    """RankMe, in dimensions: exp(entropy) of the singular values of the matrix of all z_t, as they are; and centred.

    Parameters
    ----------
    pilot
        The shift that the moments are about, to get back to the activations as they are.
    noise
        Share of the largest eigenvalue that counts as rounding: a square root would make it large.

    References
    ----------
    Garrido, Balestriero, Najman and LeCun (2023), RankMe, Equation 1 (without its 1e-7, which only guards the logarithm).
    """
    width = len(pilot)
    spread = scatter(total, width) / total.count
    largest = float(covariance.shares[0]) * float(np.trace(spread))
    mean = total.x[:width] / total.count + pilot
    values = eigenvalues(spread + np.outer(mean, mean)) if covariance.about_zero is None else covariance.about_zero
    centred = np.sqrt(np.where(covariance.shares > noise * covariance.shares[0], covariance.shares, 0.0))
    uncentred = np.sqrt(np.where(values > noise * largest, values, 0.0))
    return effective_rank(uncentred), effective_rank(centred)


def massive_features(variances: Float[np.ndarray, " feature"]) -> int:
    """Number of features whose standard deviation is over ten times the median of those that vary.

    They rule the covariance's ranks and everything weighted by variance.
    """
    spread = np.sqrt(variances[variances > 0])
    return int(np.sum(spread > MASSIVE * np.median(spread))) if len(spread) else 0
