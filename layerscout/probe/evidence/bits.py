"""One layer's moments in; how many bits about the next activations the present ones and the actions hold, out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Float, Int
from scipy.linalg import blas, lapack

from layerscout.errors import DataError
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.scaling import FeatureScaling

# Share of a feature's variance that counts as noise, so that exact features give finite bits: what the rounding of float32
# products can grow to in nearly dependent features. It is the same for float64, or layers of one ranking could not be compared.
NOISE_FLOOR = 1e-4
FEWEST = 10  # rows a column of the action that bits of rows apart need
FeatureMatrix = Float[np.ndarray, "feature feature"]
FloatMatrix = Float[np.ndarray, "row column"]
Places = Int[np.ndarray, " place"]


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
    columns
        Independent columns of the action; 0 when there are none.
    residuals
        What z_t, and what z_t and z_{t+1}, leave of the action; for ``bits_without_groups``.
    lost_apart
        Bits by which independent z_{t+1} would fall short, on average, on rows that nothing was fitted on.
    """

    action: float | None = None
    action_by_chance: float | None = None
    total: float | None = None
    columns: int = 0
    residuals: tuple[ActionResidual, ActionResidual] | None = None
    lost_apart: float = 0.0


@dataclass(frozen=True)
class ActionResidual:
    """What is left of the action when some features have told of it: [z_t, a_t] ``left`` + z_{t+1} ``right``, less its mean.

    In the units of the moments that it was fitted on; ``covariance`` is that of all rows, with the noise floor.
    """

    left: Float[np.ndarray, "input action"]
    right: Float[np.ndarray, "feature action"]
    covariance: Float[np.ndarray, "action action"]


