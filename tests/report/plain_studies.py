"""Analyses of a study whose every figure stands in the test that makes them."""

from __future__ import annotations

from typing import Any

from layerscout.cache.records.study import StudyAnalysis, StudyLayer, StudyMeasure, StudyTask


def plain_cell(task: str, depth: int, returns: tuple[float | None, ...], score: float | None = None, **changes: Any) -> StudyLayer:
    """A block of one depth with its returns by seed; the measure S is its score."""
    facts: dict[str, Any] = {
        "task": task,
        "layer": f"b.{depth}",
        "depth": depth,
        "kind": "layer",
        "backbone": "tiny",
        "weights": "pretrained",
        "measures": {"S": score},
        "returns": returns,
        "evaluations": (),
        "untrained_returns": (),
        "environment_steps": 10,
        "updates": 5,
        "trainable_parameters": 7,
        "flops": 1e9,
        "wall_seconds": 1.0,
        "cpu_seconds": 2.0,
    }
    return StudyLayer(**facts | changes)


def plain_task(name: str, **changes: Any) -> StudyTask:
    """A task that was learned, of which nothing else is known."""
    unknown = [field for field, info in StudyTask.model_fields.items() if info.is_required()]
    facts: dict[str, Any] = dict.fromkeys(unknown)
    facts |= {"name": name, "folder": f"out/{name}", "environment": "Game-v0", "backbone": "tiny", "seeds": (0, 1)}
    facts |= {"layers": 3, "ranked_layers": 3, "failed": 0, "learned": "learned", "training_seconds": 0.0}
    return StudyTask(**facts | changes)


def plain_measure(name: str, **changes: Any) -> StudyMeasure:
    """A measure that no task knows."""
    facts: dict[str, Any] = dict.fromkeys(field for field, info in StudyMeasure.model_fields.items() if info.is_required())
    return StudyMeasure(**facts | {"name": name, "tasks": 0, "layers": 0, "finding": "n/a"} | changes)


def plain_analysis(*tasks: StudyTask, **changes: Any) -> StudyAnalysis:
    """An analysis of tasks of which no figure is known."""
    facts: dict[str, Any] = dict.fromkeys(field for field, info in StudyAnalysis.model_fields.items() if info.is_required())
    facts |= {"mode": "online", "head": "mlp", "metric": "final", "primary": "S", "outcome": "supported", "sentence": "It does."}
    facts |= {"notes": (), "tasks": tasks, "measures": (plain_measure("S"),), "untrained": (), "layers": ()}
    return StudyAnalysis(**facts | changes)
