"""Records in, the tables of the page and of the paper out, as plain text cells."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerscout import __version__
from layerscout.cache.records import LayerScore, Ranking, RunRecord, as_table_value
from layerscout.flags import explain
from layerscout.report.experiment import Evidence
from layerscout.report.tables import (
    PAPER_COLUMNS,
    SPEED_COLUMNS,
    SPENT,
    UNDEFINED,
    as_markdown,
    number,
    speed_cells,
    spent_cells,
    summary_cells,
)
from layerscout.report.verdict import Verdict

PACKAGES = ("torch", "diffusers", "numpy", "scipy", "scikit-learn", "gymnasium", "zarr", "matplotlib")


@dataclass(frozen=True)
class Table:
    """Column names and rows of text; the first column names the row. ``words``: the cells are prose, not figures."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: bool = False

    def markdown(self) -> str:
        """Return it as Markdown."""
        return as_markdown(self.columns, self.rows, self.words)


def ranking_table(ranking: Ranking) -> Table:
    """Return every layer with its evidence, candidates first in their order."""
    places = {layer.name: str(place) for place, layer in enumerate(ranking.candidates, start=1)}
    columns = (
        "Layer",
        "Rank",
        "Score",
        "Reward R²",
        "… shuffled",
        "Transition R²",
        "… persistence",
        "… gain",
        "Effective rank",
        "Width",
        "Flags",
    )
    order = sorted(
        ranking.layers, key=lambda layer: ("layer", "twin", "control").index(layer.role)
    )  # stable: keeps the order inside a role
    return Table(
        columns, tuple(ranking_row(layer, places.get(layer.name, "–") if layer.role == "layer" else layer.role) for layer in order)
    )


def ranking_row(layer: LayerScore, place: str) -> tuple[str, ...]:
    """Return one layer's cells."""
    estimates = (layer.score, layer.reward_r2, layer.reward_r2_shuffled, layer.transition_r2, layer.persistence_r2, layer.transition_gain)
    figures = tuple(as_table_value(value) for value in (*estimates, layer.effective_rank))
    return (layer.name, place, *figures, f"{layer.width:,}", "\n".join(layer.flags))


def analysis_table(ranking: Ranking) -> Table:
    """Return the paper's short table of the candidates."""
    rows = [
        (layer.name, *map(as_table_value, (layer.reward_r2, layer.transition_r2, layer.effective_rank, layer.score)))
        for layer in ranking.candidates
    ]
    return Table(("Layer", "Reward R²", "Transition R²", "Effective rank", "Score"), tuple(rows))


def flags_seen(ranking: Ranking) -> dict[str, str]:
    """Return every flag that some layer carries, with its explanation."""
    return {flag: explain(flag) for flag in sorted({flag for layer in ranking.layers for flag in layer.flags})}


def returns_table(record: RunRecord) -> Table:
    """Return the RL table: what each arm earned."""
    return Table(PAPER_COLUMNS, summary_cells(record))


def speed_table(record: RunRecord) -> Table:
    """Return how fast each arm learned and how far it stayed below the best possible."""
    return Table(SPEED_COLUMNS, speed_cells(record))


def budget_table(record: RunRecord) -> Table:
    """Return what each run of an arm was allowed and used."""
    columns = ("Arm", "Kind", "Head", "Width", "Backbone clips", *SPENT)
    rows = [(arm.name, arm.kind, arm.head, f"{arm.width:,}", f"{arm.budget.backbone_clips:,}", *spent_cells(arm)) for arm in record.arms]
    return Table(columns, tuple(rows))


def comparison_table(verdict: Verdict, record: RunRecord) -> Table:
    """Return the ranked-best layer against each control, with the control's budget."""
    columns = ("Control", "Kind", "Seeds", "Test", "Difference", "p", "p after Holm", "P(improvement)", *SPENT)
    arms = {arm.name: arm for arm in record.arms}
    return Table(
        columns,
        tuple(
            (
                one.control,
                one.kind,
                str(one.seeds),
                "sign flip" if one.paired else "Welch",
                as_table_value(one.difference),
                number(one.p),
                number(one.p_holm),
                as_table_value(one.improvement, 2),
                *spent_cells(arms[one.control]),
            )
            for one in verdict.comparisons
        ),
    )


def failures(record: RunRecord) -> Table:
    """Return the runs that failed and why."""
    rows = tuple((run.arm, str(run.seed), run.reason or "no reason given") for run in record.runs if run.status == "failed")
    return Table(("Arm", "Seed", "Reason"), rows, words=True)


def settings_table(values: Mapping[str, Any]) -> Table:
    """Return resolved settings as dotted names with their values."""
    return Table(("Setting", "Value"), tuple(flatten(values)), words=True)


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as ``a.b`` rows."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        rows += (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else [(f"{prefix}{key}", UNDEFINED if value is None else str(value))]
        )
    return rows


def provenance_table(evidence: Evidence) -> Table:
    """Return what was measured on what, by identity."""
    ranking = evidence.ranking
    weights = " + ".join(f"{weight:g} {part}" for weight, part in zip(ranking.weights, ("reward R²", "transition R²", "rank"), strict=True))
    rows = [
        ("backbone", ranking.backbone),
        ("store", ranking.store_id),
        ("store of the untrained twin", ranking.twin_store_id or UNDEFINED),
        ("dataset", ranking.dataset_digest),
        ("rows · episodes · folds", f"{ranking.rows:,} · {ranking.episodes:,} · {ranking.folds}"),
        ("score", f"{ranking.score_version}: {weights}, R² normalised by {ranking.normalisation}"),
    ]
    rows += [
        (path, f"{record.environment}, {record.mode}, {len(record.arms)} arms, {len(record.runs)} runs")
        for path, record in evidence.records
    ]
    return Table(("What", "Which"), tuple(rows), words=True)


def versions_table() -> Table:
    """Return the versions on the machine that writes the report."""
    rows = [("layerscout", __version__), ("Python", platform.python_version()), ("system", platform.platform())]
    for package in PACKAGES:
        try:
            rows.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    return Table(("Package", "Version"), tuple(rows), words=True)


def commands(evidence: Evidence) -> tuple[str, ...]:
    """Return the commands of the stages on these identities; settings that differ from the defaults are in the settings files."""
    ranking, out = evidence.ranking, evidence.folder.name or "."
    trained = tuple(
        f"layerscout train {record.environment} --mode {record.mode} --selection {record.selection or 'selection.json'}"
        for _, record in evidence.records
    )
    return (f"layerscout probe {ranking.store_id}", *trained, f"layerscout report {out}")
