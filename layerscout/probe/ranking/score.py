"""Evidence of every layer in, the composite scores, flags, order and choices out."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Confirmation, Estimate, LayerScore
from layerscout.probe.evidence.components import Components, jackknife
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.evidence.measures import CONTROL_RANK, Measure, bounds_of
from layerscout.probe.ranking.control import control_ranks, control_score, control_score_held

VERSIONS: dict[str, Literal["S/1", "S-across/1", "S-skill/1", "S-ctrl/1"]] = {
    "S": "S/1",
    "S-across": "S-across/1",
    "S-skill": "S-skill/1",
    "S-ctrl": "S-ctrl/1",
}
Weights = tuple[float, float, float]


def kind_of(chosen: str, evidence: Sequence[LayerEvidence], stores: int) -> str:
    """The score that orders.

    ``auto`` is S-ctrl where every candidate has bits of action, for half an order is none, and S elsewhere: without actions, and for layers
    with fewer rows than features. S over several stores takes the rank that is fair to widths.
    """
    if chosen == "auto":
        chosen = "S-ctrl" if all(one.bits_action is not None for one in evidence if one.role == "layer") else "S"
    return "S-across" if chosen == "S" and stores > 1 else chosen


def normalise_r2(r2: float | None, how: str) -> float:
    """Map R² to [0, 1] without looking at the other layers: ``clip`` to [0, 1], or ``affine`` clip((R² + 1) / 2, 0, 1).

    An undefined R² counts as 0 in either way: it is undefined for all layers alike, so scores stay comparable, and the
    ranking carries a note.
    """
    if r2 is None:
        return 0.0
    return float(np.clip(r2 if how == "clip" else (r2 + 1) / 2, 0.0, 1.0))


def composite(reward_r2: float | None, transition_r2: float | None, rank: float, weights: Weights, how: str) -> float:
    """S = w₁ R̃²_reward + w₂ R̃²_transition + w₃ rank, in [0, 1]."""
    return (
        weights[0] * normalise_r2(reward_r2, how) + weights[1] * normalise_r2(transition_r2, how) + weights[2] * float(np.clip(rank, 0, 1))
    )


def score_parts(found: Components, kind: str, how: str) -> Float[np.ndarray, "whole_and_left 3"]:
    """The three parts of a score, each in [0, 1]: over all groups in row 0, then without each group.

    ``S``: R̃²_reward, R̃²_transition, effective rank / width. ``S-across``: log rank in place of the last. ``S-skill``: transition
    skill, too, in place of R̃²_transition; both are in [0, 1] already. Only row 0 when the reward's interval cannot be had.
    """
    second, second_left = (
        (found.transition_skill, found.transition_skill_left) if kind == "S-skill" else (found.transition_r2, found.transition_r2_left)
    )
    third, third_left = (found.effective_rank, found.effective_rank_left) if kind == "S" else (found.log_rank, found.log_rank_left)
    forecast = "clip" if kind == "S-skill" else how
    rows = [(normalise_r2(found.reward_r2, how), normalise_r2(second, forecast), third)]
    if found.reward_r2 is None or found.reward_r2_left is not None:
        none = (None,) * len(third_left)
        rewards, seconds = found.reward_r2_left or none, second_left or none
        rows += [
            (normalise_r2(reward, how), normalise_r2(other, forecast), rank)
            for reward, other, rank in zip(rewards, seconds, third_left, strict=True)
        ]
    return np.array(rows)


def score(found: Components, weights: Weights, how: str, kind: str = "S") -> Estimate:
    """Return a layer's score; its interval is the jackknife of the score itself, so the parts' dependence is in it."""
    values = (score_parts(found, kind, how) @ np.array(weights)).tolist()
    estimate = jackknife(values[0], tuple(values[1:]) or None, 0.0, 1.0)
    assert estimate is not None, "the score is always defined"
    return estimate


def layer_flags(evidence: LayerEvidence, episodes: int) -> tuple[str, ...]:
    """Name the reasons to distrust a layer's figures.

    PERSISTENCE the probe hardly beats doing nothing · NO_ACTION actions add no bits beyond chance · COLLAPSED fewer than 3
    effective dimensions · DEAD_DIMS constant features · REWARD_NULL inside the shuffled rewards' range · UNDERSAMPLED fewer
    than 10 rows a feature · FEW_EPISODES fewer than 30 · ALPHA_EDGE most folds asked for a penalty beyond the grid.
    """
    gain = transition_gain(evidence)
    found = {
        "PERSISTENCE": gain is not None and gain < 0.02,
        "NO_ACTION": evidence.bits_action is not None and evidence.bits_action <= (evidence.bits_action_by_chance or 0.0),
        "COLLAPSED": evidence.correlation_rank < 3,
        "DEAD_DIMS": evidence.live_features < evidence.width,
        "REWARD_NULL": _inside_null(evidence),
        "UNDERSAMPLED": evidence.rows < 10 * evidence.width,
        "FEW_EPISODES": episodes < 30,
        "ALPHA_EDGE": evidence.at_grid_edge > 0.5,
    }
    return tuple(name for name, raised in found.items() if raised)


def _inside_null(evidence: LayerEvidence) -> bool:
    """The shuffled rewards went through the same search over penalties, so the search's optimism is in the null too."""
    if evidence.reward_r2 is None or not evidence.reward_r2_shifted:
        return False
    return evidence.reward_r2 <= float(np.percentile(evidence.reward_r2_shifted, 97.5))


