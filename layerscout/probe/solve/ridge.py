"""Moments of training and other rows in, ridge coefficients and squared errors for every penalty out.

Equal to scikit-learn's ``make_pipeline(StandardScaler(), Ridge(alpha=penalty * rows))`` on the same rows, without the rows.
Penalties are searched by eigendecomposition, where one more penalty is nearly free; the chosen one is fitted by Cholesky.
The search works in the precision of the products: its losses are as wrong from their rounding already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from layerscout.errors import DataError
from layerscout.probe.moments.moments import MomentSums

DEAD = 1e-12  # a variance below this share of the squared mean is rounding, not signal
UNIT_ROUNDING = {"float32": 1e-7, "float64": 2e-16}


@dataclass(frozen=True)
class FeatureScaling:
    """Means and variances of the training rows; a constant column has scale 1, as in StandardScaler."""

    x_mean: Float[np.ndarray, " feature"]
    x_scale: Float[np.ndarray, " feature"]
    y_mean: Float[np.ndarray, " target"]
    y_variance: Float[np.ndarray, " target"]


@dataclass(frozen=True)
class LinearMap:
    """A fitted map in the moments' own units: y = intercept + weights' x."""

    weights: Float[np.ndarray, "feature target"]
    intercept: Float[np.ndarray, " target"]

    def of(self, targets: Int[np.ndarray, " chosen"]) -> LinearMap:
        """The same for some targets."""
        return LinearMap(self.weights[:, targets], self.intercept[targets])


@dataclass(frozen=True)
class ActionRemoval:
    """What a fit without the action adds to one with it: ``left @ right`` to the weights, ``constant`` to the intercept."""

    left: Float[np.ndarray, "feature action"]
    right: Float[np.ndarray, "action target"]
    constant: Float[np.ndarray, " target"]


@dataclass(frozen=True)
class Decomposition:
    """The training rows' correlations in the eigenvectors of C_zz = V diag(values) V'."""

    by: FeatureScaling
    share: Float[np.ndarray, " feature"]  # weight of each latent target in the loss
    values: Float[np.ndarray, " feature"]
    vectors: Float[np.ndarray, "feature feature"]
    targets: Float[np.ndarray, "feature target"]  # V' C_zy
    products: Float[np.ndarray, "feature feature"]  # V' C_zn diag(share) C_nz V, with n = z_{t+1}
    actions: Float[np.ndarray, "feature action"]  # V' C_za
    action_action: Float[np.ndarray, "action action"]
    action_latents: Float[np.ndarray, "action feature"]


def rounding(precision: str, width: int) -> float:
    """Eigenvalue that rounding of the products can make up in a correlation matrix of some width.

    Every penalty is raised by it, or the smallest ones would fit rounding in layers of low rank. Seen in float32: at most
    0.6 of it, for widths of 64 to 1024, ranks of 8 to 512, 2,500 to 20,000 rows.
    """
    return float(UNIT_ROUNDING[precision] * np.sqrt(width))


def scaling(train: MomentSums, pilot: Float[np.ndarray, " feature"], scaled: bool = True) -> FeatureScaling:
    """Measure the training rows; ``pilot`` is the features' shift, needed to tell a constant column from rounding.

    Without ``scaled``, latents keep their own units, as they must when they are coordinates of features scaled before.
    """
    unit = max(10 * np.finfo(pilot.dtype).eps, DEAD)
    width = len(pilot)
    x_mean, y_mean = train.x / train.count, train.y / train.count
    variances = []
    for mean, square in ((x_mean, np.diagonal(train.xx) / train.count), (y_mean, train.yy / train.count)):
        variance = np.maximum(square - mean**2, 0.0)
        noise = np.maximum(DEAD * (mean[:width] + pilot) ** 2, unit * square[:width])
        variance[:width][variance[:width] <= noise] = 0.0
        variances.append(variance)
    x_scale = np.sqrt(np.where(variances[0] > 0, variances[0], 1.0))
    if not scaled:
        x_scale[:width] = 1.0
    return FeatureScaling(x_mean, x_scale, y_mean, variances[1])


def standardise(
    sums: MomentSums, by: FeatureScaling
) -> tuple[Float[np.ndarray, "feature feature"], Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]]:
    """Second moments about the training means, features in training standard deviations; sums over rows, not means."""
    left, inverse = np.stack([by.x_mean, sums.x - sums.count * by.x_mean], axis=1), 1 / by.x_scale
    xx = sums.xx - left @ np.stack([sums.x, by.x_mean])
    xx *= inverse
    xx *= inverse[:, None]
    xy = sums.xy - left @ np.stack([sums.y, by.y_mean])
    xy *= inverse[:, None]
    return xx, xy, sums.yy - 2 * by.y_mean * sums.y + sums.count * by.y_mean**2


def correlations(train: MomentSums, by: FeatureScaling) -> tuple[Float[np.ndarray, "feature feature"], Float[np.ndarray, "feature target"]]:
    """The training rows' normal equations divided by the number of rows."""
    xx, xy, _ = standardise(train, by)
    xx /= train.count
    xy /= train.count
    return xx, xy


