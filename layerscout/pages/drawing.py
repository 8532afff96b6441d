"""Lines, areas, marks and words with positions in pixels in; one drawing out, which is then written as SVG or PNG.

A drawing is plain data: it names colours of the palette and kinds of pens, and leaves to the writers what they become. So the
figure of a page, which follows the reader's light or dark setting, the file for a paper and the picture for a talk are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Position = tuple[float, float]


@dataclass(frozen=True)
class Pen:
    """What a kind of stroke or area looks like. A colour is one of the palette's, ``current`` for the group's own, or None."""

    stroke: str | None = None
    width: float = 0.0
    dash: tuple[float, ...] = ()
    fill: str | None = None
    opacity: float = 1.0


PENS = {
    "grid": Pen("line", 1.0),
    "zero": Pen("soft", 1.0),
    "ghost": Pen("ghost", 1.0),
    "thin": Pen("current", 1.0),
    "thick": Pen("current", 2.0),
    "strong": Pen("current", 3.0),
    "dashed": Pen("current", 1.7, (6, 4)),
    "dotted": Pen("current", 1.7, (2, 4)),
    "dashdot": Pen("current", 1.7, (8, 3, 2, 3)),
    "whisker": Pen("current", 1.8, opacity=0.75),
    "ring": Pen("ink", 1.6),
    "band": Pen(fill="current", opacity=0.14),
    "fill": Pen(fill="current"),
    "pale": Pen(fill="current", opacity=0.6),
    "hollow": Pen("current", 1.4, fill="page"),
}


@dataclass(frozen=True)
class Face:
    """What a kind of words looks like: its size in pixels, its colour, and whether it is bold."""

    size: float
    colour: str = "ink"
    bold: bool = False


FACES = {"label": Face(12), "tick": Face(11, "soft"), "axis": Face(12, "soft"), "title": Face(12.5, bold=True)}


@dataclass(frozen=True)
class Stroke:
    """A line through points; ``hint`` is shown when the mouse rests on it."""

    points: Sequence[Position]
    kind: str = "thick"
    hint: str = ""


@dataclass(frozen=True)
class Area:
    """A filled shape with straight edges."""

    points: Sequence[Position]
    kind: str = "band"
    hint: str = ""


@dataclass(frozen=True)
class Mark:
    """One point of data: a shape of the palette, or a ``ring`` around one."""

    shape: str
    x: float
    y: float
    size: float = 4.0
    kind: str = "fill"
    hint: str = ""


@dataclass(frozen=True)
class Words:
    """A line of text that begins, is centred or ends at a point; ``turn`` in degrees about that point."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    kind: str = "label"
    turn: float = 0.0


@dataclass(frozen=True)
class Group:
    """Several items of a drawing that share a colour and are moved by the same offset."""

    items: Sequence[DrawingItem]
    colour: str | None = None
    move: Position = (0.0, 0.0)
    hint: str = ""


@dataclass(frozen=True)
class Shared:
    """Items that stand in a page several times under one name, and are written once.

    Without ``item`` it refers to what another drawing of the page defines under the name.
    """

    name: str
    item: DrawingItem | None = None


DrawingItem = Stroke | Area | Mark | Words | Group | Shared


@dataclass(frozen=True)
class Drawing:
    """A whole picture, in pixels; ``label`` says in words what it shows, for whoever does not see it."""

    width: float
    height: float
    label: str
    items: Sequence[DrawingItem]


CORNERS = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "triangle": ((0, -1.25), (1.15, 0.9), (-1.15, 0.9)),
    "falling": ((0, 1.25), (1.15, -0.9), (-1.15, -0.9)),
    "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    "cross": (
        *((-1.3, -0.7), (-0.7, -1.3), (0, -0.6), (0.7, -1.3), (1.3, -0.7), (0.6, 0)),
        *((1.3, 0.7), (0.7, 1.3), (0, 0.6), (-0.7, 1.3), (-1.3, 0.7), (-0.6, 0)),
    ),
}


def corners(mark: Mark) -> tuple[Position, ...]:
    """Positions of the corners of a square, triangle, diamond or cross around the mark's centre; circles and rings are a KeyError."""
    return tuple((mark.x + mark.size * across, mark.y + mark.size * down) for across, down in CORNERS[mark.shape])


def box(x: float, y: float, width: float, height: float, kind: str = "fill", hint: str = "") -> Area:
    """Return a filled rectangle with its upper left corner at (x, y)."""
    return Area(((x, y), (x + width, y), (x + width, y + height), (x, y + height)), kind, hint)
