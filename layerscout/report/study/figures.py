"""A study's analysis in; its three figures out, each a function from a width in pixels to a drawing."""

from __future__ import annotations

from collections.abc import Sequence

from layerscout.cache.records import Estimate, as_table_value
from layerscout.cache.records.study import StudyAnalysis, StudyLayer, StudyTask
from layerscout.pages.axes import Scale, legend
from layerscout.pages.charts import Panel, Plot, Point, Series, as_drawing, draw_plot, tile
from layerscout.pages.drawing import Drawing, DrawingItem, Group
from layerscout.pages.page import Draw
from layerscout.pages.palette import Look
from layerscout.pages.points import Spot, draw_points
from layerscout.pages.rows import NARROW, Line, RowColumn, draw_rows, whisker
from layerscout.report.figures.looks import REFERENCES, reference_levels
from layerscout.report.numbers.gate import REFERENCE_WORDS
from layerscout.report.study.tables import mean_of, noise_ceiling

FINDINGS = {
    "goes with return": Look("blue", "", "circle"),
    "misleads": Look("red", "", "cross"),
    "undecided": Look("grey", "", "square"),
    "cannot be tested": Look("grey", "", "diamond"),
    "n/a": Look("grey", "", "diamond"),
}
PRETRAINED, UNTRAINED = Look("blue", "thick", "circle"), Look("red", "dashed", "cross")
NARROWEST = 300.0  # pixels of a task's panel


def layers_of(analysis: StudyAnalysis, task: str) -> list[StudyLayer]:
    """Return a task's cells, series by series and by depth."""
    return [layer for layer in analysis.layers if layer.task == task]


def earned(layer: StudyLayer, analysis: StudyAnalysis) -> Estimate | None:
    """Return a cell's mean return in the analysis' metric."""
    if analysis.updates is not None:
        return mean_of(layer.budgets.get(analysis.updates, ()))
    return mean_of(layer.returns if analysis.metric == "final" else layer.evaluations)


def draw_scores_and_returns(analysis: StudyAnalysis) -> Draw:
    """Draw score against return, a panel a task and a point a cell, each numbered by its depth; lines are policies that learn nothing."""
    found = [(task, _spots(analysis, task.name)) for task in analysis.tasks]
    rhos = [f"n/a, {task.learned}" if task.spearman is None else f"{task.spearman.value:.2f}" for task in analysis.tasks]
    label = f"{analysis.primary} against return: " + ", ".join(
        f"ρ = {rho} in {task.name}" for task, rho in zip(analysis.tasks, rhos, strict=True)
    )

    def draw(width: float) -> Drawing:
        columns = max(1, min(len(found), int(width / NARROWEST)))
        each = min(width / columns, 480)
        panels = [
            draw_points(
                spots,
                each,
                190,
                analysis.primary,
                "mean return",
                title=(task.name, f"ρ = {rho}"),
                beside=False,
                levels=reference_levels(task.references),
            )
            for (task, spots), rho in zip(found, rhos, strict=True)
        ]
        grid = tile(panels, columns)
        kinds = {one.name: REFERENCES[one.name] for task in analysis.tasks for one in task.references}
        entries = [(PRETRAINED, "pretrained"), (UNTRAINED, "untrained"), *((look, REFERENCE_WORDS[name]) for name, look in kinds.items())]
        keys, top = legend(entries, 4, width - 10, 0)
        return as_drawing(Panel(grid.width, top + grid.height, (*keys, Group(grid.items, move=(0, top)))), label)

    return draw


def _spots(analysis: StudyAnalysis, task: str) -> list[Spot]:
    spots = []
    for layer in layers_of(analysis, task):
        score, middle = layer.measures.get(analysis.primary), earned(layer, analysis)
        if score is not None and middle is not None:
            hint = f"{layer.layer}: {analysis.primary} {score:.3f}, return {as_table_value(middle)}"
            spots.append(
                Spot(
                    str(layer.depth),
                    UNTRAINED if layer.weights == "untrained" else PRETRAINED,
                    score,
                    middle.value,
                    middle.low,
                    middle.high,
                    hint,
                )
            )
    return spots