def target_weights(
    spread: Float[np.ndarray, " feature"], live: Float[np.ndarray, " feature"], scaled: bool = True
) -> Float[np.ndarray, " feature"]:
    """Weights of the targets' squared errors in a loss that is 1 for forecasting the mean.

    Parameters
    ----------
    spread
        Variance or sum of squares of each target.
    live
        1 for a target that counts, else 0; or any weights, when targets are not scaled.
    scaled
        Each target counts alike; otherwise, the sum of all errors is divided by the sum of all spreads.
    """
    if not scaled:
        return live / max(float(live @ spread), np.finfo(np.float64).tiny)
    return np.where(spread > 0, live, 0.0) / np.where(spread > 0, spread, 1.0) / max(live.sum(), 1.0)


def decompose(
    train: MomentSums, pilot: Float[np.ndarray, " feature"], live: Float[np.ndarray, " feature"], scaled: bool = True
) -> Decomposition:
    """Prepare the search over penalties: eigenvectors, and what does not depend on the validation rows.

    Parameters
    ----------
    live
        1 for a feature that varies and 0 for one that does not; dead targets do not count.
    scaled
        See ``scaling`` and ``target_weights``.
    """
    width, dtype = len(pilot), pilot.dtype
    by = scaling(train, pilot, scaled)
    xx, xy = correlations(train, by)
    values, vectors = scipy.linalg.eigh(xx[:width, :width], driver="evd", check_finite=False)
    vectors = vectors.astype(dtype)
    rotated = vectors.T @ xy[:width].astype(dtype)
    share = target_weights(by.y_variance[:width], live, scaled)
    weighted = rotated[:, :width] * np.sqrt(share).astype(dtype)
    products = weighted @ weighted.T  # a product with its own transpose costs half
    across, kept = vectors.T @ xx[:width, width:].astype(dtype), xx[width:, width:]
    return Decomposition(by, share, np.maximum(values, 0.0), vectors, rotated, products, across, kept, xy[width:, :width])


def validate(
    train: Decomposition, valid: MomentSums, penalties: Sequence[float]
) -> tuple[Float[np.ndarray, " penalty"], Float[np.ndarray, "penalty scalar"]]:
    """Squared errors on validation rows for every penalty.

    The weights are V (λ + penalty)⁻¹ (V'C_zy - V'C_za W_a), and the action weights W_a solve a small system of the
    actions' size (the Schur complement). An error summed over targets needs only quadratic forms of V'(validation
    moments)V, so a penalty costs O(width²).

    Returns
    -------
    The mean over live targets of z_{t+1} from [z_t, a_t], each in units of its training variance; and each scalar's from z_t.
    """
    width, dtype, share = len(train.values), train.vectors.dtype, train.share
    xx, xy, yy = standardise(valid, train.by)
    xx, xy = xx.astype(dtype), xy.astype(dtype)
    tested = train.vectors.T @ xy[:width]
    spread = train.vectors.T @ xx[:width, :width] @ train.vectors
    latents, actions = train.targets[:, :width], train.actions
    products = train.products * spread
    matches = np.einsum("ij,ij,j->i", latents, tested[:, :width], share)
    crossed = train.vectors.T @ xx[:width, width:]

    # all penalties at once: [penalty, action, feature]
    inverse = 1 / (train.values + np.asarray(penalties)[:, None])
    rounded = inverse.astype(dtype)
    shrunk = actions.T * rounded[:, None]

    def each(
        matrix: Float[np.ndarray, "feature other"], by: Float[np.ndarray, "penalty action feature"]
    ) -> Float[np.ndarray, "penalty action other"]:
        return (by.reshape(-1, width) @ matrix).reshape(*by.shape[:2], matrix.shape[1])

    schur = train.action_action + np.asarray(penalties)[:, None, None] * np.eye(actions.shape[1]) - each(actions, shrunk)
    action_weights = np.linalg.solve(schur, train.action_latents - each(latents, shrunk))
    weighted = action_weights * share
    match = inverse @ matches + np.sum((xy[width:, :width] - each(tested[:, :width], shrunk)) * weighted, axis=(1, 2))
    # the quadratic form of [z, a]: from z alone, then every term with an action weight in it
    back = (crossed.T - each(spread, shrunk)) * rounded[:, None]
    outer = xx[width:, width:] - each(crossed, shrunk) - each(actions, back)
    form = np.sum((inverse @ products) * inverse, axis=1) + np.sum(
        (2 * each(latents, back) + outer @ action_weights) * weighted, axis=(1, 2)
    )
    transition = share @ yy[:width] - 2 * match + form

    weights = train.targets[:, None, width:] * rounded.T[:, :, None]  # [feature, penalty, scalar]
    residual = (spread @ weights.reshape(width, -1)).reshape(weights.shape) - 2 * tested[:, None, width:]
    return transition, yy[width:] + np.einsum("ijk,ijk->jk", weights, residual)


