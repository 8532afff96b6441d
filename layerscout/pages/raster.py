"""A drawing in, a PNG picture out, painted with Pillow on white; for slides and for programs that show no SVG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from layerscout.pages.drawing import FACES, PENS, Area, Drawing, DrawingItem, Group, Mark, Position, Shared, Stroke, Words, corners
from layerscout.pages.palette import PALETTE
from layerscout.text import visible

DENSITY = 2  # pixels of the picture for one of the drawing
FINER = 2  # times as fine while painting, so that edges come out smooth
FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "arial.ttf", "Helvetica.ttc")
PLAIN = str.maketrans({"²": "2", "−": "-", "–": "-", "…": "...", "·": "-", "ρ": "rho", "τ": "tau", "≥": ">=", "≤": "<=", "½": "1/2"})


def png(drawing: Drawing) -> bytes:
    """Return a drawing as a PNG picture of twice its size in pixels; equal drawings give equal bytes on one machine."""
    scale = DENSITY * FINER
    image = Image.new("RGB", (math.ceil(drawing.width * scale), math.ceil(drawing.height * scale)), PALETTE["page"].light)
    painter = _Painter(ImageDraw.Draw(image, "RGBA"), image, scale)
    painter.all(drawing.items, (0.0, 0.0), "ink")
    small = image.reduce(FINER)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


@cache
def _font(size: int) -> tuple[Any, bool]:
    """Return a font that has the letters of figures, and whether it is Pillow's own, which has only the plain ones."""
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size), False
        except OSError:
            continue
    return ImageFont.load_default(size), True


def _paint(colour: str | None, around: str, opacity: float) -> tuple[int, int, int, int] | None:
    if colour is None:
        return None
    name = PALETTE[around if colour == "current" else colour].light
    red, green, blue = (int(name[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue, round(255 * opacity)


class _Painter:
    def __init__(self, draw: Any, image: Image.Image, scale: int) -> None:
        self.draw, self.image, self.scale = draw, image, scale
        self.shared: dict[str, DrawingItem] = {}  # what was drawn under a name, to be drawn again

    def all(self, items: Sequence[DrawingItem], move: Position, colour: str) -> None:
        for item in items:
            self.one(item, move, colour)

    def one(self, item: DrawingItem, move: Position, colour: str) -> None:
        match item:
            case Group(items, own, (across, down), _):
                self.all(items, (move[0] + across, move[1] + down), own or colour)
            case Shared(name, inner):
                if inner is not None:
                    self.shared.setdefault(name, inner)
                self.all((self.shared[name],) if name in self.shared else (), move, colour)
            case Stroke(points, kind, _):
                self.line(self.at(points, move), kind, colour)
            case Area(points, kind, _):
                self.shape(self.at(points, move), kind, colour)
            case Mark(shape, x, y, size, kind, _):
                if shape in ("circle", "ring"):
                    self.circle((x + move[0], y + move[1]), size, kind, colour)
                else:
                    self.shape(self.at(corners(item), move), kind, colour)
            case Words():
                self.words(item, move)

    def at(self, points: Sequence[Position], move: Position) -> list[Position]:
        return [((x + move[0]) * self.scale, (y + move[1]) * self.scale) for x, y in points]

    def line(self, points: list[Position], kind: str, colour: str) -> None:
        pen = PENS[kind]
        paint = _paint(pen.stroke, colour, pen.opacity)
        width = max(1, round(pen.width * self.scale))
        for piece in _dashes(points, [part * self.scale for part in pen.dash]) if pen.dash else [points]:
            if len(piece) > 1:
                self.draw.line(piece, fill=paint, width=width, joint="curve")

    def shape(self, points: list[Position], kind: str, colour: str) -> None:
        pen = PENS[kind]
        fill, outline = _paint(pen.fill, colour, pen.opacity), _paint(pen.stroke, colour, pen.opacity)
        if len(points) > 1:
            self.draw.polygon(points, fill=fill, outline=outline, width=round(pen.width * self.scale))

    def circle(self, at: Position, size: float, kind: str, colour: str) -> None:
        pen = PENS[kind]
        x, y, reach = at[0] * self.scale, at[1] * self.scale, size * self.scale
        fill, outline = _paint(pen.fill, colour, pen.opacity), _paint(pen.stroke, colour, pen.opacity)
        self.draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill, outline=outline, width=round(pen.width * self.scale))

    def words(self, item: Words, move: Position) -> None:
        face = FACES[item.kind]
        font, plain = _font(round(face.size * self.scale))
        text = visible(item.text)
        text = text.translate(PLAIN).encode("ascii", "replace").decode() if plain else text
        x, y = (item.x + move[0]) * self.scale, (item.y + move[1]) * self.scale
        paint, anchor = _paint(face.colour, "ink", 1.0), {"start": "ls", "middle": "ms", "end": "rs"}[item.anchor]
        thick = round(self.scale * 0.15) if face.bold else 0
        if not item.turn:
            self.draw.text((x, y), text, fill=paint, font=font, anchor=anchor, stroke_width=thick)
            return
        room = math.ceil(font.getlength(text)) + 4 * self.scale
        layer = Image.new("RGBA", (2 * room, 2 * room))
        ImageDraw.Draw(layer).text((room, room), text, fill=paint, font=font, anchor=anchor, stroke_width=thick)
        rotated = layer.rotate(-item.turn, resample=Image.Resampling.BICUBIC)
        self.image.paste(rotated, (round(x) - room, round(y) - room), rotated)


def _dashes(points: Sequence[Position], pattern: Sequence[float]) -> Iterator[list[Position]]:
    """Yield the pieces of a line that are drawn; the pattern runs on around corners."""
    place, left, drawn = 0, pattern[0], True
    piece = [points[0]]
    for start, stop in pairwise(points):
        length = math.dist(start, stop)
        done = 0.0
        while length - done > left:
            done += left
            share = done / length
            corner = (start[0] + share * (stop[0] - start[0]), start[1] + share * (stop[1] - start[1]))
            if drawn:
                yield [*piece, corner]
            place = (place + 1) % len(pattern)
            piece, left, drawn = [corner], pattern[place], not drawn
        left -= length - done
        piece.append(stop)
    if drawn:
        yield piece
