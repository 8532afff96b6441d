"""One layer's moments in; what a predictor without a probe gets right, and what the actions add, out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Float

from layerscout.errors import DataError
from layerscout.probe.moments import Moments, Sums
from layerscout.probe.ridge import Scaling, standardise

# Share of a feature's variance that counts as noise, so that exact features give finite bits: about the rounding of
# float16, and for float32 products what their rounding can grow to in nearly dependent features.
NOISE_FLOOR = {"float64": 1e-6, "float32": 1e-4}


def persistence_error(total: Sums, width: int) -> Float[np.ndarray, " feature"]:
    """Squared error of z_{t+1} = z_t, for each feature."""
    return np.maximum(total.yy[:width] - 2 * np.diagonal(total.xy)[:width] + np.diagonal(total.xx)[:width], 0.0)


def autoregression_error(total: Sums, folds: Sequence[Sums], width: int) -> Float[np.ndarray, " feature"]:
    """Out-of-fold squared error of z_{t+1} = a + b z_t, fitted for each feature by itself."""
    error = np.zeros(width)
    for fold in folds:
        train = total - fold
        count, x, y = train.count, train.x[:width], train.y[:width]
        variance = np.diagonal(train.xx)[:width] - x**2 / count
        covariance = np.diagonal(train.xy)[:width] - x * y / count
        slope = np.where(variance > 0, covariance / np.where(variance > 0, variance, 1.0), 0.0)
        offset = (y - slope * x) / count
        fx, fy, n = fold.x[:width], fold.y[:width], fold.count
        error += (
            fold.yy[:width]
            + n * offset**2
            + slope**2 * np.diagonal(fold.xx)[:width]
            - 2 * offset * fy
            - 2 * slope * np.diagonal(fold.xy)[:width]
            + 2 * slope * offset * fx
        )
    return np.maximum(error, 0.0)


def bits_action(
    moments: Moments, total: Sums, by: Scaling, live: Float[np.ndarray, " feature"], precision: str
) -> tuple[float | None, float | None]:
    """How many bits a linear-Gaussian model learns about z_{t+1} from a_t beyond z_t, and the most that chance gives.

        bits = ½ log₂ (det Cov(z' | z) / det Cov(z' | z, a))

    the Gaussian transfer entropy from action to representation. It does not change under invertible linear maps of z, so
    it compares layers of any width and scale. It is fitted and measured on the same rows; the value that independent
    actions would give on average (Wilks' lambda) is subtracted.

    Returns
    -------
    Bits, and the 95th percentile of bits for independent actions (normal approximation). Both None when there are no
    actions, no live feature, or fewer rows than the model has unknowns.

    References
    ----------
    Barnett, Barrett and Seth (2009), Granger causality and transfer entropy are equivalent for Gaussian variables.
    """
    width, levels = moments.width, len(total.x) - moments.width
    chosen = np.flatnonzero(live)
    if levels < 2 or not len(chosen):
        return None, None
    xx, xy, yy = standardise(total, by)
    scale = np.sqrt(yy[chosen])
    following = _scatter_of_next(moments, total)[np.ix_(chosen, chosen)] / scale / scale[:, None]
    action = np.arange(width, width + levels - 1)  # the last level follows from the others
    present = xx[np.ix_(chosen, chosen)] / total.count
    across = np.hstack([xy[np.ix_(chosen, chosen)] / scale, xx[np.ix_(chosen, action)] / math.sqrt(total.count)]) / math.sqrt(total.count)

    noise = NOISE_FLOOR[precision]
    lower, present_rank = _factor(present, noise)
    solved = scipy.linalg.solve_triangular(lower, across, lower=True, check_finite=False)
    after, acted = solved[:, : len(chosen)], solved[:, len(chosen) :]
    residual = following - after.T @ after
    action_residual = xx[np.ix_(action, action)] / total.count - acted.T @ acted
    shared = xy[np.ix_(action, chosen)] / scale / math.sqrt(total.count) - acted.T @ after
    lower, next_rank = _factor(residual, noise)
    explained = scipy.linalg.solve_triangular(lower, shared.T, lower=True, check_finite=False)
    floor = noise * np.diag(np.diagonal(xx)[action] / total.count)
    before = np.linalg.slogdet(action_residual + floor)[1]
    log_lambda = np.linalg.slogdet(action_residual + floor - explained.T @ explained)[1] - before

    order = np.arange(1, levels)
    freedom = total.count - 1 - present_rank - (levels - 1) + order
    if freedom[0] - next_rank <= 0:
        return None, None
    digamma, trigamma = scipy.special.digamma, lambda value: scipy.special.polygamma(1, value)
    chance = float(np.sum(digamma((freedom - next_rank) / 2) - digamma(freedom / 2)))
    spread = math.sqrt(float(np.sum(trigamma((freedom - next_rank) / 2) - trigamma(freedom / 2))))
    return float(chance - log_lambda) / (2 * math.log(2)), 1.645 * spread / (2 * math.log(2))


def _scatter_of_next(moments: Moments, total: Sums) -> Float[np.ndarray, "feature feature"]:
    """Centred second moments of z_{t+1}: those of z_t, corrected at the ends of episodes."""
    width = moments.width
    mean = total.y[:width] / total.count
    return total.xx[:width, :width] + moments.edges - np.outer(mean, total.y[:width])


def _factor(matrix: Float[np.ndarray, "feature feature"], noise: float) -> tuple[Float[np.ndarray, "feature feature"], float]:
    """Cholesky factor of a matrix with the noise floor added, and how many directions stand above the floor."""
    try:
        lower = scipy.linalg.cholesky(matrix + noise * np.eye(len(matrix)), lower=True, overwrite_a=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        message = "the rounding of the products exceeds what the action could explain"
        raise DataError(message, hint="set probe.precision=float64; if it is, please report this layer") from None
    inverse, failed = scipy.linalg.lapack.dtrtri(lower, lower=1)
    assert failed == 0, "a Cholesky factor is invertible"
    return lower, len(matrix) - noise * float(np.vdot(inverse, inverse))
