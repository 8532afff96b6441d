"""A ranking in; its tables for a page out: the layers, other weights, other scores, pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.pages.flags import explain_flag
from layerscout.pages.ranking import layer_title, ordering, short_kind
from layerscout.pages.tables import Cell, Column, Table
from layerscout.probe.page.diagnostics import figure_cell
from layerscout.probe.page.tables import solving_method
from layerscout.service.data import measured
from layerscout.service.web.tables import Linked

SCORES = (
    ("S", "score", "0.45 reward R², 0.45 transition R², 0.10 effective rank: the reference"),
    ("S-skill", "skill_score", "transition R² counts only above trivial forecasts; the rank by its logarithm"),
    ("S-ctrl", "control_score", "how plainly the layer shows what the agent's own actions change, and the state"),
)


def layers_table(ranking: Ranking) -> Table:
    """Return every layer with what decides, best first; controls and untrained blocks stand back."""
    kind, top = short_kind(ranking), ranking.top_k or "k"
    columns = [
        Column("Layer"),
        Column("#", "place among the candidates"),
        Column(kind, "the score that orders, with its 95 % interval"),
        Column("Behind the best", "best score minus this one, paired by episode group"),
        Column(f"P(top {top})", "chance to be among the best, over resampled episode groups"),
        Column("Doubts", "flags: point at one, or move to it, and it says what it means"),
        Column("Reward R²", "out of fold, unclipped"),
        Column("Shuffled", "rewards shifted in time: mean and range"),
        Column("Transition R²", "from latent and action, out of fold"),
        Column("Persistence", "forecast: no change"),
        Column("Gain", "transition R² above the best trivial forecast"),
        Column("Bits of action", "what the action tells of the next activations"),
        Column("Effective rank", "of the covariance, as a share of the width"),
    ]
    more = [
        (name, words) for name, attribute, words in SCORES if name != kind and any(getattr(layer, attribute) for layer in ranking.layers)
    ]
    columns += [Column(name, words) for name, words in more]
    attributes = {name: attribute for name, attribute, _ in SCORES}
    rows = []
    for place, layer in enumerate(ranking.layers, 1):
        rows.append(
            (
                Cell(layer_title(ranking, layer), _depth(layer)),
                Cell(str(place)) if layer.role == "layer" else Cell({"control": "control", "twin": "untrained"}[layer.role], value=""),
                *map(figure_cell, (ordering(ranking, layer), layer.behind_best, layer.p_top_k)),
                flags_cell(layer.flags),
                *map(figure_cell, (layer.reward_r2, layer.reward_r2_shuffled)),
                *map(
                    figure_cell, (layer.transition_r2, layer.persistence_r2, layer.transition_gain, layer.bits_action, layer.effective_rank)
                ),
                *(figure_cell(getattr(layer, attributes[name])) for name, _ in more),
                Cell(solving_method(layer)),
            )
        )
    columns.append(Column("Method", "exact, sketch or dual, with the largest error of an R²"))
    quiet = frozenset(place for place, layer in enumerate(ranking.layers) if layer.role != "layer")
    return Table(tuple(columns), tuple(rows), quiet=quiet)


def _depth(layer: LayerScore) -> str:
    return "" if layer.depth < 0 else f"depth {layer.depth}, width {layer.width:,}"


def flags_cell(flags: Sequence[str]) -> Cell:
    """One cell with all flags of a layer, each explained by a sentence that shows on hovering."""
    if not flags:
        return Cell("–")
    tips = tuple((flag, f"{explain_flag(flag)[0].upper()}{explain_flag(flag)[1:]}.") for flag in flags)
    return Linked("", value=" ".join(flags), tips=tips)


def what_if_table(ranking: Ranking, weights: Sequence[float], evidence: Mapping[measured.Key, Any]) -> tuple[Table, list[dict[str, str]]]:
    """Return the candidates in order under other weights, and the parts of each row's score, for the script."""
    columns = (
        Column("Layer"),
        Column("#", "place under these weights"),
        Column("Score", "under these weights, with its 95 % interval"),
        Column("Place in the ranking"),
        Column("Reward part", "between 0 and 1, before weighting"),
        Column("Transition part", "between 0 and 1, before weighting"),
        Column("Rank part", "between 0 and 1, before weighting"),
    )
    places = {(layer.store_id, layer.name): place for place, layer in enumerate(ranking.candidates, 1)}
    rows, data = [], []
    for one in measured.reweighted(ranking, weights, evidence):
        parts = measured.parts_of(ranking, one.layer, evidence)[0].tolist()
        own = places[one.layer.store_id, one.layer.name]
        cells = (Cell(layer_title(ranking, one.layer)), Cell(str(one.place)), figure_cell(one.score), Cell(str(own)))
        rows.append((*cells, *(Cell(f"{part:.3f}") for part in parts)))
        data.append({"parts": " ".join(f"{part:.6f}" for part in parts), "depth": str(one.layer.depth)})
    return Table(columns, tuple(rows)), data


def versions_table(ranking: Ranking) -> Table:
    """Return what every score would choose from the same figures."""
    rows = []
    for name, attribute, words in SCORES:
        scored = [layer for layer in ranking.candidates if getattr(layer, attribute) is not None]
        if scored:
            ordered = sorted(scored, key=lambda layer: (-getattr(layer, attribute).value, layer.depth))
            first, second = ordered[0], ordered[1] if len(ordered) > 1 else None
            cells = (
                Cell(layer_title(ranking, first)),
                figure_cell(getattr(first, attribute)),
                Cell(layer_title(ranking, second) if second else "–"),
            )
            rows.append((Cell(name, "orders this ranking" if name == short_kind(ranking) else ""), *cells, Cell(words)))
    return Table((Column("Score"), Column("Its best layer"), Column("With"), Column("Next"), Column("What it is")), tuple(rows), words=True)


def pairs_table(ranking: Ranking, evidence: Mapping[measured.Key, Any]) -> Table:
    """Return the differences of the first layers, each beside each; what can be told apart from 0 is marked."""
    layers = ranking.candidates[: measured.MOST_PAIRS]
    found = measured.pairs(ranking, layers, evidence)
    titles = [layer_title(ranking, layer) for layer in layers]
    rows = tuple((Cell(title), *(_pair(cell) for cell in row)) for title, row in zip(titles, found, strict=True))
    return Table((Column("Row minus column"), *map(Column, titles)), rows)


def _pair(found: Estimate | None) -> Cell:
    if found is None:
        return Cell("–")
    if found.low is None or found.high is None:
        return Cell(f"{found.value:+.3f}")
    verdict = "surely better" if found.low > 0 else "surely worse" if found.high < 0 else "cannot be told"
    return Cell(f"{found.value:+.3f}", f"{found.low:+.3f} … {found.high:+.3f}\n{verdict}", value=found.value)
