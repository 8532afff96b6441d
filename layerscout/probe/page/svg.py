"""Numbers in, pieces of SVG out: scales, axes, marks and text that take the light or dark colours of the page around them.

A mark has the colour of the group it stands in (``currentColor``); the page's style sheet gives each class its two colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

LETTER = 6.4  # pixels that a letter of 12 px text takes, on the wide side
SHAPES = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Scale:
    """A line from data to pixels; values beyond an end are drawn at the end."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def moved(self, pixels: float) -> Scale:
        """Return the same scale some pixels to the right, or below."""
        return replace(self, start=self.start + pixels, stop=self.stop + pixels)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values inside the scale, at most about ``most`` of them."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1, max(1, math.ceil((last - first + 1) / most)))]
        apart = round_step((self.high - self.low) / most)
        return [place * apart for place in range(math.ceil(self.low / apart - 1e-9), math.floor(self.high / apart + 1e-9) + 1)]


def round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))


def covering(values: Sequence[float], start: float, stop: float) -> Scale:
    """Return a scale with round ends that holds all values."""
    low, high = min(values), max(values)
    apart = round_step(max(high - low, 0.02) / 6)
    return Scale(math.floor(low / apart) * apart, math.ceil(high / apart + 1e-9) * apart, start, stop)


def number(value: float) -> str:
    """Return a tick's label: 0.2, 10, 1e-5."""
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.0e}".replace("e-0", "e−").replace("e+0", "e")
    return f"{round(value, 10):g}".replace("-", "−")


def shorten(words: str, letters: int) -> str:
    """Cut words in the middle to at most so many letters: names of layers differ at both ends."""
    if len(words) <= letters:
        return words
    head = (letters - 1) // 2
    return f"{words[:head]}…{words[len(words) - (letters - 1 - head) :]}"


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", turn: float = 0) -> str:
    """Return escaped text; ``turn`` in degrees about its anchor."""
    rotate = f' transform="rotate({turn:g} {x:g} {y:g})"' if turn else ""
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{name}{rotate}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    """Return a straight line."""
    name = f' class="{kind}"' if kind else ""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"{name}/>'


def path(points: Sequence[tuple[float, float]], kind: str = "") -> str:
    """Return a line through points."""
    name = f' class="{kind}"' if kind else ""
    return f'<path d="M{" ".join(f"{x:g} {y:g}" for x, y in points)}"{name}/>' if points else ""


def bar(x: float, y: float, width: float, height: float, kind: str = "") -> str:
    """Return a filled rectangle."""
    name = f' class="{kind}"' if kind else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{max(width, 0.0):.1f}" height="{height:g}"{name}/>'


def mark(shape: str, x: float, y: float, size: float = 4.0, hint: str = "", hollow: bool = False) -> str:
    """Return a marker; ``hint`` is shown when the mouse rests on it and read out by a screen reader."""
    name = ' class="hollow"' if hollow else ' class="mark"'
    told = f"<title>{escape(hint)}</title>" if hint else ""
    if shape == "circle":
        return f'<circle cx="{x:g}" cy="{y:g}" r="{size:g}"{name}>{told}</circle>'
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
        "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    }[shape]
    points = " ".join(f"{x + size * across:.1f},{y + size * down:.1f}" for across, down in corners)
    return f'<polygon points="{points}"{name}>{told}</polygon>'


def group(colour: str, *parts: str, hint: str = "") -> str:
    """Return parts drawn in one of the page's colours."""
    return f'<g class="{colour}">{f"<title>{escape(hint)}</title>" if hint else ""}{"".join(parts)}</g>'


def drawing(width: float, height: float, label: str, *parts: str) -> str:
    """Return a whole picture of a fixed size; ``label`` says in words what it shows."""
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def rising_axis(scale: Scale, left: float, right: float, title: str, most: int = 6) -> str:
    """Return grid lines and labels of a vertical axis at the left."""
    parts = [line(left, scale(tick), right, scale(tick), "grid") for tick in scale.ticks(most)]
    parts += [text(left - 6, scale(tick) + 4, number(tick), "end", "tick") for tick in scale.ticks(most)]
    if title:
        parts.append(text(14, (scale.start + scale.stop) / 2, title, "middle", "axis", -90))
    return "".join(parts)


def level_axis(scale: Scale, top: float, bottom: float, title: str, most: int = 6) -> str:
    """Return grid lines and labels of a horizontal axis at the bottom."""
    parts = [line(scale(tick), top, scale(tick), bottom, "grid") for tick in scale.ticks(most)]
    parts += [text(scale(tick), bottom + 14, number(tick), "middle", "tick") for tick in scale.ticks(most)]
    if title:
        parts.append(text((scale.start + scale.stop) / 2, bottom + 30, title, "middle", "axis"))
    return "".join(parts)


def legend(entries: Sequence[tuple[str, str, str]], left: float, right: float, top: float) -> tuple[str, float]:
    """Lay out (colour, sample of SVG about the origin, words) in lines from left to right; return them and the height they take."""
    parts, x, y = [], left, top + 12
    for colour, sample, words in entries:
        wide = 34 + LETTER * len(words) + 18
        if x + wide > right and x > left:
            x, y = left, y + 20
        parts.append(f'<g class="{colour}" transform="translate({x + 13:g} {y - 4:g})">{sample}</g>' + text(x + 32, y, words))
        x += wide
    return "".join(parts), y - top + 10
