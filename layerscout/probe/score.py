"""Evidence of every layer in, the composite score, flags, order and choices out."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from layerscout.cache.records import Choice, Estimate, LayerScore
from layerscout.probe.evidence import Evidence, jackknife

SCORE_VERSION = "S/1"
Weights = tuple[float, float, float]


def normalise(r2: float | None, how: str) -> float:
    """Map R² to [0, 1] without looking at the other layers: ``clip`` to [0, 1], or ``affine`` clip((R² + 1) / 2, 0, 1).

    An undefined R² counts as 0 in either way: it is undefined for all layers alike, so scores stay comparable, and the
    ranking carries a note.
    """
    if r2 is None:
        return 0.0
    return float(np.clip(r2 if how == "clip" else (r2 + 1) / 2, 0.0, 1.0))


def composite(reward_r2: float | None, transition_r2: float | None, rank: float, weights: Weights, how: str) -> float:
    """S = w₁ R̃²_reward + w₂ R̃²_transition + w₃ rank, in [0, 1]."""
    return weights[0] * normalise(reward_r2, how) + weights[1] * normalise(transition_r2, how) + weights[2] * float(np.clip(rank, 0, 1))


def score(evidence: Evidence, weights: Weights, how: str) -> Estimate:
    """Return a layer's S; its interval is the jackknife of S itself, so the parts' dependence is in it."""
    value = composite(evidence.reward_r2, evidence.transition_r2, evidence.effective_rank, weights, how)
    groups = len(evidence.effective_rank_left)
    if evidence.reward_r2 is not None and evidence.reward_r2_left is None:
        return Estimate(value=value)
    rewards = evidence.reward_r2_left or (None,) * groups
    transitions = evidence.transition_r2_left or (None,) * groups
    left = tuple(composite(*parts, weights, how) for parts in zip(rewards, transitions, evidence.effective_rank_left, strict=True))
    found = jackknife(value, left, 0.0, 1.0)
    assert found is not None, "the score is always defined"
    return found


def flags(evidence: Evidence, episodes: int) -> tuple[str, ...]:
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


def _inside_null(evidence: Evidence) -> bool:
    if evidence.reward_r2 is None or not evidence.reward_r2_shifted:
        return False
    return evidence.reward_r2 <= float(np.percentile(evidence.reward_r2_shifted, 97.5))


def transition_gain(evidence: Evidence) -> float | None:
    """Transition R² above the best of three trivial predictors: the mean (0), persistence, and AR(1) of each feature."""
    if evidence.transition_r2 is None or evidence.persistence_r2 is None or evidence.autoregression_r2 is None:
        return None
    return evidence.transition_r2 - max(0.0, evidence.persistence_r2, evidence.autoregression_r2)


def layer_score(evidence: Evidence, weights: Weights, how: str, episodes: int) -> LayerScore:
    """Condense a layer's evidence to what the ranking carries."""
    shifted = evidence.reward_r2_shifted
    low, high = np.percentile(shifted, [2.5, 97.5]) if shifted else (0.0, 0.0)
    rank = jackknife(evidence.effective_rank, evidence.effective_rank_left, 0.0, 1.0)
    assert rank is not None, "the rank is always defined"
    return LayerScore(
        name=evidence.name,
        role=evidence.role,
        depth=evidence.depth,
        width=evidence.width,
        reward_r2=jackknife(evidence.reward_r2, evidence.reward_r2_left, high=1.0),
        transition_r2=jackknife(evidence.transition_r2, evidence.transition_r2_left, high=1.0),
        effective_rank=rank,
        score=score(evidence, weights, how),
        reward_r2_shuffled=Estimate(value=fmean(shifted), low=float(low), high=float(high)) if shifted else None,
        persistence_r2=evidence.persistence_r2,
        transition_gain=transition_gain(evidence),
        bits_action=evidence.bits_action,
        flags=flags(evidence, episodes),
    )


def order(layers: Sequence[LayerScore]) -> tuple[LayerScore, ...]:
    """Candidates by falling score (ties: the shallower first), then controls, then twins, each by depth."""

    def place(layer: LayerScore) -> tuple[int, float, int]:
        falling = -layer.score.value if layer.role == "layer" and layer.score is not None else 0.0
        return ("layer", "control", "twin").index(layer.role), falling, layer.depth

    return tuple(sorted(layers, key=place))


def choose(layers: Sequence[LayerScore], top_k: int, store_id: str, twin_id: str | None) -> tuple[tuple[Choice, ...], tuple[str, ...]]:
    """Pick what goes to RL: the best layers, the middle one picked blind, the worst, the best one's twin, and the controls.

    ``layers`` is in the ranking's order. No layer is chosen twice; a part that falls on a chosen layer becomes a note.
    """
    ranked = [layer for layer in layers if layer.role == "layer"]
    wanted: list[tuple[str, LayerScore]] = [("ranked", layer) for layer in ranked[:top_k]]
    wanted.append(("middle", sorted(ranked, key=lambda layer: layer.depth)[len(ranked) // 2]))
    wanted.append(("worst", ranked[-1]))
    wanted += [("twin", layer) for layer in layers if layer.role == "twin" and layer.name == ranked[0].name]
    wanted += [("pixels", layer) for layer in layers if layer.role == "control"]
    choices: dict[tuple[str, str], Choice] = {}
    notes = []
    for kind, layer in wanted:
        source = twin_id if layer.role == "twin" and twin_id is not None else store_id
        if (source, layer.name) in choices:
            notes.append(f"the {kind} layer {layer.name} is already chosen as {choices[source, layer.name].kind}")
            continue
        rank = ranked.index(layer) + 1 if layer.role == "layer" else None
        value = layer.score.value if layer.score is not None else None
        choices[source, layer.name] = Choice.model_validate(
            {"kind": kind, "store_id": source, "layer": layer.name, "rank": rank, "score": value}
        )
    return tuple(choices.values()), tuple(notes)
