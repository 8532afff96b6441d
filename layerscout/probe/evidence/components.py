"""Squared errors and spectra of some episode groups in; the parts of the score, with their values without each group, out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.special
from jaxtyping import Float

from layerscout.cache.records import Estimate, Record
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.questions.splits import Split

LeftOut = tuple[float, ...]
WholeAndLeft = Float[np.ndarray, "whole_and_left"]  # a figure over all groups, then without each
ROUNDING = 1e-9  # share of a sum of squares below which nothing is left of it


class Components(Record):
    """What a score is made of. ``*_left`` are the same figures without each episode group.

    R² are 1 - squared error / total sum of squares about the mean of all rows (scikit-learn's ``r2_score`` on the concatenated
    predictions), for the transition averaged uniformly over live features.
    """

    reward_r2: float | None
    reward_r2_left: LeftOut | None
    transition_r2: float | None
    transition_r2_left: LeftOut | None
    transition_skill: float | None
    transition_skill_left: LeftOut | None
    effective_rank: float  # of the covariance, divided by the width
    effective_rank_left: LeftOut
    log_rank: float  # ln effective rank of the correlation / ln min(rows, width)
    log_rank_left: LeftOut
    persistence_r2: float | None
    autoregression_r2: float | None


class TargetFigure(Record):
    """R² of a target, and without each episode group; for several columns, the mean over them."""

    r2: float
    left: LeftOut | None


class HeldOut(Components):
    """What a layer reaches on episodes that had no part in the ranking: the parts of every score."""

    bits_action: float | None = None  # of the fit on all rows that ranked
    bits_action_left: LeftOut | None = None
    state: TargetFigure | None = None


@dataclass(frozen=True)
class Errors:
    """What the probes and the trivial forecasts got wrong on some groups.

    Attributes
    ----------
    reward
        Squared error of each group; None when the reward is undefined.
    transition
        Squared error of each feature of z_{t+1}, over all groups.
    transition_share
        Each group's part of the mean over live features of error / total sum of squares; sums to 1 - R².
    persistence, autoregression
        Squared error of each group and feature.
    """

    reward: Float[np.ndarray, " group"] | None
    transition: Float[np.ndarray, " feature"]
    transition_share: Float[np.ndarray, " group"]
    persistence: Float[np.ndarray, "group feature"]
    autoregression: Float[np.ndarray, "group feature"]


def divide(groups: MomentSums, split: Split) -> tuple[MomentSums, MomentSums | None]:
    """Part the groups that rank from those of the confirmation set, which nothing that ranks may see. Copies nothing."""
    count = len(split.ranking)  # they come first
    first, rest = (
        MomentSums(*(getattr(groups, name)[part] for name in groups.__dataclass_fields__)) for part in (slice(count), slice(count, None))
    )
    return first, rest if len(split.confirmation) else None


def components(
    groups: MomentSums, errors: Errors, live: Float[np.ndarray, " feature"], covariance: WholeAndLeft, correlation: WholeAndLeft
) -> Components:
    """Condense the errors of some groups, and the spectral entropies of their covariance and correlation matrix.

    ``live`` is 1 for a feature that varies over these groups, else 0.
    """
    width, rows = len(live), float(np.sum(groups.count))
    reward = np.full(1, np.nan) if errors.reward is None else single_r2(errors.reward, groups, width)
    latents = slice(0, width)
    transition = mean_r2(errors.transition, errors.transition_share, groups, latents, live)
    share = target_share(groups, latents, live)
    trivial = [mean_r2(by.sum(axis=0), by @ share, groups, latents, live) for by in (errors.persistence, errors.autoregression)]
    skill = transition_skill(transition, *trivial)
    ranks = np.clip(np.exp(np.minimum(covariance, math.log(width))) / width, 1 / width, 1.0)  # to first order it may be anything
    full = math.log(min(rows, width))
    logs = np.clip(correlation / full, 0.0, 1.0) if full else np.ones(len(correlation))  # one feature fills its one dimension
    return Components(
        reward_r2=whole(reward),
        reward_r2_left=left(reward),
        transition_r2=whole(transition),
        transition_r2_left=left(transition),
        transition_skill=whole(skill),
        transition_skill_left=left(skill),
        effective_rank=float(ranks[0]),
        effective_rank_left=tuple(ranks[1:].tolist()),
        log_rank=float(logs[0]),
        log_rank_left=tuple(logs[1:].tolist()),
        persistence_r2=whole(trivial[0]),
        autoregression_r2=whole(trivial[1]),
    )


def whole(figure: WholeAndLeft) -> float | None:
    """The figure over all groups; None for NaN."""
    return None if math.isnan(figure[0]) else float(figure[0])


def left(figure: WholeAndLeft) -> LeftOut | None:
    """The figures without each group; None when they cannot be had."""
    return None if len(figure) == 1 or np.isnan(figure).any() else tuple(figure[1:].tolist())


def squares_of(sums: MomentSums) -> Float[np.ndarray, "*group target"]:
    """Total sum of squares of each target about its mean over the same rows."""
    return np.maximum(sums.yy - sums.y**2 / np.maximum(np.asarray(sums.count)[..., None], 1), 0.0)


def _whole_and_left(groups: MomentSums) -> Float[np.ndarray, "whole_and_left target"]:
    """Total sums of squares of all groups together, then without each."""
    count, y, yy = (np.asarray(part) for part in (groups.count, groups.y, groups.yy))
    count, y, yy = (np.concatenate([part.sum(axis=0, keepdims=True), part.sum(axis=0) - part]) for part in (count, y, yy))
    return np.maximum(yy - y**2 / np.maximum(count, 1)[:, None], 0.0)


def target_share(groups: MomentSums, targets: slice, live: Float[np.ndarray, " target"]) -> Float[np.ndarray, " target"]:
    """Weight of each target's squared error in the mean over live targets of error / total sum of squares."""
    squares = _whole_and_left(groups)[0, targets]
    return live / np.where(live > 0, squares, 1.0) / max(float(live.sum()), 1.0)


