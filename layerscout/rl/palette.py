"""An arm's kind in, its colour, stroke and marker out: each kind can be told apart without colour too."""

from __future__ import annotations

from typing import Any

from layerscout.cache.records import Arm
from layerscout.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

COLOURS = {"ranked": SKY, "middle": GREEN, "worst": PURPLE, "twin": RED, "pixels": GREY, "scratch": ORANGE}
STROKES = {"ranked": "-", "middle": "-.", "worst": ":", "twin": "--", "pixels": "--", "scratch": "-."}
MARKERS = {"ranked": "o", "middle": "s", "worst": "v", "twin": "X", "pixels": "D", "scratch": "^"}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "text.parse_math": False,  # a dollar sign in an arm's name is a dollar sign
    "svg.fonttype": "none",  # text stays text: searchable, and read out by a screen reader
}


def colour(arm: Arm, best: str | None) -> str:
    """Return an arm's colour: one hue a kind, and the ranked-best layer in the strongest."""
    return BLUE if arm.name == best else COLOURS.get(arm.kind, BLACK)
