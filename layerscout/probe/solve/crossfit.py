"""One layer's moments in, out-of-fold squared errors of every target out; penalties are chosen inside the training episodes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from layerscout.probe.moments.moments import Moments, MomentSums
from layerscout.probe.questions.splits import Split
from layerscout.probe.solve.accuracy import RoundingExceeded, rounding_effect
from layerscout.probe.solve.fixed import FixedColumns, FixedFit
from layerscout.probe.solve.penalties import decompose, of_scalars, scalar_losses, validate
from layerscout.probe.solve.ridge import fit_ridge, prediction_sums, squared_errors, squared_errors_of_both, weighted_errors
from layerscout.probe.solve.scaling import rounding, target_weights

TINY = np.finfo(np.float64).tiny
MATTERS = 1e-4  # of R²: a loss that falls by less falls towards rounding


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
        Squared error of each group and scalar target; of a pooled one, each group has its share of rows of its fold's error.
    transition_path, scalar_path
        Mean validation R² of every penalty.
    transition_choice, scalar_choice
        Index of the penalty chosen in each fold.
    transition_falling, reward_falling
        In which folds the best penalty was an end of the grid and the loss was still falling towards it, by more than 1 %
        and 10⁻⁴ of R² from its neighbour: a longer grid would have changed the fit.
    fixed
        What the fits at a fixed penalty predict, if there are any.
    """

    transition: Float[np.ndarray, " feature"]
    transition_share: Float[np.ndarray, " group"]
    transition_alone_share: Float[np.ndarray, " fold"]
    scalars: Float[np.ndarray, "group scalar"]
    transition_path: Float[np.ndarray, " penalty"]
    scalar_path: Float[np.ndarray, "penalty scalar"]
    transition_choice: Int[np.ndarray, " fold"]
    scalar_choice: Int[np.ndarray, "fold scalar"]
    transition_falling: Bool[np.ndarray, " fold"]
    reward_falling: Bool[np.ndarray, " fold"]
    fixed: FixedFit | None = None


def sums_of_squares(sums: MomentSums) -> Float[np.ndarray, "*group target"]:
    """Total sum of squares of each target about its mean over the same rows, as in ``sklearn.metrics.r2_score``."""
    count = np.asarray(sums.count)[..., None]
    return np.maximum(sums.yy - sums.y**2 / np.maximum(count, 1), 0.0)


def pool_folds(moments: Moments, split: Split) -> tuple[MomentSums, list[MomentSums]]:
    """Add up the groups: all rows, and each fold."""
    folds = [moments.groups.pool(np.flatnonzero(split.fold_of_group == fold)) for fold in range(split.folds)]
    return without(folds), folds


def without(folds: Sequence[MomentSums], left_out: Sequence[int] = ()) -> MomentSums:
    """Add up all folds but some. To take those away from the sum of all would be quicker, and would leave rounding behind.

    A feature that is still but for one large value in a fold left out would then seem to vary a little in the others, and everything is divided by
    how much a feature varies.
    """
    first, *others = (fold for place, fold in enumerate(folds) if place not in left_out)
    total = MomentSums(*(np.array(getattr(first, name)) for name in MomentSums.__dataclass_fields__))
    for fold in others:
        total += fold
    return total


