"""Records of a few runs whose every figure stands in the test that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerscout.cache.records import Arm, Budget, Run, RunRecord

BUDGET = Budget(
    environment_steps=1000, updates=500, trainable_parameters=4485, flops=2.5e9, backbone_clips=0, wall_seconds=12.0, cpu_seconds=30.25
)


def plain_arm(name: str, kind: str = "ranked", **changes: Any) -> Arm:
    """An arm on the layer of its own name, in one store, with one head."""
    fields: dict[str, Any] = {"layer": name, "store_id": "s", "head": "mlp", "score": None, "width": 8, "budget": BUDGET}
    return Arm(name=name, kind=kind, **fields | changes)


def plain_run(arm: str, seed: int, final: float | None, **changes: Any) -> Run:
    """A run that earned ``final`` in every episode; None is one that failed."""
    fields: dict[str, Any] = {"returns": () if final is None else (final,) * 3, "evaluations": ()}
    status = "failed" if final is None else "done"
    return Run(arm=arm, seed=seed, final=final, status=status, **fields | changes)


def plain_record(arms: Sequence[Arm], finals: Mapping[str, Sequence[float | None]], **changes: Any) -> RunRecord:
    """A record of arms with their final returns by seed from 0."""
    runs = tuple(plain_run(name, seed, final) for name, values in finals.items() for seed, final in enumerate(values))
    fields: dict[str, Any] = {"environment": "Game-v0", "mode": "online", "selection": None, "random_policy_return": None}
    return RunRecord(arms=tuple(arms), runs=runs, **fields | changes)