def bits(
    total: MomentSums,
    standardised: tuple[FeatureMatrix, Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]],
    next_minus_latent: FeatureMatrix,
    live: Float[np.ndarray, " feature"],
    discrete: bool,
    scaling: FeatureScaling | None = None,
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
        Moments of all rows, and the same from ``scaling.standardise``.
    next_minus_latent
        Σ z_{t+1} z_{t+1}' - Σ z_t z_t' over the same rows.
    discrete
        The actions are one-hot, so the last column follows from the others.
    scaling
        What ``standardised`` was made with; without it, ``residuals`` are None.

    References
    ----------
    Barnett, Barrett and Seth (2009), Granger causality and transfer entropy are equivalent for Gaussian variables.
    """
    xx, xy, yy = standardised
    width, count, noise = len(next_minus_latent), total.count, NOISE_FLOOR
    chosen = np.flatnonzero(live)
    if not len(chosen):
        return Bits()
    unit_of_next, root = np.sqrt(yy[chosen]), math.sqrt(count)
    # an action that never varies over these rows tells nothing, and has no determinant
    action = width + np.flatnonzero(np.diagonal(xx)[width:] > 0)
    action = action[: len(action) - (discrete and len(action) > 0)]
    following = _pick(_scatter_of_next(total, next_minus_latent), chosen, chosen) / unit_of_next
    following /= unit_of_next[:, None]
    after, acted = _pick(xy, chosen, chosen) / (unit_of_next * root), _pick(xx, chosen, action) / count

    first, present_rank = _factor(_pick(xx, chosen, chosen) / count, noise)
    after, acted = _solve(first, after), _solve(first, acted)
    whole, whole_rank = _factor(following, noise)
    lower, next_rank = _factor(_less_gram(following, after), noise)
    known = _log_determinant(whole) - _log_determinant(lower)
    gained, learned, spread = 0.0, 0.0, 0.0
    residuals: tuple[ActionResidual, ActionResidual] | None = None
    if len(action):
        action_residual = _pick(xx, action, action) / count - acted.T @ acted
        shared = _pick(xy, action, chosen) / (unit_of_next * root) - acted.T @ after
        explained = _solve(lower, np.ascontiguousarray(shared.T))
        floor = noise * np.diag(np.diagonal(xx)[action] / count)
        gained = np.linalg.slogdet(action_residual + floor)[1] - np.linalg.slogdet(action_residual + floor - explained.T @ explained)[1]
        learned, spread = _by_chance(count - 1 - present_rank - len(action), len(action), next_rank)
        if scaling is not None:
            known_by, told_by = _solve_transposed(first, acted), _solve_transposed(lower, explained)
            both = known_by - _solve_transposed(first, after @ told_by)
            told_by *= (root / unit_of_next)[:, None]
            left = action_residual + floor
            residuals = (
                _residual(chosen, action, scaling, known_by, np.zeros_like(told_by), left),
                _residual(chosen, action, scaling, both, told_by, left - explained.T @ explained),
            )
    by_z, _ = _by_chance(count - 1 - present_rank, present_rank, whole_rank)
    unit = 2 * math.log(2)
    in_total = None if math.isnan(by_z + learned) else (known - by_z + gained - learned) / unit
    if not len(action) or math.isnan(learned):
        return Bits(total=in_total)
    lost = _lost_apart(count, len(action), present_rank, next_rank)
    return Bits((gained - learned) / unit, 1.645 * spread / unit, in_total, len(action), residuals, lost)


def _residual(
    chosen: Places, action: Places, by: FeatureScaling, known_by: FloatMatrix, told_by: FloatMatrix, covariance: FloatMatrix
) -> ActionResidual:
    """Write a residual in the units of the moments; ``known_by`` is in standard deviations of z_t."""
    left, right = np.zeros((len(by.x_mean), len(action))), np.zeros((chosen[-1] + 1, len(action)))
    left[chosen] = -known_by / by.x_scale[chosen, None]
    left[action, np.arange(len(action))] = 1 / by.x_scale[action]
    right[chosen] = -told_by
    return ActionResidual(left, right, covariance)


def bits_without_groups(
    found: Bits,
    residuals: tuple[Float[np.ndarray, "row action"], Float[np.ndarray, "row action"]],
    group: Int[np.ndarray, " row"],
    groups: int,
    share: float = 1.0,
) -> tuple[float, ...]:
    """Bits of action without each group of rows, to first order: the fits of all rows are kept.

    A determinant is at its least over all fits, so leaving out a group moves it, to first order, by what the group's residuals
    add to their covariance.

    Parameters
    ----------
    residuals
        ``found.residuals`` of some rows.
    share
        Of all rows. Of a part of them, the groups differ by more than all rows would, by the root of the share.
    """
    assert found.residuals is not None
    assert found.action is not None
    logs = []
    for fit, rows in zip(found.residuals, residuals, strict=True):
        both = _covariances(rows, group, groups)
        logs.append(np.linalg.slogdet(fit.covariance + both[1:] - both[0])[1])
    without = (logs[0] - logs[1]) / (2 * math.log(2))
    return tuple((found.action + math.sqrt(share) * (without - without.mean())).tolist())


def bits_of_rows_apart(
    found: Bits,
    residuals: tuple[Float[np.ndarray, "row action"], Float[np.ndarray, "row action"]],
    group: Int[np.ndarray, " row"],
    groups: int,
) -> Float[np.ndarray, "whole_and_left"]:
    """Bits of action of rows that nothing was fitted on: over all of them, then without each group.

    A fit loses on new rows what it learned by chance, as it gains by it on its own: what independent predictors would lose is added, so that
    the two can be compared. NaN without rows in each group, or with fewer than ten rows a column of the action.

    Parameters
    ----------
    residuals
        ``found.residuals`` of these rows.
    """
    rows, columns = residuals[0].shape
    if rows < FEWEST * columns or not np.bincount(group, minlength=groups).all():
        return np.full(1 + groups, np.nan)
    floor = NOISE_FLOOR * np.eye(columns)  # an action has variance 1
    alone, both = (np.linalg.slogdet(_covariances(part, group, groups) + floor)[1] for part in residuals)
    return np.asarray((alone - both) / (2 * math.log(2)) + found.lost_apart)


def _covariances(
    rows: Float[np.ndarray, "row action"], group: Int[np.ndarray, " row"], groups: int
) -> Float[np.ndarray, "whole_and_left action action"]:
    """Covariance of all rows, then without each group."""
    rest = np.maximum(len(rows) - np.bincount(group, minlength=groups), 1)[:, None, None]
    rows = rows - rows.mean(axis=0)
    sums = np.array([np.bincount(group, column, groups) for column in rows.T]).T
    inside = np.array([rows[group == one].T @ rows[group == one] for one in range(groups)])
    whole, lost = inside.sum(axis=0), sums / rest[:, :, 0]
    return np.concatenate([whole[None] / len(rows), (whole - inside) / rest - lost[:, :, None] * lost[:, None, :]])


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


def _lost_apart(rows: float, actions: int, known: float, told: float) -> float:
    """Bits that ``told`` more predictors than the ``known`` ones cost on new rows, if they tell nothing; NaN when there are too few rows.

    p predictors that are Gaussian, fitted on n rows, leave a new row σ² (1 + p / (n − p − 2)) on average.
    """
    after = rows - known - told - 2
    return actions / 2 * math.log2((rows - known - 2) / after) if after > 0 else math.nan


def _scatter_of_next(total: MomentSums, next_minus_latent: FeatureMatrix) -> FeatureMatrix:
    """Centred second moments of z_{t+1}: those of z_t, corrected at the ends of episodes."""
    width = len(next_minus_latent)
    mean = total.y[:width] / total.count
    return total.xx[:width, :width] + next_minus_latent - np.outer(mean, total.y[:width])


def _pick(matrix: FloatMatrix, rows: Places, columns: Places) -> FloatMatrix:
    """Some rows and columns; no copy where they lie side by side."""
    if all(len(places) and places[-1] - places[0] + 1 == len(places) for places in (rows, columns)):
        return matrix[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return matrix[np.ix_(rows, columns)]


def _solve(lower: FeatureMatrix, right: FloatMatrix) -> FloatMatrix:
    """L⁻¹ right. ``lower`` is in Fortran order, ``right`` in C order: its transpose X, with X L' = right', is solved in place."""
    if not right.size:
        return right
    return blas.dtrsm(1.0, lower, right.T, side=1, lower=1, trans_a=1, overwrite_b=1).T


def _solve_transposed(lower: FeatureMatrix, right: FloatMatrix) -> FloatMatrix:
    """Return L'⁻¹ right."""
    return blas.dtrsm(1.0, lower, right, lower=1, trans_a=1) if right.size else right