def cross_fit(
    moments: Moments,
    split: Split,
    total: MomentSums,
    folds: Sequence[MomentSums],
    penalties: Sequence[float],
    inner: str,
    live: Float[np.ndarray, " feature"],
    scaled: bool = True,
    pooled: Int[np.ndarray, " pooled_scalar"] | None = None,
    largest_effect: float = np.inf,
    fixed: FixedColumns | None = None,
) -> OutOfFold:
    """Fit on all folds but one and test on that one, for every fold in turn.

    Parameters
    ----------
    total, folds
        From ``pool_folds``.
    penalties
        Rising, relative to the number of training rows.
    inner
        Where the penalty of a fold is chosen, by fitting without it and another fold and validating on that one. ``all``: on each
        other fold in turn, adding the losses. ``scalars``: so for the scalars, and on the fold's partner alone for the latents.
        ``pair``: on the partner alone.
    live
        1 for a feature that varies over all transitions, else 0.
    scaled
        Whether latents are scaled to variance 1, as inputs and as targets. If not, ``live`` holds the weight of each target's
        squared error. See ``scaling.feature_scaling`` and ``scaling.target_weights``.
    pooled
        Scalars whose errors are wanted for all groups together only, which is quicker.
    largest_effect
        Of an R², by the rounding of the products; not looked at when infinite.
    fixed
        Scalars to fit at a fixed penalty. Those from ``fixed.first`` on have no other.

    Raises
    ------
    RoundingExceeded
        Rounding may have moved an R² by more than ``largest_effect``.
    """
    width, groups = moments.width, moments.groups
    fixed = FixedColumns.none(total.y.shape[0] - width) if fixed is None else fixed
    searched = [sums.first_targets(width + fixed.first) for sums in (total, *folds)]
    losses, scalar_losses_of_fold = _inner_losses(searched[0], searched[1:], moments.shift, penalties, inner, live, scaled, largest_effect)
    transition_choice, scalar_choice = losses.argmin(axis=1), scalar_losses_of_fold.argmin(axis=1)

    latents, scalars = slice(0, width), slice(width, None)
    squares = sums_of_squares(total)[latents]
    share = target_weights(squares, live, scaled)
    transition, by_group, alone = np.zeros(width), np.zeros(split.groups), np.zeros(split.folds)
    scalars_by_group = np.zeros((split.groups, scalar_choice.shape[1]))
    pooled = np.zeros(0, dtype=np.int64) if pooled is None else pooled
    single = np.setdiff1d(np.arange(scalar_choice.shape[1]), pooled)
    predicted = FixedFit.empty(fixed, split, width)
    for fold, tested in enumerate(folds):
        members = np.flatnonzero(split.fold_of_group == fold).tolist()
        penalty, scalar_penalties = penalties[transition_choice[fold]], np.asarray(penalties)[scalar_choice[fold]]
        columns = np.append(np.arange(len(scalar_penalties)), fixed.columns)
        scalar_penalties = np.append(scalar_penalties, np.full(len(fixed.columns), fixed.penalty))
        with_action, removal, scalar = fit_ridge(without(folds, (fold,)), moments.shift, penalty, scalar_penalties, scaled, columns)
        error, error_alone = squared_errors_of_both(with_action, removal, tested, latents)
        transition += error
        by_group[members] = weighted_errors(with_action, [groups[group] for group in members], latents, share)
        alone[fold] = share @ error_alone
        kept = fixed.first + np.arange(len(fixed.by_group))
        several = scalar.select(np.append(single, kept))
        for group in members:  # each group's products are read once
            forecast = prediction_sums(several, groups[group], width + columns[np.append(single, kept)])
            one = groups[group].yy[width + single] - 2 * forecast.products[: len(single)] + forecast.squares[: len(single)]
            scalars_by_group[group, single] = one
            predicted.add_group(group, forecast, len(single))
        together = squared_errors(scalar.select(pooled), tested, width + pooled)
        scalars_by_group[np.ix_(np.array(members), pooled)] = np.outer(groups.count[members] / max(tested.count, 1), together)
        predicted.add(fold, scalar.select(np.arange(fixed.first, len(columns))), tested)
    mean = searched[0].y / total.count
    roles = {
        each: [searched[1 + valid] for pair in found.values() for _, valid in pair]
        for each, found in search_roles(split.folds, inner).items()
    }
    rows = sum(fold.count for fold in roles["latents"])
    about = np.sum([_squares_about(mean, fold) for fold in roles["scalars"]], axis=0)[scalars]
    reward_losses = scalar_losses_of_fold[:, :, 0] / max(about[0], TINY) if len(about) else np.zeros_like(losses)
    return OutOfFold(
        transition,
        by_group,
        alone,
        scalars_by_group,
        np.minimum(1 - losses.sum(axis=0) / rows, 1.0),
        np.minimum(1 - scalar_losses_of_fold.sum(axis=0) / np.maximum(about, TINY), 1.0),
        transition_choice,
        scalar_choice,
        still_falling(losses / rows * split.folds),
        still_falling(reward_losses * split.folds),
        predicted if len(fixed.columns) else None,
    )


