"""Named rows in, a chart that lies on its side out: one line a row, with one or several columns of marks and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from layerscout.pages.axes import LETTER, Scale, covering, legend, level_axis, shorten, ticks_fitting
from layerscout.pages.charts import Panel, tile
from layerscout.pages.drawing import DrawingItem, Group, Mark, Position, Stroke, Words
from layerscout.pages.palette import Look

NARROW = 560.0  # pixels; below this names stand above their rows, and columns below each other
RowPainter = Callable[[int, Scale, float, float], Sequence[DrawingItem]]  # row, scale, middle and height of the row in; what to draw out


@dataclass(frozen=True)
class Line:
    """A value marked across all rows of a column, as of a random policy."""

    name: str
    look: Look
    value: float


@dataclass(frozen=True)
class RowColumn:
    """One column of a chart of rows.

    Parameters
    ----------
    title
        Under the axis.
    values
        What the axis must hold.
    paint
        Draws one row.
    texts
        What stands right of each row in words.
    lines
        Values marked across all rows.
    share
        How wide the column is against the others.
    """

    title: str
    values: tuple[float, ...]
    paint: RowPainter
    texts: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    share: float = 1.0
    fixed: tuple[float, float] | None = None


def draw_rows(
    names: Sequence[str], columns: Sequence[RowColumn], width: float, *, tall: float = 22.0, keys: Sequence[tuple[Look, str]] = ()
) -> Panel:
    """Return a chart of rows: their names, then the columns side by side, or, on a narrow page, below each other.

    Parameters
    ----------
    names
        One a row, from the top.
    columns
        What is drawn of each row.
    width
        Pixels.
    tall
        Pixels of a row, without its name.
    keys
        Entries of the legend above, beside those of the columns' lines.
    """
    if width < NARROW:
        panels = [_narrow(names, column, width, tall) for column in columns]
        head, top = legend(keys, 4, width - 10, 0)
        body = tile(panels, 1)
        return Panel(width, top + body.height, (*head, Group(body.items, move=(0, top))))
    entries = [*keys, *((line.look, line.name) for column in columns for line in column.lines)]
    items, top = legend(entries, 4, width - 10, 0)
    top += 8
    bottom = top + tall * len(names)
    room = min(LETTER * max((len(name) for name in names), default=0) + 16, width * 0.28)
    items += [Words(0, top + tall * (place + 0.5) + 4, shorten(name, int(room / LETTER))) for place, name in enumerate(names)]
    text_room = [_text_room(column) for column in columns]
    free = width - room - sum(text_room) - 20 * len(columns)
    left = room
    for column, text in zip(columns, text_room, strict=True):
        wide = free * column.share / sum(one.share for one in columns)
        middles = [top + tall * (place + 0.5) for place in range(len(names))]
        items += _column(column, left + 8, left + 8 + wide, middles, tall, [(top, bottom)])
        left += wide + text + 20
    return Panel(width, bottom + (34 if any(column.title for column in columns) else 18), tuple(items))


def _narrow(names: Sequence[str], column: RowColumn, width: float, tall: float) -> Panel:
    items, top = legend([(line.look, line.name) for line in column.lines], 4, width - 10, 0)
    top += 4
    step = tall + 15
    items += [Words(0, top + step * place + 12, shorten(name, int(width / LETTER))) for place, name in enumerate(names)]
    middles = [top + step * place + 15 + tall / 2 for place in range(len(names))]
    bottom = top + step * len(names)
    spans = [(middle - tall / 2, middle + tall / 2) for middle in middles] or [(top, top)]  # no line runs through a name
    items += _column(column, 22, width - 14 - _text_room(column), middles, tall, spans)
    return Panel(width, bottom + (36 if column.title else 20), tuple(items))


def _text_room(column: RowColumn) -> float:
    return max((len(text) for text in column.texts), default=0) * LETTER + (8 if column.texts else 0)


def _column(
    column: RowColumn, left: float, right: float, middles: Sequence[float], tall: float, spans: Sequence[Position]
) -> list[DrawingItem]:
    scale = Scale(*column.fixed, left, right) if column.fixed else covering(column.values or (0.0, 1.0), left, right)
    items: list[DrawingItem] = []
    for top, bottom in spans[:-1]:
        items += [Stroke(((scale(tick), top), (scale(tick), bottom)), "grid") for tick in scale.ticks(ticks_fitting(scale, 5))]
    items += level_axis(scale, *spans[-1], column.title, 5)
    marked = [Line("", Look("soft", "thin"), 0.0)] if scale.low < 0 < scale.high else []
    for one in (*marked, *column.lines):
        across = scale(one.value)
        items.append(
            Group([Stroke(((across, top), (across, bottom)), one.look.stroke) for top, bottom in spans], one.look.colour, hint=one.name)
        )
    for place, middle in enumerate(middles):
        items += column.paint(place, scale, middle, tall)
    return items + [Words(right + 12, middle + 4, text) for middle, text in zip(middles, column.texts, strict=False)]


def whisker(scale: Scale, value: float, low: float | None, high: float | None, middle: float, look: Look, hint: str = "") -> DrawingItem:
    """Return an estimate lying on its side: a mark, and a line from end to end of its interval."""
    parts: list[DrawingItem] = []
    if low is not None and high is not None:
        parts.append(Stroke(((scale(low), middle), (scale(high), middle)), "whisker"))
    return Group([*parts, Mark(look.shape, scale(value), middle, 4, "fill", hint)], look.colour)
