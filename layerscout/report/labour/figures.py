"""A record of labour in, its figures out, each a function from a width in pixels to a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from layerscout.cache.records.work import ElasticityPoint, FrontierPoint, WorkArm, WorkRecord
from layerscout.pages.charts import MOST_TOGETHER, Level, Panel, Plot, Point, Series, as_drawing, draw_plot, multiples, tile
from layerscout.pages.drawing import Drawing
from layerscout.pages.page import Draw
from layerscout.pages.palette import SHAPES, Look
from layerscout.report.labour.compare import mean_of_known

HUES, STROKES = ("blue", "orange", "green", "purple", "red", "sky", "grey"), ("thick", "dashed", "dashdot", "dotted")
PANELS = (
    ("profit", "profit, $/h"),
    ("marginal_product", "good units an hour"),
    ("error_rate", "error rate"),
    ("wage_parity", "parity"),
    ("multiplier", "λ, $/h a unit of error rate"),
    ("error_target", "e*"),
    ("temperature", "α"),
)
WIDE_ENOUGH = 700.0  # pixels from which on panels stand side by side


def look(place: int) -> Look:
    """Return how the arm at a place is drawn: by hue, stroke and shape."""
    return Look(HUES[place % len(HUES)], STROKES[place % len(STROKES)], SHAPES[place % len(SHAPES)])


def draw_training(arms: Sequence[WorkArm]) -> Draw:
    """Draw the seven curves of training, a panel a column, of at most four arms; bands are 95 % intervals over seeds."""
    shown = arms[:MOST_TOGETHER]

    def plot(column: str, title: str) -> Plot:
        series = tuple(Series(arm.name, _bare(look(place)), _band(arm, column), band=True) for place, arm in enumerate(shown))
        best = tuple(
            Level(f"best of {arm.name}", Look(look(place).colour, "dotted", ""), arm.best.profit)
            for place, arm in enumerate(shown)
            if column == "profit" and (place == 0 or arm.best.profit != shown[0].best.profit)
        )
        return Plot(series, levels=best, x_title="hours worked", y_title=title)

    label = "Training: " + "; ".join(f"{arm.name} ends at {np.mean(arm.last.profit):.2f} $/h" for arm in shown)
    return partial(_grid_of_panels, [plot(*panel) for panel in PANELS], label)


def _grid_of_panels(plots: Sequence[Plot], label: str, width: float) -> Drawing:
    columns = 2 if width >= WIDE_ENOUGH else 1
    panels: list[Panel] = [draw_plot(plot, width / columns, 150 if columns > 1 else 130) for plot in plots]
    return as_drawing(tile(panels, columns), label)


def _bare(one: Look) -> Look:
    return Look(one.colour, one.stroke, "")


def _band(arm: WorkArm, column: str) -> tuple[Point, ...]:
    points = []
    for hour, values in zip(arm.blocks, arm.curve(column).values, strict=True):
        middle = mean_of_known(values)
        if middle is not None:
            points.append(Point(hour + 1, middle.value, middle.low, middle.high, f"{arm.name}, hour {hour + 1}: {middle.value:.3f}"))
    return tuple(points)


def draw_judged(arms: Sequence[WorkArm]) -> Draw:
    """Draw what each policy was expected to earn, in closed form, after so many hours; the dotted line is the best possible."""
    series = tuple(
        Series(arm.name, look(place), tuple(_judged(arm, number) for number in range(len(arm.judgements))), band=True)
        for place, arm in enumerate(arms)
    )
    level = Level("best possible", Look("ink", "dotted", ""), arms[0].best.profit)
    plot = Plot(series, levels=(level,), x_title="hours worked", y_title="expected profit of the policy, $/h")
    label = "Expected profit: " + ", ".join(f"{arm.name} {np.mean(arm.last.profit):.2f}" for arm in arms)

    def draw(width: float) -> Drawing:
        if len(series) <= MOST_TOGETHER:
            return as_drawing(draw_plot(plot, min(width, 820), 260), label)
        return as_drawing(multiples(plot, width, 120, f"judged-{'wide' if width >= WIDE_ENOUGH else 'narrow'}"), label)

    return draw


def _judged(arm: WorkArm, number: int) -> Point:
    judged = arm.judgements[number]
    middle = mean_of_known(judged.profit)
    assert middle is not None, "every seed was judged"
    return Point(judged.episode, middle.value, middle.low, middle.high, f"{arm.name}, {judged.episode} hours: {middle.value:.2f} $/h")


def draw_frontier(record: WorkRecord) -> Draw:
    """Draw every swept action by its error and its product, the feasible ones filled, the edge that none beats, and where the policies sit."""
    inside = tuple(_action(point) for point in record.frontier if point.feasible)
    outside = tuple(_action(point) for point in record.frontier if not point.feasible)
    edge = _edge(record.frontier)
    policies = tuple(
        Series(arm.name, Look(look(place).colour, "", "ring"), (_sits(arm, record),))
        for place, arm in enumerate(record.arms)
        if not arm.swept
    )
    series = (
        Series("outside the limits", Look("grey", "", "circle", hollow=True), outside),
        Series("feasible", Look("sky", "", "circle"), inside),
        Series("most units at an error", Look("ink", "thick", ""), edge),
        *policies,
    )
    limit = Level(f"limit {100 * record.limit:g} %", Look("red", "dashed", ""), record.limit)
    needed = Level(f"{record.needed:g} units an hour", Look("green", "dashed", ""), record.needed)
    plot = Plot(series, levels=(needed,), uprights=(limit,), x_title="error rate", y_title="good units an hour")
    label = f"Frontier: {record.profitable:,} of 2,500 actions are feasible, {record.feasible:,} keep the limit on errors"
    return lambda width: as_drawing(draw_plot(plot, min(width, 820), 320 if width >= WIDE_ENOUGH else 240), label)


def _action(point: FrontierPoint) -> Point:
    return Point(point.error, point.product, hint=f"speed {point.speed:.2f}, care {point.care:.2f}: {point.profit:.2f} $/h")


def _edge(points: Sequence[FrontierPoint]) -> tuple[Point, ...]:
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.error, -one.product)):
        if not found or point.product > (found[-1].value or 0.0):
            found.append(Point(point.error, point.product))
    return tuple(found)


def _sits(arm: WorkArm, record: WorkRecord) -> Point:
    """The policy's place: the swept action nearest to its mean speed and care."""
    speed, care = float(np.mean(arm.last.speed)), float(np.mean(arm.last.care))
    near = min(record.frontier, key=lambda point: (point.speed - speed) ** 2 + (point.care - care) ** 2)
    return Point(float(np.mean(arm.last.error)), near.product, hint=f"{arm.name}: speed {speed:.3f}, care {care:.3f}")