def _squares_about(mean: Float[np.ndarray, " target"], sums: MomentSums) -> Float[np.ndarray, " target"]:
    return sums.yy - 2 * mean * sums.y + sums.count * mean**2


def still_falling(losses: Float[np.ndarray, "fold penalty"]) -> Bool[np.ndarray, " fold"]:
    """True for folds whose least loss lies at an end of the grid of penalties and still falls there.

    Falling is losing more than 1 % and more than ``MATTERS`` against the neighbour; a grid of one penalty never falls.
    """
    if losses.shape[1] < 2:
        return np.zeros(len(losses), dtype=bool)
    best = losses.argmin(axis=1)
    first = (best == 0) & (losses[:, 1] > 1.01 * losses[:, 0] + MATTERS)
    last = (best == losses.shape[1] - 1) & (losses[:, -2] > 1.01 * losses[:, -1] + MATTERS)
    return first | last


def _inner_losses(
    total: MomentSums,
    folds: Sequence[MomentSums],
    pilot: Float[np.ndarray, " feature"],
    penalties: Sequence[float],
    inner: str,
    live: Float[np.ndarray, " feature"],
    scaled: bool,
    largest_effect: float,
) -> tuple[Float[np.ndarray, "fold penalty"], Float[np.ndarray, "fold penalty scalar"]]:
    """Validation losses of each outer fold. A pair of left-out folds shares one decomposition in both roles."""
    count = len(folds)
    scalars = total.y.shape[0] - len(live)
    transition, scalar = np.zeros((count, len(penalties))), np.zeros((count, len(penalties), scalars))
    first = True
    roles, parts = search_roles(count, inner), [of_scalars(sums, len(live)) for sums in folds]
    for pair, wanted in roles["scalars"].items():
        of_latents, train = roles["latents"].get(pair, ()), None
        if of_latents:
            train = decompose(without(folds, pair), pilot, live, scaled)
        for tested, validated in of_latents:
            assert train is not None
            validation = validate(train, folds[validated])
            losses, scalar_found = validation.transition(penalties), validation.scalars(penalties)
            if largest_effect < np.inf:
                # of the scalars, the first fit tells for all
                more = rounding(pilot.dtype.name, len(live)), 1 if first and scalars else 0
                amount = rounding_effect(validation, penalties, losses, scalar_found, *more, folds[validated], total.y / total.count)
                if amount > largest_effect:
                    raise RoundingExceeded(amount)
            first = False
            transition[tested] += losses
            scalar[tested] += scalar_found
        left = [role for role in wanted if role not in of_latents] if scalars else []
        if left:
            rest = without(parts, pair)
            several = scalar_losses(rest, [parts[validated] for _, validated in left], pilot, penalties, scaled, train)
            for (tested, _), losses in zip(left, several, strict=True):
                scalar[tested] += losses
    return transition, scalar


InnerRoles = dict[tuple[int, int], tuple[tuple[int, int], ...]]


def search_roles(folds: int, inner: str) -> dict[str, InnerRoles]:
    """Tell the roles of the latents' search and of the scalars'; the first are among the second."""
    return {
        "latents": inner_roles(folds, "all" if inner == "all" else "pair"),
        "scalars": inner_roles(folds, "pair" if inner == "pair" else "all"),
    }


def inner_roles(folds: int, inner: str) -> InnerRoles:
    """Tell which (tested, validated) folds each pair of left-out folds serves; a pair costs one decomposition.

    With ``pair``, neighbours are partners: (0, 1), (2, 3) and so on; of an odd number the last one's partner is fold 0.
    """
    if inner == "all":
        return {pair: (pair, pair[::-1]) for pair in itertools.combinations(range(folds), 2)}
    pairs: InnerRoles = {(fold, fold + 1): ((fold, fold + 1), (fold + 1, fold)) for fold in range(0, folds - 1, 2)}
    return pairs | ({(0, folds - 1): ((folds - 1, 0),)} if folds % 2 else {})