def single_r2(error: Float[np.ndarray, " group"], groups: MomentSums, target: int) -> WholeAndLeft:
    """R² of one target, and without each group; only the first when one group holds all its variance."""
    squares = _whole_and_left(groups)[:, target]
    if squares[0] <= ROUNDING * np.sum(groups.count):  # scalars have variance 1 over the rows that rank
        return np.full(1, np.nan)
    if squares.min() <= ROUNDING * squares.max():
        return bounded(1 - error.sum(keepdims=True) / squares[:1])
    return bounded(1 - np.append(error.sum(), error.sum() - error) / squares)


def bounded(r2: WholeAndLeft) -> WholeAndLeft:
    """R² cut at its bound of 1, which rounding of the products may exceed where a target is told exactly."""
    return np.minimum(r2, 1.0)


def shuffled_r2(errors: Float[np.ndarray, " copy"], squares: Float[np.ndarray, " copy"]) -> LeftOut:
    """R² of each shuffled reward from its squared error and total sum of squares; those that are the same everywhere are left out."""
    varies = squares > 0
    return tuple(bounded(1 - errors[varies] / squares[varies]).tolist())


def mean_r2(
    error: Float[np.ndarray, " target"],
    share_of_group: Float[np.ndarray, " group"],
    groups: MomentSums,
    targets: slice,
    live: Float[np.ndarray, " target"],
) -> WholeAndLeft:
    """Mean R² over live targets, and without each group, from the errors that each group has summed over targets.

    With r = error / total sum of squares of a target and τ the group's share of that sum, leaving the group out adds
    mean(group's error / total sum of squares) - mean(r τ), over one minus the group's share: of the rows, in place of each
    target's own τ, so that a target that lives in one group only does not divide by nothing. NaN without live targets.
    """
    if not live.any():
        return np.full(1, np.nan)
    squares = _whole_and_left(groups)[:, targets]
    share = target_share(groups, targets, live)
    missing = 1 - squares[1:] / np.where(live > 0, squares[0], np.inf)
    ratio, rows = error * share, np.asarray(groups.count) / np.sum(groups.count)
    return bounded(1 - ratio.sum() + np.append(0.0, (share_of_group - missing @ ratio) / (1 - rows)))


def columns_figure(error: Float[np.ndarray, "group column"], groups: MomentSums, first: int) -> TargetFigure | None:
    """R² of a target whose columns lie side by side from ``first``, of those that vary over these groups; None where none does."""
    columns = slice(first, first + error.shape[1])
    if error.shape[1] == 1:
        figure = single_r2(error[:, 0], groups, first)
    else:
        live = (_whole_and_left(groups)[0, columns] > ROUNDING * np.sum(groups.count)).astype(np.float64)
        figure = mean_r2(error.sum(axis=0), error @ target_share(groups, columns, live), groups, columns, live)
    return None if np.isnan(figure[0]) else TargetFigure(r2=float(figure[0]), left=left(figure))


def transition_skill(transition: WholeAndLeft, persistence: WholeAndLeft, autoregression: WholeAndLeft) -> WholeAndLeft:
    """max(0, 1 - error / that of the best of three trivial forecasts): the mean, persistence, and AR(1) of each feature.

    Where a trivial forecast leaves nothing to explain, there is no skill to show: 0.
    """
    trivial = 1 - np.maximum(0.0, np.maximum(persistence, autoregression))
    explained = 1 - (1 - transition) / np.where(trivial > ROUNDING, trivial, 1.0)
    return np.where(trivial > ROUNDING, np.maximum(explained, 0.0), 0.0 * transition)


def jackknife(value: float | None, without: LeftOut | None, low: float = -np.inf, high: float = np.inf) -> Estimate | None:
    """Put a 95 % interval around a figure by the delete-a-group jackknife.

        se² = (G - 1) / G Σ_g (θ_(-g) - mean)²,    θ ± t_{0.975, G-1} se,  cut at the figure's natural bounds

    References
    ----------
    Kott (2001), The delete-a-group jackknife, Journal of Official Statistics 17.
    """
    if value is None:
        return None
    if without is None:
        return Estimate(value=value)
    count = len(without)
    error = float(np.sqrt((count - 1) * np.var(without)))
    reach = float(scipy.special.stdtrit(count - 1, 0.975)) * error
    return Estimate(value=value, low=max(value - reach, low), high=min(value + reach, high))
