"""Layers in, the page's table of every figure about them out; also what raised each flag, and ranking beside confirmation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.pages.flags import explain_flag
from layerscout.pages.page import definitions
from layerscout.pages.ranking import layer_title
from layerscout.pages.tables import UNDEFINED, Cell, Column, Table
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.page.tables import confirmed_pairs, measure_names, solving_method

Key = tuple[str, str, str]  # store, role, layer
Figure = Estimate | float | int | str | None


@dataclass(frozen=True)
class LayerFigure:
    """One figure of a layer: its heading, what it is in a few words, and where it stands. ``group`` opens a group of columns."""

    name: str
    hint: str
    figure: Callable[[LayerScore], Figure]
    group: str = ""


FIGURES = (
    LayerFigure("S", "reference score", lambda layer: layer.score, "Score"),
    LayerFigure("S-skill", "score from skill over trivial forecasts and log rank", lambda layer: layer.skill_score),
    LayerFigure("S-ctrl", "how plainly it shows what the action changes, and the state", lambda layer: layer.control_score),
    LayerFigure("behind best", "best score minus this one, paired by episode group", lambda layer: layer.behind_best),
    LayerFigure("P(top k)", "chance to be among the best k, over resampled episode groups", lambda layer: layer.p_top_k),
    LayerFigure("P(top k), weights", "share of nearby weightings that put it among the best k", lambda layer: layer.p_top_k_weights),
    LayerFigure("R²", "out of fold, unclipped", lambda layer: layer.reward_r2, "Reward"),
    LayerFigure("shuffled", "rewards shifted in time: mean and range", lambda layer: layer.reward_r2_shuffled),
    LayerFigure("R²", "from latent and action, mean over features", lambda layer: layer.transition_r2, "Transition"),
    LayerFigure("weighted", "features weighted by their variance", lambda layer: layer.transition_r2_weighted),
    LayerFigure("no action", "from the latent alone", lambda layer: layer.transition_r2_without_action),
    LayerFigure("persistence", "forecast: no change", lambda layer: layer.persistence_r2),
    LayerFigure("AR(1)", "forecast: each feature from itself", lambda layer: layer.autoregression_r2),
    LayerFigure("gain", "R² above the best trivial forecast", lambda layer: layer.transition_gain),
    LayerFigure("skill", "share of the best trivial forecast's error that the probe removes", lambda layer: layer.transition_skill),
    LayerFigure("bits", "what the action tells of the next latent", lambda layer: layer.bits_action, "Action"),
    LayerFigure("by chance", "the most that independent actions give", lambda layer: layer.bits_action_by_chance),
    LayerFigure("bits, all", "what latent and action together tell of the next latent", lambda layer: layer.bits_total),
    LayerFigure("erank / width", "of the covariance", lambda layer: layer.effective_rank, "Rank"),
    LayerFigure("erank, corr.", "of the correlation matrix, in dimensions", lambda layer: layer.correlation_rank),
    LayerFigure("log rank", "ln of that / ln min(rows, width)", lambda layer: layer.log_rank),
    LayerFigure("particip.", "participation ratio of the covariance, in dimensions", lambda layer: layer.participation_ratio),
    LayerFigure("RankMe", "singular values, uncentred, in dimensions", lambda layer: layer.rankme),
    LayerFigure("RankMe, centred", "singular values, centred, in dimensions", lambda layer: layer.rankme_centred),
    LayerFigure("width", "features", lambda layer: layer.width, "Data"),
    LayerFigure("live", "features that vary", lambda layer: layer.live_features),
    LayerFigure("massive", "features of huge scale", lambda layer: layer.massive_features),
    LayerFigure("rows left out", "rows with a value that is not finite", lambda layer: layer.nonfinite_rows),
    LayerFigure("method", "exact, sketch or dual, with the largest error of an R²", solving_method),
)


def every_figure(ranking: Ranking) -> Table:
    """Return the table of all layers and all figures; controls and twins stand back."""
    names = list(dict.fromkeys(name for layer in ranking.layers for name in layer.targets))
    wanted = [LayerFigure(name, f"R² of {name}", _of_target(name), "" if place else "Targets") for place, name in enumerate(names)]
    place = next(place for place, column in enumerate(FIGURES) if column.group == "Data")
    figures = (*FIGURES[:place], *wanted, *FIGURES[place:])
    columns = (Column("Layer"), Column("#"), *(Column(one.name, one.hint, one.group) for one in figures), Column("flags", group="Doubts"))
    rows = tuple(_row(ranking, layer, place, figures) for place, layer in enumerate(ranking.layers, 1))
    return Table(columns, rows, quiet=frozenset(place for place, layer in enumerate(ranking.layers) if layer.role != "layer"))


def beside_the_score(ranking: Ranking) -> Table:
    """Return the table of what stands beside the score: a measure a row, a layer a column."""
    columns = (Column("Measure"), *(Column(layer_title(ranking, layer)) for layer in ranking.layers))
    figures: list[tuple[str, Callable[[LayerScore], Figure]]] = [("S-ctrl", lambda layer: layer.control_score)]
    figures += [(name, _of_measure(name)) for name in measure_names(ranking)]
    rows = tuple((Cell(name), *(figure_cell(figure(layer)) for layer in ranking.layers)) for name, figure in figures)
    return Table(columns, rows) if len(figures) > 1 else Table(columns, ())


def _of_measure(name: str) -> Callable[[LayerScore], Figure]:
    return lambda layer: layer.measures.get(name)


def _of_target(name: str) -> Callable[[LayerScore], Figure]:
    return lambda layer: layer.targets.get(name)


def _row(ranking: Ranking, layer: LayerScore, place: int, figures: Sequence[LayerFigure]) -> tuple[str | Cell, ...]:
    number = Cell(str(place)) if layer.role == "layer" else Cell(layer.role, value="")
    cells = (figure_cell(one.figure(layer)) for one in figures)
    return (Cell(layer_title(ranking, layer)), number, *cells, Cell(" ".join(layer.flags) or "–"))


def figure_cell(figure: Figure, digits: int = 3) -> Cell:
    """Return a cell: the figure, and its interval small below it."""
    if figure is None:
        return Cell(UNDEFINED)
    if isinstance(figure, Estimate):
        small = "" if figure.low is None or figure.high is None else f"{figure.low:z.{digits}f} … {figure.high:z.{digits}f}"
        return Cell(f"{figure.value:z.{digits}f}", small)
    if isinstance(figure, str):
        return Cell(figure)
    return Cell(f"{figure:,}" if isinstance(figure, int) else f"{figure:z.{digits}f}")


def flags_raised(ranking: Ranking, evidence: Mapping[Key, LayerEvidence]) -> str:
    """Return each flag that some layer carries: one sentence, its limit, and the figure that raised it for every such layer."""
    found = []
    for flag in dict.fromkeys(flag for layer in ranking.layers for flag in layer.flags):
        sentence = explain_flag(flag)
        flagged = [layer for layer in ranking.layers if flag in layer.flags]
        figures = [raised_by(flag, ranking, layer, evidence.get((layer.store_id, layer.role, layer.name))) for layer in flagged]
        owners = "; ".join(f"{layer_title(ranking, layer)} {figure}" for layer, figure in zip(flagged, figures, strict=True))
        if len(flagged) == len(ranking.layers) and len(set(figures)) == 1:
            owners = f"every layer {figures[0]}"
        found.append((flag, (f"{sentence[0].upper()}{sentence[1:]}. {LIMITS.get(flag, '')}", owners)))
    return definitions(found)


LIMITS = {
    "PERSISTENCE": "Raised where the gain is below 0.02:",
    "NO_ACTION": "Raised where the bits are no more than chance gives:",
    "COLLAPSED": "Raised below 3 dimensions of the correlation matrix:",
    "DEAD_DIMS": "Raised by a single feature:",
    "REWARD_NULL": "Raised where R² is within the range of the shuffled rewards:",
    "UNDERSAMPLED": "Rows a feature:",
    "FEW_EPISODES": "Episodes:",
    "ALPHA_EDGE": "Raised where more than half of the folds ask for a penalty beyond the grid:",
}


def raised_by(flag: str, ranking: Ranking, layer: LayerScore, evidence: LayerEvidence | None) -> str:
    """The figure that was compared with the flag's bound, in words; "n/a" where a layer has none."""
    if flag == "NO_ACTION":
        return f"{_shown(layer.bits_action)} bits, by chance up to {_shown(layer.bits_action_by_chance)}"
    if flag == "DEAD_DIMS" and layer.live_features is not None:
        return f"{layer.width - layer.live_features:,} of {layer.width:,}"
    if flag == "REWARD_NULL" and layer.reward_r2 is not None and layer.reward_r2_shuffled is not None:
        return f"{_shown(layer.reward_r2.value)}, shuffled up to {_shown(layer.reward_r2_shuffled.high)}"
    if flag == "UNDERSAMPLED":
        return f"{(evidence.rows if evidence else ranking.rows) / layer.width:.1f}"
    if flag == "ALPHA_EDGE" and evidence is not None:
        return f"{evidence.at_grid_edge:.0%}"
    figures = {"PERSISTENCE": layer.transition_gain, "COLLAPSED": layer.correlation_rank}
    return str(ranking.episodes) if flag == "FEW_EPISODES" else _shown(figures.get(flag))


def _shown(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:z.3f}"


def confirmed(ranking: Ranking) -> Table:
    """Return the table of the confirmed layers: each figure as ranked, and on the episodes that had no part in the ranking."""
    columns: tuple[Column, ...] = (Column("Layer"),)
    rows = []
    for layer in ranking.layers:
        if (confirmation := layer.confirmation) is not None:
            pairs = confirmed_pairs(ranking, layer, confirmation)
            names = [name[0].upper() + name[1:] for name in pairs]
            columns = (Column("Layer"), *(column for name in names for column in (Column("ranking", group=name), Column("held out"))))
            rows.append((Cell(layer_title(ranking, layer)), *(figure_cell(one) for pair in pairs.values() for one in pair)))
    return Table(columns, tuple(rows))
