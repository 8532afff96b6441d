"""The evidence of layers in; one small picture a layer out: its eigenvalues, and its R² for every penalty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from layerscout.cache.records import LayerScore
from layerscout.pages.axes import Scale, level_axis, rising_axis, shorten, tick_label
from layerscout.pages.charts import Panel, as_drawing, tile
from layerscout.pages.drawing import Drawing, DrawingItem, Group, Mark, Shared, Stroke, Words
from layerscout.pages.svg import element
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.text import html_text

WIDTH, HEIGHT = 252, 158
LEFT, RIGHT, TOP, BOTTOM = 42, 244, 24, 122
FAINTEST = 1e-6  # shares of variance below this are not drawn
MOST_ON_A_SHEET = 40  # pictures of one file
LOWEST = -0.3  # an R² below this says no more than "useless"; drawing it would flatten everything else


class Measured(NamedTuple):
    """A layer under the name that the page gives it, with what was measured."""

    name: str
    layer: LayerScore
    evidence: LayerEvidence


class SmallPicture(NamedTuple):
    """One layer's picture, with its name and the figures that stand above it."""

    name: str
    note: str
    drawing: Drawing

    def html(self) -> str:
        """The drawing as an HTML figure, with its name and note above it."""
        above = f"{html_text(self.name)} <small>{html_text(self.note)}</small>"
        return f"<figure><figcaption>{above}</figcaption>{element(self.drawing)}</figure>"


def panels(pictures: Sequence[SmallPicture]) -> str:
    """Return pictures side by side for a page; nothing for none."""
    return f'<div class="panels">{"".join(one.html() for one in pictures)}</div>' if pictures else ""


