"""Rankings side by side and layers looked into, in; the figures of the service that no other page has, out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscout.pages.axes import LETTER, Scale, covering, legend, level_axis, rising_axis, shorten, tick_label
from layerscout.pages.charts import Level, Plot, Point, Series, as_drawing, draw_plot
from layerscout.pages.drawing import Drawing, DrawingItem, Group, Mark, Stroke, Words
from layerscout.pages.palette import Look
from layerscout.service.data.comparing import SideBySide
from layerscout.service.data.look import LayerLook
from layerscout.showing import counted

MOST_LINES, MOST_DOTS = 30, 1200
COLOURS = ("blue", "sky", "grey", "orange", "red")  # from the lowest fifth to the highest
SHAPES = ("circle", "square", "triangle", "diamond", "cross")


def draw_slopes(compared: SideBySide, width: float) -> Drawing:
    """Draw every layer's place in each ranking, joined from one ranking to the next."""
    rankings = compared.rankings
    names = compared.names[:MOST_LINES]
    deepest = max((one.places.get(name, 1) for one in rankings for name in names), default=1)
    side = min(190.0, width * 0.3)
    step = (width - 2 * side) / max(1, len(rankings) - 1)
    y = Scale(1, max(2, deepest), 44, 44 + 19 * max(1, deepest - 1))
    items: list[DrawingItem] = []
    for place, one in enumerate(rankings):
        x = side + place * step
        anchor = "end" if place == 0 else "start" if place == len(rankings) - 1 else "middle"
        items += [
            Stroke(((x, y(1) - 8), (x, y(deepest) + 8)), "grid"),
            Words(x, 16, shorten(one.title, max(8, int(1.6 * side / LETTER))), anchor, "title"),
        ]
    for number, name in enumerate(names):
        at = [(side + place * step, y(one.places[name]), one.places[name]) for place, one in enumerate(rankings) if name in one.places]
        hint = f"{name}: place {', '.join(str(place) for _, _, place in at)}"
        moved = len({place for _, _, place in at}) > 1
        parts: list[DrawingItem] = [Stroke([(x, height) for x, height, _ in at], "thick" if moved else "thin", hint)] if len(at) > 1 else []
        parts += [Mark(SHAPES[number % len(SHAPES)], x, height, 4, "fill", hint) for x, height, _ in at]
        items.append(Group(parts, ("blue", "red", "green", "purple", "orange", "sky", "grey")[number % 7]))
        letters = max(4, int((side - 24) / LETTER))
        if name in rankings[0].places:
            items.append(Words(side - 10, y(rankings[0].places[name]) + 4, f"{shorten(name, letters)} {rankings[0].places[name]}", "end"))
        if len(rankings) > 1 and name in rankings[-1].places:
            items.append(
                Words(width - side + 10, y(rankings[-1].places[name]) + 4, f"{rankings[-1].places[name]} {shorten(name, letters)}")
            )
    firsts = "; ".join(f"{one.title}: {next(iter(one.places), 'none')} first" for one in rankings)
    return Drawing(
        width, y(deepest) + 24, f"Places of {counted(len(names), 'layer')} in {counted(len(rankings), 'ranking')}. {firsts}", items
    )


def draw_episode(look: LayerLook, step: int, width: float) -> Drawing:
    """Draw the target over an episode and what the layer tells of it, with a line at one step."""
    series = (
        Series("true", Look("ink", "thick", ""), _points(look.steps, look.true)),
        Series(f"read from {look.layer}", Look("blue", "dashed", "circle"), _points(look.steps, look.predicted)),
    )
    values = [value for value in (*look.true, *look.predicted) if value is not None] or [0.0, 1.0]
    here = Level("this step", Look("orange", "thin", ""), float(step), hint=f"step {step}")
    panel = draw_plot(
        Plot(series, x_title="step", y_title=look.target, over=(min(values), max(values)), uprights=(here,)),
        width,
        200 if width > 560 else 170,
    )
    score = "n/a" if look.r2 is None else f"{look.r2:.3f}"
    return as_drawing(
        panel, f"{look.target} over episode {look.episode}, true and read from {look.layer}: R² {score} on this episode, at step {step}"
    )


def _points(steps: Sequence[int], values: Sequence[float | None]) -> tuple[Point, ...]:
    return tuple(
        Point(float(step), value, hint=f"step {step}: {value:.3f}") for step, value in zip(steps, values, strict=True) if value is not None
    )


def draw_components(look: LayerLook, column: str, width: float) -> Drawing:
    """Draw sampled rows along the first two directions of the features, coloured by fifths of a column."""
    values = look.columns[column]
    chosen = np.linspace(0, len(values) - 1, min(len(values), MOST_DOTS)).round().astype(int)
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, len(COLOURS) + 1))) if len(known) else np.array([0.0, 1.0])
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = max(len(edges) - 1, 1)
    size = min(width, 560.0)
    entries = [
        (
            Look(COLOURS[(number * (len(COLOURS) - 1)) // max(bins - 1, 1)], "", SHAPES[number]),
            f"{column} {tick_label(round(float(edges[number]), 3))} to {tick_label(round(float(edges[min(number + 1, len(edges) - 1)]), 3))}",
        )
        for number in range(bins)
    ]
    keys, tall = legend(entries, 4, size, 0)
    top, bottom = tall + 10, tall + 10 + 0.7 * size
    x = covering(look.components[:, 0].tolist(), 50, size - 16)
    y = covering(look.components[:, 1].tolist(), bottom, top)
    items: list[DrawingItem] = [
        *keys,
        *rising_axis(y, 50, size - 16),
        *level_axis(x, top, bottom, f"first direction, {look.shares[0]:.0%} of the variance"),
    ]
    for number, (mark, words) in enumerate(entries):
        dots = [
            Mark(mark.shape, x(float(look.components[row, 0])), y(float(look.components[row, 1])), 2.6, "pale")
            for row in chosen
            if place[row] == number and np.isfinite(values[row])
        ]
        items.append(Group(dots, mark.colour, hint=words))
    label = f"{counted(len(chosen), 'row')} of {look.layer} along its first two directions ({look.shares[0]:.0%} and {look.shares[1]:.0%} of the variance), coloured by {column}"
    return Drawing(size, bottom + 40, label, items)
