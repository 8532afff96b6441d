"""Do agents learn with the default learner, and do returns then tell a pretrained block from an untrained one?

    python benchmarks/learned.py [--quick] [--json] [--only NAME …]

Grid with an expert in the data (IQL) and Intercept at random play (double Q-learning, eight steps ahead): all blocks of tiny and of its
untrained twin, 8 seeds of 50 episodes each. Intercept with an expert (IQL) on block 5. The learner is what ``train.algorithm = "auto"`` takes.
``--quick``: Grid alone, two cells, 2 seeds. ``--only``: some of grid, random and expert.

A figure is the mean final return over seeds: of the best block, or the mean over blocks. About 40 CPU minutes; ``--quick`` half a minute.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np


class Task(NamedTuple):
    """What is played, how agents learn from it, and on which blocks."""

    environment: str
    policy: str
    steps: int
    updates: int
    blocks: tuple[int, ...]
    seeds: int = 8


ALL = tuple(range(8))
GRID = Task("layerscout/Grid-v0", "epsilon:0.6", 9_000, 2_000, ALL)
RANDOM = Task("layerscout/Intercept-v0", "random:4", 40_000, 3_000, ALL)
EXPERT = Task("layerscout/Intercept-v0", "epsilon:0.5", 60_000, 12_000, (5,))
LONGER = GRID._replace(updates=4_000, blocks=(4,))
BARS = {
    "grid_pretrained_mean": 0.50,
    "grid_best": 0.65,
    "intercept_random_best": 0.0,
    "intercept_expert_pretrained": 0.35,
}
AT_MOST = {"grid_untrained_mean": 0.40}


def returns(task: Task, folder: Path) -> dict[str, Any]:
    """Collect, extract with both models, train on the same blocks of both; return each arm's mean return, the references and the learner."""
    import layerscout
    from layerscout.cache import records
    from layerscout.cache.opening import open_store
    from layerscout.cache.records import Choice, Selection

    root, data = folder / "cache", folder / "data.h5"
    if not data.exists():
        layerscout.collect(task.environment, steps=task.steps, policy=task.policy, out=data)
    layers = tuple(f"blocks.{block}" for block in task.blocks)
    stores = {
        kind: open_store(root, layerscout.extract(model, data, root=root, layers=layers, passport_clips=0).id)
        for kind, model in (("layer", "tiny"), ("twin", "tiny-untrained"))
    }
    home = stores["layer"]
    choices = tuple(
        Choice(kind=kind, store_id=store.id, layer=layer, rank=None, score=None)  # type: ignore[arg-type]
        for kind, store in stores.items()
        for layer in layers
    )
    digest = home.identity["dataset"]["digest"]
    selection = Selection(ranking="ranking.json", store_id=home.id, dataset_digest=digest, backbone="tiny", choices=choices)
    records.save(selection, folder / "selection.json")
    record = layerscout.train(
        task.environment,
        selection=folder / "selection.json",
        root=root,
        out=folder / f"train-{task.updates}-{len(layers)}",
        seeds=task.seeds,
        updates=task.updates,
        evaluations=1,
        scratch=False,
    )
    means = {(arm.kind, arm.layer): np.mean([run.final for run in record.runs if run.arm == arm.name]) for arm in record.arms}
    return {"arms": means, "references": {one.name: one.mean for one in record.references}, "learner": record.algorithm}


def mean_of(found: dict[str, Any], kind: str) -> float:
    return float(np.mean([value for (mine, _), value in found["arms"].items() if mine == kind]))


def best_of(found: dict[str, Any]) -> tuple[float, str]:
    return max((float(value), layer) for (kind, layer), value in found["arms"].items() if kind == "layer")


def grid(folder: Path) -> dict[str, Any]:
    """All blocks and their twins on Grid; and one block with twice the updates, which earns less (no bar)."""
    found, longer = returns(GRID, folder), returns(LONGER, folder)
    means = {
        "grid_pretrained_mean": mean_of(found, "layer"),
        "grid_untrained_mean": mean_of(found, "twin"),
        "grid_best": best_of(found)[0],
        "grid_best_longer": best_of(longer)[0],
    }
    return told("grid", found) | means


def random(folder: Path) -> dict[str, Any]:
    """All blocks and their twins on Intercept at random play."""
    found = returns(RANDOM, folder)
    best, layer = best_of(found)
    return told("random", found) | {"intercept_random_best": best, "intercept_random_best_layer": layer}


def expert(folder: Path) -> dict[str, Any]:
    """One block and its twin on Intercept with an expert."""
    found = returns(EXPERT, folder)
    return told("expert", found) | {
        "intercept_expert_pretrained": mean_of(found, "layer"),
        "intercept_expert_untrained": mean_of(found, "twin"),
    }


def quick(folder: Path) -> dict[str, Any]:
    """A block of Grid and its twin, with few seeds."""
    found = returns(GRID._replace(steps=6_000, updates=1_000, blocks=(4,), seeds=2), folder)
    return told("grid", found) | {"pretrained": mean_of(found, "layer"), "untrained": mean_of(found, "twin")}


def told(task: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return what every arm returned, the references and the learner, under the task's name."""
    figures = {f"{task}_{layer}_{kind}": float(value) for (kind, layer), value in found["arms"].items()}
    return figures | {f"{task}_learner": found["learner"]} | {f"{task}_{name}": value for name, value in found["references"].items()}


PARTS = {"grid": grid, "random": random, "expert": expert}


def main() -> None:
    chosen = harness.options(__doc__, only=tuple(PARTS))
    began, figures = time.process_time(), dict[str, Any]()
    parts = {"quick": quick} if chosen.quick else {name: part for name, part in PARTS.items() if name in (chosen.only or PARTS)}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in parts.items():
            figures |= part(Path(folder) / name)
    figures["cpu_seconds"] = round(time.process_time() - began, 1)
    bars = {"pretrained": figures["grid_random"] + 0.3} if chosen.quick else {name: bar for name, bar in BARS.items() if name in figures}
    most = {name: bar for name, bar in AT_MOST.items() if name in figures}
    harness.finish("learned", ("torch", "numpy"), figures, chosen.json, at_least=bars, at_most=most)


if __name__ == "__main__":
    main()
