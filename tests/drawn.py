"""What stands in a drawing, found again: its marks, its words, and whether all lies within the frame."""

from __future__ import annotations

from layerscout.pages.axes import LETTER
from layerscout.pages.charts import Panel
from layerscout.pages.drawing import Area, Drawing, DrawingItem, Group, Mark, Position, Shared, Stroke, Words


def flat(items: object, move: Position = (0.0, 0.0), colour: str | None = None) -> list[tuple[DrawingItem, Position, str | None]]:
    """Every item that is drawn, with how far it is moved and the colour it stands in."""
    found: list[tuple[DrawingItem, Position, str | None]] = []
    for item in items:  # type: ignore[attr-defined]
        if isinstance(item, Group):
            found += flat(item.items, (move[0] + item.move[0], move[1] + item.move[1]), item.colour or colour)
        elif isinstance(item, Shared):
            found += flat(() if item.item is None else (item.item,), move, colour)
        else:
            found.append((item, move, colour))
    return found


def marks(panel: Panel | Drawing) -> list[Mark]:
    return [item for item, _, _ in flat(panel.items) if isinstance(item, Mark) and item.hint]


def words(panel: Panel | Drawing) -> list[str]:
    return [item.text for item, _, _ in flat(panel.items) if isinstance(item, Words)]


def inside(panel: Panel | Drawing) -> None:
    """Every point of every mark and line lies within the panel, and no words begin left of it."""
    for item, (across, down), _ in flat(panel.items):
        if isinstance(item, Words) and not item.turn:
            assert item.x + across - {"start": 0.0, "middle": 0.5, "end": 1.0}[item.anchor] * 0.95 * LETTER * len(item.text) >= -1, (
                item.text
            )
        points = item.points if isinstance(item, Stroke | Area) else ((item.x, item.y),)
        for x, y in points:
            assert -0.5 <= x + across <= panel.width + 0.5
            assert -0.5 <= y + down <= panel.height + 0.5