def transition_gain(evidence: LayerEvidence) -> float | None:
    """Transition R² above the best of three trivial predictors: the mean (0), persistence, and AR(1) of each feature."""
    if evidence.transition_r2 is None or evidence.persistence_r2 is None or evidence.autoregression_r2 is None:
        return None
    return evidence.transition_r2 - max(0.0, evidence.persistence_r2, evidence.autoregression_r2)


def layer_score(
    evidence: LayerEvidence, weights: Weights, how: str, episodes: int, store_id: str = "", label: str = "", kind: str = "S"
) -> LayerScore:
    """Condense a layer's evidence to what the ranking carries. What compares layers is added by ``compare.rank_layers``."""
    shifted = evidence.reward_r2_shifted
    low, high = np.percentile(shifted, [2.5, 97.5]) if shifted else (0.0, 0.0)
    same = set(LayerScore.model_fields) & set(LayerEvidence.model_fields)
    figures = {name: getattr(evidence, name) for name in same} | {
        "store_id": store_id,
        "label": label,
        **_estimates(evidence),
        "transition_skill": jackknife(evidence.transition_skill, evidence.transition_skill_left, 0.0, 1.0),
        "score": score(evidence, weights, how, "S-across" if kind == "S-across" else "S"),
        "skill_score": score(evidence, weights, how, "S-skill"),
        "reward_r2_shuffled": Estimate(value=fmean(shifted), low=float(low), high=float(high)) if shifted else None,
        "transition_gain": transition_gain(evidence),
        "control_score": control_score(evidence),
        "measures": {name: one and _as_estimate(name, one) for name, one in evidence.measures.items()},
        "targets": {name: figure and jackknife(figure.r2, figure.left, high=1.0) for name, figure in evidence.targets.items()},
        "confirmation": None,
        "flags": layer_flags(evidence, episodes),
    }
    return LayerScore.model_validate(figures)


def _as_estimate(name: str, found: Measure) -> Estimate | None:
    if found.low is not None:
        return Estimate(value=found.value, low=found.low, high=found.high)
    return jackknife(found.value, found.left, *bounds_of(name))


def confirmation_scores(evidence: LayerEvidence, weights: Weights, how: str, kind: str) -> Confirmation | None:
    """Score a layer on the episodes that had no part in the ranking.

    There is no score where a part that ranked is undefined on these episodes: it would count as 0 here and not there.
    """
    found = evidence.confirmation
    if found is None:
        return None
    figures = _estimates(found) | {
        "bits_action": jackknife(found.bits_action, found.bits_action_left),
        "state_r2": found.state and jackknife(found.state.r2, found.state.left, high=1.0),
    }
    if kind == "S-ctrl":
        return Confirmation.model_validate(figures | {"score": control_score_held(evidence)})
    comparable = all((getattr(found, part) is None) == (getattr(evidence, part) is None) for part in ("reward_r2", "transition_r2"))
    return Confirmation.model_validate(figures | {"score": score(found, weights, how, kind) if comparable else None})


def _estimates(found: Components) -> dict[str, Estimate | None]:
    return {
        "reward_r2": jackknife(found.reward_r2, found.reward_r2_left, high=1.0),
        "transition_r2": jackknife(found.transition_r2, found.transition_r2_left, high=1.0),
        "effective_rank": jackknife(found.effective_rank, found.effective_rank_left, 0.0, 1.0),
    }


def order_layers(layers: Sequence[LayerScore], kind: str = "S") -> tuple[LayerScore, ...]:
    """Candidates by falling score (ties: the shallower first), then controls, then twins, each by depth.

    S-ctrl orders by ranks, and candidates carry theirs in ``measures``; without it a candidate comes last, as without a score.
    """
    candidates = [layer for layer in layers if layer.role == "layer"]
    found = control_ranks(candidates) if any(layer.measures for layer in layers) or kind == "S-ctrl" else [None] * len(candidates)
    ranks = dict(zip(map(id, candidates), found, strict=True))

    def place(layer: LayerScore) -> tuple[int, float, int]:
        value, chosen = None, layer.ordered_by(kind)
        if layer.role == "layer":
            value = ranks[id(layer)] if kind == "S-ctrl" else None if chosen is None else chosen.value
        return ("layer", "control", "twin").index(layer.role), 0.0 if value is None else -value, layer.depth

    def with_rank(layer: LayerScore) -> LayerScore:
        rank = ranks.get(id(layer))
        return layer if rank is None else layer.model_copy(update={"measures": layer.measures | {CONTROL_RANK: Estimate(value=rank)}})

    return tuple(map(with_rank, sorted(layers, key=place)))
