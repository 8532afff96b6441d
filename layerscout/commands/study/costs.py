"""The tasks of a study in, what each will cost before anything is done out: rows, clips, updates, evaluation episodes and, on demand, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from layerscout.commands.console import table
from layerscout.commands.study.tasks import StudyFile, TaskSettings
from layerscout.extract.config import ExtractConfig
from layerscout.rl.config import TrainConfig
from layerscout.showing import size

PILOT_STEPS, PILOT_COPIES = 400, 8  # of the play that tells how long episodes are, where no data tell it
FIGURES = ("rows", "cells", "clips", "runs", "updates", "evaluation_episodes", "evaluation_clips", "store_bytes")
TIMES = ("collect", "extract", "updates_of_agents", "evaluation")


@dataclass(frozen=True)
class CellWidths:
    """What one backbone gives a task: per array its layer and width, and the bytes of a stored number."""

    layers: tuple[tuple[str, int], ...]
    bytes_of_number: int


def expected_costs(study: StudyFile, tasks: Sequence[TaskSettings], measure: bool = False) -> dict[str, Any]:
    """Return what every task will cost, and the sums; with ``measure`` also the seconds of one thread, tried out on blank clips and batches.

    Episodes are taken to be as long as those of the task's data, or of a short play of its policy where there are none yet.
    Probing is left out of the seconds: it depends on the stores.
    """
    rows = [expected_cost(task, measure) for task in tasks]
    sums: dict[str, Any] = {name: sum(row[name] for row in rows) for name in FIGURES}
    if measure:
        sums["seconds"] = {name: round(sum(row["seconds"][name] for row in rows), 1) for name in (*TIMES, "all")}
    return {"study": str(study.path), "out": str(study.out), "tasks": rows, "all": sums}


def expected_cost(task: TaskSettings, measure: bool = False) -> dict[str, Any]:
    """Return what one task will cost, from its settings, or from what is there of it."""
    from layerscout.rl.comparison.learners import ActionSpace, algorithm_of, settings_of
    from layerscout.rl.coverage import RANDOM_PLAY, coverage_of_policy
    from layerscout.rl.learner_choice import choose_learner
    from layerscout.worlds import collect as collecting

    planned = collecting.plan(task.collect)
    actions = ActionSpace(planned.attributes["action_count"], planned.attributes.get("action_dimensions", 0))
    length = episode_length(task)
    rows = round(task.collect.steps * (1 + 1 / length))
    cells = [(extract, cell_widths(extract)) for extract in task.extracts.values()]
    widths = [width for _, cell in cells for _, width in cell.layers]
    train = choose_learner(task.train, actions, lambda: coverage_of_policy(task.collect.policy) or RANDOM_PLAY).config
    algorithm, given = algorithm_of(train, actions), len(widths) + train.pixels + train.random_layers
    heads = 0 if algorithm == "ridge" else len(train.heads)  # heads that learn; what is solved has none, and is looked at once, in the end
    learned = given * heads + train.scratch + train.cnn
    solved = given if algorithm == "ridge" or train.closed_form else 0
    updates = train.length
    looks = heads * evaluation_episodes(train) + (train.final_episodes if solved else 0)  # of every seed on one frozen layer
    played = {"collect": round(0.0 if planned.complete else planned.seconds, 1)} if measure else {}
    found: dict[str, Any] = {
        "task": task.name,
        "environment": task.collect.environment,
        "algorithm": algorithm,
        "episode_length": round(length, 1),
        "rows": rows,
        "cells": len(widths),
        "clips": rows * len(cells),
        "runs": (learned + solved) * train.seeds,
        "updates": learned * train.seeds * updates,
        "evaluation_episodes": (learned * evaluation_episodes(train) + solved * train.final_episodes) * train.seeds,
        "evaluation_clips": round(length * looks * train.seeds * len(widths)),
        "store_bytes": rows * sum(cell.bytes_of_number * sum(width for _, width in cell.layers) for _, cell in cells),
    }
    if not measure:
        return found
    hidden = settings_of(train, algorithm).hidden if heads else ()
    seconds = played | {
        "extract": sum(rows * seconds_of_clip(extract.model_copy(update={"data": task.collect.out})) for extract, _ in cells),
        "updates_of_agents": sum(updates * _update(train, actions, head, hidden, widths) for head in train.heads[:heads]),
        "evaluation": length * looks * train.seeds * sum(_deep(extract, layer) for extract, cell in cells for layer, _ in cell.layers),
    }
    return found | {"seconds": {name: round(value, 1) for name, value in seconds.items()} | {"all": round(sum(seconds.values()), 1)}}


def episode_length(task: TaskSettings) -> float:
    """Return the mean number of steps of the data's episodes, or of some that are played now where there are no data."""
    from layerscout.cache.dataset.trajectories import Trajectories
    from layerscout.worlds.exploring import parse_policy
    from layerscout.worlds.pixels import make_world
    from layerscout.worlds.playing import play

    config = task.collect
    if config.out.is_file():
        with Trajectories(config.out) as data:
            return float(data.lengths.mean())
    world = make_world(config.environment, PILOT_COPIES, config.size, config.options)
    try:
        lengths = [episode.steps for episode in play(world, parse_policy(config.policy), config.seed, min(PILOT_STEPS, config.steps))]
    finally:
        world.close()
    return sum(lengths) / len(lengths)


