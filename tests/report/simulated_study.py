"""Experiment folders of several tasks in which it is known how scores and returns hang together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from example_records import layer_score

from layerscout.cache.records import COST_NAME, Arm, Budget, Cost, Estimate, LayerScore, Ranking, ReferenceReturn, Run, RunRecord, save

TASKS = (
    *("layerscout/Grid-v0", "layerscout/Intercept-v0", "MiniGrid-Empty-8x8-v0", "layerscout/Catch-v0"),
    *("layerscout/Lob-v0", "layerscout/Hunt-v0", "layerscout/Maze-v0", "layerscout/Keys-v0"),
)
REFERENCES = (
    ReferenceReturn(name="random", mean=-2.0, low=-2.1, high=-1.9, episodes=200),
    ReferenceReturn(name="constant", mean=-2.2, episodes=200, note="action 0"),
    ReferenceReturn(name="data", mean=1.0, episodes=100, note="policy epsilon:0.5"),
)
PROBING, TRAINING = 35.0, 60.0  # CPU seconds of a probe and of an arm


def simulate(
    out: Path,
    *,
    tasks: int = 3,
    layers: int = 8,
    seeds: int = 6,
    link: float = 1.0,
    noise: float = 0.05,
    seed: int = 0,
    references: tuple[ReferenceReturn, ...] = REFERENCES,
    apart: bool = True,
) -> list[Path]:
    """Write experiments whose layers' true returns correlate with S and reward R² by ``link``, within pretrained and within untrained blocks.

    Transition R² goes the other way, every untrained twin earns less than every pretrained block, and the runs of "pixels" all fail with seed 1.
    """
    generator, folders = np.random.default_rng(seed), []
    for task in range(tasks):
        levels: dict[str, float] = {}
        scores = []
        for role, shift, scale in (("layer", 0.0, 1.0), ("twin", -1.9, 0.4)):
            quality = generator.permutation(np.linspace(-1, 1, layers))
            true = link * quality + np.sqrt(1 - link**2) * generator.permutation(np.linspace(-1, 1, layers))
            for depth in range(layers):
                scores.append(scored(depth, role, shift + scale * quality[depth]))
                levels[f"{role} {depth}"] = shift + scale * true[depth]
        candidates = sorted((one for one in scores if one.role == "layer"), key=lambda one: -(one.score.value if one.score else 0.0))
        twins = [one for one in scores if one.role == "twin"]
        arms: list[Arm] = []
        runs: list[Run] = []
        for place, layer in enumerate(candidates):
            kind = "ranked" if place < 2 else "layer"
            add(arms, runs, layer.name, kind, layer.name, f"ls1-{task}", levels[f"layer {layer.depth}"], seeds, noise, generator)
        for layer in twins:
            level = levels[f"twin {layer.depth}"]
            add(arms, runs, f"{layer.name} (untrained)", "twin", layer.name, f"tw-{task}", level, seeds, noise, generator)
        add(arms, runs, "pixels", "pixels", "pixels", f"ls1-{task}", -0.5, seeds, noise, generator, failing=1)
        folder = out / f"task{task}"
        save(ranking(task, (*candidates, *twins), seed), folder / "probe" / "ranking.json")
        save(Cost(wall_seconds=20.0, cpu_seconds=PROBING), folder / "probe" / COST_NAME)
        record = RunRecord(
            environment=TASKS[task],
            mode="online",
            selection=None,
            random_policy_return=-2.0,
            references=references,
            episodes_apart=apart,
            algorithm="dqn",
            arms=tuple(arms),
            runs=tuple(runs),
        )
        save(record, folder / "train" / "runs.json")
        folders.append(folder)
    return folders


def scored(depth: int, role: str, quality: float) -> LayerScore:
    """A layer whose S and reward R² rise and whose transition R² falls with its quality; the others' order is that of depth."""
    layer = layer_score(f"blocks.{depth}", role, depth, 0.5 + 0.2 * quality, 0.8 - 0.01 * quality)
    known = {"score": Estimate(value=0.5 + 0.1 * quality), "targets": {"state": Estimate(value=0.5 + 0.2 * quality)}}
    return layer.model_copy(update=known | {"measures": {"inverse dynamics": Estimate(value=0.6 + 0.1 * quality)}})


def ranking(task: int, layers: tuple[LayerScore, ...], seed: int) -> Ranking:
    """A ranking of these layers."""
    return Ranking(
        store_id=f"ls1-{task}",
        twin_store_id=f"tw-{task}",
        dataset_digest=f"sha256:{task}-{seed}",
        backbone="tiny",
        score_version="S/1",
        weights=(0.45, 0.45, 0.10),
        normalisation="clip",
        rows=20_000,
        episodes=500,
        folds=5,
        layers=layers,
    )


def add(
    arms: list[Arm],
    runs: list[Run],
    name: str,
    kind: str,
    layer: str,
    store: str,
    level: float,
    seeds: int,
    noise: float,
    generator: np.random.Generator,
    failing: int | None = None,
) -> None:
    """Add an arm and its runs: a training history and one greedy evaluation around the same level."""
    budget = Budget(
        environment_steps=20_000,
        updates=5_000,
        trainable_parameters=4_485,
        flops=2.7e9,
        backbone_clips=20_000,
        wall_seconds=120.0,
        cpu_seconds=TRAINING,
    )
    arms.append(Arm(name=name, kind=kind, layer=layer, store_id=store, head="mlp-64", score=None, width=1024, budget=budget))
    for seed in range(seeds):
        reached = float(level + noise * generator.standard_normal())
        if seed == failing:
            runs.append(Run(arm=name, seed=seed, returns=(), evaluations=(), final=None, status="failed", reason="loss became NaN"))
        else:
            points = ((1_000, (reached - 1.0,)), (5_000, (reached + 0.01,)))
            runs.append(Run(arm=name, seed=seed, returns=(reached,) * 50, evaluations=points, final=reached, status="done"))
