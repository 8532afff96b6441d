"""A sentence for every field of the records that the API shares with the command line, and examples of them."""

from __future__ import annotations

from typing import Any

from layerscout.probe.page.diagnostics import FIGURES

FIELDS: dict[tuple[str, str], str] = {
    ("", "format"): "Name and version of the record's format.",
    ("", "store_id"): "Id of the store.",
    ("", "backbone"): "Name of the video model.",
    ("", "dataset_digest"): "Digest of the dataset's content.",
    ("", "score_kind"): "The score that orders, with its version.",
    ("", "weights"): "Of the score's three parts: reward, transition, rank.",
    ("", "normalisation"): "How R² is mapped to 0 … 1: clip or affine.",
    ("", "label"): "What tells stores apart in a ranking of several.",
    ("", "layer"): "Name of the layer.",
    ("", "score"): "The score.",
    ("", "reward_r2"): "R² of the reward, out of fold.",
    ("", "transition_r2"): "R² of the next activations, out of fold.",
    ("", "effective_rank"): "exp(entropy) of the covariance spectrum / width.",
    ("", "bits_action"): "Bits of the action that the next activations tell beyond the present ones.",
    ("", "state_r2"): "R² of the dataset's state.",
    ("Estimate", "value"): "The figure.",
    ("Estimate", "low"): "Lower end of its 95 % interval; null when there is none.",
    ("Estimate", "high"): "Upper end of its 95 % interval; null when there is none.",
    ("Ranking", "twin_store_id"): "Id of the store of the untrained model.",
    ("Ranking", "stores"): "The stores that layers are drawn from.",
    ("Ranking", "score_version"): "Version of the score.",
    ("Ranking", "top_k"): "How many layers are handed to agents.",
    ("Ranking", "rows"): "Transitions that it rests on.",
    ("Ranking", "episodes"): "Episodes that rank.",
    ("Ranking", "confirmation_episodes"): "Episodes that were kept apart.",
    ("Ranking", "folds"): "Folds of whole episodes.",
    ("Ranking", "notes"): "What to know before reading it.",
    ("Ranking", "layers"): "All layers in order, best candidate first, then controls and untrained blocks.",
    ("Selection", "ranking"): "Path of ranking.json relative to selection.json.",
    ("Selection", "choices"): "The layers that agents get, with their controls.",
    ("Choice", "kind"): "Its part in the comparison.",
    ("Choice", "rank"): "Its place in the ranking; null for what is no candidate.",
    ("LayerScore", "name"): "Name of the layer.",
    ("LayerScore", "role"): "layer for a candidate, control for raw pixels, twin for the same block without training.",
    ("LayerScore", "depth"): "Place among the candidates in forward order, from 0.",
    ("LayerScore", "width"): "Features of a row.",
    ("LayerScore", "skill_score"): "S-skill: transition skill in place of transition R², log rank in place of rank.",
    ("LayerScore", "control_score"): "S-ctrl: how plainly the layer shows what the agent's own actions change, and the state.",
    ("LayerScore", "measures"): "Measures beside the score, by name.",
    ("LayerScore", "targets"): "R² of every other target, by name.",
    ("LayerScore", "confirmation"): "The same figures on the episodes that were kept apart.",
    ("LayerScore", "method"): "How the layer was solved: exact, sketch or dual.",
    ("LayerScore", "method_error"): "Largest error of an R² against the exact answer.",
    ("LayerScore", "flags"): "Reasons for doubt.",
}
OF_FIGURES = {
    "reward_r2_shuffled": "shuffled",
    "persistence_r2": "persistence",
    "autoregression_r2": "AR(1)",
    "transition_gain": "gain",
    "transition_skill": "skill",
    "transition_r2_without_action": "no action",
    "transition_r2_weighted": "weighted",
    "bits_action": "bits",
    "bits_action_by_chance": "by chance",
    "bits_total": "bits, all",
    "correlation_rank": "erank, corr.",
    "log_rank": "log rank",
    "participation_ratio": "particip.",
    "rankme": "RankMe",
    "rankme_centred": "RankMe, centred",
    "live_features": "live",
    "massive_features": "massive",
    "nonfinite_rows": "rows left out",
    "behind_best": "behind best",
    "p_top_k": "P(top k)",
    "p_top_k_weights": "P(top k), weights",
}
_HINTS = {one.name: one.hint for one in FIGURES}
FIELDS |= {("LayerScore", field): f"{_HINTS[name][0].upper()}{_HINTS[name][1:]}." for field, name in OF_FIGURES.items()}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Estimate": {"value": 0.412, "low": 0.38, "high": 0.44},
    "RankedStore": {"store_id": "ls1-0123456789abcdef0123456789abcdef", "backbone": "tiny", "label": "tiny"},
    "Choice": {"kind": "ranked", "store_id": "ls1-0123456789abcdef0123456789abcdef", "layer": "blocks.5", "rank": 1, "score": 0.44},
}
