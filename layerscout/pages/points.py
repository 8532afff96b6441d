"""Points in the plane in, a scatter chart with intervals and names out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerscout.pages.axes import LETTER, covering, level_axis, push_apart, rising_axis, shorten
from layerscout.pages.charts import LEFT, RIGHT, Level, Panel
from layerscout.pages.drawing import DrawingItem, Group, Mark, Stroke, Words
from layerscout.pages.palette import Look


@dataclass(frozen=True)
class Spot:
    """One named point with the interval of its height."""

    name: str
    look: Look
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hint: str = ""


def draw_points(
    spots: Sequence[Spot],
    width: float,
    height: float,
    x_title: str,
    y_title: str,
    *,
    title: Sequence[str] = (),
    beside: bool = True,
    levels: Sequence[Level] = (),
) -> Panel:
    """Return the panel of a scatter chart.

    Parameters
    ----------
    spots
        What to draw.
    width, height
        Pixels: of the whole, and of the area between the axes.
    x_title, y_title
        What the axes are of.
    title
        Lines above: the first in bold.
    levels
        Heights that do not depend on the horizontal axis, as of a control.
    beside
        Names stand in a column at the right, joined to their points by a hair line; otherwise, short ones, right at the points.
    """
    room = min(max((len(spot.name) for spot in spots), default=0) * LETTER + 22, width * 0.36) if beside else 14.0
    items: list[DrawingItem] = []
    top = 2.0
    for line, text in enumerate(title):
        items.append(Words(0, top + 12, shorten(text, int(width / 7)), kind="title" if line == 0 else "label"))
        top += 17
    items.append(Words(0, top + 13, y_title, kind="axis"))
    top += 26
    bottom, right = top + height, width - room - RIGHT
    values = [end for spot in spots for end in (spot.y, spot.low, spot.high) if end is not None]
    values = [*values, *(one.value for one in levels)] or [0.0, 1.0]
    x = covering([spot.x for spot in spots] or [0.0, 1.0], LEFT + 8, right - 8)
    y = covering(values, bottom, top)
    items += rising_axis(y, LEFT, right, max(2, int(height / 40)))
    if y.low < 0 < y.high:
        items.append(Stroke(((LEFT, y(0)), (right, y(0))), "zero"))
    items += level_axis(x, top, bottom, x_title)
    items += [
        Group([Stroke(((LEFT, y(one.value)), (right, y(one.value))), one.look.stroke)], one.look.colour, hint=one.hint) for one in levels
    ]
    places = push_apart([y(spot.y) for spot in spots], 15, top + 4, bottom)
    for spot, place in zip(spots, places, strict=True):
        parts: list[DrawingItem] = []
        if spot.low is not None and spot.high is not None:
            parts.append(Stroke(((x(spot.x), y(spot.low)), (x(spot.x), y(spot.high))), "whisker"))
        if beside:
            items.append(Stroke(((x(spot.x), y(spot.y)), (right + 4, place)), "ghost"))
            items.append(Words(right + 8, place + 4, shorten(spot.name, int((room - 12) / LETTER))))
        else:
            items.append(Words(x(spot.x) + 6, y(spot.y) - 5, spot.name, kind="tick"))
        items.append(Group([*parts, Mark(spot.look.shape, x(spot.x), y(spot.y), 4.5, "fill", spot.hint)], spot.look.colour))
    return Panel(width, bottom + 38, tuple(items))