def _less_gram(matrix: FeatureMatrix, factor: FloatMatrix) -> FeatureMatrix:
    """Return A - F'F of a symmetric A, of which only what lies on and above the diagonal is right: half the work."""
    return blas.dsyrk(-1.0, factor.T, beta=1.0, c=matrix.T, lower=1).T


def _factor(matrix: FeatureMatrix, noise: float) -> tuple[FeatureMatrix, float]:
    """Cholesky factor of a matrix with the noise floor added, and how many directions stand above the floor."""
    matrix = matrix.copy()
    matrix.flat[:: len(matrix) + 1] += noise
    try:
        lower = scipy.linalg.cholesky(matrix.T, lower=True, overwrite_a=True, check_finite=False)  # symmetric: .T spares a copy
    except scipy.linalg.LinAlgError:
        message = "the rounding of the products exceeds what the action could explain"
        raise DataError(message, hint="set probe.precision=float64; if it is, please report this layer") from None
    inverse, failed = lapack.dtrtri(lower, lower=1)
    assert failed == 0, "a Cholesky factor is invertible"
    return lower, len(matrix) - noise * float(np.linalg.norm(inverse) ** 2)


def _log_determinant(lower: FeatureMatrix) -> float:
    return 2 * float(np.sum(np.log(np.diagonal(lower))))
