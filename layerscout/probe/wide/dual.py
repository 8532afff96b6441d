"""A layer with few rows in; its exact out-of-fold errors out, by products of rows with rows instead of features with features.

Ridge on d features of n rows may be solved as (X'X + αI)⁻¹X'y or as X'(XX' + αI)⁻¹y; where d exceeds n, the second is the
smaller one. What comes out equals ``crossfit.cross_fit`` on the same rows.

References
----------
Saunders, Gammerman and Vovk (1998), Ridge regression learning algorithm in dual variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Int, Shaped

from layerscout.errors import DataError
from layerscout.probe.solve.crossfit import OutOfFold, search_roles, still_falling
from layerscout.probe.solve.scaling import DEAD

PANEL = 2048  # features worked on at once

RowKernel = Float[np.ndarray, "row row"]


@dataclass(frozen=True)
class FewRows:
    """Transitions of one layer, held in memory.

    Attributes
    ----------
    stored
        Rows of the layer, as stored.
    now
        Place of each transition's z_t in ``stored``; z_{t+1} is the next.
    fold
        Of each transition; -1 for those that have no part in the ranking.
    """

    stored: Shaped[np.ndarray, "stored feature"]
    now: Int[np.ndarray, " row"]
    inputs: Float[np.ndarray, "row action"]
    scalars: Float[np.ndarray, "row scalar"]
    group: Int[np.ndarray, " row"]
    fold: Int[np.ndarray, " row"]

    @property
    def next(self) -> Int[np.ndarray, " row"]:
        """The row of z_{t+1} for each transition, which follows that of z_t."""
        return self.now + 1


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of every feature over some rows; 0 for one that does not vary."""

    mean: Float[np.ndarray, " feature"]
    deviation: Float[np.ndarray, " feature"]

    @property
    def inverse(self) -> Float[np.ndarray, " feature"]:
        """What to multiply a feature with to give it variance 1; 1 for one that does not vary, as in StandardScaler."""
        return 1 / np.where(self.deviation > 0, self.deviation, 1.0)


def spread(stored: Shaped[np.ndarray, "stored feature"], rows: Int[np.ndarray, " row"]) -> Spread:
    """Measure each feature's mean and standard deviation over some rows, in float64; a feature that does not vary has deviation 0."""
    mean, deviation = (np.empty(stored.shape[1]) for _ in range(2))
    for panel in panels(stored.shape[1]):
        values = stored[rows, panel].astype(np.float64)
        mean[panel] = values.mean(axis=0)
        deviation[panel] = values.std(axis=0)
    return Spread(mean, np.where(deviation**2 > DEAD * mean**2, deviation, 0.0))


def panels(width: int) -> list[slice]:
    """Cut the features into panels of at most ``PANEL``, which are worked on one after the other."""
    return [slice(start, min(start + PANEL, width)) for start in range(0, width, PANEL)]


def gram(
    stored: Shaped[np.ndarray, "stored feature"],
    rows: Int[np.ndarray, " row"],
    mean: Float[np.ndarray, " feature"],
    by: Float[np.ndarray, " feature"],
) -> RowKernel:
    """K = X Xᵀ with X = (stored[rows] − mean) · by in float64, added up over panels of features."""
    total = np.zeros((len(rows), len(rows)))
    for panel in panels(stored.shape[1]):
        values = (stored[rows, panel].astype(np.float64) - mean[panel]) * by[panel]
        total += values @ values.T
    return total


