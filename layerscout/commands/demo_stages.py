"""The demo's settings in, the whole job out: collect, extract twice, probe, train, report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.records import Ranking, RunRecord
from layerscout.commands.console import table, terminal_width
from layerscout.commands.demo_settings import DemoSettings
from layerscout.extract import run as extraction
from layerscout.memory import give_back, peak_memory
from layerscout.probe import run as probing
from layerscout.probe.config import ProbeConfig
from layerscout.probe.page import tables as ranking_tables
from layerscout.progress import Reporter
from layerscout.report import tables
from layerscout.report.chapters import gate_of
from layerscout.report.page import gate_sentence
from layerscout.report.questions import three_questions
from layerscout.report.report import write_report
from layerscout.report.verdict import best_arm, final_returns
from layerscout.rl import run as training
from layerscout.showing import mean
from layerscout.worlds import collect as collecting

LEARNERS = {"iql": "implicit Q-learning", "dqn": "double DQN"}


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


def agents_in_words(record: RunRecord, chosen: DemoSettings) -> str:
    """Say which learner trained for how long, with how many seeds and episodes of evaluation, as a fragment of a sentence."""
    learner, train = LEARNERS.get(record.algorithm or "", record.algorithm or ""), chosen.train
    return f"{record.mode} {learner}, {train.updates:,} updates, {train.seeds} seeds an arm, each evaluated on {train.final_episodes} episodes of its own"


def mean_returns(record: RunRecord) -> dict[str, float | None]:
    """Return the mean over seeds of what every arm earned; None where every run failed."""
    return {arm.name: mean(final_returns(record, arm.name).tolist()) for arm in record.arms}


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
    return demo_result(chosen, ranking, record, page, time.monotonic() - began, peak_memory())


def demo_result(chosen: DemoSettings, ranking: Ranking, record: RunRecord, page: Path, seconds: float, peak: int) -> DemoResult:
    """Return what the demo says: the ranking, what agents earned, whether the task was learned, the three questions, and what it took."""
    claims, returns, best = three_questions(record, ranking), mean_returns(record), best_arm(record, ranking)
    text = "\n\n".join(
        [
            f"Layers of {ranking.backbone}, ranked on {ranking.rows:,} transitions of {ranking.episodes} episodes",
            ranking_tables.as_text(ranking, terminal_width()),
            f"Agents: {agents_in_words(record, chosen)}",
            table(tables.paper_columns(record.mode), tables.summary_cells(record)),
            gate_sentence(gate_of(record)),
            "\n".join(f"{claim.statement} {claim.word.capitalize()}. {claim.sentence}" for claim in claims),
            f"page: {page}\npaper: {page.with_name('paper.md')}\n({seconds:.0f} s, peak memory {peak / 1e9:.2f} GB)",
        ]
    )
    data = {
        "ranking": [layer.name for layer in ranking.candidates],
        "selected": ranking.candidates[0].name,
        "claims": {claim.statement: claim.word for claim in claims},
        "evidence": [claim.sentence for claim in claims],
        "returned": None if best is None else returns[best.name],
        "returns": returns,
        "page": str(page),
        "seconds": round(seconds, 1),
        "peak_bytes": peak,
    }
    return DemoResult(data, text)
