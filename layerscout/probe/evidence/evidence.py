"""One layer's moments in, everything measured about the layer out: figures with their leave-one-group-out values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.action_residuals import bits_held, bits_left, residual_matrices
from layerscout.probe.evidence.bits import Bits, bits
from layerscout.probe.evidence.components import (
    Components,
    Errors,
    HeldOut,
    LeftOut,
    TargetFigure,
    columns_figure,
    components,
    divide,
    jackknife,
    shuffled_r2,
    squares_of,
)
from layerscout.probe.evidence.confirm import confirm
from layerscout.probe.evidence.controls import autoregression_out_of_fold, diagonals, persistence_error
from layerscout.probe.evidence.measures import (
    SHALLOW,
    Measure,
    empty_measures,
    fixed_columns,
    measures_of_rows,
    measures_of_sums,
    with_turned,
)
from layerscout.probe.evidence.sampled import sample_rows
from layerscout.probe.moments.moments import Moments, MomentSums
from layerscout.probe.moments.rows import Reader
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import EXPERT, NO_TARGETS, OUTCOME, REWARD, REWARD_AHEAD, SHIFTED, Transitions
from layerscout.probe.solve.crossfit import OutOfFold, cross_fit, pool_folds
from layerscout.probe.solve.rank import (
    correlation_entropy,
    covariance_entropy,
    entropy_without_groups,
    massive_features,
    participation_ratio,
    rankme,
)
from layerscout.probe.solve.scaling import feature_scaling, rounding, rounding_unit, standardise, varying

__all__ = ["LayerEvidence", "TargetFigure", "jackknife", "measure"]

SPECTRUM = 256  # eigenvalues that are kept


class LayerEvidence(Components):
    """One layer's figures, before any weighting, from the episodes that rank; R² are out-of-fold."""

    name: str
    role: Literal["layer", "control", "twin"]
    depth: int
    width: int
    rows: int
    nonfinite_rows: int = 0
    live_features: int
    massive_features: int
    reward_r2_shifted: LeftOut
    transition_r2_without_action: float | None
    transition_r2_weighted: float | None
    bits_action: float | None
    bits_action_by_chance: float | None
    bits_action_left: LeftOut | None = None
    action_columns: int = 0  # that are independent: one fewer than there are discrete actions
    bits_total: float | None
    correlation_rank: float  # dimensions, as the three below
    participation_ratio: float
    rankme: float | None
    rankme_centred: float | None
    spectrum: tuple[float, ...]  # eigenvalue shares of the covariance, falling
    targets: dict[str, TargetFigure | None]
    measures: dict[str, Measure | None] = Field(default_factory=dict)  # beside the score; see ``evidence.measures``
    penalties: tuple[float, ...]
    transition_path: tuple[float, ...] | None  # mean validation R² of every penalty
    reward_path: tuple[float, ...] | None
    transition_penalties: tuple[float, ...]  # chosen in each fold
    reward_penalties: tuple[float, ...]
    at_grid_edge: float  # largest share of folds, over both probes, that asked for a penalty beyond the grid
    confirmation: HeldOut | None
    method: Literal["exact", "sketch", "dual"] = "exact"
    method_error: float | None = None  # largest difference of an R² to the exact one on a part of the rows
    precision: Literal["float32", "float64"] = "float64"  # of the products
    float32_error: float | None = None  # by how much float32 products would have moved an R², if that is why they are float64


