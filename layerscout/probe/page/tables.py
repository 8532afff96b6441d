"""A ranking in; layer_analysis.csv and .md, selected_layer.txt and the text for a terminal out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import Confirmation, Estimate, LayerScore, Ranking, Selection, as_table_value
from layerscout.pages.axes import shorten
from layerscout.pages.ranking import UNTRAINED, has_state, layer_title, ordering, short_kind
from layerscout.pages.tables import as_csv, as_markdown
from layerscout.probe.page.wording import formula, handed_over, reasons
from layerscout.probe.questions.targets import STATE
from layerscout.showing import counted
from layerscout.text import markdown_text, visible

CSV_NAME, TABLE_NAME, SELECTED_NAME, PAGE_NAME = "layer_analysis.csv", "layer_analysis.md", "selected_layer.txt", "probe.html"
FIGURE_NAMES = ("score_by_depth.svg", "score_by_depth.png")
ESTIMATES = (
    "reward_r2",
    "transition_r2",
    "effective_rank",
    "score",
    "skill_score",
    "reward_r2_shuffled",
    "transition_skill",
    "behind_best",
    "control_score",
)
CONFIRMED = ("reward_r2", "transition_r2", "effective_rank", "score", "bits_action", "state_r2")
TRANSITION = ("persistence_r2", "autoregression_r2", "transition_gain", "transition_r2_without_action", "transition_r2_weighted")
ACTION = ("bits_action", "bits_action_by_chance", "bits_total")
RANKS = ("correlation_rank", "log_rank", "participation_ratio", "rankme", "rankme_centred")
COUNTS = ("live_features", "massive_features", "nonfinite_rows")
NUMBERS = (*TRANSITION, *ACTION, *RANKS, "p_top_k", "p_top_k_weights", "method_error")
ENDS = ("low", "high")
COLUMNS = (
    *("layer", "reward_r2", "transition_r2", "effective_rank", "composite_score", "role", "depth", "width", "rank", "store", "label"),
    *(f"{name}_{end}" for name in ESTIMATES[:4] for end in ENDS),
    *(f"{name}{end}" for name in ESTIMATES[4:] for end in ("", "_low", "_high")),
    *("p_top_k", "p_top_k_weights"),
    *(f"confirmation_{name}{end}" for name in CONFIRMED for end in ("", "_low", "_high")),
    *(*TRANSITION, *ACTION, *RANKS, *COUNTS, "method", "method_error", "flags"),
    *("score_kind", "score_version", "weights", "normalisation"),
)


def write_ranking_tables(ranking: Ranking, selection: Selection, out: Path) -> None:
    """Write the tables and the selected layer's name; each file whole or not at all."""
    write_atomic(out / CSV_NAME, layer_csv(ranking).encode())
    write_atomic(out / TABLE_NAME, layer_markdown(ranking, selection).encode())
    best = ranking.candidates[0]
    place = [f"store {best.store_id}"] if len(ranking.stores) > 1 else []
    lines = [best.name, reasons(ranking), *place, formula(ranking)]
    write_atomic(out / SELECTED_NAME, "".join(f"{visible(line)}\n" for line in lines).encode())


def layer_csv(ranking: Ranking) -> str:
    """Return every figure of every layer as CSV: ``COLUMNS``, then three for every other target and measure; an undefined figure is n/a."""
    targets = dict.fromkeys(f"target_{name}" for layer in ranking.layers for name in layer.targets)
    measures = [f"measure_{name}" for name in measure_names(ranking)]
    columns = (*COLUMNS, *(f"{name}{end}" for name in (*targets, *measures) for end in ("", "_low", "_high")))
    rows = [_row(ranking, place, layer) for place, layer in enumerate(ranking.layers, 1)]
    return as_csv(columns, ([row.get(column) for column in columns] for row in rows))


def _row(ranking: Ranking, place: int, layer: LayerScore) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer.name, "role": layer.role, "depth": layer.depth, "width": layer.width}
    row |= {"rank": place if layer.role == "layer" else None, "store": layer.store_id or None, "label": layer.label or None}
    for name in ESTIMATES:
        row |= _three(name, getattr(layer, name))
    row["composite_score"] = row.pop("score")
    for name in CONFIRMED:
        row |= _three(f"confirmation_{name}", getattr(layer.confirmation, name) if layer.confirmation else None)
    for name, estimate in layer.targets.items():
        row |= _three(f"target_{name}", estimate)
    for name, estimate in layer.measures.items():
        row |= _three(f"measure_{name}", estimate)
    row |= {name: _rounded(getattr(layer, name)) for name in NUMBERS} | {name: getattr(layer, name) for name in COUNTS}
    row |= {
        "method": layer.method,
        "flags": " ".join(layer.flags),
        "score_kind": ranking.score_kind,
        "score_version": ranking.score_version,
    }
    return row | {"weights": " ".join(f"{weight:g}" for weight in ranking.weights), "normalisation": ranking.normalisation}


