"""Moments of training and other rows in, ridge coefficients and squared errors for every penalty out.

Equal to scikit-learn's ``make_pipeline(StandardScaler(), Ridge(alpha=penalty * rows))`` on the same rows, without the rows.
Penalties are searched by eigendecomposition, where one more penalty is nearly free; the chosen one is fitted by Cholesky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from layerscout.errors import DataError
from layerscout.probe.moments import Sums

DEAD = 1e-12  # a variance below this share of the squared mean is rounding, not signal
UNIT_ROUNDING = {"float32": 1e-7, "float64": 2e-16}


@dataclass(frozen=True)
class Scaling:
    """Means and variances of the training rows; a constant column has scale 1, as in StandardScaler."""

    x_mean: Float[np.ndarray, " feature"]
    x_scale: Float[np.ndarray, " feature"]
    y_mean: Float[np.ndarray, " target"]
    y_variance: Float[np.ndarray, " target"]


@dataclass(frozen=True)
class Linear:
    """A fitted map in the moments' own units: y = intercept + weights' x."""

    weights: Float[np.ndarray, "feature target"]
    intercept: Float[np.ndarray, " target"]


@dataclass(frozen=True)
class Decomposition:
    """The training rows' correlations in the eigenvectors of C_zz = V diag(values) V'."""

    by: Scaling
    values: Float[np.ndarray, " feature"]
    vectors: Float[np.ndarray, "feature feature"]
    targets: Float[np.ndarray, "feature target"]  # V' C_zy
    actions: Float[np.ndarray, "feature action"]  # V' C_za
    action_action: Float[np.ndarray, "action action"]
    action_latents: Float[np.ndarray, "action feature"]


def rounding(precision: str, width: int) -> float:
    """Eigenvalue that rounding of the products can make up in a correlation matrix of some width.

    Every penalty is raised by it, or the smallest ones would fit rounding in layers of low rank. Seen in float32: at most
    0.6 of it, for widths of 64 to 1024, ranks of 8 to 512, 2,500 to 20,000 rows.
    """
    return float(UNIT_ROUNDING[precision] * np.sqrt(width))


def scaling(train: Sums, pilot: Float[np.ndarray, " feature"]) -> Scaling:
    """Measure the training rows; ``pilot`` is the features' shift, needed to tell a constant column from rounding."""
    unit = 10 * np.finfo(pilot.dtype).eps
    width = len(pilot)
    x_mean, y_mean = train.x / train.count, train.y / train.count
    variances = []
    for mean, square in ((x_mean, np.diagonal(train.xx) / train.count), (y_mean, train.yy / train.count)):
        variance = np.maximum(square - mean**2, 0.0)
        noise = np.maximum(DEAD * (mean[:width] + pilot) ** 2, unit * square[:width])
        variance[:width][variance[:width] <= noise] = 0.0
        variances.append(variance)
    return Scaling(x_mean, np.sqrt(np.where(variances[0] > 0, variances[0], 1.0)), y_mean, variances[1])


def standardise(
    sums: Sums, by: Scaling
) -> tuple[Float[np.ndarray, "feature feature"], Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]]:
    """Second moments about the training means, features in training standard deviations; sums over rows, not means."""
    left, inverse = np.stack([by.x_mean, sums.x - sums.count * by.x_mean], axis=1), 1 / by.x_scale
    xx = sums.xx - left @ np.stack([sums.x, by.x_mean])
    xx *= inverse
    xx *= inverse[:, None]
    xy = sums.xy - left @ np.stack([sums.y, by.y_mean])
    xy *= inverse[:, None]
    return xx, xy, sums.yy - 2 * by.y_mean * sums.y + sums.count * by.y_mean**2


def correlations(train: Sums, by: Scaling) -> tuple[Float[np.ndarray, "feature feature"], Float[np.ndarray, "feature target"]]:
    """The training rows' normal equations divided by the number of rows."""
    xx, xy, _ = standardise(train, by)
    xx /= train.count
    xy /= train.count
    return xx, xy


def decompose(train: Sums, pilot: Float[np.ndarray, " feature"]) -> Decomposition:
    """Prepare the search over penalties: the one step that costs O(width³)."""
    width = len(pilot)
    by = scaling(train, pilot)
    xx, xy = correlations(train, by)
    values, vectors = scipy.linalg.eigh(xx[:width, :width], driver="evd", check_finite=False)
    turned = vectors.T @ xy[:width]
    return Decomposition(
        by, np.maximum(values, 0.0), vectors, turned, vectors.T @ xx[:width, width:], xx[width:, width:], xy[width:, :width]
    )


