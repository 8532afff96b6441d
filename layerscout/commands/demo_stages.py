"""One folder's name in, the whole job out: collect, extract twice, probe, train, report; the demo and its settings."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout import settings
from layerscout.commands.console import table
from layerscout.extract import run as extraction
from layerscout.extract.config import ExtractConfig
from layerscout.memory import give_back
from layerscout.probe import run as probing
from layerscout.probe.config import ProbeConfig
from layerscout.probe.page import tables as ranking_tables
from layerscout.progress import Reporter
from layerscout.report import tables
from layerscout.report.report import judge_record, write_report
from layerscout.rl import run as training
from layerscout.rl.config import TrainConfig
from layerscout.worlds import collect as collecting
from layerscout.worlds.config import CollectConfig

ENVIRONMENT = "layerscout/Intercept-v0"
DEFAULTS: dict[str, dict[str, Any]] = {
    "collect": {"environment": ENVIRONMENT, "steps": 30_000, "policy": "random:4"},
    "extract": {"backbone": "tiny", "batch": 64, "rows_per_chunk": 2048},  # smaller units, less memory in every stage
    # fewer groups for less memory; products in float64, since nearly all of these layers would be measured again in it
    "probe": {"top_k": 2, "groups": 12, "precision": "float64"},
    "train": {
        "environment": ENVIRONMENT,
        "mode": "offline",
        "seeds": 6,
        "updates": 4_000,
        "evaluations": 3,
        # a landing is rewarded some 25 steps after the paddle had to start: values must travel far in few updates
        "dqn": {"lr": 3e-4, "gamma": 0.99, "target_interval": 25, "hidden": (64, 64)},
    },
}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "collect": {"steps": 1_500},
        "train": {"seeds": 2, "updates": 200, "evaluations": 1, "final_episodes": 10},
    }
}


@dataclass(frozen=True)
class DemoSettings:
    """The settings of every stage, in the order in which they run. ``twin`` is the untrained backbone on the same data."""

    out: Path
    collect: CollectConfig
    extract: ExtractConfig
    twin: ExtractConfig
    probe: dict[str, Any]  # store and twin are known only when they have been extracted
    train: TrainConfig


@dataclass(frozen=True)
class DemoResult:
    """What the demo found, for programs (``data``) and for people (``text``)."""

    data: dict[str, Any]
    text: str


def settings_for(out: Path, *, file: Path | None, preset: str | None, assignments: Sequence[str]) -> DemoSettings:
    """Resolve every stage's settings: the demo's own, then file, preset and assignments of the form ``stage.key=value``.

    Raises
    ------
    UsageError
        An assignment names no stage, or a setting is unknown.
    """
    from layerscout.errors import UsageError, suggest

    for assignment in assignments:
        stage, dot, _ = assignment.partition("=")[0].partition(".")
        if stage not in DEFAULTS or not dot:
            raise UsageError(
                f"--set '{assignment}' names no stage{suggest(stage, DEFAULTS)}", hint="write stage.key=value, e.g. train.seeds=10"
            )

    def resolve(model: Any, section: str, **fixed: Any) -> Any:
        sources: dict[str, Any] = {"file": file, "preset": preset, "assignments": assignments, "presets": PRESETS}
        return settings.resolve(model, section, defaults=DEFAULTS[section], flags=fixed, **sources)

    data, root = out / "data.h5", out / "cache"
    extract = resolve(ExtractConfig, "extract", data=data, root=root)
    probe = resolve(ProbeConfig, "probe", store="pending", root=root, out=out / "probe")
    return DemoSettings(
        out=out,
        collect=resolve(CollectConfig, "collect", out=data),
        extract=extract,
        twin=extract.model_copy(update={"backbone": "tiny-untrained"}),
        probe=probe.model_dump(exclude={"store", "twin"}),
        train=resolve(TrainConfig, "train", selection=out / "probe" / "selection.json", root=root, out=out / "train"),
    )


def describe(chosen: DemoSettings) -> dict[str, Any]:
    """What the demo will do, for ``--dry-run``; later stages are planned when their input exists."""
    plan = collecting.plan(chosen.collect).describe()
    runs = f"{chosen.train.seeds} seeds an arm, {chosen.train.updates} updates"
    return plan | {"backbones": [chosen.extract.backbone, chosen.twin.backbone], "train": runs, "out": str(chosen.out)}


def run(chosen: DemoSettings, reporter: Reporter) -> DemoResult:
    """Do the whole job, or what is left of it; the same command continues after a kill."""
    began = time.monotonic()
    collecting.run(collecting.plan(chosen.collect), reporter)
    store = extraction.run(extraction.plan(chosen.extract), reporter)
    twin = extraction.run(extraction.plan(chosen.twin), reporter)
    give_back()
    ranking = probing.run(probing.plan(ProbeConfig(store=store.id, twin=twin.id, **chosen.probe)), reporter)
    give_back()
    record = training.run(training.plan(chosen.train), reporter)
    page = write_report(chosen.out)
    judged = judge_record(record, ranking)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    text = "\n\n".join(
        [
            f"Layers of {ranking.backbone}, ranked on {ranking.rows:,} transitions of {ranking.episodes} episodes",
            ranking_tables.as_text(ranking),
            f"Agents: {record.mode} double DQN, {chosen.train.seeds} seeds an arm, {chosen.train.final_episodes} evaluation episodes a run",
            table(tables.PAPER_COLUMNS, tables.summary_cells(record)),
            judged.sentence,
            f"page: {page}\npaper: {page.with_name('paper.md')}\n({seconds:.0f} s, peak memory {peak / 1e9:.2f} GB)",
        ]
    )
    data = {
        "ranking": [layer.name for layer in ranking.candidates],
        "selected": ranking.candidates[0].name,
        "outcome": judged.outcome,
        "verdict": judged.sentence,
        "page": str(page),
        "seconds": round(seconds, 1),
        "peak_bytes": peak,
    }
    return DemoResult(data, text)
