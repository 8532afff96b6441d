"""Charts by hand: where a mark, a line and a band of a plot lie, which room panels, rows and names have, and what stands in the legend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn import flat, inside, marks, words

from layerscout.pages.axes import Scale
from layerscout.pages.charts import LEFT, NARROWEST, RIGHT, Level, Panel, Plot, Point, Series, draw_plot, ghost_lines, multiples
from layerscout.pages.drawing import Area, DrawingItem, Group, Mark, Stroke, Words
from layerscout.pages.palette import Look
from layerscout.pages.points import Spot, draw_points
from layerscout.pages.rows import NARROW, Line, RowColumn, draw_rows

BLUE = Look("blue")


def strokes(items: Any, kind: str) -> list[Stroke]:
    return [item for item, _, _ in flat(items) if isinstance(item, Stroke) and item.kind == kind]


def texts(items: Any, kind: str) -> list[str]:
    return [item.text for item, _, _ in flat(items) if isinstance(item, Words) and item.kind == kind]


# --- one chart


def chart(*points: Point, **changes: Any) -> Panel:
    return draw_plot(Plot((Series("a", BLUE, points),), **changes), 340.0, 100.0)


def test_an_upright_stands_at_its_value_from_top_to_bottom_and_in_the_legend() -> None:
    at = Level("control", Look("red", "dashed", ""), 2.0)
    panel = chart(*(Point(float(x), float(x), hint=str(x)) for x in range(5)), uprights=(at,))
    [line] = [one for one in strokes(panel.items, "dashed") if one.points[0][0] == one.points[1][0]]
    assert line.points[0][0] == next(mark.x for mark in marks(panel) if mark.hint == "2")
    assert abs(line.points[1][1] - line.points[0][1]) == 100.0
    assert "control" in words(panel)
    assert any(isinstance(item, Group) and item.hint == "control" and item.colour == "red" for item in panel.items)


def test_a_logarithmic_axis_has_a_power_of_ten_in_the_middle_of_its_neighbours() -> None:
    panel = chart(*(Point(x, 1.0, hint=f"{x:g}") for x in (1.0, 10.0, 100.0)), x_log=True)
    at = {mark.hint: mark.x for mark in marks(panel)}
    assert at["10"] == pytest.approx((at["1"] + at["100"]) / 2, abs=0.1)
    up = draw_plot(
        Plot((Series("a", BLUE, tuple(Point(x, x, hint=f"{x:g}") for x in (1.0, 10.0, 100.0))),), y_range=(1.0, 100.0), y_log=True),
        340,
        100,
    )
    heights = {mark.hint: mark.y for mark in marks(up)}
    assert heights["10"] == pytest.approx((heights["1"] + heights["100"]) / 2, abs=0.1)


def test_values_that_other_panels_hold_widen_the_axis_and_a_range_that_is_given_decides() -> None:
    def ticks(**changes: Any) -> list[float]:
        plot = Plot((Series("a", BLUE, (Point(0.0, 0.2), Point(1.0, 0.4))),), **changes)
        labels = [item for item, _, _ in flat(draw_plot(plot, 340, 300).items) if isinstance(item, Words) and item.kind == "tick"]
        return [float(one.text.replace("−", "-")) for one in labels if one.anchor == "end"]

    assert max(ticks(over=(8.0,))) >= 8.0 > 1.0 > max(ticks())
    assert min(ticks(over=(-8.0,))) == -8.0
    assert ticks(y_range=(-50.0, 50.0)) == [-40.0, -20.0, 0.0, 20.0, 40.0]
    assert max(ticks(levels=(Level("l", BLUE, 0.3, 0.1, 9.0),))) >= 8.0, "an interval counts too"


@pytest.mark.parametrize(("values", "crosses"), [((1.0, 2.0), False), ((-1.0, 2.0), True), ((0.0, 2.0), False), ((-2.0, -0.25), False)])
def test_nothing_is_marked_where_an_axis_runs_through_it(values: tuple[float, float], crosses: bool) -> None:
    assert len(strokes(chart(*(Point(float(x), value) for x, value in enumerate(values))).items, "zero")) == crosses
    spots = [Spot(str(value), BLUE, 0.0, value) for value in values]
    assert len(strokes(draw_points(spots, 340, 100, "x", "y").items, "zero")) == crosses


def test_a_whisker_has_two_ends_and_a_series_that_is_shifted_keeps_its_heights() -> None:
    points = (Point(0.0, 1.0, 0.5, 1.5, "a"), Point(1.0, 1.0, 0.5, None, "b"), Point(2.0, 1.0, None, 1.5, "c"))
    plain, shifted = (draw_plot(Plot((Series("s", BLUE, points, shift),)), 340, 100) for shift in (0.0, 5.0))
    assert len(strokes(plain.items, "whisker")) == 1
    for one, other in zip(marks(plain), marks(shifted), strict=True):
        assert (round(other.x - one.x, 6), other.y) == (5.0, one.y)
    [(low, high)] = [one.points for one in strokes(plain.items, "whisker")]
    assert low[1] > marks(plain)[0].y > high[1]


@pytest.mark.parametrize(
    ("look", "count", "size", "kind"),
    [
        (BLUE, 39, 4.0, "fill"),
        (BLUE, 40, 2.6, "fill"),
        (Look("blue", hollow=True), 2, 4.0, "hollow"),
        (Look("blue", "", "ring"), 2, 9.0, "ring"),
    ],
)
def test_marks_are_smaller_where_they_are_many_and_rings_go_around_them(look: Look, count: int, size: float, kind: str) -> None:
    panel = draw_plot(Plot((Series("", look, tuple(Point(float(x), 1.0, hint=str(x)) for x in range(count))),)), 340, 100)
    found = [mark for mark in marks(panel) if mark.hint]
    assert len(found) == count
    assert {(mark.size, mark.kind) for mark in found} == {(size, kind)}


def test_a_level_without_width_still_shows_its_band() -> None:
    plot = Plot((Series("a", BLUE, (Point(0.0, 0.0), Point(1.0, 1.0))),), (Level("exact", Look("red", "dotted", ""), 0.5, 0.5, 0.5),))
    [band] = [item for item, _, _ in flat(draw_plot(plot, 340, 100).items) if isinstance(item, Area) and item.kind == "band"]
    heights = [y for _, y in band.points]
    assert max(heights) - min(heights) == 1
    assert [x for x, _ in band.points] == [LEFT, 340 - RIGHT, 340 - RIGHT, LEFT]


def test_a_chart_without_title_and_keys_is_lower_by_their_lines() -> None:
    plot = Plot((Series("a", BLUE, (Point(0.0, 1.0),)),))
    plain, titled, keyed = (draw_plot(plot, 340, 100, *more) for more in (("", False), ("T" * 200, False), ("", True)))
    assert plain.height < min(titled.height, keyed.height)
    [title] = texts(titled.items, "title")
    assert len(title) == 340 // 7
    assert "a" not in words(plain)


# --- several charts


def curves(count: int) -> Plot:
    series = tuple(Series(f"arm {place}", BLUE, (Point(0.0, 0.0), Point(1.0, float(place)))) for place in range(count))
    return Plot(series, (Level("control", Look("red", "dotted", ""), 1.0),), y_title="return")


@pytest.mark.parametrize(("width", "columns"), [(NARROWEST - 1, 1), (2 * NARROWEST, 2), (3 * NARROWEST - 1, 2), (1060.0, 4), (9000.0, 5)])
def test_panels_share_one_axis_and_hold_the_level_and_as_many_stand_beside_each_other_as_fit(width: float, columns: int) -> None:
    panel = multiples(curves(5), width, 80.0, "g")
    [grid] = [item for item in panel.items if isinstance(item, Group) and all(isinstance(one, Group) for one in item.items) and item.items]
    moves = [one.move for one in grid.items if isinstance(one, Group)]
    assert len({left for left, _ in moves}) == columns
    ticks = [tuple(texts(one.items, "tick")) for one in grid.items if isinstance(one, Group)]
    assert len(set(ticks)) == 1
    assert len([item for item, _, _ in flat(grid.items) if isinstance(item, Stroke) and item.kind == "dotted"]) == 5
    assert words(panel).count("control") == words(panel).count("return") == 1
    assert panel.width == width


def test_grey_lines_hold_every_known_point_and_are_cut_where_the_plot_is() -> None:
    plot = Plot((Series("a", BLUE, (Point(0.0, -9.0), Point(1.0, None), Point(2.0, 1.2))),), lowest=-1.0)
    [line] = strokes([ghost_lines(plot, 340.0, 100.0, 0.0, "g")], "ghost")
    assert [y for _, y in line.points] == [100.0, 12.0], "the axis goes from the cut to 1.5, and 12 % of it lie above 1.2"


# --- rows and points


@pytest.mark.parametrize("width", [NARROW - 1, NARROW])
def test_lines_across_rows_spare_the_names_where_those_stand_above_their_rows(width: float) -> None:
    def paint(place: int, scale: Scale, middle: float, tall: float) -> list[DrawingItem]:
        return [Mark("circle", scale(0.5), middle, hint=str(place))]

    column = RowColumn("score", (0.0, 1.0), paint, lines=(Line("random", Look("red", "dashed", ""), 0.25),))
    panel = draw_rows(["first", "second"], [column], width)
    inside(panel)
    spans = [one.points for one in strokes(panel.items, "dashed") if one.points[0][0] == one.points[1][0]]
    assert len(spans) == (2 if width < NARROW else 1)
    names = [item for item, _, _ in flat(panel.items) if isinstance(item, Words) and item.text in ("first", "second")]
    for mark in marks(panel):
        assert any(low[1] <= mark.y <= high[1] for low, high in spans), "every row is crossed"
    if width < NARROW:
        assert not any(low[1] <= name.y <= high[1] for low, high in spans for name in names)


def test_columns_share_the_room_as_they_ask_and_fixed_ends_hold() -> None:
    def paint(place: int, scale: Scale, middle: float, tall: float) -> list[DrawingItem]:
        found.append(scale)
        return []

    found: list[Scale] = []
    columns = [RowColumn("", (0.0,), paint, share=3.0, fixed=(-1.0, 1.0)), RowColumn("", (), paint), RowColumn("", (0.25, 0.75), paint)]
    draw_rows(["a"], columns, 1060.0)
    first, second, third = found
    assert (first.stop - first.start) == pytest.approx(3 * (second.stop - second.start))
    assert (first.low, first.high) == (-1.0, 1.0)
    assert second.low == 0.0 < 1.0 <= second.high, "of no value, what a share can be"
    assert (third.low, third.high) == pytest.approx((0.2, 0.8))
    assert first.stop < second.start < third.start < third.stop <= 1060.0


def test_names_beside_points_are_joined_to_them_and_do_not_overlap() -> None:
    spots = [Spot(f"layer {place}", BLUE, 0.1 * place, 1.0, hint=f"layer {place}") for place in range(4)]
    panel = draw_points(spots, 500.0, 200.0, "score", "return", levels=(Level("l", Look("red", "dotted", ""), 9.0, hint="nine"),))
    names = [item for item, _, _ in flat(panel.items) if isinstance(item, Words) and item.text.startswith("layer")]
    assert min(np.diff(sorted(name.y for name in names))) >= 14.5
    joints = strokes(panel.items, "ghost")
    assert [one.points[0] for one in joints] == [(mark.x, mark.y) for mark in marks(panel)]
    assert [one.points[1][1] + 4 for one in joints] == pytest.approx([name.y for name in names])
    assert strokes(panel.items, "dotted")[0].points[0][1] < marks(panel)[0].y, "a level counts in the axis"
