"""Evidence of every layer in; the layers in order, each compared with the others and the best confirmed, out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from layerscout.cache.records import Estimate, LayerScore
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.components import jackknife
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.ranking.control import control_parts, mean_rank
from layerscout.probe.ranking.score import Weights, confirmation_scores, kind_of, layer_score, order_layers, score_parts

DRAWS = 4000
CONCENTRATION = 50.0  # of the drawn weights: 0.45 then has a standard deviation of 0.07, 0.10 of 0.04


def rank_layers(
    evidence: Sequence[LayerEvidence], config: ProbeConfig, episodes: int, origins: Sequence[tuple[str, str]] | None = None
) -> tuple[LayerScore, ...]:
    """Score all layers, put them in order, compare the candidates, and confirm the best ``top_k``.

    Parameters
    ----------
    episodes
        Number of episodes that rank.
    origins
        Store id and label of each layer's store.
    """
    origins = origins or [("", "")] * len(evidence)
    how = config.normalisation
    weights: tuple[float, ...] = config.weights
    kind = kind_of(config.score, evidence, len({origin for item, origin in zip(evidence, origins, strict=True) if item.role == "layer"}))
    scored = [layer_score(item, config.weights, how, episodes, *origin, kind) for item, origin in zip(evidence, origins, strict=True)]
    of = {_key(layer): item for layer, item in zip(scored, evidence, strict=True)}
    ranked = order_layers(scored, kind)
    candidates = [layer for layer in ranked if layer.role == "layer"]
    chances: list[float | None] = [None] * len(candidates)
    by_weights: list[float | None] = [None] * len(candidates)
    values = [_parts(of[_key(layer)], kind, how) for layer in candidates]
    if kind == "S-ctrl":
        weights = (1 / values[0].shape[1],) * values[0].shape[1]
        if all(len(value) > 1 and value.shape == values[0].shape for value in values):
            chances = list(chance_by_ranks(np.stack(values), config.top_k, config.seed))
    else:
        if all(len(value) > 1 for value in values):
            by_group = np.stack(values) @ np.array(weights)
            chances = list(chance_by_groups(by_group, config.top_k, config.seed))
        by_weights = list(chance_by_weights(np.stack([value[0] for value in values]), config.weights, config.top_k, config.seed))
    compared = {}
    for place, layer in enumerate(candidates):
        compared[_key(layer)] = layer.model_copy(
            update={
                "behind_best": score_behind_best(values[0], values[place], weights) if place else None,
                "p_top_k": chances[place],
                "p_top_k_weights": by_weights[place],
                "confirmation": confirmation_scores(of[_key(layer)], config.weights, how, kind) if place < config.top_k else None,
            }
        )
    for layer in (layer for layer in ranked if layer.role == "twin"):  # so that the winner can be held against the best untrained block
        behind = score_behind_best(values[0], _parts(of[_key(layer)], kind, how), weights)
        compared[_key(layer)] = layer.model_copy(update={"behind_best": behind})
    return tuple(compared.get(_key(layer), layer) for layer in ranked)


def _parts(found: LayerEvidence, kind: str, how: str) -> Float[np.ndarray, "whole_and_left part"]:
    """Return the parts of the score that orders; no row for a layer that has no such score."""
    if kind != "S-ctrl":
        return score_parts(found, kind, how)
    parts = control_parts(found)
    return np.empty((0, 1)) if parts is None else parts


def _key(layer: LayerScore) -> tuple[str, str, str]:
    return layer.store_id, layer.role, layer.name


def score_behind_best(
    best: Float[np.ndarray, "whole_and_left part"], other: Float[np.ndarray, "whole_and_left part"], weights: Sequence[float]
) -> Estimate | None:
    """Best score minus another, paired: the jackknife of the difference, so that luck which both share cancels.

    ``best`` and ``other`` are from ``score.score_parts`` or ``control.control_parts``. None where one of them has no score.
    """
    rows = min(len(best), len(other))
    if not rows or best.shape[1] != other.shape[1]:
        return None
    difference = ((best[:rows] - other[:rows]) @ np.array(weights)).tolist()
    return jackknife(difference[0], tuple(difference[1:]) or None, -1.0, 1.0)


def chance_by_groups(scores: Float[np.ndarray, "layer whole_and_left"], top_k: int, seed: int) -> list[float]:
    """Share of bootstrap samples of the episode groups in which each layer is among the best ``top_k``.

    Linearised: a sample in which group g occurs w_g times is not fitted again. Its score is taken from the jackknife's
    pseudo-values G θ - (G - 1) θ₍₋g₎, as

        θ* = θ - (G - 1) / G Σ_g (w_g - 1) θ₍₋g₎

    which is exact for a mean over groups and first-order for everything else. All layers see the same samples.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, Chapter 11 (the jackknife as a linear approximation).
    """
    return _share_on_top(_drawn(scores, seed), top_k)


def _drawn(scores: Float[np.ndarray, "layer whole_and_left"], seed: int) -> Float[np.ndarray, "draw layer"]:
    groups = scores.shape[1] - 1
    times = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)
    return np.asarray(scores[:, 0] - (groups - 1) / groups * (times - 1) @ scores[:, 1:].T)


def chance_by_ranks(parts: Float[np.ndarray, "layer whole_and_left part"], top_k: int, seed: int) -> list[float]:
    """As ``chance_by_groups``, for a score that is the mean of the layers' ranks by several parts, drawn in each sample anew."""
    return _share_on_top(mean_rank(np.stack([_drawn(part, seed) for part in np.moveaxis(parts, -1, 0)])), top_k)


def chance_by_weights(parts_of_layer: Float[np.ndarray, "layer 3"], weights: Weights, top_k: int, seed: int) -> list[float]:
    """Share of weightings, drawn from a Dirichlet distribution around ``weights``, that put each layer among the best ``top_k``.

    A weight of 0 stays 0.
    """
    used = np.flatnonzero(weights)
    drawn = np.zeros((DRAWS, len(weights)))
    drawn[:, used] = np.random.default_rng(seed).dirichlet(CONCENTRATION * np.array(weights)[used], size=DRAWS)
    return _share_on_top(drawn @ parts_of_layer.T, top_k)


def _share_on_top(scores: Float[np.ndarray, "draw layer"], top_k: int) -> list[float]:
    first = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    on_top: Bool[np.ndarray, "draw layer"] = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(on_top, first, True, axis=1)
    return [float(share) for share in on_top.mean(axis=0)]