def measure(
    name: str,
    role: Literal["layer", "control", "twin"],
    depth: int,
    moments: Moments,
    transitions: Transitions,
    split: Split,
    config: ProbeConfig,
    largest_effect: float = np.inf,
    reader: Reader | None = None,
) -> LayerEvidence:
    """Turn a layer's moments into its evidence.

    Parameters
    ----------
    reader
        For the measures of which some thousand rows are read once more; without it they are None.

    Raises
    ------
    RoundingExceeded
        The rounding of the products may have moved an R² by more than ``largest_effect``.
    """
    width, names = moments.width, transitions.target_names
    groups, held = divide(moments.groups, split)
    ranking = Moments(width, groups, moments.next_minus_latent, moments.shift, moments.nonfinite_rows)
    dealt = Split(split.group_of_episode, split.fold_of_group[split.ranking])
    total, folds = pool_folds(ranking, dealt)
    by = feature_scaling(total, moments.shift)
    live = (by.y_variance[:width] > 0).astype(np.float64)
    grid = [penalty + rounding(moments.precision, width) for penalty in config.penalties]
    shifted = np.array([column for column, name in enumerate(names) if name == SHIFTED], dtype=np.int64)
    fixed = None
    whole, parts_of = total, folds
    if config.measures:
        whole, parts_of, turned = with_turned(total, folds, groups, transitions, dealt, config.seed)
        fixed = fixed_columns(transitions, SHALLOW + rounding(moments.precision, width), turned)
    found = cross_fit(ranking, dealt, whole, parts_of, grid, config.inner, live, True, shifted, largest_effect, fixed)

    standardised = standardise(total, by)
    covariance = covariance_entropy(total, width, moments.shift.dtype, moments.shift)
    correlations, still = standardised[0][:width, :width] / total.count, ~varying(total, moments.shift)
    correlations[still], correlations[:, still] = 0.0, 0.0
    correlation = correlation_entropy(correlations, by.x_scale[:width], moments.shift.dtype)
    ranks = (covariance.value, correlation.value), (covariance.slope, correlation.slope)
    entropies = [np.append(value, left) for value, left in zip(ranks[0], entropy_without_groups(*ranks, groups, total, width), strict=True)]
    has_reward, forecast, unit = REWARD in names, diagonals(groups, width), rounding_unit(moments.shift.dtype)
    reward_error = found.scalars[:, 0] if has_reward else None
    trivial = (persistence_error(forecast), autoregression_out_of_fold(forecast, dealt.fold_of_group, unit))
    parts = components(groups, Errors(reward_error, found.transition, found.transition_share, *trivial), live, *entropies)
    information = bits(total, standardised, moments.next_minus_latent, live, bool(transitions.levels), by)
    targets = target_figures(found, groups, names, width)
    directions = correlation.leading / by.x_scale[:width, None]
    beside: dict[str, Measure | None] = {}
    bits_action_left: LeftOut | None = None
    held_bits: Measure | None = None
    if config.measures:
        beside, bits_action_left, held_bits = _beside(
            found, targets, groups, parts_of, directions, information, moments, transitions, split, dealt, reader
        )
    singular = rankme(total, moments.shift, covariance, rounding(moments.precision, width))
    squares = squares_of(total)
    confirmation: HeldOut | None = None
    if held is not None:
        confirmation = confirm(total, held, moments.shift, grid, found, live, names, covariance, correlation, held_bits)
    return LayerEvidence(
        **parts.model_dump(),
        name=name,
        role=role,
        depth=depth,
        width=width,
        rows=int(total.count),
        nonfinite_rows=moments.nonfinite_rows,
        live_features=int(live.sum()),
        massive_features=massive_features(by.y_variance[:width]),
        reward_r2_shifted=shuffled_r2(found.scalars[:, shifted].sum(axis=0), squares[width + shifted]),
        transition_r2_without_action=min(float(1 - found.transition_alone_share.sum()), 1.0) if live.any() else None,
        transition_r2_weighted=min(float(1 - live @ found.transition / (live @ squares[:width])), 1.0) if live.any() else None,
        bits_action=information.action,
        bits_action_by_chance=information.action_by_chance,
        bits_action_left=bits_action_left,
        action_columns=information.columns,
        bits_total=information.total,
        correlation_rank=float(np.exp(correlation.value)),
        participation_ratio=participation_ratio(covariance.shares),
        rankme=singular[0],
        rankme_centred=singular[1],
        spectrum=tuple(covariance.shares[:SPECTRUM].tolist()),
        targets=dict.fromkeys(transitions.undefined) | {name: one for name, one in targets.items() if name not in NO_TARGETS},
        measures=beside,
        penalties=config.penalties,
        transition_path=tuple(found.transition_path.tolist()) if live.any() else None,
        reward_path=tuple(found.scalar_path[:, 0].tolist()) if has_reward else None,
        transition_penalties=tuple(config.penalties[choice] for choice in found.transition_choice),
        reward_penalties=tuple(config.penalties[choice] for choice in found.scalar_choice[:, 0]) if has_reward else (),
        at_grid_edge=float(max(found.transition_falling.mean(), found.reward_falling.mean() if has_reward else 0.0)),
        confirmation=confirmation,
    )


def _beside(
    found: OutOfFold,
    targets: dict[str, TargetFigure | None],
    groups: MomentSums,
    folds: Sequence[MomentSums],
    directions: Float[np.ndarray, "feature direction"],
    information: Bits,
    moments: Moments,
    transitions: Transitions,
    split: Split,
    dealt: Split,
    reader: Reader | None,
) -> tuple[dict[str, Measure | None], LeftOut | None, Measure | None]:
    """Return every measure that stands beside the score; bits of action without each episode group; and those of the confirmation set."""
    beside = empty_measures(transitions)
    if found.fixed is not None:
        ahead, expert = (as_measure(targets.get(name)) for name in (REWARD_AHEAD, EXPERT))
        beside |= measures_of_sums(found.fixed, ahead, expert, groups, folds, transitions, dealt)
    bits_action_left: LeftOut | None = None
    held_bits: Measure | None = None
    if reader is not None:
        maps = found.fixed.maps if found.fixed is not None else ()
        extra = residual_matrices(information, moments.width)
        sample = sample_rows(reader, moments.shift, directions, maps, transitions, split, extra)
        beside |= measures_of_rows(sample, found.fixed, transitions, split)
        bits_action_left = bits_left(information, sample, transitions, split)
        held_bits = bits_held(information, sample, transitions, split)
    return beside, bits_action_left, held_bits


def as_measure(figure: TargetFigure | None) -> Measure | None:
    """Return a target's R² as a measure with its values when each group is left out; None stays None."""
    return None if figure is None else Measure(value=figure.r2, left=figure.left)


def target_figures(found: OutOfFold, groups: MomentSums, names: tuple[str, ...], width: int) -> dict[str, TargetFigure | None]:
    """R² of every other target whose penalty is searched; its columns lie side by side."""
    figures: dict[str, TargetFigure | None] = {}
    for name in dict.fromkeys(names):
        if name in (REWARD, SHIFTED, OUTCOME):
            continue
        first, count = names.index(name), names.count(name)
        figures[name] = columns_figure(found.scalars[:, first : first + count], groups, width + first)
    return figures
