"""A ranking in; the picture of the order of its layers, with the parts of their scores and how sure the order is, out."""

from __future__ import annotations

from collections.abc import Sequence

from layerscout.cache.records import Estimate, LayerScore, Ranking, as_table_value
from layerscout.pages.axes import Scale
from layerscout.pages.charts import as_drawing
from layerscout.pages.drawing import Drawing, DrawingItem, Group, Stroke, box
from layerscout.pages.palette import Look
from layerscout.pages.ranking import best_twin, layer_title, ordering, short_kind, twin_of
from layerscout.pages.rows import NARROW, RowColumn, draw_rows, whisker
from layerscout.probe.page.wording import weighted_parts
from layerscout.showing import counted

PARTS = ("green", "blue", "purple")
MOST_NARROW = 16  # layers on a telephone; the table has all


def ends(estimate: Estimate) -> tuple[float, float]:
    """Return the interval's ends; both at the value when there is no interval."""
    return (estimate.value if estimate.low is None else estimate.low), (estimate.value if estimate.high is None else estimate.high)


def draw_order(ranking: Ranking, width: float) -> Drawing:
    """Draw one line a layer, best first: the parts that add up to its score, its distance from the best, its chance of the top k.

    Controls, the best layer's untrained twin and the best untrained block stand below. On a narrow page only the first layers are drawn.
    """
    shown = ranking.candidates if width >= NARROW else ranking.candidates[:MOST_NARROW]
    rows = [*shown, *(layer for layer in ranking.layers if layer.role == "control")]
    twin, highest = twin_of(ranking, ranking.candidates[0]), best_twin(ranking)
    rows += [one for one in (twin, highest if highest is not twin else None) if one is not None]
    names = [
        f"{place}  {layer_title(ranking, layer)}" if layer.role == "layer" else layer_title(ranking, layer)
        for place, layer in enumerate(rows, 1)
    ]
    columns = [_scores(ranking, rows)]
    if any(layer.behind_best is not None for layer in rows):
        columns.append(_behind(ranking, rows))
    keys = [
        (Look(colour, "", "square"), words)
        for colour, (words, _) in zip(PARTS, weighted_parts(ranking, ranking.candidates[0]), strict=False)
    ]
    keys.append((Look("ink", "whisker", ""), "95 % interval"))
    panel = draw_rows(names, columns, width, tall=22 if len(rows) <= 24 else 17, keys=keys)
    best, *others = ranking.candidates
    label = (
        f"The order of {counted(len(ranking.candidates), 'layer')} with the parts of their scores: {layer_title(ranking, best)} is first"
    )
    if others and others[0].behind_best is not None:
        label += f", {layer_title(ranking, others[0])} is next, behind by {as_table_value(others[0].behind_best)}"
    return as_drawing(panel, label)


def _scores(ranking: Ranking, rows: Sequence[LayerScore]) -> RowColumn:
    known = [estimate for layer in rows if (estimate := ordering(ranking, layer)) is not None]

    def paint(place: int, scale: Scale, middle: float, tall: float) -> list[DrawingItem]:
        layer, x = rows[place], scale(0)
        items: list[DrawingItem] = []
        for colour, (words, share) in zip(PARTS, weighted_parts(ranking, layer), strict=False):
            if share is not None:
                wide = scale(share) - scale(0)
                hint = f"{words}: {share:.3f}"  # the row says whose
                items.append(Group([box(x, middle - tall / 2 + 3, wide, tall - 6, "pale", hint)], colour))
                x += wide
        if (estimate := ordering(ranking, layer)) is not None:
            low, high = ends(estimate)
            hint = f"{layer_title(ranking, layer)}: {as_table_value(estimate)}"
            items.append(Group([Stroke(((scale(low), middle), (scale(high), middle)), "whisker", hint)], "ink"))
        return items

    return RowColumn(
        title=f"score {short_kind(ranking)}",
        values=(0.0, 0.1, *(end for estimate in known for end in ends(estimate))),
        paint=paint,
        texts=tuple(_score_text(ranking, layer) for layer in rows),
        share=1.3,
    )


def _score_text(ranking: Ranking, layer: LayerScore) -> str:
    estimate = ordering(ranking, layer)
    if estimate is None:
        return "n/a"
    lacks = layer.reward_r2 is None and short_kind(ranking) != "S-ctrl"  # of which the reward is no part
    return f"{estimate.value:.3f}{' (reward n/a)' if lacks else ''}"


def _behind(ranking: Ranking, rows: Sequence[LayerScore]) -> RowColumn:
    behind = [end for layer in rows if layer.behind_best is not None for end in ends(layer.behind_best)]

    def paint(place: int, scale: Scale, middle: float, tall: float) -> list[DrawingItem]:
        estimate = rows[place].behind_best
        if estimate is None:
            return []
        hint = f"{layer_title(ranking, rows[place])} behind the best: {as_table_value(estimate)}"
        return [whisker(scale, estimate.value, *ends(estimate), middle, Look("red"), hint)]

    chance = f"in the top {ranking.top_k or 'k'}: "
    return RowColumn(
        title="behind the best (paired)",
        values=(0.0, *behind),
        paint=paint,
        texts=tuple("" if layer.p_top_k is None else f"{chance}{layer.p_top_k:.2f}" for layer in rows),
    )