def draw_measures(analysis: StudyAnalysis) -> Draw:
    """Draw each measure's pooled correlation with its interval, and beside it what choosing by the measure gives up."""
    rows = [one for one in analysis.measures if one.spearman is not None]

    def painter(estimates: Sequence[Estimate | None], what: str) -> RowColumn:
        def paint(place: int, scale: Scale, middle: float, tall: float) -> list[DrawingItem]:
            one = estimates[place]
            if one is None:
                return []
            hint = f"{rows[place].name}, {what}: {as_table_value(one, 2)}"
            return [whisker(scale, one.value, one.low, one.high, middle, FINDINGS[rows[place].finding], hint)]

        return RowColumn(title="", values=(), paint=paint)

    top = noise_ceiling(analysis.reliability)
    correlation = RowColumn(
        title="mean Spearman ρ with return, within tasks",
        values=(),
        paint=painter([one.spearman for one in rows], "Spearman ρ").paint,
        texts=tuple(one.finding for one in rows),
        lines=() if top is None else (Line("noise ceiling", Look("orange", "dashed", ""), top),),
        share=1.2,
        fixed=(-1.0, 1.0),
    )
    regret = RowColumn(
        title="given up by the best-scored cell (1 = all)",
        values=(),
        paint=painter([one.regret_1 for one in rows], "given up").paint,
        lines=tuple(
            Line(name, look, value)
            for name, look, value in (
                ("a random pick", Look("grey", "dotted", ""), analysis.random_regret_1),
                ("the middle layer", Look("green", "dashdot", ""), analysis.middle_regret),
            )
            if value is not None
        ),
        fixed=(0.0, 1.0),
    )
    kinds = list(dict.fromkeys(one.finding for one in rows))
    keys = [(FINDINGS[kind], kind) for kind in kinds]
    label = "How each measure goes with return: " + ", ".join(
        f"{one.name} ρ = {as_table_value(one.spearman, 2)}, {one.finding}" for one in rows
    )
    return lambda width: as_drawing(draw_rows([one.name for one in rows], [correlation, regret], width, keys=keys), label)


def draw_untrained(analysis: StudyAnalysis) -> Draw | None:
    """Draw return over depth on the blocks as they are and without training, a panel a task; None where no twin was trained."""
    tasks = [task for task in analysis.tasks if any(layer.weights == "untrained" for layer in layers_of(analysis, task.name))]
    if not tasks:
        return None
    plots = [(task.name, _twin_plot(analysis, task)) for task in tasks]
    wholes = {one.task: one.difference for one in analysis.untrained if one.layer is None}
    label = "Pretrained minus untrained blocks: " + ", ".join(f"{task.name} {as_table_value(wholes.get(task.name))}" for task in tasks)

    def draw(width: float) -> Drawing:
        columns = max(1, min(len(plots), int(width / NARROWEST)))
        each, tall = min(width / columns, 480), 190 if width >= NARROW else 170
        grid = tile([draw_plot(plot, each, tall, name, keys=False) for name, plot in plots], columns)
        kinds = {level.name: level.look for _, plot in plots for level in plot.levels}
        entries = [(PRETRAINED, "pretrained"), (UNTRAINED, "untrained"), *((look, name) for name, look in kinds.items())]
        keys, top = legend(entries, 4, width - 10, 0)
        return as_drawing(Panel(grid.width, top + grid.height, (*keys, Group(grid.items, move=(0, top)))), label)

    return draw


def _twin_plot(analysis: StudyAnalysis, task: StudyTask) -> Plot:
    """Return the curves of a task: one a backbone, weights and pooling."""
    layers = layers_of(analysis, task.name)
    shown = []
    for key in dict.fromkeys((layer.backbone, layer.weights, layer.pooling, layer.store_id) for layer in layers):
        own = [layer for layer in layers if (layer.backbone, layer.weights, layer.pooling, layer.store_id) == key]
        name = " ".join(part for part in key[:3] if part)
        points = tuple(
            Point(layer.depth, one.value, one.low, one.high, f"{layer.layer}, {name}: {as_table_value(one)}")
            for layer in own
            if (one := earned(layer, analysis)) is not None
        )
        shown.append(Series(name, UNTRAINED if key[1] == "untrained" else PRETRAINED, points, 3.0 if key[1] == "untrained" else 0.0))
    return Plot(
        series=tuple(shown),
        levels=reference_levels(task.references),
        names={float(layer.depth): str(layer.depth) for layer in layers},
        x_title="depth of the block",
        y_title="mean return",
    )