def draw_elasticity(record: WorkRecord, setting: str) -> Draw:
    """Draw the best possible profit over one price, and the policies that were trained anew at some of its values."""
    points = [point for point in record.elasticity if point.setting == setting]
    closed = Series("best possible", Look("ink", "thick", ""), tuple(_priced(point) for point in points))
    trained = [arm for arm in record.arms if arm.swept == setting]
    first = record.arms[0]
    again = [*trained, *([first] if trained and first.prices[setting] not in [arm.prices[setting] for arm in trained] else [])]
    policies = Series(
        "policies trained there", Look("blue", "", "circle"), tuple(sorted((_trained(arm, setting) for arm in again), key=lambda p: p.x))
    )
    plot = Plot(
        (closed, *([policies] if again else [])),
        uprights=(Level("in force", Look("grey", "dotted", ""), first.prices[setting]),),
        x_title=f"{setting.replace('_', ' ')}, $",
        y_title="profit, $/h",
    )
    label = f"Elasticity by {setting}: from {points[0].hour.profit:.2f} to {points[-1].hour.profit:.2f} $/h"
    return lambda width: as_drawing(draw_plot(plot, min(width, 620), 200), label)


def _priced(point: ElasticityPoint) -> Point:
    hour = point.hour
    return Point(
        point.dollars, hour.profit, hint=f"{point.dollars:g} $: speed {hour.speed:.3f}, care {hour.care:.3f}, {hour.profit:.2f} $/h"
    )


def _trained(arm: WorkArm, setting: str) -> Point:
    middle = mean_of_known(arm.last.profit)
    assert middle is not None, "every seed was judged"
    return Point(arm.prices[setting], middle.value, middle.low, middle.high, f"{arm.name}: {middle.value:.2f} $/h")


def draw_spread(arm: WorkArm) -> Draw:
    """Draw how an hour's worth above a person's wage is split: the rebate to the customer, and what the platform keeps."""
    names = (("rebate", "rebate to the customer", "green"), ("captured", "kept by the platform", "orange"))
    series = tuple(Series(words, Look(hue, "thick", ""), _band(arm, column), band=True) for column, words, hue in names)
    plot = Plot(series, x_title="hours worked", y_title="$ an hour")
    ends = ", ".join(f"{words} {one.points[-1].value:.2f}" for (_, words, _), one in zip(names, series, strict=True) if one.points)
    return lambda width: as_drawing(draw_plot(plot, min(width, 820), 200), f"Spread of {arm.name}, in the end: {ends or 'n/a'}")
