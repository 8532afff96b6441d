"""An arm's kind in, its colour, stroke and shape out: each kind can be told apart without colour too."""

from __future__ import annotations

from layerscout.cache.records import Arm
from layerscout.pages.palette import Look

LOOKS = {
    "ranked": Look("sky", "thick", "circle"),
    "layer": Look("sky", "thick", "circle"),
    "middle": Look("green", "dashdot", "square"),
    "worst": Look("purple", "dotted", "falling"),
    "twin": Look("red", "dashed", "cross"),
    "pixels": Look("grey", "dashed", "diamond"),
    "scratch": Look("orange", "dashdot", "triangle"),
    "cnn": Look("orange", "dotted", "triangle"),
    "random": Look("grey", "dotted", "diamond"),
    "reinitialised": Look("red", "dashdot", "cross"),
    "shuffled": Look("purple", "dashed", "falling"),
    "identity": Look("grey", "thick", "diamond"),
    "trained": Look("orange", "thick", "triangle"),
}
RANDOM_POLICY = Look("ink", "dotted", "")


def look_of(arm: Arm, best: str | None) -> Look:
    """Return how an arm is drawn: one hue a kind, and the ranked-best layer in the strongest."""
    return Look("blue", "strong", "circle") if arm.name == best else LOOKS.get(arm.kind, Look("ink"))