def sheet(pictures: Sequence[SmallPicture], what: str, width: float) -> Drawing:
    """Return the first pictures as one drawing, for a file: as many beside each other as the width holds."""
    drawn = pictures[:MOST_ON_A_SHEET]
    titled = [
        Panel(
            WIDTH + 10,
            HEIGHT + 36,
            (
                Words(0, 12, shorten(one.name, 36), kind="title"),
                Words(0, 27, shorten(one.note, 46), kind="tick"),
                Group(one.drawing.items, move=(0, 34)),
            ),
        )
        for one in drawn
    ]
    left_out = f", the first {len(drawn)} of {len(pictures)}" if len(pictures) > len(drawn) else ""
    return as_drawing(tile(titled, max(1, int(width // (WIDTH + 10)))), f"{what} of {len(drawn)} layers{left_out}")


def thinned(count: int, most: int = 28) -> list[int]:
    """Return at most about ``most`` of the places 0 … count - 1, evenly spread on a logarithmic axis, both ends among them."""
    return sorted({round(count ** (step / (most - 1))) - 1 for step in range(most)}) if count > 1 else list(range(count))


def _shared(name: str, count: int, items: Sequence[DrawingItem]) -> list[Shared]:
    """Return what stands in every panel: written in the first, referred to in the others."""
    return [Shared(name, Group(items)), *(Shared(name) for _ in range(count - 1))]


def _frame(x: Scale, y: Scale, x_title: str, y_title: str) -> list[DrawingItem]:
    return [Words(0, 12, y_title, kind="axis"), *rising_axis(y, LEFT, RIGHT, 3), *level_axis(x, TOP, BOTTOM, x_title, 4)]


def spectra(candidates: Sequence[Measured], others: Sequence[Measured]) -> list[SmallPicture]:
    """Draw each layer's eigenvalue shares on logarithmic axes, over those of all candidates in grey; none when no spectrum is known.

    Axes and grey lines are drawn once and repeated by reference, so that sixty layers do not make sixty times sixty lines.
    """
    known = [one.evidence for one in (*candidates, *others) if one.evidence.spectrum]
    if not known:
        return []
    x = Scale(1, max(2, *(len(evidence.spectrum) for evidence in known)), LEFT, RIGHT, log=True)
    y = Scale(FAINTEST, 1.0, BOTTOM, TOP, log=True)
    grey = [Stroke(_falling(one.evidence, x, y), "ghost") for one in candidates]
    every = (*candidates, *others)
    behind = _shared("all-spectra", len(every), [*_frame(x, y, "eigenvalue number", "share of variance"), *grey])
    return [_spectrum(one, x, y, shared) for one, shared in zip(every, behind, strict=True)]


def _spectrum(one: Measured, x: Scale, y: Scale, behind: Shared) -> SmallPicture:
    name, layer, evidence = one
    note = f"effective rank {layer.effective_rank.value * layer.width:.1f} of {layer.width:,}"
    own: DrawingItem = Group([Stroke(_falling(evidence, x, y), "thick", f"{name}: {note}")], "blue")
    if not evidence.spectrum:
        note, own = "n/a", Words((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2, "n/a", "middle")
    return SmallPicture(name, note, Drawing(WIDTH, HEIGHT, f"{name}: eigenvalue shares, {note}", (behind, own)))


def _falling(evidence: LayerEvidence, x: Scale, y: Scale) -> list[tuple[float, float]]:
    places = thinned(sum(share > FAINTEST for share in evidence.spectrum))
    return [(x(place + 1), y(evidence.spectrum[place])) for place in places]


def penalty_paths(candidates: Sequence[Measured], others: Sequence[Measured]) -> list[SmallPicture]:
    """Draw validation R² against the penalty, with marks at the penalties that folds chose; none when there was no choice of them."""
    known = [one for one in (*candidates, *others) if len(one.evidence.penalties) > 1]
    if not known:
        return []
    grids = [one.evidence.penalties for one in known]
    x = Scale(min(map(min, grids)), max(map(max, grids)), LEFT + 4, RIGHT - 4, log=True)
    y = Scale(LOWEST, 1.0, BOTTOM, TOP)
    every = (*candidates, *others)
    frames = _shared("penalty-axes", len(every), _frame(x, y, "penalty / rows", "validation R²"))
    return [_penalties(one, x, y, frame) for one, frame in zip(every, frames, strict=True)]


def _penalties(one: Measured, x: Scale, y: Scale, frame: Shared) -> SmallPicture:
    name, _, evidence = one
    drawn = [
        _path(what, evidence.penalties, values, chosen, x, y, colour, shape)
        for what, values, chosen, colour, shape in (
            ("reward", evidence.reward_path, evidence.reward_penalties, "green", "circle"),
            ("transition", evidence.transition_path, evidence.transition_penalties, "blue", "square"),
        )
        if values
    ]
    note = f"reward {_choices(evidence.reward_penalties)} · transition {_choices(evidence.transition_penalties)}"
    return SmallPicture(name, note, Drawing(WIDTH, HEIGHT, f"{name}: validation R² by penalty, {note}", (frame, *drawn)))


def _path(
    what: str,
    penalties: Sequence[float],
    values: Sequence[float | None],
    chosen: Sequence[float],
    x: Scale,
    y: Scale,
    colour: str,
    shape: str,
) -> DrawingItem:
    known = [(penalty, value) for penalty, value in zip(penalties, values, strict=True) if value is not None]
    folds = Counter(chosen)
    marks = []
    for penalty, value in known:
        count = next((count for choice, count in folds.items() if math.isclose(choice, penalty)), 0)
        if count:
            hint = f"{what}, penalty {tick_label(penalty)}: R² {value:.3f}, chosen by {count} of {len(chosen)} folds"
            marks.append(Mark(shape, x(penalty), y(value), 3 + 2.5 * count / len(chosen), "fill", hint))
    every = ", ".join(f"{value:.3f} at {tick_label(penalty)}" for penalty, value in known)
    return Group([Stroke([(x(penalty), y(value)) for penalty, value in known], "thick", f"{what}, R²: {every}"), *marks], colour)


def _choices(chosen: Sequence[float]) -> str:
    if not chosen:
        return "n/a"
    low, high = min(chosen), max(chosen)
    return tick_label(low) if low == high else f"{tick_label(low)}…{tick_label(high)}"
