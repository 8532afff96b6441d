"""Features and a state of the same rows in, how much of every number of the state a ridge reads from them out: R², tested on other episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.batches import batch_sums
from layerscout.probe.solve.crossfit import without
from layerscout.probe.solve.ridge import fit_ridge, squared_errors

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 4


def read_out(
    features: Float[np.ndarray, "row feature"],
    targets: Float[np.ndarray, "row target"],
    episodes: Int64[np.ndarray, " row"],
    penalties: Sequence[float] = PENALTIES,
) -> list[float | None]:
    """Fit ridges on three quarters of the episodes and test them on the rest, each quarter in turn.

    The penalty of a quarter is chosen, for every target, on the next quarter, by a fit without both; so nothing that is tested was seen.

    Parameters
    ----------
    features, targets
        Rows of the same moments.
    episodes
        Which episode each row belongs to; an episode is never cut.
    penalties
        Relative to the number of rows that are fitted.

    Returns
    -------
    list of float or None
        1 − Σ error² / Σ (target − its mean)² over all rows; None where a target does not vary, or there are fewer than 4 episodes.
    """
    known, place = np.unique(episodes, return_inverse=True)
    count = targets.shape[1]
    if len(known) < FOLDS:
        return [None] * count
    live = features.std(axis=0) > 0
    x = features[:, live].astype(np.float64)
    folds = _sums_of_folds(x, targets.astype(np.float64), place % FOLDS)
    errors = np.zeros(count)
    for tested in range(FOLDS):
        valid, shift = (tested + 1) % FOLDS, np.zeros(x.shape[1])
        rest = without(folds, (tested, valid))
        losses = np.stack([_errors(rest, folds[valid], shift, np.full(count, penalty)) for penalty in penalties])
        errors += _errors(without(folds, (tested,)), folds[tested], shift, np.asarray(penalties)[losses.argmin(axis=0)])
    squares = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    return [float(1 - error / square) if square > 0 else None for error, square in zip(errors, squares, strict=True)]


def _sums_of_folds(x: np.ndarray, targets: np.ndarray, fold: np.ndarray) -> list[MomentSums]:
    # the ridge foretells features too; here they are their own targets, and nobody asks for them
    both = np.concatenate([x, targets], axis=1)
    centre = both.mean(axis=0)
    x, both = x - centre[: x.shape[1]], both - centre
    zero = (np.zeros(x.shape[1]), np.zeros(both.shape[1]))
    return [batch_sums(x[fold == one], both[fold == one], zero, "float64") for one in range(FOLDS)]


def _errors(train: MomentSums, test: MomentSums, shift: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    _, _, scalars = fit_ridge(train, shift, float(penalties[0]), penalties)
    return squared_errors(scalars, test, slice(len(shift), None))
