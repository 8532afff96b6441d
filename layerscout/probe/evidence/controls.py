"""One layer's moments in; what a predictor without a probe gets right, and what the actions add, out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Float, Int

from layerscout.errors import DataError
from layerscout.probe.moments.moments import MomentSums

# Share of a feature's variance that counts as noise, so that exact features give finite bits: what the rounding of float32
# products can grow to in nearly dependent features. It is the same for float64, or layers of one ranking could not be compared.
NOISE_FLOOR = 1e-4
FeatureMatrix = Float[np.ndarray, "feature feature"]


@dataclass(frozen=True)
class Diagonals:
    """Moments of each feature of z_t with itself and its own next value: all that a forecast feature by feature needs."""

    count: Float[np.ndarray, "group 1"]
    x: Float[np.ndarray, "group feature"]
    y: Float[np.ndarray, "group feature"]
    xx: Float[np.ndarray, "group feature"]
    xy: Float[np.ndarray, "group feature"]
    yy: Float[np.ndarray, "group feature"]


def diagonals(groups: MomentSums, width: int) -> Diagonals:
    """Take the diagonals of several groups' moments."""
    count = np.asarray(groups.count, dtype=np.float64)[:, None]
    xx, xy = (np.diagonal(matrix, axis1=1, axis2=2)[:, :width] for matrix in (groups.xx, groups.xy))
    return Diagonals(count, groups.x[:, :width], groups.y[:, :width], xx, xy, groups.yy[:, :width])


def persistence_error(groups: Diagonals) -> Float[np.ndarray, "group feature"]:
    """Squared error of z_{t+1} = z_t."""
    return np.maximum(groups.yy - 2 * groups.xy + groups.xx, 0.0)


def autoregression_error(train: Diagonals, groups: Diagonals) -> Float[np.ndarray, "group feature"]:
    """Squared error of z_{t+1} = a + b z_t on some groups, fitted for each feature by itself on all rows of ``train``."""
    count, x, y, xx, xy = (part.sum(axis=0) for part in (train.count, train.x, train.y, train.xx, train.xy))
    variance, covariance = xx - x**2 / count, xy - x * y / count
    slope = np.where(variance > 0, covariance / np.where(variance > 0, variance, 1.0), 0.0)
    offset = (y - slope * x) / count
    error = groups.yy + groups.count * offset**2 + slope**2 * groups.xx
    error += 2 * (slope * offset * groups.x - offset * groups.y - slope * groups.xy)
    return np.maximum(error, 0.0)


def autoregression_out_of_fold(groups: Diagonals, fold_of_group: Int[np.ndarray, " group"]) -> Float[np.ndarray, "group feature"]:
    """The same, each group forecast by a fit on the other folds."""

    def chosen(which: np.ndarray) -> Diagonals:
        return Diagonals(*(getattr(groups, name)[which] for name in groups.__dataclass_fields__))

    error = np.empty_like(groups.x)
    for fold in np.unique(fold_of_group):
        tested = fold_of_group == fold
        error[tested] = autoregression_error(chosen(~tested), chosen(tested))
    return error


@dataclass(frozen=True)
class Bits:
    """Information about z_{t+1}, in bits; None where it cannot be had.

    Attributes
    ----------
    action
        From a_t beyond z_t.
    action_by_chance
        95th percentile of ``action`` for independent actions (normal approximation).
    total
        From z_t and a_t together (from z_t alone when there are no actions).
    """

    action: float | None = None
    action_by_chance: float | None = None
    total: float | None = None


