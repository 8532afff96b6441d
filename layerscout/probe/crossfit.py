"""One layer's moments in, out-of-fold squared errors of every target out; penalties are chosen inside the training episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from layerscout.probe.moments import Moments, Sums
from layerscout.probe.ridge import decompose, fit, squared_errors, validate, weighted_errors
from layerscout.probe.splits import Split


@dataclass(frozen=True)
class OutOfFold:
    """What the probes got wrong on episodes that they were not fitted on.

    Attributes
    ----------
    transition
        Squared error of each next-latent target from [z, a], summed over all rows.
    transition_share
        Each group's part of the mean over live targets of error / total sum of squares; sums to 1 - R².
    transition_alone_share
        The same in each fold, from z alone.
    scalars
        Squared error of each group and scalar target.
    transition_choice, scalar_choice
        Index of the penalty chosen in each fold.
    transition_falling, reward_falling
        In which folds the best penalty was an end of the grid and the loss was still falling towards it, by more than 1 %
        from its neighbour: a longer grid would have changed the fit.
    """

    transition: Float[np.ndarray, " feature"]
    transition_share: Float[np.ndarray, " group"]
    transition_alone_share: Float[np.ndarray, " fold"]
    scalars: Float[np.ndarray, "group scalar"]
    transition_choice: Int[np.ndarray, " fold"]
    scalar_choice: Int[np.ndarray, "fold scalar"]
    transition_falling: Bool[np.ndarray, " fold"]
    reward_falling: Bool[np.ndarray, " fold"]


def sums_of_squares(sums: Sums) -> Float[np.ndarray, "*group target"]:
    """Total sum of squares of each target about its mean over the same rows, as in ``sklearn.metrics.r2_score``."""
    count = np.asarray(sums.count)[..., None]
    return np.maximum(sums.yy - sums.y**2 / np.maximum(count, 1), 0.0)


def pool_folds(moments: Moments, split: Split) -> tuple[Sums, list[Sums]]:
    """Add up the groups: all rows, and each fold."""
    folds = [moments.groups.pool(np.flatnonzero(split.fold_of_group == fold)) for fold in range(split.folds)]
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total, folds


def cross_fit(
    moments: Moments,
    split: Split,
    total: Sums,
    folds: Sequence[Sums],
    penalties: Sequence[float],
    inner: str,
    live: Float[np.ndarray, " feature"],
) -> OutOfFold:
    """Fit on all folds but one and test on that one, for every fold in turn.

    Parameters
    ----------
    total, folds
        From ``pool_folds``.
    penalties
        Rising, relative to the number of training rows.
    inner
        ``next``: the penalty of a fold is chosen by fitting without it and the next fold, and validating on the next.
        ``all``: by validating on each other fold in turn and adding the losses.
    live
        1 for a feature that varies over all transitions, else 0.
    """
    width, groups = moments.width, moments.groups
    losses, scalar_losses = _inner_losses(total, folds, moments.shift, penalties, inner, live)
    transition_choice, scalar_choice = losses.argmin(axis=1), scalar_losses.argmin(axis=1)

    latents, scalars = slice(0, width), slice(width, None)
    squares = sums_of_squares(total)[latents]
    share = live / np.where(live > 0, squares, 1.0) / max(live.sum(), 1.0)
    transition, by_group, alone = np.zeros(width), np.zeros(split.groups), np.zeros(split.folds)
    scalars_by_group = np.zeros((split.groups, scalar_choice.shape[1]))
    for fold, tested in enumerate(folds):
        members = np.flatnonzero(split.fold_of_group == fold).tolist()
        penalty, scalar_penalties = penalties[transition_choice[fold]], np.asarray(penalties)[scalar_choice[fold]]
        with_action, without, scalar = fit(total - tested, moments.shift, penalty, scalar_penalties)
        transition += squared_errors(with_action, tested, latents)
        by_group[members] = weighted_errors(with_action, [groups[group] for group in members], latents, share)
        alone[fold] = weighted_errors(without, [tested], latents, share)[0]
        for group in members:
            scalars_by_group[group] = squared_errors(scalar, groups[group], scalars)
    reward_losses = scalar_losses[:, :, 0] if scalar_losses.shape[2] else np.zeros_like(losses)
    return OutOfFold(
        transition,
        by_group,
        alone,
        scalars_by_group,
        transition_choice,
        scalar_choice,
        _still_falling(losses),
        _still_falling(reward_losses),
    )


def _still_falling(losses: Float[np.ndarray, "fold penalty"]) -> Bool[np.ndarray, " fold"]:
    if losses.shape[1] < 2:
        return np.zeros(len(losses), dtype=bool)
    best = losses.argmin(axis=1)
    first = (best == 0) & (losses[:, 1] > 1.01 * losses[:, 0])
    last = (best == losses.shape[1] - 1) & (losses[:, -2] > 1.01 * losses[:, -1])
    return first | last


def _inner_losses(
    total: Sums,
    folds: Sequence[Sums],
    pilot: Float[np.ndarray, " feature"],
    penalties: Sequence[float],
    inner: str,
    live: Float[np.ndarray, " feature"],
) -> tuple[Float[np.ndarray, "fold penalty"], Float[np.ndarray, "fold penalty scalar"]]:
    """Validation losses of each outer fold. A pair of left-out folds shares one decomposition in both roles."""
    count = len(folds)
    scalars = total.y.shape[0] - len(live)
    transition, scalar = np.zeros((count, len(penalties))), np.zeros((count, len(penalties), scalars))
    roles = [(tested, (tested + 1) % count) for tested in range(count)]
    if inner == "all":
        roles = [(tested, other) for tested in range(count) for other in range(count) if other != tested]
    for pair in sorted({(min(role), max(role)) for role in roles}):
        train = decompose(total - folds[pair[0]] - folds[pair[1]], pilot)
        for tested, validated in (pair, pair[::-1]):
            if (tested, validated) in roles:
                found = validate(train, folds[validated], penalties, live)
                transition[tested] += found[0]
                scalar[tested] += found[1]
    return transition, scalar
