"""Feature covariances in, effective ranks out."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float

from layerscout.probe.moments import Sums


def effective_rank(values: Float[np.ndarray, " feature"]) -> float:
    """erank = exp(-Σ p ln p) with p = eigenvalues / their sum: between 1 and the number of features.

    A matrix of zeros (a constant layer) counts as one dimension.

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


def scatter(sums: Sums, width: int) -> Float[np.ndarray, "feature feature"]:
    """Centred second moments of z_t: covariance times rows."""
    return sums.xx[:width, :width] - np.outer(sums.x[:width], sums.x[:width] / sums.count)


def relative_rank(groups: Sums, total: Sums, width: int) -> tuple[float, tuple[float, ...]]:
    """Effective rank / width over all rows, and again without each group.

    Without a group, the entropy is taken to first order from its derivative in the covariance, V diag(-(ln p + H)) V' /
    trace, so that one eigendecomposition serves all groups.
    """
    whole = scatter(total, width)
    values, vectors = scipy.linalg.eigh(whole, driver="evd", check_finite=False)
    share = _shares(values)
    rank = effective_rank(values)
    trace = float(np.trace(whole))
    if trace <= 0:
        return 1 / width, (1 / width,) * len(groups.count)
    entropy = np.log(rank)
    slope = np.where(share > 0, -(np.log(np.where(share > 0, share, 1.0)) + entropy), 0.0) / trace
    derivative = (vectors * slope) @ vectors.T
    return rank / width, tuple(
        _without(groups[group], total, derivative, float(entropy), trace, width) for group in range(len(groups.count))
    )


def _without(group: Sums, total: Sums, derivative: Float[np.ndarray, "feature feature"], entropy: float, trace: float, width: int) -> float:
    # rows about their group's mean, and that mean about the others': together what the group adds to the scatter
    apart = group.x[:width] / group.count - total.x[:width] / total.count
    weight = group.count * total.count / (total.count - group.count)
    mean = group.x[:width] / group.count
    lost = float(
        np.vdot(group.xx[:width, :width], derivative) - group.count * (mean @ derivative @ mean) + weight * (apart @ derivative @ apart)
    )
    lost_trace = float(np.trace(group.xx[:width, :width]) - group.count * (mean @ mean) + weight * (apart @ apart))
    left = max(trace - lost_trace, 1e-3 * trace)
    return float(np.clip(np.exp(entropy - lost * trace / left) / width, 1 / width, 1.0))


def correlation_rank(correlation: Float[np.ndarray, "feature feature"]) -> float:
    """Effective rank of a correlation matrix, in dimensions: blind to a few features of huge scale."""
    return effective_rank(scipy.linalg.eigvalsh(correlation, driver="evd", check_finite=False))
