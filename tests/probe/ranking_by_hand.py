"""A ranking with everything that a page can show, made up from a seed: any number of layers, one or several stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscout.cache.records import Choice, Confirmation, Estimate, LayerScore, RankedStore, Ranking, Selection
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.page.diagnostics import Key

PENALTIES = (1e-7, 1e-5, 1e-3, 1e-1, 10.0)


@dataclass(frozen=True)
class Example:
    """What ``page.render`` takes."""

    ranking: Ranking
    evidence: dict[Key, LayerEvidence]
    selection: Selection
    config: ProbeConfig
    identities: dict[str, dict[str, Any]]


def estimate(value: float, reach: float = 0.02) -> Estimate:
    return Estimate(value=value, low=value - reach, high=value + reach)


def layer(name: str, role: str, depth: int, share: float, store: str, label: str, rewards: bool) -> LayerScore:
    """A layer at ``share`` of the way through the backbone: the reward is read best two thirds in."""
    reward = 0.05 + 0.5 * np.exp(-((share - 0.67) ** 2) / 0.05) if role == "layer" else 0.06
    transition = 0.95 - 0.12 * share
    score = 0.45 * reward * rewards + 0.45 * transition + 0.1 * 0.2
    return LayerScore(
        name=name,
        role=role,
        depth=depth,
        width=1024,
        store_id=store,
        label=label,
        reward_r2=estimate(reward) if rewards else None,
        transition_r2=estimate(transition, 0.004),
        effective_rank=estimate(0.2, 0.01),
        score=estimate(score),
        skill_score=estimate(score - 0.2),
        reward_r2_shuffled=estimate(-0.002, 0.005) if rewards else None,
        persistence_r2=transition - 0.3 * share,
        autoregression_r2=transition - 0.28 * share,
        transition_gain=0.28 * share,
        transition_skill=estimate(0.5 * share),
        transition_r2_without_action=transition - 0.02,
        bits_action=2.0 * share,
        bits_action_by_chance=0.02,
        correlation_rank=180.3,
        log_rank=0.75,
        participation_ratio=44.2,
        rankme=310.5,
        rankme_centred=312.25,
        live_features=1024,
        targets={"state": estimate(0.4 + 0.3 * share), "expert_action": None},
        p_top_k=0.0,
        flags=(*(("PERSISTENCE",) if 0.28 * share < 0.02 else ()), *(("REWARD_NULL",) if role == "control" else ())),
    )


def load_evidence(found: LayerScore, rewards: bool) -> LayerEvidence:
    shares = np.arange(1, 257.0) ** -(1.0 + 0.3 * np.sin(found.depth))
    rise = np.array([-0.9, 0.3, 0.9, 1.0, 0.8])
    return LayerEvidence.model_construct(
        name=found.name,
        role=found.role,
        depth=found.depth,
        width=found.width,
        rows=20_480,
        effective_rank=found.effective_rank.value,
        spectrum=tuple(shares / shares.sum()),
        penalties=PENALTIES,
        reward_path=tuple(found.reward_r2.value * rise) if rewards else None,
        transition_path=tuple(found.transition_r2.value * np.abs(rise)),
        reward_penalties=(0.1, 0.1, 0.1, 1e-3, 0.1) if rewards else (),
        transition_penalties=(0.1,) * 5,
        at_grid_edge=0.0,
    )


def example(layers: int = 8, stores: int = 1, rewards: bool = True, confirmed: int = 2, names: str = "blocks.{}") -> Example:
    kept = [RankedStore(store_id=f"ls1-{place}", backbone=f"model-{place}", label=f"model-{place}") for place in range(stores)]
    found = [
        layer(names.format(depth), "layer", depth, (depth + 0.2 * place) / layers, store.store_id, store.label, rewards)
        for place, store in enumerate(kept)
        for depth in range(layers)
    ]
    found.sort(key=lambda one: -one.score.value)
    best = found[0].score.value
    chances = (1.0, 0.93, 0.07)
    for place, one in enumerate(found):
        change: dict[str, Any] = {"p_top_k": chances[place] if place < 3 else 0.0}
        if place:
            change["behind_best"] = estimate(best - one.score.value, 0.01 + 0.002 * place)
        if place < confirmed:
            change["confirmation"] = Confirmation(
                reward_r2=estimate(one.reward_r2.value - 0.03, 0.05) if rewards else None,
                transition_r2=estimate(one.transition_r2.value - 0.01),
                effective_rank=estimate(0.19),
                score=estimate(one.score.value - 0.015, 0.04),
            )
        found[place] = one.model_copy(update=change)
    others = [layer("pixels", "control", -1, 0.0, kept[0].store_id, kept[0].label, rewards)]
    others += [layer(names.format(depth), "twin", depth, depth / layers, "ls1-twin", "untrained", rewards) for depth in range(layers)]
    ranking = Ranking(
        store_id=kept[0].store_id,
        twin_store_id="ls1-twin",
        stores=tuple(kept),
        dataset_digest="sha256:0011aabb",
        backbone=kept[0].backbone,
        score_version="S/1",
        weights=(0.45, 0.45, 0.10),
        normalisation="clip",
        top_k=2,
        rows=20_480,
        episodes=640,
        confirmation_episodes=160,
        folds=5,
        notes=() if rewards else ("all rewards equal 0: reward R² is n/a",),
        layers=(*found, *others),
    )
    choice = Choice(kind="ranked", store_id=found[0].store_id, layer=found[0].name, rank=1, score=best)
    return Example(
        ranking,
        {(one.store_id, one.role, one.name): load_evidence(one, rewards) for one in ranking.layers},
        Selection(
            ranking="ranking.json",
            store_id=kept[0].store_id,
            dataset_digest="sha256:0011aabb",
            backbone="model-0",
            choices=(choice,),
        ),
        ProbeConfig(store=kept[0].store_id, penalties=PENALTIES),
        {store.store_id: {"backbone": {"name": store.backbone, "weights_digest": "sha256:77"}, "pooling": "last/mean"} for store in kept},
    )
