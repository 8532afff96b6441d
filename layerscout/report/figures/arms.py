"""A run record in, the figures of what its arms earned out, each a function from a width in pixels to a drawing.

Above four arms, curves and profiles are small multiples: more bands than that on one chart cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Arm, Estimate, ReferenceReturn, RunRecord, as_table_value
from layerscout.pages.axes import Scale
from layerscout.pages.charts import MOST_TOGETHER, Plot, Point, Series, as_drawing, draw_plot, multiples
from layerscout.pages.drawing import Drawing, DrawingItem, Group, Mark, Stroke
from layerscout.pages.page import Draw
from layerscout.pages.points import Spot, draw_points
from layerscout.pages.rows import NARROW, RowColumn, draw_rows
from layerscout.report.figures.looks import look_of, reference_levels, reference_lines
from layerscout.report.numbers.association import Association
from layerscout.report.numbers.curves import LearningCurve
from layerscout.report.numbers.gate import references_of
from layerscout.report.numbers.profiles import common_levels, performance_profile
from layerscout.report.numbers.statistics import bootstrap
from layerscout.report.verdict import final_returns
from layerscout.showing import counted

MOST_MARKS = 24  # points of a curve that still get a mark each


def draw_learning_curves(curves: Sequence[LearningCurve], record: RunRecord, best: str | None, name: str) -> Draw:
    """Draw each arm's mean over seeds with its bootstrap band; the axis is updates, steps or episodes, as the curves say."""
    of_name = {arm.name: arm for arm in record.arms}
    shown = []
    for curve in curves:
        look = look_of(of_name[curve.arm], best)
        look = look if len(curve.x) <= MOST_MARKS else type(look)(look.colour, look.stroke, "")
        lows = curve.mean if curve.low is None else curve.low
        highs = curve.mean if curve.high is None else curve.high
        points = tuple(
            Point(float(x), float(mean), float(low), float(high), f"{curve.arm} at {x:,.0f}: {mean:.3f} [{low:.3f}, {high:.3f}]")
            for x, mean, low, high in zip(curve.x, curve.mean, lows, highs, strict=True)
        )
        shown.append(Series(curve.arm, look, points, band=True, hint=f"{curve.arm}, at the end {curve.mean[-1]:.3f}"))
    plot = Plot(
        series=tuple(shown),
        levels=reference_levels(references_of(record)),
        x_title=curves[0].axis if curves else "",
        y_title="return (mean over seeds)",
    )
    ends = sorted(((float(curve.mean[-1]), curve.arm) for curve in curves), reverse=True)
    label = "Learning curves: at the end " + ", ".join(f"{arm} returns {value:.3f}" for value, arm in ends)
    return _together_or_apart(plot, name, label)


def _together_or_apart(plot: Plot, name: str, label: str) -> Draw:
    def draw(width: float) -> Drawing:
        wide = width >= NARROW
        if len(plot.series) <= MOST_TOGETHER:
            return as_drawing(draw_plot(plot, min(width, 820), 280 if wide else 220), label)
        return as_drawing(multiples(plot, width, 130 if wide else 110, f"{name}-{'wide' if wide else 'narrow'}"), label)

    return draw


def draw_final_returns(record: RunRecord, best: str | None) -> Draw:
    """Draw every seed's final return as a point, with each arm's interquartile mean and interval over them."""
    returns = [final_returns(record, arm.name) for arm in record.arms]
    seeds = [sorted(run.seed for run in record.runs if run.arm == arm.name and run.final is not None) for arm in record.arms]
    middles = [bootstrap([values]) for values in returns]
    failed = [sum(run.arm == arm.name and run.status == "failed" for run in record.runs) for arm in record.arms]

    def paint(place: int, scale: Scale, middle: float, tall: float) -> list[DrawingItem]:
        arm, values, estimate = record.arms[place], returns[place], middles[place]
        look, nudge = look_of(arm, best), 0.22 * tall * np.sin(np.arange(len(values)) * 2.4)  # equal points, the same way every time
        points = [
            Mark(look.shape, scale(float(value)), middle + float(aside), 3.4, "pale", f"{arm.name}, seed {seed}: {value:.3f}")
            for value, aside, seed in zip(values, nudge, seeds[place], strict=True)
        ]
        items: list[DrawingItem] = [Group(points, look.colour)]
        if estimate is not None:
            hint, across = f"{arm.name}: {as_table_value(estimate)}", scale(estimate.value)
            items.append(
                Group([*_interval(scale, estimate, middle), Stroke(((across, middle - 7), (across, middle + 7)), "strong", hint)], "ink")
            )
        return items

    ends = [float(value) for values in returns for value in values]
    lines = reference_lines(references_of(record))
    column = RowColumn(
        title="final return",
        values=(*ends, *(line.value for line in lines)) or (0.0, 1.0),
        paint=paint,
        texts=tuple(f"{count} failed" if count else "" for count in failed) if any(failed) else (),
        lines=lines,
    )
    known = sorted(((one.value, arm.name, one) for arm, one in zip(record.arms, middles, strict=True) if one is not None), reverse=True)
    label = "Final returns by arm, interquartile means: " + ", ".join(f"{name} {as_table_value(one)}" for _, name, one in known)
    return lambda width: as_drawing(draw_rows([arm.name for arm in record.arms], [column], min(width, 900), tall=26), label)


