"""A study's analysis in, its three drawings out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerscout.cache.records import Estimate
from layerscout.cache.records.study import StudyAnalysis, StudyLayer
from layerscout.report.figures.drawing import as_svg, span
from layerscout.report.figures.palette import BLACK, BLUE, GREEN, GREY, ORANGE, RED, STYLE
from layerscout.report.study.tables import ceiling, mean_of

MARKS = {
    "goes with return": (BLUE, "o"),
    "misleads": (RED, "X"),
    "undecided": (GREY, "s"),
    "cannot be tested": (GREY, "D"),
    "n/a": (GREY, "D"),
}
ACROSS = 3  # panels in a row


def panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many axes, three in a row."""
    columns, rows = min(count, ACROSS), math.ceil(count / ACROSS)
    figure = Figure(figsize=(3.5 * max(columns, 2) if count > 1 else 5.2, height * rows))
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.32, "hspace": 0.5}).ravel().tolist()
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def layers_of(analysis: StudyAnalysis, task: str) -> list[StudyLayer]:
    """Return a task's layers by depth."""
    return [layer for layer in analysis.layers if layer.task == task]


def earned(layer: StudyLayer, analysis: StudyAnalysis) -> Estimate | None:
    """Return a layer's mean in the analysis' metric."""
    return mean_of(layer.returns if analysis.metric == "final" else layer.evaluations)


def scatters(analysis: StudyAnalysis, name: str) -> str:
    """Draw score against return, a panel a task and a point a layer, each numbered by its depth."""
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(analysis.tasks), 3.2)
        for axes, task in zip(grid, analysis.tasks, strict=True):
            for layer in layers_of(analysis, task.name):
                score, middle = layer.measures[analysis.primary], earned(layer, analysis)
                if score is None or middle is None:
                    continue
                axes.plot([score] * 2, span(middle), color=BLUE, linewidth=1.3, alpha=0.7)
                axes.plot([score], [middle.value], "o", color=BLUE, markersize=6)
                axes.annotate(str(layer.depth), (score, middle.value), (5, 3), textcoords="offset points", fontsize=8, color=BLACK)
            found = "ρ n/a" if task.spearman is None else f"ρ = {task.spearman.value:.2f}"
            axes.set_title(f"{task.name}\n{found}")
            axes.set_xlabel(analysis.primary)
            axes.margins(0.12)
        grid[0].set_ylabel("mean return")
        return as_svg(figure, name)


def worths(analysis: StudyAnalysis, name: str) -> str:
    """Draw each measure's pooled correlation with its interval, and beside it what choosing by the measure gives up."""
    rows = [one for one in analysis.measures if one.spearman is not None]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.3 + 0.36 * len(rows)))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1), gridspec_kw={"wspace": 0.42})
        for place, one in enumerate(rows):
            shade, mark = MARKS[one.finding]
            whisker(left, one.spearman, place, shade, mark)
            left.annotate(one.finding, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=shade)
            whisker(right, one.regret_1, place, shade, mark)
        left.axvline(0, color=BLACK, linewidth=1)
        top = ceiling(analysis.reliability)
        if top is not None:
            left.axvline(top, color=ORANGE, linewidth=1.4, linestyle="--")
            left.annotate(
                "noise ceiling",
                (top, 1),
                (0, 4),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=ORANGE,
            )
        for value, text, shade, line in (
            (analysis.random_regret_1, "random", GREY, ":"),
            (analysis.middle_regret, "middle", GREEN, "-."),
        ):
            right.axvline(value, color=shade, linewidth=1.4, linestyle=line)
            lift = 4 if text == "random" else 14
            right.annotate(
                text,
                (value, 1),
                (0, lift),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=shade,
            )
        left.set_yticks(range(len(rows)), [one.name for one in rows])
        left.set_ylim(max(len(rows), 1) - 0.5, -0.5)  # without any correlation the panel is empty
        left.set_xlim(-1.05, 1.05)
        left.set_xlabel("Spearman ρ of the measure and return, within tasks")
        right.set_xlim(-0.03, 1.03)
        right.set_xlabel("given up by training the best-scored layer only\n(0 = best layer, 1 = worst layer)")
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
        return as_svg(figure, name)


def whisker(axes: Axes, estimate: Estimate | None, place: int, shade: str, mark: str) -> None:
    """Draw an estimate lying on its side."""
    if estimate is not None:
        axes.plot(span(estimate), [place] * 2, color=shade, linewidth=1.6)
        axes.plot([estimate.value], [place], mark, color=shade, markersize=7)


def twins(analysis: StudyAnalysis, name: str) -> str | None:
    """Draw return over depth on the blocks as they are and without training, a panel a task; None where no twin was trained."""
    tasks = [task for task in analysis.tasks if any(layer.untrained_returns for layer in layers_of(analysis, task.name))]
    if not tasks:
        return None
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(tasks), 2.9)
        for axes, task in zip(grid, tasks, strict=True):
            layers = layers_of(analysis, task.name)
            line(axes, [(layer.depth, earned(layer, analysis)) for layer in layers], BLUE, {"linestyle": "-", "marker": "o"}, "pretrained")
            line(
                axes,
                [(layer.depth, mean_of(layer.untrained_returns)) for layer in layers],
                RED,
                {"linestyle": "--", "marker": "X"},
                "untrained",
            )
            axes.set_title(task.name)
            axes.set_xlabel("depth of the block")
        grid[0].set_ylabel("mean return")
        grid[0].legend(frameon=False, fontsize=8.5)
        return as_svg(figure, name)


def line(axes: Axes, points: Sequence[tuple[int, Estimate | None]], shade: str, style: dict[str, Any], label: str) -> None:
    """Draw estimates over depth with their intervals."""
    known = [(depth, one) for depth, one in points if one is not None]
    axes.plot(
        [depth for depth, _ in known], [one.value for _, one in known], color=shade, markersize=5, linewidth=1.7, label=label, **style
    )
    for depth, one in known:
        axes.plot([depth] * 2, span(one), color=shade, linewidth=1.3, alpha=0.7)
    axes.set_xticks(np.unique([depth for depth, _ in known])[:: max(1, len(known) // 8)])