def measure_names(ranking: Ranking) -> list[str]:
    """Return the measures that some layer has beside its score, each once."""
    return list(dict.fromkeys(name for layer in ranking.layers for name in layer.measures))


def _three(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {name: _rounded(estimate.value), f"{name}_low": _rounded(estimate.low), f"{name}_high": _rounded(estimate.high)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def layer_markdown(ranking: Ranking, selection: Selection) -> str:
    """Return the ranking as a table with its intervals, controls, confirmation, notes and choices."""
    held = f" {ranking.confirmation_episodes:,} more episodes are held out." if ranking.confirmation_episodes else ""
    backbones = ", ".join(dict.fromkeys(store.backbone for store in ranking.stores)) or ranking.backbone
    lines = [
        f"# Layers of {markdown_text(backbones)}",
        "",
        f"{counted(ranking.rows, 'transition')} of {counted(ranking.episodes, 'episode')}, {ranking.folds} folds split by episode.{held} Brackets: 95 % intervals (shuffled reward: range).",
        "",
        f"{markdown_text(formula(ranking))}.",
        "",
    ]
    rows = []
    for place, layer in enumerate(ranking.layers, 1):
        estimates = (ordering(ranking, layer), layer.behind_best, layer.p_top_k, layer.reward_r2, layer.reward_r2_shuffled)
        figures = (layer.transition_r2, layer.persistence_r2, layer.transition_gain, layer.bits_action, layer.effective_rank)
        first = (str(place) if layer.role == "layer" else layer.role, layer_title(ranking, layer))
        rows.append((*first, *map(as_table_value, (*estimates, *figures)), solving_method(layer), " ".join(layer.flags)))
    score = short_kind(ranking)
    head = ("#", "layer", score, "behind best", f"P(top {ranking.top_k or 'k'})", "reward R²", "shuffled reward", "transition R²")
    lines.append(
        as_markdown((*head, "persistence", "gain", "bits of action", "effective rank", "method", "flags"), rows, words=True).rstrip()
    )
    lines += [*measures_table(ranking), *confirmation_table(ranking)]
    lines += ["", f"Handed to reinforcement learning: {markdown_text(handed_over(selection))}."]
    return "\n".join([*lines, "", *(f"- {markdown_text(note)}" for note in ranking.notes)]).rstrip() + "\n"


def measures_table(ranking: Ranking) -> list[str]:
    """Return what stands beside the score, a measure a row and a layer a column; nothing when no measure was taken."""
    names = measure_names(ranking)
    if not names:
        return []
    rows = [("S-ctrl", *(as_table_value(layer.control_score) for layer in ranking.layers))]
    rows += [(name, *(as_table_value(layer.measures.get(name)) for layer in ranking.layers)) for name in names]
    head = ("measure", *(layer_title(ranking, layer) for layer in ranking.layers))
    return ["", "## Beside the score", "", "No part of S.", "", as_markdown(head, rows, words=True).rstrip()]


def confirmation_table(ranking: Ranking) -> list[str]:
    """Return the best layers' figures on the held-out episodes beside those of the ranking; nothing when none were held out."""
    rows = []
    for layer in ranking.layers:
        if (confirmation := layer.confirmation) is not None:
            pairs = confirmed_pairs(ranking, layer, confirmation)
            rows.append((layer_title(ranking, layer), *(as_table_value(figure) for pair in pairs.values() for figure in pair)))
            head = [f"{figure}, {where}" for figure in pairs for where in ("ranking", "held out")]
    if not rows:
        return []
    return [
        "",
        "## Confirmation",
        "",
        f"On {counted(ranking.confirmation_episodes, 'episode')} that had no part in the ranking.",
        "",
        as_markdown(("layer", *head), rows, words=True).rstrip(),
    ]


def confirmed_pairs(ranking: Ranking, layer: LayerScore, found: Confirmation) -> dict[str, tuple[Estimate | float | None, Estimate | None]]:
    """Return by name each figure of a layer as ranked, and on the episodes that had no part in the ranking: first those that order."""
    pairs: dict[str, tuple[Estimate | float | None, Estimate | None]] = {"score": (ordering(ranking, layer), found.score)}
    if short_kind(ranking) == "S-ctrl":
        pairs["bits of action"] = layer.bits_action, found.bits_action
        if has_state(ranking):
            pairs["state R²"] = layer.targets.get(STATE), found.state_r2
    pairs |= {"reward R²": (layer.reward_r2, found.reward_r2), "transition R²": (layer.transition_r2, found.transition_r2)}
    return pairs | {"effective rank / width": (layer.effective_rank, found.effective_rank)}


def solving_method(layer: LayerScore) -> str:
    """Return how the layer was solved, with its error against the exact answer where there is one."""
    return layer.method if layer.method_error is None else f"{layer.method}, error {layer.method_error:.1g}"


LEAST_NAME, WIDEST, NARROWEST = 12, 120, 60  # characters: of a layer's name, and of lines of words
# beginnings of columns' names, in the order in which a narrow terminal has no room for them
FIRST_LEFT_OUT = ("rank", "gain", "P(", "transition R²", "reward R²", "state R²", "bits", "behind the best")


def as_text(ranking: Ranking, room: int | None = None) -> str:
    """Return the ranking for a terminal: one aligned line a layer, then flags, held-out scores, notes, and why the best is the best.

    Parameters
    ----------
    room
        Characters of a line of the terminal; columns that do not fit are left out and named. None: nothing is left out.
    """
    score = short_kind(ranking)
    controls = ("bits", "state R²") if score == "S-ctrl" else ()
    rows: list[tuple[str, ...]] = [
        ("#", score, "behind the best", f"P(top {ranking.top_k or 'k'})", *controls, "reward R²", "transition R²", "gain", "rank")
    ]
    for place, layer in enumerate(ranking.layers, 1):
        sure = (as_table_value(ordering(ranking, layer)), as_table_value(layer.behind_best) if layer.behind_best else "")
        chance = "" if layer.p_top_k is None else f"{layer.p_top_k:.2f}"
        state = _value(layer.targets[STATE]) if layer.targets.get(STATE) else ""
        parts = (
            *((as_table_value(layer.bits_action, 2), state) if controls else ()),
            _value(layer.reward_r2),
            _value(layer.transition_r2),
            as_table_value(layer.transition_gain, 2),
            as_table_value(layer.effective_rank.value),
        )
        rows.append((str(place) if layer.role == "layer" else layer.role, *sure, chance, *parts))
    kept = [place for place in range(len(rows[0])) if any(row[place] for row in rows[1:])]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = _too_many({rows[0][place]: wide[place] + 2 for place in kept}, room)
    kept = [place for place in kept if rows[0][place] not in left]
    cells = [[row[place] for place in kept] for row in rows]
    widths = [wide[place] for place in kept]
    for_names = max(LEAST_NAME, (room or WIDEST) - sum(widths) - 2 * len(widths))
    names = [
        "layer",
        *(shorten(visible(layer_title(ranking, layer)).removesuffix(UNTRAINED), for_names) for layer in ranking.layers),
    ]  # "twin" says it
    widths.insert(1, max(map(len, names)))
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip((row[0], name, *row[1:]), widths, strict=True)).rstrip()
        for row, name in zip(cells, names, strict=True)
    ]
    notes = [f"(no room for: {', '.join(left)}; a wider terminal, probe.html or --json has them)"] if left else []
    notes += [*_flag_lines(ranking), *(f"note: {note}" for note in ranking.notes)]
    notes += [
        f"held out: {layer_title(ranking, layer)} {as_table_value(layer.confirmation.score)}"
        for layer in ranking.layers
        if layer.confirmation
    ]
    notes += [f"score: {formula(ranking)}", f"best: {layer_title(ranking, ranking.candidates[0])}, {reasons(ranking)}"]
    columns = max(NARROWEST, min(WIDEST, room or WIDEST))
    return "\n".join([*lines, *(wrapped for line in notes for wrapped in textwrap.wrap(visible(line), columns, subsequent_indent="  "))])


def _too_many(widths: Mapping[str, int], room: int | None) -> list[str]:
    """Return the names of the columns that must go, the least important first, so that a line with a short name fits."""
    gone: list[str] = []
    taken = sum(widths.values()) + LEAST_NAME
    for name in (name for beginning in FIRST_LEFT_OUT for name in widths if name.startswith(beginning)):
        if room is None or taken <= room:
            break
        gone.append(name)
        taken -= widths[name]
    return gone


def _value(estimate: Estimate | None) -> str:
    return as_table_value(None if estimate is None else estimate.value, 2)


def _flag_lines(ranking: Ranking) -> list[str]:
    lines = []
    for flag in dict.fromkeys(flag for layer in ranking.layers for flag in layer.flags):
        flagged = [layer_title(ranking, layer) for layer in ranking.layers if flag in layer.flags]
        lines.append(f"{flag}: {'every layer' if len(flagged) == len(ranking.layers) else ', '.join(flagged)}")
    return lines
