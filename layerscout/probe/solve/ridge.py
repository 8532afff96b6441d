"""Moments of training and other rows in; ridge coefficients at chosen penalties, and their squared errors, out.

Equal to scikit-learn's ``make_pipeline(StandardScaler(), Ridge(alpha=penalty * rows))`` on the same rows, without the rows.
Everything here is float64, by Cholesky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int
from scipy.linalg import blas

from layerscout.errors import DataError
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.scaling import FeatureScaling, correlations, feature_scaling

SMALL = 32  # unknowns
Targets = slice | Int[np.ndarray, " target"]


class NotPositiveDefinite(DataError):
    """Rounding left a matrix of products that no penalty of the grid makes positive."""


@dataclass(frozen=True)
class LinearMap:
    """A fitted map in the moments' own units: y = intercept + weights' x."""

    weights: Float[np.ndarray, "feature target"]
    intercept: Float[np.ndarray, " target"]

    def select(self, targets: Int[np.ndarray, " chosen"]) -> LinearMap:
        """The weights and intercepts of the targets with these numbers, copied."""
        return LinearMap(self.weights[:, targets], self.intercept[targets])


@dataclass(frozen=True)
class ActionRemoval:
    """What a fit without the action adds to one with it: ``left @ right`` to the weights, ``constant`` to the intercept."""

    left: Float[np.ndarray, "feature action"]
    right: Float[np.ndarray, "action target"]
    constant: Float[np.ndarray, " target"]


def fit_ridge(
    train: MomentSums,
    pilot: Float[np.ndarray, " feature"],
    penalty: float,
    scalar_penalties: Float[np.ndarray, " fitted"],
    scaled: bool = True,
    columns: Int[np.ndarray, " fitted"] | None = None,
) -> tuple[LinearMap, ActionRemoval, LinearMap]:
    """Fit z_{t+1} on [z_t, a_t]; what changes at the same penalty without a_t; and every scalar on z_t at its own penalty.

    Parameters
    ----------
    pilot
        The shift that the latents' moments are about.
    penalty, scalar_penalties
        Relative to the number of training rows; above 0.
    scaled
        See ``scaling.feature_scaling``.
    columns
        Which scalars to fit; one may be fitted at several penalties. Left out: the first ones.

    Raises
    ------
    NotPositiveDefinite
        A penalty is smaller than what rounding takes away from the smallest eigenvalue.
    """
    width, by = len(pilot), feature_scaling(train, pilot, scaled)
    xx, xy = correlations(train, by)
    columns = np.arange(len(scalar_penalties)) if columns is None else columns
    # weights of the latents, and below them those of the actions
    weights, scalars = np.empty((len(xx), width)), np.zeros((len(xx), len(scalar_penalties)))
    weights[:width] = xy[:width, :width]
    for own in np.unique([penalty, *scalar_penalties]):  # targets of one penalty share its factor
        same = np.flatnonzero(scalar_penalties == own)
        factor = _factor(xx[:width, :width], own)
        few = np.ascontiguousarray(xy[:width, width + columns[same]])
        if own == penalty:
            _solve(factor, weights[:width])
            few = np.ascontiguousarray(np.hstack([xx[:width, width:], few]))
        _solve(factor, few)
        if own == penalty:
            across, few = few[:, : len(xx) - width], few[:, len(xx) - width :]
        scalars[:width, same] = few
    schur = xx[width:, width:] + penalty * np.eye(len(xx) - width) - xx[width:, :width] @ across
    weights[width:] = solve_small(schur, xy[width:, :width] - xx[width:, :width] @ weights[:width])
    weights[:width] -= across @ weights[width:]
    left, right = np.vstack([across, -np.eye(len(xx) - width)]) / by.x_scale[:, None], weights[width:].copy()
    removal = ActionRemoval(left, right, -(by.x_mean @ left) @ right)
    return _in_own_units(weights, by, slice(0, width)), removal, _in_own_units(scalars, by, width + columns)


def _factor(matrix: Float[np.ndarray, "feature feature"], penalty: float) -> Float[np.ndarray, "feature feature"]:
    """Cholesky factor of the matrix with a penalty on its diagonal, in Fortran order, below the diagonal."""
    matrix = matrix.copy()
    matrix.flat[:: len(matrix) + 1] += penalty
    try:
        # the transpose of a symmetric matrix lies in memory as LAPACK wants it
        return scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)[0]
    except scipy.linalg.LinAlgError:
        message = f"penalty {penalty:.1e} is below the rounding of the products, and the layer's features depend on each other"
        raise NotPositiveDefinite(message, hint="set probe.precision=float64, or begin probe.penalties higher") from None


def _solve(factor: Float[np.ndarray, "feature feature"], right: Float[np.ndarray, "feature target"]) -> None:
    """Replace ``right`` by (L L')⁻¹ right. In C order it is the transpose of what BLAS sees: X L L' = right' is solved, in place."""
    if not right.size:
        return
    found = right.T
    for transposed in (1, 0):
        found = blas.dtrsm(1.0, factor, found, side=1, lower=1, trans_a=transposed, overwrite_b=1)
    assert np.shares_memory(found, right), "right is in C order"


def solve_small(matrix: Float[np.ndarray, "*some size size"], right: Float[np.ndarray, "*some size target"]) -> Any:
    """Solve systems that are much smaller than they have right sides: then a product with the inverse takes a third of the time."""
    return np.linalg.inv(matrix) @ right if matrix.shape[-1] <= SMALL else np.linalg.solve(matrix, right)


def _in_own_units(weights: Float[np.ndarray, "feature target"], by: FeatureScaling, targets: Targets) -> LinearMap:
    weights /= by.x_scale[:, None]
    return LinearMap(weights, by.y_mean[targets] - by.x_mean @ weights)


def squared_errors(fit: LinearMap, sums: MomentSums, targets: Targets) -> Float[np.ndarray, " target"]:
    """Σ over rows of (prediction − target)², for each target, from sums alone; rounding may leave a small negative number."""
    return _level_errors(fit, sums, targets) + np.einsum("ij,ij->j", fit.weights, sums.xx @ fit.weights)


def squared_errors_of_both(
    fit: LinearMap, removal: ActionRemoval, sums: MomentSums, targets: slice
) -> tuple[Float[np.ndarray, " target"], Float[np.ndarray, " target"]]:
    """Squared errors with the action and without it, for little more than the price of one.

    The quadratic form w' A w of a symmetric A is twice that of its upper half, less that of its diagonal.
    """
    weights, left, right = fit.weights, removal.left, removal.right
    upper = blas.dtrmm(1.0, sums.xx.T, weights.T.copy(), side=1, lower=1, overwrite_b=1).T
    form = 2 * np.einsum("ij,ij->j", weights, upper) - np.diagonal(sums.xx) @ weights**2
    product = sums.xx @ left
    change = 2 * (product.T @ weights) + (left.T @ product) @ right
    without = LinearMap(weights, fit.intercept + removal.constant)
    level = _level_errors(without, sums, targets)
    shift = 2 * without.intercept * ((sums.x @ left) @ right) - 2 * np.einsum("ij,ij->j", right, left.T @ sums.xy[:, targets])
    return _level_errors(fit, sums, targets) + form, level + shift + form + np.einsum("ij,ij->j", change, right)


@dataclass(frozen=True)
class PredictionSums:
    """Sums over rows of what a fit predicts, of its square, and of its product with what it is to predict."""

    predicted: Float[np.ndarray, "*group target"]
    squares: Float[np.ndarray, "*group target"]
    products: Float[np.ndarray, "*group target"]


def prediction_sums(fit: LinearMap, sums: MomentSums, targets: Targets) -> PredictionSums:
    """Add up a fit's predictions over rows."""
    level, b = sums.x @ fit.weights, fit.intercept
    squares = np.einsum("ij,ij->j", fit.weights, sums.xx @ fit.weights) + 2 * b * level + sums.count * b**2
    products = np.einsum("ij,ij->j", fit.weights, sums.xy[:, targets]) + b * sums.y[targets]
    return PredictionSums(level + sums.count * b, squares, products)


def _level_errors(fit: LinearMap, sums: MomentSums, targets: Targets) -> Float[np.ndarray, " target"]:
    """Every term of the squared error but the quadratic form of the weights."""
    y, xy, yy, b = sums.y[targets], sums.xy[:, targets], sums.yy[targets], fit.intercept
    return yy - 2 * b * y + sums.count * b**2 + 2 * b * (sums.x @ fit.weights) - 2 * np.einsum("ij,ij->j", fit.weights, xy)


def weighted_errors(fit: LinearMap, several: Sequence[MomentSums], targets: slice, share: Float[np.ndarray, " target"]) -> list[float]:
    """Return ``share @ squared_errors(fit, sums, targets)`` for several sums, in O(width²) each."""
    weighted = fit.weights * share
    # half of Σ share w w', in C order below the diagonal; its other half is zeros
    gram = blas.dsyrk(1.0, (fit.weights * np.sqrt(share)).T, trans=1).T
    diagonal = np.diagonal(gram)
    errors = []
    for sums in several:
        y, xy, yy, b = sums.y[targets], sums.xy[:, targets], sums.yy[targets], fit.intercept
        offsets = share @ (yy - 2 * b * y + sums.count * b**2) + 2 * sums.x @ (weighted @ b)
        form = 2 * np.vdot(sums.xx, gram) - np.diagonal(sums.xx) @ diagonal
        errors.append(float(offsets - 2 * np.vdot(xy, weighted) + form))
    return errors