def bits(
    total: MomentSums,
    standardised: tuple[FeatureMatrix, Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]],
    next_minus_latent: FeatureMatrix,
    live: Float[np.ndarray, " feature"],
    discrete: bool,
) -> Bits:
    """How many bits a linear-Gaussian model learns about z_{t+1}.

        bits of action = ½ log₂ (det Cov(z' | z) / det Cov(z' | z, a)),   bits in total = ½ log₂ (det Cov(z') / det Cov(z' | z, a))

    The first is the Gaussian transfer entropy from action to representation. Neither changes under invertible linear maps of
    z, so they compare layers of any width and scale. They are fitted and measured on the same rows; what independent
    predictors would give on average (Wilks' lambda) is subtracted. None when there is no live feature, or fewer rows than
    the model has unknowns; bits of action are also None when there are no actions.

    Parameters
    ----------
    total, standardised
        Moments of all rows, and the same from ``ridge.standardise``.
    next_minus_latent
        Σ z_{t+1} z_{t+1}' - Σ z_t z_t' over the same rows.
    discrete
        The actions are one-hot, so the last column follows from the others.

    References
    ----------
    Barnett, Barrett and Seth (2009), Granger causality and transfer entropy are equivalent for Gaussian variables.
    """
    xx, xy, yy = standardised
    width, count, noise = len(next_minus_latent), total.count, NOISE_FLOOR
    chosen = np.flatnonzero(live)
    if not len(chosen):
        return Bits()
    scale = np.sqrt(yy[chosen])
    following = _scatter_of_next(total, next_minus_latent)[np.ix_(chosen, chosen)] / scale / scale[:, None]
    action = np.arange(width, len(xx) - discrete)
    present = xx[np.ix_(chosen, chosen)] / count
    across = np.hstack([xy[np.ix_(chosen, chosen)] / scale, xx[np.ix_(chosen, action)] / math.sqrt(count)]) / math.sqrt(count)

    lower, present_rank = _factor(present, noise)
    solved = scipy.linalg.solve_triangular(lower, across, lower=True, check_finite=False)
    after, acted = solved[:, : len(chosen)], solved[:, len(chosen) :]
    residual = following - after.T @ after
    whole, whole_rank = _factor(following, noise)
    lower, next_rank = _factor(residual, noise)
    known = _log_determinant(whole) - _log_determinant(lower)
    gained, learned, spread = 0.0, 0.0, 0.0
    if len(action):
        action_residual = xx[np.ix_(action, action)] / count - acted.T @ acted
        shared = xy[np.ix_(action, chosen)] / scale / math.sqrt(count) - acted.T @ after
        explained = scipy.linalg.solve_triangular(lower, shared.T, lower=True, check_finite=False)
        floor = noise * np.diag(np.diagonal(xx)[action] / count)
        gained = np.linalg.slogdet(action_residual + floor)[1] - np.linalg.slogdet(action_residual + floor - explained.T @ explained)[1]
        learned, spread = _by_chance(count - 1 - present_rank - len(action), len(action), next_rank)
    by_z, _ = _by_chance(count - 1 - present_rank, present_rank, whole_rank)
    unit = 2 * math.log(2)
    in_total = None if math.isnan(by_z + learned) else (known - by_z + gained - learned) / unit
    if not len(action) or math.isnan(learned):
        return Bits(total=in_total)
    return Bits((gained - learned) / unit, 1.645 * spread / unit, in_total)


def _by_chance(freedom: float, predictors: float, targets: float) -> tuple[float, float]:
    """Mean and standard deviation of -ln(Wilks' lambda) for independent predictors; NaN when there are too few rows.

    ``freedom`` is that of the residual: rows less one and all predictors.
    """
    if freedom + 1 - targets <= 0:
        return math.nan, math.nan
    each = freedom + np.arange(1, max(1, round(predictors)) + 1)
    mean = np.sum(scipy.special.digamma(each / 2) - scipy.special.digamma((each - targets) / 2))
    variance = np.sum(scipy.special.polygamma(1, (each - targets) / 2) - scipy.special.polygamma(1, each / 2))
    return float(mean), math.sqrt(float(variance))


def _scatter_of_next(total: MomentSums, next_minus_latent: FeatureMatrix) -> FeatureMatrix:
    """Centred second moments of z_{t+1}: those of z_t, corrected at the ends of episodes."""
    width = len(next_minus_latent)
    mean = total.y[:width] / total.count
    return total.xx[:width, :width] + next_minus_latent - np.outer(mean, total.y[:width])


def _factor(matrix: FeatureMatrix, noise: float) -> tuple[FeatureMatrix, float]:
    """Cholesky factor of a matrix with the noise floor added, and how many directions stand above the floor."""
    matrix = matrix.copy()
    matrix.flat[:: len(matrix) + 1] += noise
    try:
        lower = scipy.linalg.cholesky(matrix.T, lower=True, overwrite_a=True, check_finite=False)  # symmetric: .T spares a copy
    except scipy.linalg.LinAlgError:
        message = "the rounding of the products exceeds what the action could explain"
        raise DataError(message, hint="set probe.precision=float64; if it is, please report this layer") from None
    inverse, failed = scipy.linalg.lapack.dtrtri(lower, lower=1)
    assert failed == 0, "a Cholesky factor is invertible"
    return lower, len(matrix) - noise * float(np.linalg.norm(inverse) ** 2)


def _log_determinant(lower: FeatureMatrix) -> float:
    return 2 * float(np.sum(np.log(np.diagonal(lower))))
