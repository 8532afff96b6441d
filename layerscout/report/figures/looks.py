"""An arm's kind, or a policy that learns nothing, in; its colour, stroke and shape out: each can be told apart without colour too."""

from __future__ import annotations

from collections.abc import Sequence

from layerscout.cache.records import Arm, Estimate, ReferenceReturn, as_table_value
from layerscout.pages.charts import Level
from layerscout.pages.palette import Look
from layerscout.pages.rows import Line
from layerscout.report.numbers.gate import REFERENCE_WORDS

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
    "dreamer apv": Look("blue", "strong", "circle"),
    "dreamer apv-no-bonus": Look("sky", "thick", "square"),
    "dreamer naive": Look("green", "dashdot", "falling"),
    "dreamer untrained": Look("red", "dashed", "cross"),
    "dreamer none": Look("orange", "dashdot", "triangle"),
    "goal pvdr": Look("blue", "strong", "circle"),
    "goal supervised": Look("sky", "thick", "square"),
    "goal scratch": Look("orange", "dashdot", "triangle"),
    "goal random-plans": Look("grey", "dotted", "diamond"),
    "goal cloning": Look("green", "dashed", "falling"),
}
REFERENCES = {
    "random": Look("ink", "dotted", ""),
    "constant": Look("grey", "dashdot", ""),
    "data": Look("green", "dashed", ""),
    "optimal": Look("orange", "dashed", ""),
}


def look_of(arm: Arm, best: str | None) -> Look:
    """Return how an arm is drawn: one hue a kind, and the ranked-best layer in the strongest."""
    return Look("blue", "strong", "circle") if arm.name == best else LOOKS.get(arm.kind, Look("ink"))


def reference_levels(references: Sequence[ReferenceReturn]) -> tuple[Level, ...]:
    """Return policies that learn nothing as lines across a chart."""
    return tuple(Level(REFERENCE_WORDS[one.name], REFERENCES[one.name], one.mean, hint=reference_hint(one)) for one in references)


def reference_lines(references: Sequence[ReferenceReturn]) -> tuple[Line, ...]:
    """Return the same as lines across the rows of a chart that lies on its side."""
    return tuple(Line(REFERENCE_WORDS[one.name], REFERENCES[one.name], one.mean) for one in references)


def reference_hint(reference: ReferenceReturn) -> str:
    """Return what a policy that learns nothing earns, in words: its mean, its interval, which policy it is."""
    note = f" ({reference.note})" if reference.note else ""
    return (
        f"{REFERENCE_WORDS[reference.name]}: {as_table_value(Estimate(value=reference.mean, low=reference.low, high=reference.high))}{note}"
    )