def evaluation_episodes(config: TrainConfig) -> int:
    """Return how many episodes one run that learns plays in all its evaluations."""
    from layerscout.rl.loops.learning import evaluation_points

    return sum(evaluation_points(config, config.length).values())


def cell_widths(config: ExtractConfig) -> CellWidths:
    """Return the arrays that an extraction keeps, by the backbone's description alone."""
    from layerscout.extract.backbones.finding import find_backbone
    from layerscout.extract.passes.pooling import pooled_width

    backbone = find_backbone(config.backbone, config.backbone_options)
    layers = tuple(backbone.layer(name) for name in config.layers) or backbone.layers
    poolings = config.pooling or (backbone.default_pooling,)
    widths = [
        (layer.name, pooled_width(name, backbone.grid_of(layer), layer.width, backbone.class_token))
        for layer in layers
        for name in poolings
    ]
    return CellWidths(tuple(widths), 4 if config.dtype == "float32" else 2)


def seconds_of_clip(config: ExtractConfig) -> float:
    """Return the seconds of one clip through all layers that are kept, by trying it out."""
    layers = config.layers or (None,)
    return _tried(config.backbone, repr(config.backbone_options), layers, config.pooling, config.compute)


def _deep(config: ExtractConfig, layer: str) -> float:
    return _tried(config.backbone, repr(config.backbone_options), (layer,), config.pooling, config.compute)


@cache
def _tried(backbone: str, options: str, layers: tuple[str | None, ...], poolings: tuple[str, ...], compute: str) -> float:
    import ast

    import torch

    from layerscout.extract.backbones.finding import find_backbone
    from layerscout.extract.passes.pilot import seconds_of_passes

    found = find_backbone(backbone, ast.literal_eval(options))
    kept = tuple(found.layer(name) for name in layers if name is not None) or found.layers
    config = ExtractConfig.model_validate({"backbone": backbone, "data": "none", "threads": 1})
    return seconds_of_passes(config, found, kept, poolings or (found.default_pooling,), 1, getattr(torch, compute))


def _update(config: TrainConfig, actions: Any, head: str, hidden: tuple[int, ...], widths: Sequence[int]) -> float:
    """Return the seconds of one update of all groups; arms of much smaller width train apart."""
    from layerscout.extract.device import torch_threads
    from layerscout.rl.comparison.groups import alike
    from layerscout.rl.plan import seconds_of_update

    groups = alike(widths, lambda width: width)
    with torch_threads(1):
        return sum(
            seconds_of_update(config, actions, head, hidden if head == "mlp" else (), max(one), len(one) * config.seeds) for one in groups
        )


def costs_table(costs: dict[str, Any]) -> str:
    """Lay the costs out as a table, a line a task and one for all; seconds are shown only where they were measured."""
    columns = ["task", "learner", "episode", "rows", "cells", "clips", "runs", "updates", "eval. episodes", "eval. clips", "stores"]
    rows = [
        [
            row.get("task", "all"),
            row.get("algorithm", ""),
            f"{row['episode_length']:.0f}" if "episode_length" in row else "",
            *(f"{row[name]:,}" for name in FIGURES[:-1]),
            size(row["store_bytes"]),
        ]
        for row in (*costs["tasks"], costs["all"])
    ]
    if "seconds" in costs["all"]:
        columns += ["collect s", "extract s", "updates s", "evaluation s", "all s"]
        for line, row in zip(rows, (*costs["tasks"], costs["all"]), strict=True):
            line += [f"{row['seconds'][name]:,.0f}" for name in (*TIMES, "all")]
    return f"{table(columns, rows)}\nout: {costs['out']}"
