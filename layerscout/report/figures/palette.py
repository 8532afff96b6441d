"""An arm's kind in, its colour, stroke and marker out: each kind can be told apart without colour too."""

from __future__ import annotations

from typing import Any

from layerscout.cache.records import Arm
from layerscout.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

SOFT, LINE, PAGE = "#444444", "#e6e6e6", "#ffffff"

COLOURS = {"ranked": SKY, "layer": SKY, "middle": GREEN, "worst": PURPLE, "twin": RED, "pixels": GREY, "scratch": ORANGE, "cnn": ORANGE}
COLOURS |= {"random": GREY, "reinitialised": RED, "shuffled": PURPLE, "identity": GREY, "trained": ORANGE}
STROKES = {"ranked": "-", "middle": "-.", "worst": ":", "twin": "--", "pixels": "--", "scratch": "-.", "cnn": ":", "random": ":"}
MARKERS = {"ranked": "o", "middle": "s", "worst": "v", "twin": "X", "pixels": "D", "scratch": "^", "cnn": "<", "random": "d"}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.parse_math": False,  # a dollar sign in an arm's name is a dollar sign
    "svg.fonttype": "none",  # text stays text: searchable, and read out by a screen reader
}

NAMES = {BLUE: "blue", SKY: "sky", ORANGE: "orange", GREEN: "green", RED: "red", PURPLE: "purple", BLACK: "ink", GREY: "grey"}
NAMES |= {SOFT: "soft", LINE: "line", PAGE: "page"}
VARIABLES = {shade.lower(): f"var(--{name}, {shade.lower()})" for shade, name in NAMES.items()}  # a page may set them


def colour(arm: Arm, best: str | None) -> str:
    """Return an arm's colour: one hue a kind, and the ranked-best layer in the strongest."""
    return BLUE if arm.name == best else COLOURS.get(arm.kind, BLACK)