def validate(
    train: Decomposition, valid: Sums, penalties: Sequence[float], live: Float[np.ndarray, " feature"]
) -> tuple[Float[np.ndarray, " penalty"], Float[np.ndarray, "penalty scalar"]]:
    """Squared errors on validation rows for every penalty.

    The weights are V (λ + penalty)⁻¹ (V'C_zy - V'C_za W_a), and the action weights W_a solve a small system of the
    actions' size (the Schur complement). An error summed over targets needs only quadratic forms of V'(validation
    moments)V, so a penalty costs O(width²).

    Parameters
    ----------
    live
        1 for a feature that varies and 0 for one that does not; dead targets do not count.

    Returns
    -------
    The mean over live targets of z_{t+1} from [z_t, a_t], each in units of its training variance; and each scalar's from z_t.
    """
    width = len(live)
    xx, xy, yy = standardise(valid, train.by)
    tested = train.vectors.T @ xy[:width]
    spread = train.vectors.T @ xx[:width, :width] @ train.vectors
    variance = train.by.y_variance[:width]
    share = np.where(variance > 0, live, 0.0) / np.where(variance > 0, variance, 1.0) / max(live.sum(), 1.0)
    latents, actions = train.targets[:, :width], train.actions
    rooted = latents * np.sqrt(share)  # a product with its own transpose costs half
    products = (rooted @ rooted.T) * spread
    matches = np.einsum("ij,ij,j->i", latents, tested[:, :width], share)
    crossed = train.vectors.T @ xx[:width, width:]

    # all penalties at once: [penalty, action, feature]
    inverse = 1 / (train.values + np.asarray(penalties)[:, None])
    shrunk = actions.T * inverse[:, None]

    def each(
        matrix: Float[np.ndarray, "feature other"], by: Float[np.ndarray, "penalty action feature"]
    ) -> Float[np.ndarray, "penalty action other"]:
        return (by.reshape(-1, width) @ matrix).reshape(*by.shape[:2], matrix.shape[1])

    schur = train.action_action + np.asarray(penalties)[:, None, None] * np.eye(actions.shape[1]) - each(actions, shrunk)
    action_weights = np.linalg.solve(schur, train.action_latents - each(latents, shrunk))
    weighted = action_weights * share
    match = inverse @ matches + np.sum((xy[width:, :width] - each(tested[:, :width], shrunk)) * weighted, axis=(1, 2))
    # the quadratic form of [z, a]: from z alone, then every term with an action weight in it
    back = (crossed.T - each(spread, shrunk)) * inverse[:, None]
    outer = xx[width:, width:] - each(crossed, shrunk) - each(actions, back)
    form = np.sum((inverse @ products) * inverse, axis=1) + np.sum(
        (2 * each(latents, back) + outer @ action_weights) * weighted, axis=(1, 2)
    )
    transition = share @ yy[:width] - 2 * match + form

    weights = train.targets[:, None, width:] * inverse.T[:, :, None]  # [feature, penalty, scalar]
    residual = (spread @ weights.reshape(width, -1)).reshape(weights.shape) - 2 * tested[:, None, width:]
    return transition, yy[width:] + np.einsum("ijk,ijk->jk", weights, residual)


def fit(
    train: Sums, pilot: Float[np.ndarray, " feature"], penalty: float, scalar_penalties: Float[np.ndarray, " scalar"]
) -> tuple[Linear, Linear, Linear]:
    """Fit z_{t+1} on [z_t, a_t]; z_{t+1} on z_t alone at the same penalty; and every scalar on z_t at its own penalty."""
    width, by = len(pilot), scaling(train, pilot)
    xx, xy = correlations(train, by)
    solved = scipy.linalg.cho_solve(
        _cholesky(xx[:width, :width], penalty), np.hstack([xy[:width, :width], xx[:width, width:]]), check_finite=False
    )
    alone, across = solved[:, :width], solved[:, width:]
    schur = xx[width:, width:] + penalty * np.eye(len(xx) - width) - xx[width:, :width] @ across
    action_weights = np.linalg.solve(schur, xy[width:, :width] - xx[width:, :width] @ alone)
    with_action = np.vstack([alone - across @ action_weights, action_weights])
    without = np.vstack([alone, np.zeros_like(action_weights)])
    scalars = np.zeros((len(xx), len(scalar_penalties)))
    for own in np.unique(scalar_penalties):
        same = np.flatnonzero(scalar_penalties == own)
        scalars[:width, same] = scipy.linalg.cho_solve(_cholesky(xx[:width, :width], own), xy[:width, width + same], check_finite=False)
    latent = slice(0, width)
    return _in_own_units(with_action, by, latent), _in_own_units(without, by, latent), _in_own_units(scalars, by, slice(width, None))


def _cholesky(matrix: Float[np.ndarray, "feature feature"], penalty: float) -> tuple[Float[np.ndarray, "feature feature"], bool]:
    matrix = matrix.copy()
    matrix.flat[:: len(matrix) + 1] += penalty
    try:
        return scipy.linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        message = f"penalty {penalty:.1e} is below the rounding of the products, and the layer's features depend on each other"
        raise DataError(message, hint="set probe.precision=float64, or begin probe.penalties higher") from None


def _in_own_units(weights: Float[np.ndarray, "feature target"], by: Scaling, targets: slice) -> Linear:
    weights = weights / by.x_scale[:, None]
    return Linear(weights, by.y_mean[targets] - by.x_mean @ weights)


def squared_errors(fit: Linear, sums: Sums, targets: slice) -> Float[np.ndarray, " target"]:
    """Sum over rows of the squared error of each target."""
    y, xy, yy, b = sums.y[targets], sums.xy[:, targets], sums.yy[targets], fit.intercept
    form = np.einsum("ij,ij->j", fit.weights, sums.xx @ fit.weights - 2 * xy)
    return yy - 2 * b * y + sums.count * b**2 + 2 * b * (sums.x @ fit.weights) + form


def weighted_errors(fit: Linear, several: Sequence[Sums], targets: slice, share: Float[np.ndarray, " target"]) -> list[float]:
    """Return ``share @ squared_errors(fit, sums, targets)`` for several sums, in O(width²) each."""
    weighted, rooted = fit.weights * share, fit.weights * np.sqrt(share)
    gram = rooted @ rooted.T
    errors = []
    for sums in several:
        y, xy, yy, b = sums.y[targets], sums.xy[:, targets], sums.yy[targets], fit.intercept
        offsets = share @ (yy - 2 * b * y + sums.count * b**2) + 2 * sums.x @ (weighted @ b)
        errors.append(float(offsets - 2 * np.vdot(xy, weighted) + np.vdot(sums.xx, gram)))
    return errors
