"""The demo's settings in, the whole job out: collect, extract twice, probe, train, report."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Any

from layerscout.commands.console import table
from layerscout.commands.demo_settings import DemoSettings
from layerscout.extract import run as extraction
from layerscout.memory import give_back
from layerscout.probe import run as probing
from layerscout.probe.config import ProbeConfig
from layerscout.probe.page import tables as ranking_tables
from layerscout.progress import Reporter
from layerscout.report import tables
from layerscout.report.report import judge_record, write_report
from layerscout.rl import run as training
from layerscout.worlds import collect as collecting


@dataclass(frozen=True)
class DemoResult:
    """What the demo found, for programs (``data``) and for people (``text``)."""

    data: dict[str, Any]
    text: str


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
            table(tables.paper_columns(record.mode), tables.summary_cells(record)),
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
