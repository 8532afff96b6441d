"""Scales, axes, legends and shapes by hand: which pixel a value has, which ticks and names stand where, and which colours a page has."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from drawn import flat

from layerscout.pages.axes import LETTER, Scale, covering, legend, level_axis, named_axis, push_apart, rising_axis, round_step
from layerscout.pages.drawing import CORNERS, Group, Mark, Stroke, Words, corners
from layerscout.pages.palette import INKS, MARKS, PALETTE, SHAPES, SURFACES, Look, css_variables


def strokes(items: Any, kind: str) -> list[Stroke]:
    return [item for item, _, _ in flat(items) if isinstance(item, Stroke) and item.kind == kind]


def texts(items: Any, kind: str) -> list[str]:
    return [item.text for item, _, _ in flat(items) if isinstance(item, Words) and item.kind == kind]


# --- scales


@pytest.mark.parametrize(
    ("scale", "pixels"),
    [
        (Scale(0.0, 10.0, 100.0, 200.0), {0: 100, 2.5: 125, 10: 200, -5: 100, 99: 200}),
        (Scale(0.0, 10.0, 200.0, 100.0), {0: 200, 2.5: 175, 10: 100, math.inf: 100, -math.inf: 200}),
        (Scale(-1.0, 1.0, 0.0, 3.0), {0: 1.5, -1 / 3: 1.0, 0.01: 1.5}),  # to a tenth of a pixel
        (Scale(1.0, 100.0, 0.0, 90.0, log=True), {1: 0, 10: 45, 100: 90, 0: 0, -3: 0, 1000: 90}),
        (Scale(7.0, 7.0, 10.0, 20.0), {7: 15, 0: 15}),
        (Scale(7.0, 7.0, 10.0, 20.0, log=True), {7: 15}),
    ],
)
def test_a_value_lies_at_its_share_of_the_way_and_one_beyond_an_end_at_the_end(scale: Scale, pixels: dict[float, float]) -> None:
    assert {value: scale(value) for value in pixels} == pixels
    moved = scale.moved(-30.0)
    assert {value: round(moved(value) + 30, 1) for value in pixels} == pixels


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.0, 1.0, 5, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 1.0, 2, [0.0, 0.5, 1.0]),
        (0.1, 0.9, 4, [0.2, 0.4, 0.6, 0.8]),
        (-7.0, 7.0, 3, [-5.0, 0.0, 5.0]),
        (0.0, 60.0, 6, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]),
        (1e6, 3e6, 2, [1e6, 2e6, 3e6]),
    ],
)
def test_ticks_are_whole_multiples_of_a_round_step_that_lie_inside(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 1).ticks(most) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (1.0, 1e6, 6, [1.0, 1e2, 1e4, 1e6]),
        (1.0, 1e6, 7, [10.0**power for power in range(7)]),
        (1e-3, 1.0, 2, [1e-3, 1e-1]),
        (0.9, 11.0, 6, [1.0, 2.0, 5.0, 10.0]),
        (0.5, 200.0, 6, [1.0, 10.0, 100.0]),
    ],
)
def test_ticks_of_powers_thin_out_evenly_and_have_2_and_5_between_them_where_they_are_few(
    low: float, high: float, most: int, ticks: list[float]
) -> None:
    assert Scale(low, high, 0, 1, log=True).ticks(most) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("least", "step"),
    [(1.0, 1.0), (1.01, 2.0), (2.0, 2.0), (2.5, 5.0), (5.0, 5.0), (5.1, 10.0), (0.03, 0.05), (7e-9, 1e-8), (300.0, 500.0)],
)
def test_a_round_step_is_the_next_of_1_2_and_5(least: float, step: float) -> None:
    assert round_step(least) == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.1, 0.95], (0.0, 1.0)),
        ([0.3, 5.9], (0.0, 6.0)),
        ([-2.9, -1.1], (-3.0, -1.0)),
        ([12.0, 88.0], (0.0, 100.0)),
        ([5.0], (5.0, 5.005)),
    ],
)
def test_a_scale_ends_at_the_round_values_around_what_it_holds(values: list[float], ends: tuple[float, float]) -> None:
    found = covering(values, 0, 1)
    assert (found.low, found.high) == pytest.approx(ends)


# --- axes


def test_short_names_stand_level_under_their_places_and_the_title_under_them() -> None:
    scale = Scale(0.0, 2.0, 100.0, 300.0)
    items, below = named_axis(scale, {0.0: "a", 1.0: "bb", 2.0: "c"}, 50.0, "depth")
    found = [item for item in items if isinstance(item, Words)]
    assert [(one.text, one.x, one.y, one.anchor, one.turn) for one in found[:3]] == [
        ("a", 100.0, 66.0, "middle", 0.0),
        ("bb", 200.0, 66.0, "middle", 0.0),
        ("c", 300.0, 66.0, "middle", 0.0),
    ]
    assert (found[3].text, found[3].x, found[3].kind) == ("depth", 200.0, "axis")
    assert found[3].y < 50 + below
    assert named_axis(scale, {0.0: "a"}, 50.0)[1] < below
    assert named_axis(scale, {}, 50.0)[0] == []


@pytest.mark.parametrize(("apart", "shown"), [(40, [0, 1, 2, 3, 4, 5]), (15, [0, 2, 4]), (8, [0, 3]), (3, [0])])
def test_names_that_are_close_are_thinned_evenly_from_the_first(apart: int, shown: list[int]) -> None:
    """Of two letters, 12.8 pixels, with 8 between them: one in every 21 pixels."""
    scale = Scale(0.0, 5.0, 0.0, 5.0 * apart)
    items, _ = named_axis(scale, {float(place): f"b{place}" for place in range(6)}, 0.0)
    assert [item.text for item in items if isinstance(item, Words)] == [f"b{place}" for place in shown]


def test_turned_names_end_at_their_places_and_take_the_height_of_the_longest() -> None:
    scale = Scale(0.0, 3.0, 100.0, 190.0)
    items, below = named_axis(scale, {float(place): "x" * 10 * place for place in range(4)}, 50.0)
    turned = [item for item in items if isinstance(item, Words)]
    assert [(one.x, one.anchor, one.turn) for one in turned] == [(scale(place) + 4, "end", -60) for place in range(4)]
    longest = 30 * LETTER
    assert below > longest * math.sin(math.radians(60))
    assert below < longest


def test_ticks_of_both_axes_have_their_label_beside_their_line() -> None:
    level = level_axis(Scale(0.0, 2.0, 100.0, 500.0), 10.0, 90.0, "steps", 2)
    assert [one.points for one in strokes(level, "grid")] == [((at, 10.0), (at, 90.0)) for at in (100.0, 300.0, 500.0)]
    labels = [item for item in level if isinstance(item, Words)]
    assert [(one.text, one.x, one.anchor) for one in labels] == [
        ("0", 100.0, "middle"),
        ("1", 300.0, "middle"),
        ("2", 500.0, "middle"),
        ("steps", 300.0, "middle"),
    ]
    assert len({one.y for one in labels[:3]}) == 1
    assert 90.0 < labels[0].y < labels[3].y
    assert texts(rising_axis(Scale(0.0, 2.0, 90.0, 10.0), 40.0, 80.0, 2), "tick") == ["0", "1", "2"]


def test_a_legend_goes_on_in_the_next_line_where_an_entry_does_not_fit() -> None:
    entries = [(Look(colour), "x" * 10) for colour in ("blue", "red", "green")]
    wide = 34 + 10 * LETTER
    one_line, low = legend(entries, 0, 3 * wide + 2 * 14, 0)
    two_lines, high = legend(entries, 0, 3 * wide + 2 * 14 - 1, 0)
    heights = [[item.y for item in items if isinstance(item, Words)] for items in (one_line, two_lines)]
    assert (len(set(heights[0])), len(set(heights[1]))) == (1, 2)
    assert heights[1][0] == heights[1][1] < heights[1][2]
    assert high - low == heights[1][2] - heights[1][0]
    assert [item.x for item in two_lines if isinstance(item, Words)][2] == 32, "a new line begins at the left"
    assert [item.colour for item in one_line if isinstance(item, Group)] == ["blue", "red", "green"]


@pytest.mark.parametrize(
    ("heights", "places"),
    [
        ([], []),
        ([50.0], [50.0]),
        ([10.0, 30.0, 50.0], [10.0, 30.0, 50.0]),
        ([50.0, 50.0], [45.0, 55.0]),
        ([52.0, 48.0], [55.0, 45.0]),
        ([0.0, 0.0], [0.0, 10.0]),
        ([100.0, 100.0, 100.0], [80.0, 90.0, 100.0]),
        ([-20.0], [0.0]),
    ],
)
def test_heights_are_pushed_apart_evenly_and_never_over_the_ends(heights: list[float], places: list[float]) -> None:
    assert push_apart(heights, 10.0, 0.0, 100.0) == pytest.approx(places, abs=0.1)


# --- shapes and colours


@pytest.mark.parametrize("shape", sorted(CORNERS))
def test_a_shape_is_its_own_mirror_image_and_grows_about_its_point(shape: str) -> None:
    small, large = (np.array(corners(Mark(shape, 10.0, 20.0, size))) - (10.0, 20.0) for size in (2.0, 6.0))
    np.testing.assert_allclose(large, 3 * small)
    as_set = {tuple(point) for point in np.round(small, 9).tolist()}
    assert {(-x, y) for x, y in as_set} == as_set
    upside_down = {"triangle": "falling", "falling": "triangle"}.get(shape, shape)
    other = np.array(corners(Mark(upside_down, 0.0, 0.0, 2.0)))
    assert {(x, -y) for x, y in as_set} == {tuple(point) for point in np.round(other, 9).tolist()}


def test_every_shape_but_the_round_ones_has_corners_and_every_colour_is_one() -> None:
    assert set(SHAPES) - {"circle"} == set(CORNERS)
    with pytest.raises(KeyError):
        corners(Mark("circle", 0.0, 0.0))
    assert len(PALETTE) == len(SURFACES) + len(INKS) + len(MARKS), "no name stands twice"
    for scheme in ("light", "dark"):
        found = [getattr(colour, scheme) for colour in PALETTE.values()]
        assert all(re.fullmatch(r"#[0-9a-f]{6}", one) for one in found)
        assert len(set(found)) == len(found)


def test_paper_is_light_whatever_the_reader_prefers() -> None:
    screen, _, paper = css_variables().partition("@media print")
    for name, colour in PALETTE.items():
        assert f"--{name}: {colour.dark};" in screen
        assert f"--{name}: {colour.light};" in paper
    assert "color-scheme: light;" in paper
    assert css_variables().count("{") == css_variables().count("}")
