"""A realistic ranking, selection and run record, made up from a seed: eight blocks, a twin, pixels, six seeds."""

from __future__ import annotations

import numpy as np

from layerscout.cache.records import Arm, Budget, Choice, Estimate, LayerScore, Ranking, Run, RunRecord, Selection

REWARD = (0.05, 0.12, 0.25, 0.34, 0.41, 0.47, 0.44, 0.38)
TRANSITION = (0.93, 0.91, 0.88, 0.86, 0.84, 0.83, 0.82, 0.82)


def layer_score(name: str, role: str, depth: int, reward: float | None, transition: float, flags: tuple[str, ...] = ()) -> LayerScore:
    """One layer whose score follows from its parts as in the reference score."""
    rank = 0.12 + 0.01 * depth
    score = None if reward is None else 0.45 * max(reward, 0.0) + 0.45 * transition + 0.1 * rank
    return LayerScore(
        name=name,
        role=role,
        depth=depth,
        width=1024,
        reward_r2=None if reward is None else Estimate(value=reward, low=reward - 0.04, high=reward + 0.04),
        transition_r2=Estimate(value=transition, low=transition - 0.02, high=transition + 0.02),
        effective_rank=Estimate(value=rank, low=rank - 0.01, high=rank + 0.01),
        score=None if score is None else Estimate(value=score, low=score - 0.025, high=score + 0.025),
        reward_r2_shuffled=None if reward is None else Estimate(value=-0.01, low=-0.02, high=0.01),
        persistence_r2=transition - 0.05,
        transition_gain=0.05,
        bits_action=3.2,
        flags=flags,
    )


def example_ranking(rewards: bool = True) -> Ranking:
    """Eight blocks of `tiny` with its twin and the pixels, best score first."""
    scored = [
        layer_score(
            f"blocks.{depth}", "layer", depth, reward if rewards else None, TRANSITION[depth], ("PERSISTENCE",) if depth < 2 else ()
        )
        for depth, reward in enumerate(REWARD)
    ]
    scored.sort(key=lambda layer: -(layer.score.value if layer.score else 0.0))
    twins = [layer_score(f"blocks.{depth}", "twin", depth, 0.04 + 0.01 * depth if rewards else None, 0.8) for depth in range(8)]
    pixels = layer_score("pixels", "control", 0, 0.02 if rewards else None, 0.9, ("REWARD_NULL", "UNDERSAMPLED"))
    return Ranking(
        store_id="sha256-1f2e3d4c",
        twin_store_id="sha256-9a8b7c6d",
        dataset_digest="sha256:0011aabb",
        backbone="tiny",
        score_version="reference/1",
        weights=(0.45, 0.45, 0.10),
        normalisation="clip",
        rows=20_480,
        episodes=640,
        folds=5,
        notes=() if rewards else ("all rewards are equal: reward R² is undefined",),
        layers=(*scored, *twins, pixels),
    )


LEVELS = {
    "blocks.5": 0.71,
    "blocks.6": 0.66,
    "blocks.4": 0.58,
    "blocks.7 (middle)": 0.4,
    "blocks.0 (worst)": -0.1,
    "blocks.5 (untrained)": 0.12,
    "pixels": 0.05,
    "scratch": 0.3,
}
KINDS = ("ranked", "ranked", "ranked", "middle", "worst", "twin", "pixels", "scratch")


def example_selection() -> Selection:
    """What the probe stage hands over."""
    ranking = example_ranking()
    names = ("blocks.5", "blocks.6", "blocks.4")
    choices = [Choice(kind="ranked", store_id=ranking.store_id, layer=name, rank=place + 1, score=0.6) for place, name in enumerate(names)]
    choices.append(Choice(kind="twin", store_id="sha256-9a8b7c6d", layer="blocks.5", rank=None, score=None))
    return Selection(
        ranking="ranking.json", store_id=ranking.store_id, dataset_digest=ranking.dataset_digest, backbone="tiny", choices=tuple(choices)
    )


def example_runs(
    levels: dict[str, float] | None = None,
    seeds: int = 6,
    noise: float = 0.05,
    fail: tuple[tuple[str, int], ...] = (),
    mode: str = "online",
) -> RunRecord:
    """Every arm's runs climb from −0.4 to its level; ``fail`` names the (arm, seed) that broke."""
    levels = LEVELS if levels is None else levels
    scores = {layer.name: layer.score.value for layer in example_ranking().candidates if layer.score}
    generator = np.random.default_rng(3)
    arms, runs = [], []
    for (name, level), kind in zip(levels.items(), KINDS, strict=False):
        layer = name.split(" ")[0]
        budget = Budget(
            environment_steps=20_000,
            updates=5_000,
            trainable_parameters=4_485,
            flops=2.7e9,
            backbone_clips=20_000,
            wall_seconds=31.5,
            cpu_seconds=44.25,
        )
        store = {"twin": "sha256-9a8b7c6d", "scratch": None}.get(kind, "sha256-1f2e3d4c")
        arms.append(
            Arm(
                name=name,
                kind=kind,
                layer=layer,
                store_id=store,
                head="mlp-256-64" if kind == "scratch" else "mlp-64",
                score=None if kind == "twin" else scores.get(layer),
                width=1024,
                budget=budget,
            )
        )
        for seed in range(seeds):
            if (name, seed) in fail:
                runs.append(Run(arm=name, seed=seed, returns=(), evaluations=(), final=None, status="failed", reason="loss became NaN"))
                continue
            end = level + noise * generator.standard_normal()
            climb = end - (end + 0.4) * np.exp(-np.arange(120) / 25) + 0.1 * generator.standard_normal(120)
            returns = tuple(float(value) for value in climb)
            points = tuple((1000 * step, tuple(returns[20 * step : 20 * step + 5])) for step in range(6))
            runs.append(Run(arm=name, seed=seed, returns=returns, evaluations=points, final=float(np.mean(returns[-50:])), status="done"))
    return RunRecord(
        environment="layerscout/Intercept-v0",
        mode=mode,
        selection="probe/selection.json",
        random_policy_return=-0.42,
        arms=tuple(arms),
        runs=tuple(runs),
    )
