"""Evidence of layers in; how plainly each shows what the agent does, S-ctrl, by itself and among the others, out.

Inside a ranking, S-ctrl is the layer's rank by bits of action; where the dataset has a state, the mean of its ranks by bits of action and by
state R². For one layer alone, the rank by bits is replaced by the share of the action's effect that stands out of the noise,

    1 − 2^(−2 · bits / q),   q independent columns of the action,

and the rank by state R² by R² itself, cut to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Estimate, LayerScore
from layerscout.probe.evidence.components import LeftOut, TargetFigure, jackknife
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.questions.targets import STATE


def control_parts(found: LayerEvidence) -> Float[np.ndarray, "whole_and_left part"] | None:
    """Return the absolute parts of S-ctrl, each in [0, 1], over all groups in row 0, then without each; None without bits of action.

    Only row 0 where a part has no interval.
    """
    return _parts_of(found.bits_action, found.bits_action_left, found.action_columns, found.targets.get(STATE))


def control_parts_held(found: LayerEvidence) -> Float[np.ndarray, "whole_and_left part"] | None:
    """As ``control_parts``, on the episodes that had no part in the ranking; None where a part that ranked is undefined there."""
    held, state = found.confirmation, found.targets.get(STATE)
    if held is None or (held.state is None) != (state is None):
        return None
    return _parts_of(held.bits_action, held.bits_action_left, found.action_columns, held.state)


def _parts_of(
    bits: float | None, bits_left: LeftOut | None, columns: int, state: TargetFigure | None
) -> Float[np.ndarray, "whole_and_left part"] | None:
    if bits is None or not columns:
        return None
    parts = [1 - 2.0 ** (-2 * np.maximum(np.append(bits, bits_left or ()), 0.0) / columns)]
    if state is not None:
        parts.append(np.clip(np.append(state.r2, state.left or ()), 0.0, 1.0))
    rows = min(map(len, parts))
    return np.stack([part[: rows if rows == max(map(len, parts)) else 1] for part in parts], axis=1)


def control_score(found: LayerEvidence) -> Estimate | None:
    """Return the absolute S-ctrl of one layer, in [0, 1], with its jackknife interval."""
    return _score_of(control_parts(found))


def control_score_held(found: LayerEvidence) -> Estimate | None:
    """As ``control_score``, on the episodes that had no part in the ranking."""
    return _score_of(control_parts_held(found))


def _score_of(parts: Float[np.ndarray, "whole_and_left part"] | None) -> Estimate | None:
    if parts is None:
        return None
    values = parts.mean(axis=1).tolist()
    return jackknife(values[0], tuple(values[1:]) or None, 0.0, 1.0)


def control_ranks(layers: Sequence[LayerScore]) -> list[float | None]:
    """Return the mean rank of each layer among ``layers``, 1 for the best and 0 for the worst; None for one that lacks a part.

    State R² counts where any layer has one. Ties share their mean rank.
    """
    figures = [[layer.bits_action for layer in layers]]
    if any(layer.targets.get(STATE) for layer in layers):
        figures.append([None if (state := layer.targets.get(STATE)) is None else state.value for layer in layers])
    values = np.array([[np.nan if value is None else value for value in column] for column in figures])
    known = np.isfinite(values).all(axis=0)
    found = np.full(len(layers), np.nan)
    if known.any():
        found[known] = mean_rank(values[:, known])
    return [None if np.isnan(value) else float(value) for value in found]


def mean_rank(values: Float[np.ndarray, "part *draw layer"]) -> Float[np.ndarray, "*draw layer"]:
    """Mean over parts of each layer's rank by it, from 0 for the smallest to 1 for the largest."""
    count = values.shape[-1]
    from scipy.stats import rankdata  # a second of imports, which only ranks need

    return np.asarray((rankdata(values, axis=-1).mean(axis=0) - 1) / (count - 1) if count > 1 else np.ones(values.shape[1:]))
