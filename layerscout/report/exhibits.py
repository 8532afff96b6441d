"""Records in, the tables of the page and of the paper out, as plain text cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layerscout.cache.records import LayerScore, Ranking, RunRecord, as_table_value
from layerscout.pages.flags import explain_flag
from layerscout.pages.ranking import labelled_name, ordering, short_kind
from layerscout.pages.tables import UNDEFINED, Table, flatten_settings
from layerscout.report.experiment import Experiment
from layerscout.report.tables import (
    SPEED_COLUMNS,
    SPENT,
    format_number,
    paper_columns,
    speed_cells,
    spent_cells,
    summary_cells,
)
from layerscout.report.verdict import Verdict
from layerscout.showing import counted


def ranking_table(ranking: Ranking) -> Table:
    """Return every layer with its evidence, candidates first in their order; where S-ctrl orders, S and the bits of action stand beside it."""
    places = {(layer.store_id, layer.name): str(place) for place, layer in enumerate(ranking.candidates, start=1)}
    columns = (
        "Layer",
        "Rank",
        *(("S-ctrl", "Bits of action", "S") if short_kind(ranking) == "S-ctrl" else ("Score",)),
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
        columns,
        tuple(ranking_row(ranking, layer, places[layer.store_id, layer.name] if layer.role == "layer" else layer.role) for layer in order),
    )


def ranking_row(ranking: Ranking, layer: LayerScore, place: str) -> tuple[str, ...]:
    """One layer's cells, in the columns of `ranking_table`: scores and measures with intervals, width, flags."""
    ordered = ordering(ranking, layer)
    scores = (ordered, layer.bits_action, layer.score) if short_kind(ranking) == "S-ctrl" else (ordered,)
    estimates = (*scores, layer.reward_r2, layer.reward_r2_shuffled, layer.transition_r2, layer.persistence_r2, layer.transition_gain)
    figures = tuple(as_table_value(value) for value in (*estimates, layer.effective_rank))
    return (labelled_name(ranking, layer), place, *figures, f"{layer.width:,}", "\n".join(layer.flags))


def analysis_table(ranking: Ranking) -> Table:
    """Return the paper's short table of the candidates."""
    rows = [
        (
            labelled_name(ranking, layer),
            *map(as_table_value, (layer.reward_r2, layer.transition_r2, layer.effective_rank, ordering(ranking, layer))),
        )
        for layer in ranking.candidates
    ]
    kind = short_kind(ranking)
    return Table(("Layer", "Reward R²", "Transition R²", "Effective rank", "Score" if kind == "S" else kind), tuple(rows))


def flags_seen(ranking: Ranking) -> dict[str, str]:
    """Return every flag that some layer carries, with its explanation."""
    return {flag: explain_flag(flag) for flag in sorted({flag for layer in ranking.layers for flag in layer.flags})}


def returns_table(record: RunRecord) -> Table:
    """Return the RL table: what each arm earned, and below, what policies earn that learn nothing."""
    rows = summary_cells(record)
    return Table(paper_columns(record.mode), rows, quiet=frozenset(range(len(record.arms), len(rows))))


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
                format_number(one.p),
                format_number(one.p_holm),
                as_table_value(one.improvement, 2),
                *spent_cells(arms[one.control]),
            )
            for one in verdict.comparisons
        ),
    )


def failed_runs_table(record: RunRecord) -> Table:
    """Arm, seed and reason of every run that failed; such runs are in no mean."""
    rows = tuple((run.arm, str(run.seed), run.reason or "no reason given") for run in record.runs if run.status == "failed")
    return Table(("Arm", "Seed", "Reason"), rows, words=True)


def settings_table(values: Mapping[str, Any]) -> Table:
    """Return resolved settings as dotted names with their values."""
    rows = tuple((key, UNDEFINED if value is None else str(value)) for key, value in flatten_settings(values))
    return Table(("Setting", "Value"), rows, words=True)


def provenance_table(experiment: Experiment) -> Table:
    """Backbone, stores, dataset, settings of probing and of every comparison: what someone needs to repeat it."""
    ranking = experiment.ranking
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
        (path, f"{record.environment}, {record.mode}, {counted(len(record.arms), 'arm')}, {counted(len(record.runs), 'run')}")
        for path, record in experiment.records
    ]
    return Table(("What", "Which"), tuple(rows), words=True)
