"""A matplotlib figure in, an SVG element out that follows the page's light or dark colours; helpers for its labels."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerscout.cache.records import Estimate
from layerscout.report.figures.palette import STYLE, VARIABLES


def as_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element that can stand in a page: no prologue, no metadata, ids of its own, same bytes every time."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    return re.sub(r'\bid="(?=[a-z]+_\d+")', f'id="{name}-', svg[svg.index("<svg") :])


def span(estimate: Estimate) -> list[float]:
    """Return the two ends of the interval, both at the value when there is none."""
    return [estimate.value if edge is None else edge for edge in (estimate.low, estimate.high)]


def label_ends(axes: Axes, x: float, ends: Sequence[tuple[float, str, str]]) -> list[float]:
    """Write names, given as (height, text, colour), at the right end of their lines, pushed apart where they would overlap.

    Returns the heights at which the names stand, in the order of ``ends``.
    """
    low, high = axes.get_ylim()
    height = axes.get_figure().get_figheight() * 72 * axes.get_position().height  # type: ignore[union-attr]
    apart = 11.5 * (high - low) / height
    order = sorted(range(len(ends)), key=lambda index: ends[index][0])
    places = np.array([ends[index][0] for index in order], dtype=np.float64)
    for _ in range(200):  # relaxation: neighbours that are too close push each other away
        overlap = np.maximum(apart - np.diff(places), 0.0) / 2
        places[:-1] -= overlap
        places[1:] += overlap
    for place, index in zip(places, order, strict=True):
        _, text, shade = ends[index]
        axes.annotate(text, (x, place), (5, 0), textcoords="offset points", va="center", color=shade, fontsize=9, annotation_clip=False)
    return [float(places[order.index(index)]) for index in range(len(ends))]


def themed(svg: str) -> str:
    """Return a drawing whose colours are the page's, so that it turns dark with it.

    A file of its own keeps plain colours, because not every program that shows SVG knows variables.
    """
    return re.sub(r"#[0-9a-fA-F]{6}\b", lambda match: VARIABLES.get(match[0].lower(), match[0]), svg)
