"""Series of points with intervals in, charts of any width out: lines over an axis, and the same in small multiples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from layerscout.pages.axes import Scale, covering, legend, level_axis, named_axis, rising_axis, shorten
from layerscout.pages.drawing import Area, Drawing, DrawingItem, Group, Mark, Shared, Stroke, Words, box
from layerscout.pages.palette import Look

LEFT, RIGHT = 46.0, 16.0  # pixels for the labels of the vertical axis, and to the edge
MOST_TOGETHER = 4  # series with bands on one chart; more cannot be told apart and get a panel each
NARROWEST = 222.0  # pixels of a panel


@dataclass(frozen=True)
class Point:
    """One value over the horizontal axis, with its interval. Without a value, n/a is written at its place."""

    x: float
    value: float | None
    low: float | None = None
    high: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one name. ``shift`` moves them by pixels, so that series do not hide each other's intervals.

    ``band``: intervals are drawn as one area instead of a whisker a point. ``hint`` is shown along the line.
    """

    name: str
    look: Look
    points: tuple[Point, ...]
    shift: float = 0.0
    band: bool = False
    hint: str = ""

    @property
    def known(self) -> tuple[tuple[Point, float], ...]:
        """Points with their values, without those that have none."""
        return tuple((point, point.value) for point in self.points if point.value is not None)


@dataclass(frozen=True)
class Level:
    """A value that does not depend on the horizontal axis, as of a control, with its interval."""

    name: str
    look: Look
    value: float
    low: float | None = None
    high: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class Plot:
    """Series and levels over common axes. ``uprights`` are values of the horizontal axis, as of a control, drawn from bottom to top.

    ``names`` label places of the horizontal axis in words. ``lowest`` cuts what lies deeper, where a value below says no more
    than "useless". ``over`` widens the vertical axis to hold further values, as in panels that share it.
    """

    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    x_title: str = ""
    y_title: str = ""
    names: dict[float, str] = field(default_factory=dict)
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    lowest: float = -math.inf
    over: tuple[float, ...] = ()
    x_log: bool = False
    y_log: bool = False
    uprights: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Panel:
    """A part of a drawing with its size."""

    width: float
    height: float
    items: tuple[DrawingItem, ...]


def draw_plot(plot: Plot, width: float, height: float, title: str = "", keys: bool = True) -> Panel:
    """Return the panel of a plot.

    Parameters
    ----------
    plot
        What to draw.
    width, height
        Pixels: of the whole panel, and of the area between the axes.
    title
        Written above in bold; cut to the width.
    keys
        Whether a legend stands above; names that occur twice stand in it once.
    """
    right = width - RIGHT
    items: list[DrawingItem] = []
    top = 4.0
    if title:
        items.append(Words(0, 14, shorten(title, int(width / 7)), kind="title"))
        top += 16
    if keys:
        keyed: tuple[Series | Level, ...] = (*plot.series, *plot.levels, *plot.uprights)
        entries = [(one.look, one.name) for one in keyed if one.name]
        own, tall = legend(entries, 4, right, top)
        items += own
        top += tall
    if plot.y_title:
        items.append(Words(0, top + 13, plot.y_title, kind="axis"))
        top += 20
    top += 5
    y = _vertical(plot, top + height, top)
    x = _horizontal(plot, LEFT + 6, right - 4)
    items += rising_axis(y, LEFT, right, max(2, min(6, int(height / 34))))
    if y.low < 0 < y.high:
        items.append(Stroke(((LEFT, y(0)), (right, y(0))), "zero"))
    bottom, below = top + height, 34.0 if plot.x_title else 18.0
    if plot.names:
        named, below = named_axis(x, plot.names, bottom, plot.x_title)
        items += named
    else:
        items += level_axis(x, top, bottom, plot.x_title)
    items += [_level(one, y, LEFT, right) for one in plot.levels]
    items += [_upright(one, x, top, bottom) for one in plot.uprights]
    items += [_series(one, x, y, plot.lowest, bottom) for one in plot.series]
    return Panel(width, bottom + below, tuple(items))


def _vertical(plot: Plot, start: float, stop: float) -> Scale:
    if plot.y_range is not None:
        return Scale(*plot.y_range, start, stop, plot.y_log)
    values = [*plot.over, *(end for one in plot.levels for end in (one.value, one.low, one.high) if end is not None)]
    for one in plot.series:
        values += [end for point, value in one.known for end in (value, point.low, point.high) if end is not None]
    return covering([max(value, plot.lowest) for value in values] or [0.0, 1.0], start, stop)


def _horizontal(plot: Plot, start: float, stop: float) -> Scale:
    if plot.x_range is not None:
        return Scale(*plot.x_range, start, stop, plot.x_log)
    places = [*plot.names, *(point.x for one in plot.series for point in one.points)] or [0.0]
    low, high = min(places), max(places)
    room = 0.5 if plot.names else 0.0 if high > low else 0.5
    return Scale(low - room, high + room, start, stop, plot.x_log)