def cross_fit_rows(rows: FewRows, groups: int, penalties: Sequence[float], inner: str, live: Float[np.ndarray, " feature"]) -> OutOfFold:
    """Fit on all folds but one and test on that one, for every fold in turn; see ``crossfit.cross_fit``."""
    folds = int(rows.fold.max()) + 1
    scalars = rows.scalars.shape[1]
    losses, scalar_losses = np.zeros((folds, len(penalties))), np.zeros((folds, len(penalties), scalars))
    counts, about = 0, np.zeros(scalars)
    ranks = rows.fold >= 0
    centre = rows.scalars[ranks].mean(axis=0)
    of_latents = {role for pair in search_roles(folds, inner)["latents"].values() for role in pair}
    for pair, roles in search_roles(folds, inner)["scalars"].items():
        search = _Search(rows, ranks & ~np.isin(rows.fold, pair), live)
        for tested, validated in roles:
            there = rows.fold == validated
            if (tested, validated) in of_latents:
                losses[tested] += search.transition_losses(there, penalties)
                counts += int(there.sum())
            scalar_losses[tested] += search.scalar_losses(there, penalties)
            about += np.sum((rows.scalars[there] - centre) ** 2, axis=0)
    choice, scalar_choice = losses.argmin(axis=1), scalar_losses.argmin(axis=1)

    share = row_target_share(rows, ranks, live)
    transition, by_group, alone = np.zeros(rows.stored.shape[1]), np.zeros(groups), np.zeros(folds)
    scalars_by_group = np.zeros((groups, scalars))
    for fold in range(folds):
        tested = rows.fold == fold
        error = evaluate_rows(rows, ranks & ~tested, tested, penalties[choice[fold]], np.asarray(penalties)[scalar_choice[fold]], share)
        transition += error.transition
        np.add.at(by_group, rows.group[tested], error.of_row)
        alone[fold] = error.alone
        np.add.at(scalars_by_group, rows.group[tested], error.scalars)
    tiny = np.finfo(np.float64).tiny
    reward = scalar_losses[:, :, 0] / max(about[0], tiny) if scalars else np.zeros_like(losses)
    return OutOfFold(
        transition=transition,
        transition_share=by_group,
        transition_alone_share=alone,
        scalars=scalars_by_group,
        transition_path=np.minimum(1 - losses.sum(axis=0) / counts, 1.0),
        scalar_path=np.minimum(1 - scalar_losses.sum(axis=0) / np.maximum(about, tiny), 1.0),
        transition_choice=choice,
        scalar_choice=scalar_choice,
        transition_falling=still_falling(losses / counts * folds),
        reward_falling=still_falling(reward * folds),
    )


def row_target_share(rows: FewRows, chosen: Bool[np.ndarray, " row"], live: Float[np.ndarray, " feature"]) -> Float[np.ndarray, " feature"]:
    """Weight of each feature's squared error in the mean over live features of error / total sum of squares."""
    squares = spread(rows.stored, rows.next[chosen]).deviation ** 2 * chosen.sum()
    return np.where(squares > 0, live, 0.0) / np.where(squares > 0, squares, 1.0) / max(live.sum(), 1.0)


def _kernels(rows: FewRows, train: Bool[np.ndarray, " row"]) -> tuple[RowKernel, RowKernel]:
    """Products of all transitions' standardised inputs, divided by the number of training rows: of z, and of [z, a]."""
    count = train.sum()
    by = spread(rows.stored, rows.now[train])
    of_z = gram(rows.stored, rows.now, by.mean, by.inverse / np.sqrt(count))
    seen = rows.inputs[train].astype(np.float64)
    scale = np.where(seen.std(axis=0) > 0, seen.std(axis=0), 1.0)
    actions = (rows.inputs - seen.mean(axis=0)) / scale / np.sqrt(count)
    return of_z, of_z + actions @ actions.T if actions.shape[1] else of_z


class _Search:
    """The training rows' kernels in their eigenvectors, where one more penalty is nearly free. What is not asked for is not computed."""

    def __init__(self, rows: FewRows, train: Bool[np.ndarray, " row"], live: Float[np.ndarray, " feature"]) -> None:
        self.rows, self.train, self.live = rows, train, live
        self.kernels = _kernels(rows, train)
        self.alone = self._decomposed(0)
        self.seen = rows.scalars[train] - rows.scalars[train].mean(axis=0)

    def _decomposed(self, kind: int) -> tuple[Float[np.ndarray, " row"], RowKernel]:
        values, vectors = scipy.linalg.eigh(self.kernels[kind][np.ix_(self.train, self.train)], driver="evd", check_finite=False)
        return values, vectors

    @cached_property
    def with_action(self) -> tuple[Float[np.ndarray, " row"], RowKernel]:
        """Eigenvalues and eigenvectors of the kernel of [z, a]."""
        return self.alone if self.kernels[1] is self.kernels[0] else self._decomposed(1)

    @cached_property
    def targets(self) -> RowKernel:
        """Products of rows of weighted targets with rows."""
        following = spread(self.rows.stored, self.rows.next[self.train])
        varies = following.deviation > 0
        root = np.sqrt(np.where(varies, self.live, 0.0) / max(self.live.sum(), 1.0)) * following.inverse
        return gram(self.rows.stored, self.rows.next, following.mean, root)

    @cached_property
    def products(self) -> RowKernel:
        """The training rows' targets in the eigenvectors."""
        vectors = self.with_action[1]
        return np.asarray(vectors.T @ self.targets[np.ix_(self.train, self.train)] @ vectors)

    def transition_losses(self, there: Bool[np.ndarray, " row"], penalties: Sequence[float]) -> Float[np.ndarray, " penalty"]:
        """Squared errors on some rows for every penalty; as those of the latents of ``penalties.Validation``."""
        across = np.ix_(there, self.train)
        values, vectors = self.with_action
        mixed = self.kernels[1][across] @ vectors
        inverse = 1 / (np.maximum(values, 0.0) + np.asarray(penalties)[:, None])
        match = np.einsum("ij,ij->j", mixed, self.targets[across] @ vectors)
        form = np.sum((inverse @ (self.products * (mixed.T @ mixed))) * inverse, axis=1)
        return np.asarray(np.trace(self.targets[np.ix_(there, there)]) - 2 * inverse @ match + form)

    def scalar_losses(self, there: Bool[np.ndarray, " row"], penalties: Sequence[float]) -> Float[np.ndarray, "penalty scalar"]:
        """Those of every scalar."""
        values, vectors = self.alone
        mixed, rotated = self.kernels[0][np.ix_(there, self.train)] @ vectors, vectors.T @ self.seen
        error = self.rows.scalars[there] - self.rows.scalars[self.train].mean(axis=0)
        inverse = 1 / (np.maximum(values, 0.0) + np.asarray(penalties)[:, None])
        return np.array([np.sum((error - mixed @ (rotated * each[:, None])) ** 2, axis=0) for each in inverse])


