"""Moments of the episodes that ranked and of those that did not in; what a layer reaches on the second out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerscout.probe.evidence.components import Errors, HeldOut, columns_figure, components, squares_of, target_share
from layerscout.probe.evidence.controls import autoregression_error, diagonals, persistence_error
from layerscout.probe.evidence.measures import Measure
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.questions.targets import REWARD, STATE
from layerscout.probe.solve.crossfit import OutOfFold
from layerscout.probe.solve.eigen import eigenvalues
from layerscout.probe.solve.rank import SpectralEntropy, effective_rank, entropy_without_groups, scatter
from layerscout.probe.solve.ridge import fit_ridge, squared_errors, weighted_errors
from layerscout.probe.solve.scaling import DEAD, rounding_unit


def confirm(
    train: MomentSums,
    groups: MomentSums,
    pilot: Float[np.ndarray, " feature"],
    penalties: Sequence[float],
    found: OutOfFold,
    live: Float[np.ndarray, " feature"],
    names: tuple[str, ...],
    covariance: SpectralEntropy,
    correlation: SpectralEntropy,
    bits: Measure | None,
) -> HeldOut:
    """Fit on all rows that ranked, with the penalty of the best mean validation R² there, and test on ``groups``.

    Ranks are those of the tested rows alone, which are fewer than those that ranked, so they come out a little lower; their
    values without each group use the derivative found on the rows that ranked.

    Parameters
    ----------
    train, groups
        Moments of all rows that ranked, and of each group of the confirmation set.
    pilot
        The features' shift.
    penalties
        As given to ``cross_fit``, whose result is ``found``.
    live
        1 for a feature that varies over the rows that ranked, else 0.
    names
        Target of each scalar; the reward, where there is one, is the first.
    covariance, correlation
        Spectral entropies over the rows that ranked.
    bits
        Bits of action of the confirmation set.
    """
    width, has_reward = len(live), REWARD in names
    states = [column for column, name in enumerate(names) if name == STATE]
    columns = np.array([0][:has_reward] + states, dtype=np.int64)
    fitted = width + max(columns.tolist(), default=-1) + 1
    train, groups = train.first_targets(fitted), groups.first_targets(fitted)
    total = groups.pool(np.arange(len(groups.count)))
    squares = squares_of(total)[:width]
    unit = max(10 * np.finfo(pilot.dtype).eps, DEAD)
    noise = np.maximum(DEAD * total.count * (total.y[:width] / total.count + pilot) ** 2, unit * total.yy[:width])
    live = live * (squares > noise)
    latents = slice(0, width)
    penalty = penalties[int(np.argmax(found.transition_path))]
    scalar_penalties = np.asarray(penalties)[np.argmax(found.scalar_path[:, columns], axis=0)]
    with_action, _, scalars = fit_ridge(train, pilot, penalty, scalar_penalties, columns=columns)
    each = [groups[group] for group in range(len(groups.count))]
    wrong = np.array([squared_errors(scalars, one, width + columns) for one in each])
    forecast = diagonals(groups, width)
    errors = Errors(
        reward=wrong[:, 0] if has_reward else None,
        transition=squared_errors(with_action, total, latents),
        transition_share=np.array(weighted_errors(with_action, each, latents, target_share(groups, latents, live))),
        persistence=persistence_error(forecast),
        autoregression=autoregression_error(diagonals(_as_one_group(train), width), forecast, rounding_unit(pilot.dtype)),
    )
    spread = scatter(total, width) / total.count
    variance = np.diagonal(spread)
    scale = np.sqrt(np.where((live > 0) & (variance > noise / total.count), variance, np.inf))
    values = [float(np.log(effective_rank(eigenvalues(matrix)))) for matrix in (spread, spread / scale / scale[:, None])]
    left = entropy_without_groups(values, (covariance.slope, correlation.slope), groups, total, width)
    entropies = [np.append(value, without) for value, without in zip(values, left, strict=True)]
    return HeldOut(
        **components(groups, errors, live, *entropies).model_dump(),
        bits_action=bits.value if bits else None,
        bits_action_left=bits.left if bits else None,
        state=columns_figure(wrong[:, has_reward:], groups, width + states[0]) if states else None,
    )


def _as_one_group(sums: MomentSums) -> MomentSums:
    return MomentSums(*(np.asarray(getattr(sums, name))[None] for name in sums.__dataclass_fields__))
