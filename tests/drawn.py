"""What stands in a drawing, found again: its marks, its words, and whether all lies within the frame."""

from __future__ import annotations

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
    """Every point of every mark and line lies within the panel."""
    for item, (across, down), _ in flat(panel.items):
        points = item.points if isinstance(item, Stroke | Area) else ((item.x, item.y),)
        for x, y in points:
            assert -0.5 <= x + across <= panel.width + 0.5
            assert -0.5 <= y + down <= panel.height + 0.5