@dataclass(frozen=True)
class SquaredErrors:
    """Squared errors on the tested rows.

    Attributes
    ----------
    transition
        Of each feature of z_{t+1}, from [z, a].
    of_row
        Each row's part of the weighted sum over features.
    alone
        The weighted sum over features and rows, from z alone.
    """

    transition: Float[np.ndarray, " feature"]
    of_row: Float[np.ndarray, " tested"]
    alone: float
    scalars: Float[np.ndarray, "tested scalar"]


def evaluate_rows(
    rows: FewRows,
    train: Bool[np.ndarray, " row"],
    tested: Bool[np.ndarray, " row"],
    penalty: float,
    scalar_penalties: Float[np.ndarray, " scalar"],
    share: Float[np.ndarray, " feature"],
) -> SquaredErrors:
    """Fit on some rows and test on others; ``share`` is each feature's weight in sums over features."""
    kernels = _kernels(rows, train)
    inside, across = np.ix_(train, train), np.ix_(train, tested)
    with_action = _solve(kernels[1][inside], penalty, kernels[1][across]).T
    alone = with_action if kernels[1] is kernels[0] else _solve(kernels[0][inside], penalty, kernels[0][across]).T
    transition, of_row, sum_alone = np.zeros(len(share)), np.zeros(tested.sum()), 0.0
    for panel in panels(len(share)):
        seen, true = (rows.stored[rows.next[which], panel].astype(np.float64) for which in (train, tested))
        mean = seen.mean(axis=0)
        error = (true - mean - with_action @ (seen - mean)) ** 2
        transition[panel] = error.sum(axis=0)
        of_row += error @ share[panel]
        error = error if alone is with_action else (true - mean - alone @ (seen - mean)) ** 2
        sum_alone += float(error.sum(axis=0) @ share[panel])
    mean = rows.scalars[train].mean(axis=0)
    scalars = np.empty((tested.sum(), rows.scalars.shape[1]))
    for own in np.unique(scalar_penalties):
        same = np.flatnonzero(scalar_penalties == own)
        solved = _solve(kernels[0][inside], own, rows.scalars[train][:, same] - mean[same])
        scalars[:, same] = rows.scalars[tested][:, same] - mean[same] - kernels[0][across].T @ solved
    return SquaredErrors(transition, of_row, sum_alone, scalars**2)


def _solve(kernel: RowKernel, penalty: float, right: Float[np.ndarray, "row target"]) -> Float[np.ndarray, "row target"]:
    kernel.flat[:: len(kernel) + 1] += penalty  # a copy already: picked with np.ix_
    try:
        factor = scipy.linalg.cho_factor(kernel.T, lower=True, overwrite_a=True, check_finite=False)  # symmetric: .T spares a copy
    except scipy.linalg.LinAlgError:
        message = f"penalty {penalty:.1e} is below rounding, and the layer's rows depend on each other"
        raise DataError(message, hint="begin probe.penalties higher") from None
    return scipy.linalg.cho_solve(factor, right, check_finite=False)
