"""One layer's moments in, everything measured about the layer out: figures with their leave-one-group-out values."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.special
from jaxtyping import Float

from layerscout.cache.records import Estimate, Record
from layerscout.probe.config import ProbeConfig
from layerscout.probe.controls import autoregression_error, bits_action, persistence_error
from layerscout.probe.crossfit import OutOfFold, cross_fit, pool_folds, sums_of_squares
from layerscout.probe.moments import Moments
from layerscout.probe.rank import correlation_rank, relative_rank
from layerscout.probe.ridge import correlations, rounding, scaling
from layerscout.probe.splits import Split

LeftOut = tuple[float, ...]


class Evidence(Record):
    """One layer's figures, before any weighting. ``*_left`` are the same figures without each episode group.

    R² are out-of-fold: 1 - squared error / total sum of squares about the mean of all rows (scikit-learn's ``r2_score`` on
    the concatenated out-of-fold predictions), for the transition averaged uniformly over live features.
    """

    name: str
    role: Literal["layer", "control", "twin"]
    depth: int
    width: int
    rows: int
    live_features: int
    reward_r2: float | None
    reward_r2_left: LeftOut | None
    reward_r2_shifted: LeftOut
    transition_r2: float | None
    transition_r2_left: LeftOut | None
    transition_r2_without_action: float | None
    persistence_r2: float | None
    autoregression_r2: float | None
    bits_action: float | None
    bits_action_by_chance: float | None
    effective_rank: float
    effective_rank_left: LeftOut
    correlation_rank: float  # dimensions
    transition_penalties: tuple[float, ...]  # chosen in each fold
    reward_penalties: tuple[float, ...]
    at_grid_edge: float  # largest share of folds, over both probes, that asked for a penalty beyond the grid


def measure(
    name: str, role: Literal["layer", "control", "twin"], depth: int, moments: Moments, split: Split, config: ProbeConfig
) -> Evidence:
    """Turn a layer's moments into its evidence; no row is read again."""
    width, groups = moments.width, moments.groups
    total, folds = pool_folds(moments, split)
    by = scaling(total, moments.shift)
    live = (by.y_variance[:width] > 0).astype(np.float64)
    penalties = [penalty + rounding(config.precision, width) for penalty in config.penalties]
    found = cross_fit(moments, split, total, folds, penalties, config.inner, live)
    squares = sums_of_squares(total)

    latents = np.where(live > 0, squares[:width], np.inf)

    def average(error: Float[np.ndarray, " feature"]) -> float | None:
        return float(1 - np.sum(error / latents) / live.sum()) if live.any() else None

    bits, chance = bits_action(moments, total, by, live, config.precision)
    rank, rank_left = relative_rank(groups, total, width)
    correlation = correlations(total, by)[0][:width, :width]
    has_reward = found.scalars.shape[1] > 0
    scalars = 1 - found.scalars.sum(axis=0) / squares[width:]
    return Evidence(
        name=name,
        role=role,
        depth=depth,
        width=width,
        rows=int(total.count),
        live_features=int(live.sum()),
        reward_r2=float(scalars[0]) if has_reward else None,
        reward_r2_left=_reward_left(found, moments) if has_reward else None,
        reward_r2_shifted=tuple(float(value) for value in scalars[1:]),
        transition_r2=average(found.transition),
        transition_r2_left=_transition_left(found, moments, squares[:width], live),
        transition_r2_without_action=float(1 - found.transition_alone_share.sum()) if live.any() else None,
        persistence_r2=average(persistence_error(total, width)),
        autoregression_r2=average(autoregression_error(total, folds, width)),
        bits_action=bits,
        bits_action_by_chance=chance,
        effective_rank=rank,
        effective_rank_left=rank_left,
        correlation_rank=correlation_rank(correlation),
        transition_penalties=tuple(config.penalties[choice] for choice in found.transition_choice),
        reward_penalties=tuple(config.penalties[choice] for choice in found.scalar_choice[:, 0]) if has_reward else (),
        at_grid_edge=float(max(found.transition_falling.mean(), found.reward_falling.mean())),
    )


def _squares_without(moments: Moments) -> Float[np.ndarray, "group target"]:
    """Total sums of squares about their own mean, without each group."""
    groups = moments.groups
    count, y, yy = (part.sum(axis=0) - part for part in (groups.count, groups.y, groups.yy))
    return np.maximum(yy - y**2 / count[:, None], 0.0)


def _reward_left(found: OutOfFold, moments: Moments) -> LeftOut | None:
    """Reward R² without each group; None when one group holds all the variance, for then it cannot be had."""
    squares = _squares_without(moments)[:, moments.width]
    if squares.min() <= 1e-9 * squares.max():
        return None
    error = found.scalars[:, 0]
    return tuple(float(value) for value in 1 - (error.sum() - error) / squares)


def _transition_left(
    found: OutOfFold, moments: Moments, squares: Float[np.ndarray, " feature"], live: Float[np.ndarray, " feature"]
) -> LeftOut | None:
    """Transition R² without each group, from the errors that each group has summed over features.

    With r = error / total sum of squares of a feature and τ the group's share of that sum, leaving the group out adds
    mean(group's error / total sum of squares) - mean(r τ), over one minus the group's share: of the rows, in place of each
    feature's own τ, so that a feature that lives in one group only does not divide by nothing.
    """
    if not live.any():
        return None
    alive = live > 0
    whole = squares[alive]
    held = 1 - _squares_without(moments)[:, : moments.width][:, alive] / whole
    error = found.transition[alive] / whole
    rows = moments.groups.count / moments.groups.count.sum()
    gained = (found.transition_share - held @ error / len(error)) / (1 - rows)
    return tuple(float(value) for value in 1 - error.mean() + gained)


def jackknife(value: float | None, left: LeftOut | None, low: float = -np.inf, high: float = np.inf) -> Estimate | None:
    """Put a 95 % interval around a figure by the delete-a-group jackknife.

        se² = (G - 1) / G Σ_g (θ_(-g) - mean)²,    θ ± t_{0.975, G-1} se,  cut at the figure's natural bounds

    References
    ----------
    Kott (2001), The delete-a-group jackknife, Journal of Official Statistics 17.
    """
    if value is None:
        return None
    if left is None:
        return Estimate(value=value)
    count = len(left)
    error = float(np.sqrt((count - 1) * np.var(left)))
    reach = float(scipy.special.stdtrit(count - 1, 0.975)) * error
    return Estimate(value=value, low=max(value - reach, low), high=min(value + reach, high))
