"""Values in, scales with round ticks, axes and legends in pixels out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from layerscout.pages.drawing import DrawingItem, Group, Mark, Stroke, Words
from layerscout.pages.palette import Look

LETTER = 6.4  # pixels that a letter of 12 px text takes, on the wide side


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
        if self.high <= self.low:  # no width: everything lies in the middle
            share = 0.5
        elif self.log:
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
            if last - first < 2:  # within two powers of ten, 2 and 5 stand between them
                finer = [factor * 10.0**power for power in range(first - 1, last + 1) for factor in (1, 2, 5)]
                return [tick for tick in finer if self.low <= tick * (1 + 1e-9) and tick <= self.high * (1 + 1e-9)]
            return [10.0**power for power in range(first, last + 1, max(1, math.ceil((last - first + 1) / most)))]
        apart = round_step((self.high - self.low) / most)
        return [place * apart for place in range(math.ceil(self.low / apart - 1e-9), math.floor(self.high / apart + 1e-9) + 1)]


def round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))


def covering(values: Sequence[float], start: float, stop: float) -> Scale:
    """Return a scale with round ends that holds all values; values that are all equal get a little room around them."""
    low, high = min(values), max(values)
    apart = round_step(max(high - low, 0.02, 1e-9 * abs(high)) / 6)
    first = math.floor(low / apart)
    last = max(math.ceil(high / apart + 1e-9), first + 1)
    return Scale(min(first * apart, low), max(last * apart, high), start, stop)  # a product may miss its value by a last bit


def tick_label(value: float) -> str:
    """Return a tick's label: 0.2, 10, 2,000, 1e−5, 1.5e6; no two ticks of a scale that holds 0 have the same."""
    if value and not 1e-3 <= abs(value) < 1e6:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}".replace("-", "−")
    shown = round(value, 10) + 0.0  # no minus before nothing
    if abs(shown) < 1000:
        return f"{shown:g}".replace("-", "−")
    return f"{shown:,.{0 if abs(shown - round(shown)) < 0.05 else 1}f}".replace("-", "−")


def shorten(words: str, letters: int) -> str:
    """Return words cut in the middle to at most so many letters: names of layers differ at both ends."""
    if len(words) <= letters:
        return words
    head = (letters - 1) // 2
    return f"{words[:head]}…{words[len(words) - (letters - 1 - head) :]}"


def rising_axis(scale: Scale, left: float, right: float, most: int = 6) -> list[DrawingItem]:
    """Return grid lines and labels of a vertical axis at the left."""
    lines: list[DrawingItem] = [Stroke(((left, scale(tick)), (right, scale(tick))), "grid") for tick in scale.ticks(most)]
    return lines + [Words(left - 6, scale(tick) + 4, tick_label(tick), "end", "tick") for tick in scale.ticks(most)]


def ticks_fitting(scale: Scale, most: int) -> int:
    """Return how many labels of a horizontal axis do not run into each other, at most ``most``."""
    return min(most, max(2, int(abs(scale.stop - scale.start) / 44)))


def level_axis(scale: Scale, top: float, bottom: float, title: str = "", most: int = 6) -> list[DrawingItem]:
    """Return grid lines and labels of a horizontal axis at the bottom."""
    most = ticks_fitting(scale, most)
    parts: list[DrawingItem] = [Stroke(((scale(tick), top), (scale(tick), bottom)), "grid") for tick in scale.ticks(most)]
    parts += [Words(scale(tick), bottom + 15, tick_label(tick), "middle", "tick") for tick in scale.ticks(most)]
    if title:
        middle = max((scale.start + scale.stop) / 2, LETTER * len(title) / 2)  # a long one begins where the figure does
        parts.append(Words(middle, bottom + 31, title, "middle", "axis"))
    return parts


def named_axis(scale: Scale, names: dict[float, str], bottom: float, title: str = "") -> tuple[list[DrawingItem], float]:
    """Return names at their places under a horizontal axis, turned where they are long and thinned where they are many.

    Returns
    -------
    The items, and the height that they take below ``bottom``.
    """
    step = (scale.stop - scale.start) / (scale.high - scale.low)
    longest = max((len(name) for name in names.values()), default=0) * LETTER
    every = max(1, math.ceil(15 / step))  # names closer than 15 pixels would run into each other
    if longest > 60:  # long names are turned, short ones thinned until they stand level
        level = longest + 8 < step * every
    else:
        every, level = max(1, math.ceil((longest + 8) / step)), True
    parts: list[DrawingItem] = []
    for place, (at, name) in enumerate(names.items()):
        if place % every == 0:
            parts.append(
                Words(scale(at), bottom + 16, name, "middle", "tick")
                if level
                else Words(scale(at) + 4, bottom + 11, name, "end", "tick", -60)
            )
    height = 18.0 if level else 0.87 * longest + 18
    if title:
        parts.append(Words((scale.start + scale.stop) / 2, bottom + height + 14, title, "middle", "axis"))
    return parts, height + (20 if title else 2)


def sample(look: Look) -> list[DrawingItem]:
    """Return what a legend shows of a look, 24 pixels wide about the origin."""
    parts: list[DrawingItem] = []
    if look.stroke:
        parts.append(Stroke(((-12, 0), (12, 0)), look.stroke))
    if look.shape:
        size, kind = (7.0, "ring") if look.shape == "ring" else (4.0, "hollow" if look.hollow else "fill")
        parts.append(Mark(look.shape, 0, 0, size, kind))
    return parts


def legend(entries: Sequence[tuple[Look, str]], left: float, right: float, top: float) -> tuple[list[DrawingItem], float]:
    """Return samples with their words, in lines from left to right, and the height that they take.

    An entry is written once, however often it is given: two series of one look and name are one to the reader.
    """
    parts: list[DrawingItem] = []
    x, y = left, top + 12
    for look, words in dict.fromkeys(entries):
        words = shorten(words, max(8, int((right - left - 34) / LETTER)))
        wide = 34 + LETTER * len(words) + 14
        if x + wide - 14 > right and x > left:
            x, y = left, y + 20
        parts += [Group(sample(look), look.colour, (x + 13, y - 4)), Words(x + 32, y, words)]
        x += wide
    return parts, (y - top + 10) if entries else 0.0


def push_apart(heights: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Return the heights moved as little as needed so that neighbours stand ``apart`` and all between ``low`` and ``high``."""
    order = np.argsort(heights, kind="stable")
    places = np.asarray(heights, dtype=np.float64)[order]
    for _ in range(300):  # neighbours that are too close push each other away
        overlap = np.maximum(apart - np.diff(places), 0.0) / 2
        places[:-1] -= overlap
        places[1:] += overlap
        places = np.clip(places, low, high)
    result = np.empty(len(places))
    result[order] = places
    return [float(place) for place in result]
