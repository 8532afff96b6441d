"""Charts: what is in the data is in the picture, at its place, with its value in words; nothing runs out of the frame."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from drawn import flat, inside, marks, words
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from layerscout.pages.axes import Scale, covering, legend, named_axis, push_apart, round_step, shorten, tick_label
from layerscout.pages.charts import Level, Panel, Plot, Point, Series, as_drawing, draw_plot, multiples, tile
from layerscout.pages.drawing import PENS, Area, Drawing, DrawingItem, Group, Mark, Shared, Stroke, Words, corners
from layerscout.pages.palette import SHAPES, Look
from layerscout.pages.points import Spot, draw_points
from layerscout.pages.raster import DENSITY, png
from layerscout.pages.rows import Line, RowColumn, draw_rows, whisker
from layerscout.pages.svg import element, file

finite = st.floats(-1e6, 1e6) | st.floats(-1e30, 1e30)


@given(st.lists(finite, min_size=1, max_size=20))
def test_a_scale_covers_its_values_and_keeps_their_order(values: list[float]) -> None:
    scale = covering(values, 0, 500)
    assert scale.low <= min(values) <= max(values) <= scale.high
    assert scale.low < scale.high
    ordered = sorted(values)
    assert [scale(value) for value in ordered] == sorted(scale(value) for value in values)
    assert 2 <= len(scale.ticks()) <= 9
    assert all(scale.low - 1e-6 * abs(scale.low) <= tick <= scale.high + 1e-6 * abs(scale.high) for tick in scale.ticks())


def test_scales_have_round_ticks_and_end_at_their_ends() -> None:
    scale = covering([0.123, 0.687], 300, 0)
    assert (scale(scale.low), scale(scale.high)) == (300, 0)
    assert [round(tick, 10) for tick in scale.ticks()] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    log = Scale(1e-7, 100.0, 0, 90, log=True)
    assert log.ticks(4) == pytest.approx([1e-7, 1e-4, 1e-1, 1e2])
    assert [log(tick) for tick in log.ticks(4)] == [0, 30, 60, 90]
    assert Scale(0.003, 0.04, 0, 90, log=True).ticks() == pytest.approx([0.005, 0.01, 0.02])
    assert Scale(1.0, 10.0, 0, 90, log=True).ticks() == [1, 2, 5, 10]
    assert log(1e-9) == 0  # beyond an end: at the end
    assert covering([0.5], 0, 1).high > 0.5  # one value: still a scale
    assert scale.moved(7)(scale.low) == 307
    assert Scale(3.0, 3.0, 0, 90)(3.0) == 45


@given(st.floats(1e-8, 1e8))
def test_a_step_is_the_next_round_number(least: float) -> None:
    step = round_step(least)
    assert least * (1 - 1e-9) <= step < 2.6 * least
    assert f"{step:.0e}"[0] in "125"


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0"), (0.2, "0.2"), (-0.05, "−0.05"), (1e-6, "1e−6"), (4000, "4,000"), (2e7, "2e7"), (0.30000000000000004, "0.3")],
)
def test_labels_of_ticks(value: float, label: str) -> None:
    assert tick_label(value) == label


def test_names_are_cut_in_the_middle() -> None:
    assert shorten("transformer_blocks.12", 12) == "trans…cks.12"
    assert shorten("blocks.1", 12) == "blocks.1"


@given(st.lists(st.floats(10, 290), min_size=1, max_size=12))
def test_labels_that_are_spread_do_not_overlap_and_keep_their_order(heights: list[float]) -> None:
    places = push_apart(heights, 15, 0, 300)
    assert [places[index] for index in np.argsort(heights, kind="stable")] == sorted(places)
    assert min(np.diff(sorted(places)), default=15) >= 14
    assert 0 <= min(places) <= max(places) <= 300


def test_a_legend_names_each_series_once_and_stays_in_its_width() -> None:
    blue = Look("blue")
    items, height = legend([(blue, "pixels"), (blue, "pixels"), (Look("red"), "scratch"), (Look("red"), "a" * 200)], 0, 300, 0)
    told = [item for item, _, _ in flat(items) if isinstance(item, Words)]
    assert [item.text for item in told][:2] == ["pixels", "scratch"]
    assert len(told) == 3
    assert all(item.x + 6.4 * len(item.text) <= 300 for item in told)
    assert height > 20
    assert legend([], 0, 300, 0) == ([], 0.0)


def test_many_names_are_thinned_and_long_ones_turned() -> None:
    scale = Scale(-0.5, 59.5, 40, 340)
    short, _ = named_axis(scale, {float(place): f"b{place}" for place in range(60)}, 100)
    assert 3 < len(short) < 30
    long, below = named_axis(Scale(-0.5, 5.5, 40, 340), {float(place): f"transformer_blocks.{place}" for place in range(6)}, 100)
    assert {item.turn for item in long if isinstance(item, Words)} == {-60}
    assert below > 80


def plot(count: int = 3, **changes: object) -> Plot:
    looks = [Look(colour) for colour in ("blue", "red", "green", "purple", "orange", "sky")]
    series = tuple(
        Series(
            f"arm {place}",
            looks[place],
            tuple(Point(x, x * place, x * place - 1, x * place + 1, f"arm {place}: {x * place}") for x in range(4)),
        )
        for place in range(count)
    )
    return Plot(series, (Level("control", Look("soft", "dotted", ""), 2.0, 1.5, 2.5),), "depth", "score", **changes)


@pytest.mark.parametrize("width", [340.0, 1060.0])
def test_every_point_is_drawn_with_its_value_at_its_height(width: float) -> None:
    panel = draw_plot(plot(), width, 200)
    inside(panel)
    found = marks(panel)
    assert {mark.hint for mark in found} == {f"arm {place}: {x * place}" for place in range(3) for x in range(4)}
    heights = {float(mark.hint.split()[-1]): mark.y for mark in found}
    assert [heights[value] for value in sorted(heights)] == sorted(heights.values(), reverse=True)
    assert {"depth", "score", "control", "arm 0", "arm 2"} <= set(words(panel))
    bands = [item for item, _, _ in flat(panel.items) if isinstance(item, Area) and item.kind == "band"]
    assert len(bands) == 1  # the control's


def test_what_is_undefined_is_written_and_not_drawn() -> None:
    series = (Series("a", Look("blue"), (Point(0, 1.0, hint="one"), Point(1, None, hint="two"))),)
    panel = draw_plot(Plot(series, names={0.0: "b0", 1.0: "b1"}), 340, 100)
    assert [mark.hint for mark in marks(panel)] == ["one"]
    assert words(panel).count("n/a") == 1
    nothing = draw_plot(Plot((Series("a", Look("blue"), (Point(0, None),)),)), 340, 100)
    inside(nothing)
    assert "n/a" in words(nothing)


def test_values_below_the_cut_are_drawn_at_it() -> None:
    deep = (Series("a", Look("blue"), (Point(0, -100.0, hint="deep"), Point(1, -0.3, hint="cut"), Point(2, 1.0, hint="high"))),)
    found = {mark.hint: mark.y for mark in marks(draw_plot(Plot(deep, lowest=-0.3), 340, 100))}
    assert found["deep"] == found["cut"] > found["high"]


def test_a_line_without_marks_tells_where_it_begins_and_ends() -> None:
    points = (Point(0, 0.25), Point(1, None), Point(2, 0.75))
    line, marked = (Series("kept", Look("blue", "thick", shape), points) for shape in ("", "circle"))
    told = [
        [one.hint for one, _, _ in flat(draw_plot(Plot((series,)), 300, 100).items) if isinstance(one, Stroke)] for series in (line, marked)
    ]
    assert "kept: from 0.25 to 0.75" in told[0]
    assert "kept: from 0.25 to 0.75" not in told[1]


@pytest.mark.parametrize("width", [340.0, 1060.0])
def test_small_multiples_share_their_axes_and_show_all_lines_in_grey(width: float) -> None:
    panel = multiples(plot(6), width, 100, "curves")
    inside(panel)
    assert [text for text in words(panel) if text.startswith("arm")] == [f"arm {place}" for place in range(6)]
    flats = flat(panel.items)
    ghosts = [item for item, _, _ in flats if isinstance(item, Stroke) and item.kind == "ghost"]
    assert len(ghosts) == 6 * 6
    own = {(item.points[0], item.points[-1]) for item, _, _ in flats if isinstance(item, Stroke) and item.kind == "thick"}
    assert own == {(item.points[0], item.points[-1]) for item in ghosts}  # each line lies on its grey one
    text = element(as_drawing(panel, "curves"))
    assert text.count('<g id="curves">') == 1
    assert text.count('<use href="#curves"/>') == 5


def test_tiles_do_not_overlap() -> None:
    grid = tile([Panel(100, height, ()) for height in (30, 50, 20)], 2)
    moves = [item.move for item in grid.items if isinstance(item, Group)]
    assert moves == [(0, 0), (100, 0), (0, 60)]
    assert (grid.width, grid.height) == (200, 80)


@pytest.mark.parametrize("width", [340.0, 1060.0])
def test_rows_hold_their_marks_names_and_texts(width: float) -> None:
    values = [0.1, 0.5, 0.9]

    def paint(place: int, scale: Scale, middle: float, tall: float) -> list[DrawingItem]:
        return [
            whisker(
                scale, values[place], values[place] - 0.05, None if place else values[place] + 0.05, middle, Look("blue"), f"row {place}"
            )
        ]

    names = ["first", "second", "a" * 80]
    column = RowColumn("score", (0.0, 1.0), paint, ("x", "1 failed", ""), (Line("random", Look("ink", "dotted", ""), 0.2),))
    panel = draw_rows(names, [column, column], width)
    inside(panel)
    found = marks(panel)
    assert [mark.hint for mark in found] == ["row 0", "row 1", "row 2"] * 2
    assert found[0].x < found[1].x < found[2].x
    assert found[0].y < found[1].y < found[2].y
    assert {"first", "second", "1 failed", "random", "score"} <= set(words(panel))
    assert sum(isinstance(item, Stroke) and item.kind == "whisker" for item, _, _ in flat(panel.items)) == 2  # where both ends are known
    inside(draw_rows([], [RowColumn("score", (), paint)], width))


@pytest.mark.parametrize("beside", [True, False])
def test_a_scatter_names_every_point(beside: bool) -> None:
    spots = [Spot(f"b{place}", Look("blue"), place, place**2, place**2 - 1, place**2 + 1, f"b{place}: {place**2}") for place in range(5)]
    panel = draw_points(spots, 340, 200, "score", "return", title=("task", "ρ = 1"), beside=beside)
    inside(panel)
    assert [mark.hint for mark in marks(panel)] == [spot.hint for spot in spots]
    assert {"b0", "b4", "task", "ρ = 1", "score", "return"} <= set(words(panel))
    inside(draw_points([], 340, 200, "score", "return"))


def everything() -> Drawing:
    """One of each item in each pen."""
    items: list[DrawingItem] = [Group([Stroke(((5, 5), (60, 30), (90, 5)), kind, kind)], "red") for kind in PENS if PENS[kind].stroke]
    items += [Group([Area(((5, 40), (50, 40), (50, 70)), kind)], "green", (3, 4)) for kind in PENS if PENS[kind].fill]
    items += [Mark(shape, 70, 60, 6, kind, "<here>") for shape in SHAPES for kind in ("fill", "hollow")]
    items += [Mark("ring", 70, 60, 9, "ring"), Words(10, 90, "R² & <b>\x1b", "start"), Words(60, 90, "turned", "end", "tick", -60)]
    return Drawing(120, 100, 'a "picture" & <more>\x07', (*items, Shared("lines", Group([])), Shared("lines"), Stroke(()), Area(())))


def test_both_kinds_of_svg_are_well_formed_and_say_what_they_show() -> None:
    inline, whole = element(everything(), "wide"), file(everything())
    for text in (inline, whole):
        root = ElementTree.fromstring(text)
        assert root.get("role") == "img"
        assert "&lt;b&gt;\\x1b" in text
        assert "<title>&lt;here&gt;</title>" in text
    assert ElementTree.fromstring(inline).get("aria-label") == 'a "picture" & <more>\\x07'
    assert ElementTree.fromstring(whole)[0].text == 'a "picture" & <more>\\x07'
    assert "xmlns" not in inline  # a page of its own loads nothing and names no address
    assert not re.search(r"class=|var\(|currentColor|style", whole)  # for programs that know no style sheets
    assert "#" not in re.sub(r'href="#lines"', "", inline)  # a page sets the colours
    assert whole == file(everything())


def test_a_picture_has_the_drawings_size_and_colours() -> None:
    drawing = Drawing(50, 30, "a", (Group([Area(((10, 10), (40, 10), (40, 20), (10, 20)), "fill")], "blue"), Words(5, 9, "ρ²")))
    image = Image.open(io.BytesIO(png(drawing)))
    assert image.size == (50 * DENSITY, 30 * DENSITY)
    assert image.getpixel((25 * DENSITY, 15 * DENSITY)) == (0x00, 0x72, 0xB2)
    assert image.getpixel((48 * DENSITY, 28 * DENSITY)) == (255, 255, 255)
    assert png(drawing) == png(drawing)
    assert Image.open(io.BytesIO(png(everything()))).size == (240, 200)


def test_a_dashed_line_has_gaps_in_a_picture() -> None:
    row = Image.open(io.BytesIO(png(Drawing(100, 10, "a", (Group([Stroke(((0, 5), (100, 5)), "dashed")], "blue"),))))).convert("L")
    dark = np.array(row)[5 * DENSITY] < 200
    assert 0.4 < dark.mean() < 0.8
    assert np.abs(np.diff(dark.astype(int))).sum() >= 16


def test_every_shape_has_its_size_about_its_point() -> None:
    for shape in SHAPES:
        if shape != "circle":
            points = np.array(corners(Mark(shape, 50, 20, 4)))
            assert np.abs(points - (50, 20)).max() <= 4 * 1.4 + 1e-9
            assert (points.min(axis=0) < (50, 20)).all()
            assert (points.max(axis=0) > (50, 20)).all()
