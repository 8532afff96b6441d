"""Moments of training and of validation rows in; the validation losses at every penalty out.

In the eigenvectors of the training rows' correlation matrix, one more penalty is nearly free. The search works in the precision
of the products: its losses are as wrong from their rounding already. ``ridge.fit_ridge`` fits at the penalty that was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import blas

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.eigen import eigenvectors, rotated, tridiagonal
from layerscout.probe.solve.ridge import solve_small
from layerscout.probe.solve.scaling import FeatureScaling, correlations, feature_scaling, scalar_scaling, standardise, target_weights


@dataclass(frozen=True)
class Decomposition:
    """The training rows' correlations in the eigenvectors of C_zz = V diag(values) V', with n = z_{t+1}."""

    by: FeatureScaling
    share: Float[np.ndarray, " feature"]  # weight of each latent target in the loss
    values: Float[np.ndarray, " feature"]
    vectors: Float[np.ndarray, "feature feature"]
    targets: Float[np.ndarray, "feature target"]  # V' C_zy
    weighted: Float[np.ndarray, "feature feature"]  # V' C_zn diag(share)
    products: Float[np.ndarray, "feature feature"]  # V' C_zn diag(share) C_nz V
    actions: Float[np.ndarray, "feature action"]  # V' C_za
    action_action: Float[np.ndarray, "action action"]
    action_latents: Float[np.ndarray, "action feature"]


def decompose(
    train: MomentSums, pilot: Float[np.ndarray, " feature"], live: Float[np.ndarray, " feature"], scaled: bool = True
) -> Decomposition:
    """Prepare the search over penalties: eigenvectors, and what does not depend on the validation rows.

    Parameters
    ----------
    live
        1 for a feature that varies and 0 for one that does not; dead targets do not count.
    scaled
        See ``scaling.feature_scaling`` and ``scaling.target_weights``.
    """
    width, dtype = len(pilot), pilot.dtype
    by = feature_scaling(train, pilot, scaled)
    xx, xy = correlations(train, by)
    values, vectors = eigenvectors(xx[:width, :width], dtype)
    targets = vectors.T @ xy[:width].astype(dtype, copy=False)
    latents, share = targets[:, :width], target_weights(by.y_variance[:width], live, scaled)
    root_weighted = latents * np.sqrt(share).astype(dtype)
    products = root_weighted @ root_weighted.T  # a product with its own transpose costs half
    actions = vectors.T @ xx[:width, width:].astype(dtype)
    return Decomposition(
        by,
        share,
        np.maximum(values, 0.0),
        vectors,
        targets,
        latents * share.astype(dtype),
        products,
        actions,
        xx[width:, width:],
        xy[width:, :width],
    )


@dataclass(frozen=True)
class Validation:
    """Validation rows in the eigenvectors of the training rows; losses at any penalty are then nearly free.

    The weights are V (λ + penalty)⁻¹ (V'C_zy - V'C_za W_a), and the action weights W_a solve a small system of the actions'
    size (the Schur complement). An error summed over targets needs only quadratic forms of V'(validation moments)V, so a
    penalty costs O(width²).
    """

    train: Decomposition
    spread: Float[np.ndarray, "feature feature"]  # V' X_zz V, with X the sums over validation rows
    products: Float[np.ndarray, "feature feature"]  # of the training rows, times ``spread``, number by number
    tested: Float[np.ndarray, "feature target"]  # V' X_zy
    matches: Float[np.ndarray, " feature"]  # diagonal of V' C_zn diag(share) X_nz V
    crossed: Float[np.ndarray, "feature action"]  # V' X_za
    action_action: Float[np.ndarray, "action action"]
    action_latents: Float[np.ndarray, "action feature"]
    squares: Float[np.ndarray, " target"]

    def transition(self, penalties: Sequence[float]) -> Float[np.ndarray, " penalty"]:
        """Return the mean over live targets of the squared errors of z_{t+1} from [z_t, a_t], each in units of its training variance."""
        train, width = self.train, len(self.train.values)
        latents, actions, share = train.targets[:, :width], train.actions, train.share
        # all penalties at once: [penalty, action, feature]
        inverse = self._inverse(penalties)
        rounded = inverse.astype(train.vectors.dtype)
        shrunk = actions.T * rounded[:, None]

        def each(
            matrix: Float[np.ndarray, "feature other"], by: Float[np.ndarray, "penalty action feature"]
        ) -> Float[np.ndarray, "penalty action other"]:
            return (by.reshape(-1, width) @ matrix).reshape(*by.shape[:2], matrix.shape[1])

        schur = train.action_action + np.asarray(penalties)[:, None, None] * np.eye(actions.shape[1]) - each(actions, shrunk)
        action_weights = solve_small(schur, train.action_latents - each(latents, shrunk))
        weighted = action_weights * share
        match = inverse @ self.matches + np.sum((self.action_latents - each(self.tested[:, :width], shrunk)) * weighted, axis=(1, 2))
        # the quadratic form of [z, a]: from z alone, then every term with an action weight in it
        back = (self.crossed.T - each(self.spread, shrunk)) * rounded[:, None]
        outer = self.action_action - each(self.crossed, shrunk) - each(actions, back)
        form = np.sum((inverse @ self.products) * inverse, axis=1) + np.sum(
            (2 * each(latents, back) + outer @ action_weights) * weighted, axis=(1, 2)
        )
        return np.asarray(share @ self.squares[:width] - 2 * match + form)

    def scalars(self, penalties: Sequence[float], count: int | None = None) -> Float[np.ndarray, "penalty scalar"]:
        """Return the squared errors of the scalars from z_t, or of the first ``count`` of them."""
        width = len(self.train.values)
        some = slice(width, None if count is None else width + count)
        inverse = self._inverse(penalties).astype(self.train.vectors.dtype)
        weights = inverse[:, None] * self.train.targets[:, some].T
        return self.squares[some] + _error_forms(weights, self.tested[:, some], self.spread)

    def _inverse(self, penalties: Sequence[float]) -> Float[np.ndarray, "penalty feature"]:
        return np.asarray(1 / (self.train.values + np.asarray(penalties)[:, None]))


def validate(train: Decomposition, valid: MomentSums) -> Validation:
    """Turn the moments of validation rows into the eigenvectors of the training rows."""
    width, dtype = len(train.values), train.vectors.dtype
    xx, xy, yy = standardise(valid, train.by, dtype=dtype)
    tested = train.vectors.T @ xy[:width]
    spread = rotated(xx[:width, :width], train.vectors)
    matches = np.einsum("ij,ij->i", train.weighted, tested[:, :width])
    crossed = train.vectors.T @ xx[:width, width:]
    return Validation(train, spread, train.products * spread, tested, matches, crossed, xx[width:, width:], xy[width:, :width], yy)


def scalar_losses(
    train: MomentSums,
    several: Sequence[MomentSums],
    pilot: Float[np.ndarray, " feature"],
    penalties: Sequence[float],
    scaled: bool = True,
    known: Decomposition | None = None,
) -> list[Float[np.ndarray, "penalty scalar"]]:
    """Squared errors of the scalars alone on several sets of validation rows, as ``validation_losses`` gives them.

    Nothing is asked for the latents, so that the tridiagonal form does in place of eigenvectors.

    Parameters
    ----------
    train, several
        From ``of_scalars``.
    known
        The training rows' decomposition, where the latents' search has made it.
    """
    dtype, by = pilot.dtype, scalar_scaling(train, pilot, scaled)
    weights: Float[np.ndarray, "penalty scalar feature"] | None = None
    if known is None:
        xx, xy = correlations(train, by)
        form = tridiagonal(xx)
        weights = None if form is None else form.solve(penalties, xy, dtype)
    if weights is None:
        if known is None:
            values, vectors = eigenvectors(xx, dtype)
            targets = vectors.T @ xy.astype(dtype)
        else:
            values, vectors, targets = known.values, known.vectors, known.targets[:, len(known.values) :]
        inverse = 1 / (np.maximum(values, 0.0) + np.asarray(penalties)[:, None])
        weights = (inverse.astype(dtype)[:, None] * targets.T) @ vectors.T
    found = []
    for valid in several:
        spread, tested, yy = standardise(valid, by, dtype=dtype)
        found.append(yy + _error_forms(np.ascontiguousarray(weights), tested, spread))
    return found


def of_scalars(sums: MomentSums, width: int) -> MomentSums:
    """Leave out actions and next latents; nothing is copied."""
    return MomentSums(sums.count, sums.x[:width], sums.y[width:], sums.xx[:width, :width], sums.xy[:width, width:], sums.yy[width:])


def _error_forms(
    weights: Float[np.ndarray, "penalty scalar feature"],
    tested: Float[np.ndarray, "feature scalar"],
    spread: Float[np.ndarray, "feature feature"],
) -> Float[np.ndarray, "penalty scalar"]:
    """w' spread w - 2 w' tested, from half of ``spread``."""
    shape = weights.shape[:2]
    if not shape[1]:
        return np.zeros(shape)
    weights = weights.reshape(-1, weights.shape[2])
    diagonal = slice(None, None, len(spread) + 1)
    spread.flat[diagonal] *= 0.5  # what lies above the diagonal, and half of what lies on it, make half of the form
    multiply = blas.strmm if spread.dtype == np.float32 else blas.dtrmm
    residual = multiply(2.0, spread.T, weights.T, lower=1, trans_a=1).T
    spread.flat[diagonal] *= 2
    residual.reshape(*shape, -1)[:] -= 2 * tested.T
    return np.einsum("ij,ij->i", weights, residual).reshape(shape)