def fit(
    train: MomentSums,
    pilot: Float[np.ndarray, " feature"],
    penalty: float,
    scalar_penalties: Float[np.ndarray, " scalar"],
    scaled: bool = True,
) -> tuple[LinearMap, ActionRemoval, LinearMap]:
    """Fit z_{t+1} on [z_t, a_t]; what changes at the same penalty without a_t; and every scalar on z_t at its own penalty."""
    width, by = len(pilot), scaling(train, pilot, scaled)
    xx, xy = correlations(train, by)
    latents, scalars = np.hstack([xy[:width, :width], xx[:width, width:]]), np.zeros((len(xx), len(scalar_penalties)))
    for own in np.unique([penalty, *scalar_penalties]):  # targets of one penalty share its factor
        same = np.flatnonzero(scalar_penalties == own)
        right = xy[:width, width + same]
        solved = _solve(xx[:width, :width], own, np.hstack([latents, right]) if own == penalty else right)
        if own == penalty:
            alone, across, solved = np.split(solved, [width, len(xx)], axis=1)
        scalars[:width, same] = solved
    schur = xx[width:, width:] + penalty * np.eye(len(xx) - width) - xx[width:, :width] @ across
    action_weights = np.linalg.solve(schur, xy[width:, :width] - xx[width:, :width] @ alone)
    with_action = _in_own_units(np.vstack([alone - across @ action_weights, action_weights]), by, slice(0, width))
    left = np.vstack([across, -np.eye(len(action_weights))]) / by.x_scale[:, None]
    removal = ActionRemoval(left, action_weights, -(by.x_mean @ left) @ action_weights)
    return with_action, removal, _in_own_units(scalars, by, slice(width, None))


class NotPositiveDefinite(DataError):
    """Rounding left a matrix of products that no penalty of the grid makes positive."""


def _solve(
    matrix: Float[np.ndarray, "feature feature"], penalty: float, right: Float[np.ndarray, "feature target"]
) -> Float[np.ndarray, "feature target"]:
    matrix = matrix.copy()
    matrix.flat[:: len(matrix) + 1] += penalty
    try:
        # the transpose of a symmetric matrix lies in memory as LAPACK wants it: four times as fast as with a copy
        factor = scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        message = f"penalty {penalty:.1e} is below the rounding of the products, and the layer's features depend on each other"
        raise NotPositiveDefinite(message, hint="set probe.precision=float64, or begin probe.penalties higher") from None
    return scipy.linalg.cho_solve(factor, right, overwrite_b=True, check_finite=False)


def _in_own_units(weights: Float[np.ndarray, "feature target"], by: FeatureScaling, targets: slice) -> LinearMap:
    weights = weights / by.x_scale[:, None]
    return LinearMap(weights, by.y_mean[targets] - by.x_mean @ weights)


def squared_errors(fit: LinearMap, sums: MomentSums, targets: slice | Int[np.ndarray, " target"]) -> Float[np.ndarray, " target"]:
    """Sum over rows of the squared error of each target."""
    return _squared_errors(fit, sums.xx @ fit.weights, sums, targets)


def squared_errors_of_both(
    fit: LinearMap, removal: ActionRemoval, sums: MomentSums, targets: slice
) -> tuple[Float[np.ndarray, " target"], Float[np.ndarray, " target"]]:
    """The same with the action and without it, for little more than the price of one."""
    product = sums.xx @ fit.weights
    without = LinearMap(fit.weights + removal.left @ removal.right, fit.intercept + removal.constant)
    return (
        _squared_errors(fit, product, sums, targets),
        _squared_errors(without, product + (sums.xx @ removal.left) @ removal.right, sums, targets),
    )


def _squared_errors(
    fit: LinearMap, product: Float[np.ndarray, "feature target"], sums: MomentSums, targets: slice | Int[np.ndarray, " target"]
) -> Float[np.ndarray, " target"]:
    y, xy, yy, b = sums.y[targets], sums.xy[:, targets], sums.yy[targets], fit.intercept
    form = np.einsum("ij,ij->j", fit.weights, product - 2 * xy)
    return yy - 2 * b * y + sums.count * b**2 + 2 * b * (sums.x @ fit.weights) + form


def weighted_errors(fit: LinearMap, several: Sequence[MomentSums], targets: slice, share: Float[np.ndarray, " target"]) -> list[float]:
    """Return ``share @ squared_errors(fit, sums, targets)`` for several sums, in O(width²) each."""
    weighted, root_weighted = fit.weights * share, fit.weights * np.sqrt(share)
    gram = root_weighted @ root_weighted.T
    errors = []
    for sums in several:
        y, xy, yy, b = sums.y[targets], sums.xy[:, targets], sums.yy[targets], fit.intercept
        offsets = share @ (yy - 2 * b * y + sums.count * b**2) + 2 * sums.x @ (weighted @ b)
        errors.append(float(offsets - 2 * np.vdot(xy, weighted) + np.vdot(sums.xx, gram)))
    return errors
