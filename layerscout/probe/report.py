"""A ranking with its evidence in; layer_analysis.csv and .md, selected_layer.txt and the figure of score by depth out."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerscout.cache.records import Estimate, LayerScore, Ranking, Selection, as_table_value, write_atomic
from layerscout.probe.evidence import Evidence
from layerscout.probe.score import transition_gain

CSV_NAME, TABLE_NAME, SELECTED_NAME, FIGURE_NAMES = (
    "layer_analysis.csv",
    "layer_analysis.md",
    "selected_layer.txt",
    ("score_by_depth.svg", "score_by_depth.png"),
)
UNDEFINED = "n/a"
INTERVALS = ("reward_r2", "transition_r2", "effective_rank", "score")
COLUMNS = (
    *("layer", "reward_r2", "transition_r2", "effective_rank", "composite_score", "role", "depth", "width", "rank"),
    *(f"{name}_{end}" for name in INTERVALS for end in ("low", "high")),
    *("reward_r2_shuffled", "reward_r2_shuffled_low", "reward_r2_shuffled_high", "persistence_r2", "autoregression_r2", "transition_gain"),
    *("transition_r2_without_action", "bits_action", "bits_action_by_chance", "correlation_rank", "live_features", "flags"),
)


def write_tables(ranking: Ranking, evidence: Sequence[Evidence], selection: Selection, out: Path) -> None:
    """Write the tables and the selected layer's name; each file whole or not at all."""
    by_layer = {(item.role, item.name): item for item in evidence}
    rows = [_row(place, layer, by_layer[layer.role, layer.name]) for place, layer in enumerate(ranking.layers, 1)]
    write_atomic(out / CSV_NAME, layer_csv(rows).encode())
    write_atomic(out / TABLE_NAME, layer_markdown(ranking, selection).encode())
    best = ranking.candidates[0]
    write_atomic(out / SELECTED_NAME, f"{best.name}\n{why(ranking)}\n".encode())


def layer_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Format rows as CSV; a figure that is None is n/a."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: UNDEFINED if row[column] is None else row[column] for column in COLUMNS} for row in rows)
    return text.getvalue()


def _row(place: int, layer: LayerScore, evidence: Evidence) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 6)

    row: dict[str, Any] = {"layer": layer.name, "role": layer.role, "depth": layer.depth, "width": layer.width}
    row["rank"] = place if layer.role == "layer" else None
    for name in (*INTERVALS, "reward_r2_shuffled"):
        estimate: Estimate | None = getattr(layer, name)
        column = "composite_score" if name == "score" else name
        row[column] = rounded(estimate.value) if estimate else None
        row[f"{name}_low"], row[f"{name}_high"] = (rounded(estimate.low), rounded(estimate.high)) if estimate else (None, None)
    for name in (
        "persistence_r2",
        "autoregression_r2",
        "transition_r2_without_action",
        "bits_action",
        "bits_action_by_chance",
        "correlation_rank",
    ):
        row[name] = rounded(getattr(evidence, name))
    return row | {
        "transition_gain": rounded(transition_gain(evidence)),
        "live_features": evidence.live_features,
        "flags": " ".join(layer.flags),
    }


def why(ranking: Ranking) -> str:
    """One line that says why the best layer is the best, and how far the next one and the controls are."""
    best, *rest = ranking.candidates
    text = f"score {as_table_value(best.score)}: reward R² {as_table_value(best.reward_r2)}, transition R² {as_table_value(best.transition_r2)}"
    text += f", relative effective rank {as_table_value(best.effective_rank)}"
    others = [("next best", layer) for layer in rest[:1]]
    others += [("control", layer) for layer in ranking.layers if layer.role == "control"]
    others += [("untrained", layer) for layer in ranking.layers if layer.role == "twin" and layer.name == best.name]
    for kind, layer in others:
        text += f"; {kind} {layer.name} {as_table_value(layer.score)}"
    return text + (f"; flags {' '.join(best.flags)}" if best.flags else "")


def layer_markdown(ranking: Ranking, selection: Selection) -> str:
    """Return the ranking as a table with its intervals, controls, notes and choices."""
    head = (
        "#",
        "layer",
        "S",
        "reward R²",
        "shuffled reward",
        "transition R²",
        "persistence",
        "gain",
        "bits of action",
        "effective rank",
        "flags",
    )
    lines = [
        f"# Layers of {ranking.backbone}",
        "",
        f"{ranking.rows:,} transitions of {ranking.episodes} episodes, {ranking.folds} folds split by episode. Brackets: 95 % intervals (shuffled reward: range).",
        "",
        "S = {} · R²_reward + {} · R²_transition + {} · effective rank / width".format(*(f"{weight:g}" for weight in ranking.weights))
        + f" ({ranking.score_version}, R² {'clipped to [0, 1]' if ranking.normalisation == 'clip' else 'as clip((R² + 1) / 2, 0, 1)'}).",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for place, layer in enumerate(ranking.layers, 1):
        cells = [
            str(place) if layer.role == "layer" else layer.role,
            layer.name,
            *(as_table_value(estimate) for estimate in (layer.score, layer.reward_r2, layer.reward_r2_shuffled, layer.transition_r2)),
            *(as_table_value(figure) for figure in (layer.persistence_r2, layer.transition_gain, layer.bits_action)),
            as_table_value(layer.effective_rank),
            " ".join(layer.flags),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Handed to reinforcement learning: " + ", ".join(f"{choice.layer} ({choice.kind})" for choice in selection.choices) + "."]
    return "\n".join([*lines, "", *(f"- {note}" for note in ranking.notes)]).rstrip() + "\n"


def as_text(ranking: Ranking) -> str:
    """Return the ranking for a terminal: one aligned line a layer, the notes, and why the best is the best."""
    rows: list[tuple[str, ...]] = [("#", "layer", "score", "reward R²", "transition R²", "gain", "rank/width", "flags")]
    for place, layer in enumerate(ranking.layers, 1):
        figures = (layer.score, layer.reward_r2, layer.transition_r2, layer.transition_gain, layer.effective_rank)
        cells = (as_table_value(figure, 2) for figure in figures)
        rows.append((str(place) if layer.role == "layer" else layer.role, layer.name, *cells, " ".join(layer.flags)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"note: {note}" for note in ranking.notes), f"best: {ranking.candidates[0].name}, {why(ranking)}"])
