"""Layers in, the page's table of every figure about them out; also what raised each flag, and ranking beside confirmation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.flags import explain
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.page.report import UNDEFINED, method
from layerscout.probe.page.wording import ordering, title

Key = tuple[str, str, str]  # store, role, layer
Figure = Estimate | float | int | str | None


@dataclass(frozen=True)
class Column:
    """One figure of a layer: its heading, what it is in a few words, and where it stands. ``group`` opens a group of columns."""

    name: str
    hint: str
    figure: Callable[[LayerScore], Figure]
    group: str = ""


COLUMNS = (
    Column("S", "reference score", lambda layer: layer.score, "Score"),
    Column("S-skill", "score from skill over trivial forecasts and log rank", lambda layer: layer.skill_score),
    Column("behind best", "best score minus this one, paired by episode group", lambda layer: layer.behind_best),
    Column("P(top k)", "chance to be among the best k, over resampled episode groups", lambda layer: layer.p_top_k),
    Column("P(top k), weights", "share of nearby weightings that put it among the best k", lambda layer: layer.p_top_k_weights),
    Column("R²", "out of fold, unclipped", lambda layer: layer.reward_r2, "Reward"),
    Column("shuffled", "rewards shifted in time: mean and range", lambda layer: layer.reward_r2_shuffled),
    Column("R²", "from latent and action, mean over features", lambda layer: layer.transition_r2, "Transition"),
    Column("weighted", "features weighted by their variance", lambda layer: layer.transition_r2_weighted),
    Column("no action", "from the latent alone", lambda layer: layer.transition_r2_without_action),
    Column("persistence", "forecast: no change", lambda layer: layer.persistence_r2),
    Column("AR(1)", "forecast: each feature from itself", lambda layer: layer.autoregression_r2),
    Column("gain", "R² above the best trivial forecast", lambda layer: layer.transition_gain),
    Column("skill", "share of the best trivial forecast's error that the probe removes", lambda layer: layer.transition_skill),
    Column("bits", "what the action tells of the next latent", lambda layer: layer.bits_action, "Action"),
    Column("by chance", "the most that independent actions give", lambda layer: layer.bits_action_by_chance),
    Column("bits, all", "what latent and action together tell of the next latent", lambda layer: layer.bits_total),
    Column("erank / width", "of the covariance", lambda layer: layer.effective_rank, "Rank"),
    Column("erank, corr.", "of the correlation matrix, in dimensions", lambda layer: layer.correlation_rank),
    Column("log rank", "ln of that / ln min(rows, width)", lambda layer: layer.log_rank),
    Column("particip.", "participation ratio of the covariance, in dimensions", lambda layer: layer.participation_ratio),
    Column("RankMe", "singular values, uncentred, in dimensions", lambda layer: layer.rankme),
    Column("RankMe, centred", "singular values, centred, in dimensions", lambda layer: layer.rankme_centred),
    Column("width", "features", lambda layer: layer.width, "Data"),
    Column("live", "features that vary", lambda layer: layer.live_features),
    Column("massive", "features of huge scale", lambda layer: layer.massive_features),
    Column("rows left out", "rows with a value that is not finite", lambda layer: layer.nonfinite_rows),
    Column("method", "exact, sketch or dual, with the largest error of an R²", method),
)


def every_figure(ranking: Ranking) -> str:
    """Return the table of all layers and all figures; a click on a heading sorts it where scripts run."""
    names = list(dict.fromkeys(name for layer in ranking.layers for name in layer.targets))
    wanted = [Column(name, f"R² of {name}", _of_target(name), "" if place else "Targets") for place, name in enumerate(names)]
    place = next(place for place, column in enumerate(COLUMNS) if column.group == "Data")
    columns = (*COLUMNS[:place], *wanted, *COLUMNS[place:])
    starts = [place for place, column in enumerate(columns) if column.group]
    spans = [stop - start for start, stop in zip(starts, [*starts[1:], len(columns)], strict=True)]
    groups = "".join(f'<th colspan="{span}">{escape(columns[start].group)}</th>' for start, span in zip(starts, spans, strict=True))
    heads = "".join(
        f'<th data-column="{number}" title="{escape(column.hint)}"{" class=first" if column.group else ""}>{escape(column.name)}</th>'
        for number, column in enumerate(columns, 2)
    )
    head = f'<tr class="groups"><th></th><th></th>{groups}<th></th></tr>'
    head += f'<tr><th data-column="0">Layer</th><th data-column="1">#</th>{heads}<th data-column="{len(columns) + 2}">flags</th></tr>'
    rows = "".join(_row(ranking, layer, place, columns) for place, layer in enumerate(ranking.layers, 1))
    return f'<div class="scroll"><table class="sortable"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _of_target(name: str) -> Callable[[LayerScore], Figure]:
    return lambda layer: layer.targets.get(name)


def _row(ranking: Ranking, layer: LayerScore, place: int, columns: Sequence[Column]) -> str:
    ranked = layer.role == "layer"
    cells = "".join(cell(column.figure(layer), first=bool(column.group)) for column in columns)
    number = f'<td data-value="{place}">{place}</td>' if ranked else f'<td data-value="">{layer.role}</td>'
    flags = f'<td class="flags first">{escape(" ".join(layer.flags)) or "–"}</td>'
    return f"<tr{'' if ranked else ' class=other'}><td>{escape(title(ranking, layer))}</td>{number}{cells}{flags}</tr>"


def cell(figure: Figure, digits: int = 3, first: bool = False) -> str:
    """Return a cell: the figure, its interval small below it, and the bare number for sorting; n/a sorts last."""
    kind = ["first"] if first else []
    if figure is None:
        return f'<td class="{" ".join(["none", *kind])}" data-value="">{UNDEFINED}</td>'
    name = f' class="{kind[0]}"' if kind else ""
    if isinstance(figure, Estimate):
        small = "" if figure.low is None or figure.high is None else f"<small>{figure.low:z.{digits}f} … {figure.high:z.{digits}f}</small>"
        return f'<td{name} data-value="{figure.value!r}">{figure.value:z.{digits}f}{small}</td>'
    if isinstance(figure, str):
        return f"<td{name}>{escape(figure)}</td>"
    return f'<td{name} data-value="{figure!r}">{f"{figure:,}" if isinstance(figure, int) else f"{figure:z.{digits}f}"}</td>'


def flags_raised(ranking: Ranking, evidence: Mapping[Key, LayerEvidence]) -> str:
    """Return each flag that some layer carries: one sentence, its limit, and the figure that raised it for every such layer."""
    found = []
    for flag in dict.fromkeys(flag for layer in ranking.layers for flag in layer.flags):
        sentence = explain(flag)
        flagged = [layer for layer in ranking.layers if flag in layer.flags]
        figures = [raised_by(flag, ranking, layer, evidence.get((layer.store_id, layer.role, layer.name))) for layer in flagged]
        told = "; ".join(f"{title(ranking, layer)} {figure}" for layer, figure in zip(flagged, figures, strict=True))
        if len(flagged) == len(ranking.layers) and len(set(figures)) == 1:
            told = f"every layer {figures[0]}"
        text = f"{sentence[0].upper()}{sentence[1:]}. {LIMITS.get(flag, '')}"
        found.append(f'<dt>{escape(flag)}</dt><dd>{escape(text)}</dd><dd class="who">{escape(told)}</dd>')
    return f"<dl>{''.join(found)}</dl>" if found else ""


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
    """Return the figure of a layer that raised a flag."""
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


def confirmed(ranking: Ranking) -> str:
    """Return the table of the confirmed layers: each figure as ranked, and on the episodes that had no part in the ranking."""
    layers = [layer for layer in ranking.layers if layer.confirmation is not None]
    if not layers:
        return ""
    groups = "".join(f'<th colspan="2">{name}</th>' for name in ("Score", "Reward R²", "Transition R²", "Effective rank / width"))
    heads = '<th class="first">ranking</th><th>held out</th>' * 4
    rows = ""
    for layer in layers:
        held = layer.confirmation
        assert held is not None, "only confirmed layers are listed"
        pairs = ((ordering(ranking, layer), held.score), (layer.reward_r2, held.reward_r2), (layer.transition_r2, held.transition_r2))
        cells = "".join(cell(ranked, first=True) + cell(again) for ranked, again in (*pairs, (layer.effective_rank, held.effective_rank)))
        rows += f"<tr><td>{escape(title(ranking, layer))}</td>{cells}</tr>"
    head = f'<tr class="groups"><th></th>{groups}</tr><tr><th>Layer</th>{heads}</tr>'
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