def _interval(scale: Scale, estimate: Estimate, middle: float) -> list[DrawingItem]:
    if estimate.low is None or estimate.high is None:
        return []
    return [Stroke(((scale(estimate.low), middle), (scale(estimate.high), middle)), "thick")]


def draw_profiles(record: RunRecord, best: str | None, name: str) -> Draw:
    """Draw for each arm which share of its runs ended above every level of return, with its band; the higher curve is better."""
    arms = [(arm, values) for arm in record.arms if len(values := final_returns(record, arm.name))]
    marked = [np.array([one.mean]) for one in references_of(record)]  # so that their lines lie on the axis
    levels = common_levels([*(values for _, values in arms), *marked])
    shown, halves = [], []
    for arm, values in arms:
        profile, look = performance_profile([values], levels), look_of(arm, best)
        if profile is None:
            continue
        low, high = (profile.share if band is None else band for band in (profile.low, profile.high))
        kept = corners_of([profile.share, low, high])
        points = tuple(Point(float(levels[at]), float(profile.share[at]), float(low[at]), float(high[at])) for at in kept)
        half = float(np.median(values))
        shown.append(
            Series(
                arm.name, type(look)(look.colour, look.stroke, ""), points, band=True, hint=f"{arm.name}: half of the runs above {half:.3f}"
            )
        )
        halves.append((half, arm.name))
    plot = Plot(
        series=tuple(shown),
        x_title="final return τ",
        uprights=reference_levels(references_of(record)),
        y_title="share of runs above τ",
        x_range=(float(levels[0]), float(levels[-1])),
        y_range=(0.0, 1.0),
    )
    label = "Performance profiles: half of the runs end above " + ", ".join(
        f"{half:.3f} for {arm}" for half, arm in sorted(halves, reverse=True)
    )
    return _together_or_apart(plot, name, label)


def corners_of(curves: Sequence[Float[np.ndarray, " level"]]) -> list[int]:
    """Return the places at which some of several curves over the same levels change, and those just before: all that a line needs."""
    changed = np.any([np.diff(curve) != 0 for curve in curves], axis=0)
    kept = {0, len(curves[0]) - 1, *(int(at) for at in np.flatnonzero(changed)), *(int(at) + 1 for at in np.flatnonzero(changed))}
    return sorted(kept)


def draw_score_and_return(
    arms: Sequence[Arm],
    returns: Sequence[Float[np.ndarray, " seed"]],
    best: str | None,
    association: Association | None,
    references: Sequence[ReferenceReturn] = (),
) -> Draw:
    """Draw score against return, one point a layer, with each return's interval; names stand at the right, joined by a hair line."""
    spots = []
    for arm, values in zip(arms, returns, strict=True):
        middle = bootstrap([values])
        if middle is not None and arm.score is not None:
            hint = f"{arm.name}: score {arm.score:.3f}, return {as_table_value(middle)}"
            spots.append(Spot(arm.name, look_of(arm, best), arm.score, middle.value, middle.low, middle.high, hint))
    found = "Spearman n/a"
    if association is not None:
        rho = association.spearman
        found = f"Spearman {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]"
    label = f"Score against return of {counted(len(spots), 'arm')}: {found}"

    def draw(width: float) -> Drawing:
        wide = width >= NARROW
        panel = draw_points(
            spots,
            min(width, 760),
            280 if wide else 220,
            "probe score of the layer",
            "final return (interquartile mean)",
            title=(found,),
            levels=reference_levels(references),
        )
        return as_drawing(panel, label)

    return draw
