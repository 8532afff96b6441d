"""Selections and training settings by hand, small enough to train in a second."""

from __future__ import annotations

from pathlib import Path

from layerscout.cache import records
from layerscout.cache.records import Choice, RunRecord, Selection
from layerscout.cache.store import Store
from layerscout.rl.config import TrainConfig

GRID, INTERCEPT = "layerscout/Grid-v0", "layerscout/Intercept-v0"
SMALL_DQN = {"batch": 8, "target_interval": 7, "warm_up": 10, "epsilon_steps": 30, "hidden": [16]}


def select(path: Path, *choices: tuple[str, Store, str]) -> Path:
    """Write a selection of (kind, store, layer); the first choice's store is the one that was ranked."""
    store = choices[0][1]
    chosen = tuple(
        Choice(kind=kind, store_id=source.id, layer=layer, rank=place + 1 if kind == "ranked" else None, score=0.5 - 0.1 * place)
        for place, (kind, source, layer) in enumerate(choices)
    )
    digest = store.identity["dataset"]["digest"]
    selection = Selection(ranking="ranking.json", store_id=store.id, dataset_digest=digest, backbone="by hand", choices=chosen)
    records.save(selection, path)
    return path


def settings(selection: Path, out: Path, root: Path, **changes) -> TrainConfig:
    """A comparison of a second: 2 seeds, 40 updates, or as many steps as several episodes take."""
    values = {
        "environment": GRID,
        "selection": selection,
        "out": out,
        "root": root,
        "seeds": 2,
        "updates": 40,
        "steps": 150,
        "evaluations": 2,
        "evaluation_episodes": 2,
        "final_episodes": 8,
        "checkpoint_updates": 15 if changes.get("mode", "offline") == "offline" else 40,
        "scratch_hidden": (12, 8),
        "dqn": SMALL_DQN,
    }
    return TrainConfig.model_validate(values | changes)


def without_times(record: RunRecord) -> dict:
    """Everything in a record that a second run must repeat."""
    plain = record.model_dump()
    for arm in plain["arms"]:
        del arm["budget"]["wall_seconds"], arm["budget"]["cpu_seconds"]
    return plain