def _level(one: Level, y: Scale, left: float, right: float) -> DrawingItem:
    parts: list[DrawingItem] = [Stroke(((left, y(one.value)), (right, y(one.value))), one.look.stroke)]
    if one.low is not None and one.high is not None:
        parts.insert(0, box(left, y(one.high), right - left, max(y(one.low) - y(one.high), 1), "band"))
    return Group(parts, one.look.colour, hint=one.hint or one.name)


def _upright(one: Level, x: Scale, top: float, bottom: float) -> DrawingItem:
    line = Stroke(((x(one.value), top), (x(one.value), bottom)), one.look.stroke)
    return Group([line], one.look.colour, hint=one.hint or one.name)


def _series(one: Series, x: Scale, y: Scale, lowest: float, bottom: float) -> DrawingItem:
    x = x.moved(one.shift)
    known = [(point, max(value, lowest)) for point, value in one.known]
    line = [(x(point.x), y(value)) for point, value in known]
    parts: list[DrawingItem] = []
    ends = [(x(point.x), y(point.low), y(point.high)) for point, _ in known if point.low is not None and point.high is not None]
    if one.band and len(ends) > 1:
        parts.append(Area([*((at, high) for at, _, high in ends), *((at, low) for at, low, _ in reversed(ends))]))
    if one.look.stroke and len(line) > 1:
        parts.append(Stroke(line, one.look.stroke, one.hint or ("" if one.look.shape else _ends_in_words(one))))
    if not one.band:
        parts += [Stroke(((at, low), (at, high)), "whisker") for at, low, high in ends]
    if one.look.shape:
        size, kind = (
            (9.0, "ring") if one.look.shape == "ring" else (4.0 if len(known) < 40 else 2.6, "hollow" if one.look.hollow else "fill")
        )
        parts += [Mark(one.look.shape, x(point.x), y(value), size, kind, point.hint) for point, value in known]
    parts += [Words(x(point.x), bottom - 4, "n/a", "middle", "tick") for point in one.points if point.value is None]
    return Group(parts, one.look.colour)


def _ends_in_words(one: Series) -> str:
    """Say where a line without marks begins and ends: there is nothing else on it to rest the mouse on."""
    values = [value for _, value in one.known]
    return f"{one.name}: from {values[0]:.3g} to {values[-1]:.3g}" if one.name else ""


def ghost_lines(plot: Plot, width: float, height: float, top: float, name: str) -> DrawingItem:
    """Return every series' line in grey, to stand behind each panel under one name."""
    y, x = _vertical(plot, top + height, top), _horizontal(plot, LEFT + 6, width - RIGHT - 4)
    lines = [Stroke([(x(point.x), y(max(value, plot.lowest))) for point, value in one.known], "ghost") for one in plot.series]
    return Shared(name, Group(lines))


def multiples(plot: Plot, width: float, height: float, name: str) -> Panel:
    """Draw one panel a series over the grey lines of all, on common axes; levels stand in every panel.

    Parameters
    ----------
    plot
        All series together.
    width, height
        Pixels: of the whole, and of each area between axes.
    name
        Under which the grey lines are shared; it must be the only one of its kind in a page.
    """
    columns = max(1, min(len(plot.series), int(width / NARROWEST)))
    each = width / columns
    whole = replace(plot, y_range=_ends(_vertical(plot, 0, 1)), x_range=_ends(_horizontal(plot, 0, 1)), y_title="", x_title=plot.x_title)
    shared = ghost_lines(whole, each, height, 25.0, name)
    panels = []
    for one in plot.series:
        panel = draw_plot(replace(whole, series=(one,)), each, height, one.name, keys=False)
        panels.append(replace(panel, items=(shared, *panel.items)))
    grid = tile(panels, columns)
    entries = [(level.look, level.name) for level in (*plot.levels, *plot.uprights)]
    keys, tall = legend(entries, 4, width - RIGHT, 0)
    head: list[DrawingItem] = [*keys]
    if plot.y_title:
        head.append(Words(0, tall + 13, plot.y_title, kind="axis"))
        tall += 24
    return Panel(width, tall + grid.height, (*head, Group(grid.items, move=(0, tall))))


def _ends(scale: Scale) -> tuple[float, float]:
    return scale.low, scale.high


def tile(panels: Sequence[Panel], columns: int) -> Panel:
    """Return panels in rows from left to right as one panel."""
    items: list[DrawingItem] = []
    top = width = 0.0
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        left = 0.0
        for panel in row:
            items.append(Group(panel.items, move=(left, top)))
            left += panel.width
        top += max(panel.height for panel in row) + 10
        width = max(width, left)
    return Panel(width, max(top - 10, 0.0), tuple(items))


def as_drawing(panel: Panel, label: str) -> Drawing:
    """Return a panel as a whole drawing; ``label`` names what it answers."""
    return Drawing(math.ceil(panel.width), math.ceil(panel.height), label, panel.items)
