"""What a drawing becomes as a PNG: its size, where ink falls, and what moving, sharing, turning and dashing do to it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from layerscout.pages import raster
from layerscout.pages.drawing import Area, Drawing, DrawingItem, Group, Mark, Position, Shared, Stroke, Words, box
from layerscout.pages.palette import PALETTE
from layerscout.pages.raster import DENSITY, _dashes, png

WIDTH, HEIGHT = 60.0, 40.0


def picture(*items: DrawingItem, width: float = WIDTH, height: float = HEIGHT) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png(Drawing(width, height, "made up", items)))))


def rgb(name: str) -> tuple[int, ...]:
    light = PALETTE[name].light
    return tuple(int(light[place : place + 2], 16) for place in (1, 3, 5))


def inked(seen: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (seen != np.array(rgb("page"))).any(axis=2)


def around(seen: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the ink, in pixels."""
    rows, columns = np.nonzero(inked(seen))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@given(width=st.floats(1, 80), height=st.floats(1, 80))
@settings(max_examples=30, deadline=None)
def test_a_picture_is_twice_the_drawing_and_empty_it_is_the_page(width: float, height: float) -> None:
    seen = picture(width=width, height=height)
    assert np.abs(np.array(seen.shape[:2]) - DENSITY * np.array([height, width])).max() <= 1
    assert not inked(seen).any()


def test_a_box_fills_its_own_pixels_and_no_other() -> None:
    seen = picture(Group((box(10, 5, 20, 8),), "blue"))
    left, top, right, bottom = around(seen)
    assert np.abs(np.array([left, top, right, bottom]) - DENSITY * np.array([10, 5, 30, 13])).max() <= 1
    assert (seen[DENSITY * 6 : DENSITY * 12, DENSITY * 11 : DENSITY * 29] == rgb("blue")).all()


def test_a_pale_box_lets_the_page_through_by_its_opacity() -> None:
    seen = picture(Group((box(10, 5, 20, 8, kind="pale"),), "blue"))[18, 40]
    assert np.abs(seen - (0.6 * np.array(rgb("blue")) + 0.4 * np.array(rgb("page")))).max() <= 1


ITEMS: tuple[DrawingItem, ...] = (
    Stroke(((2, 2), (20, 12), (30, 3)), "thick"),
    Stroke(((2, 2), (20, 12), (30, 3)), "dashed"),
    Area(((2, 2), (20, 12), (30, 3)), "band"),
    *(Mark(shape, 12, 10, 5) for shape in ("circle", "square", "triangle", "falling", "diamond", "cross")),
    Mark("ring", 12, 10, 5, "ring"),
    Mark("circle", 12, 10, 5, "hollow"),
    Words(4, 12, "R² 0.5", kind="title"),
)


def name_of(item: DrawingItem) -> str:
    return f"{type(item).__name__}-{getattr(item, 'shape', '')}{getattr(item, 'kind', '')}"


@pytest.mark.parametrize("item", ITEMS, ids=name_of)
def test_a_group_moves_what_is_in_it_and_groups_in_groups_add_up(item: DrawingItem) -> None:
    here, there = picture(Group((item,), "red")), picture(Group((Group((item,), "red", (4, 3)),), "blue", (6, 9)))
    assert inked(here).any()
    assert np.array_equal(there[DENSITY * 12 :, DENSITY * 10 :], here[: -DENSITY * 12, : -DENSITY * 10])


@pytest.mark.parametrize("item", ITEMS[:-1], ids=name_of)
def test_what_has_no_colour_of_its_own_takes_the_nearest_groups(item: DrawingItem) -> None:
    own, inner = picture(Group((Group((item,), "red"),), "blue")), picture(Group((Group((item,)),), "red"))
    assert np.array_equal(own, inner)
    if name_of(item) != "Mark-ringring":
        assert not np.array_equal(own, picture(Group((item,), "blue")))
    else:
        assert np.array_equal(own, picture(Group((item,), "blue"))), "a ring is of ink"


@pytest.mark.parametrize("item", ITEMS, ids=name_of)
def test_what_is_shared_is_drawn_wherever_its_name_stands_and_an_unknown_name_draws_nothing(item: DrawingItem) -> None:
    once, again = Group((Shared("it", item),), "red"), Group((Shared("it"),), "red", (8, 7))
    plain = Group((item,), "red"), Group((item,), "red", (8, 7))
    assert np.array_equal(picture(once, again), picture(*plain))
    assert not inked(picture(Group((Shared("never"),), "red"))).any()


def test_who_shares_a_name_first_says_what_it_is() -> None:
    first, second = Mark("circle", 10, 10), Mark("square", 40, 30)
    assert np.array_equal(picture(Shared("it", first), Shared("it", second)), picture(first))


def test_one_point_is_no_line_and_no_shape() -> None:
    assert not inked(picture(Stroke(((5, 5),), "thick"), Stroke(((5, 5),), "dashed"), Area(((5, 5),), "fill"))).any()


def test_thicker_pens_leave_more_ink() -> None:
    amounts = [float((255.0 - picture(Stroke(((5, 20), (55, 20)), kind)).astype(float)).sum()) for kind in ("thin", "thick", "strong")]
    assert amounts[0] < amounts[1] < amounts[2]
    assert amounts[2] / amounts[0] == pytest.approx(3, rel=0.15)


def test_words_begin_are_centred_or_end_at_their_point_and_stand_on_it() -> None:
    boxes = {anchor: around(picture(Words(30, 20, "HHHH", anchor))) for anchor in ("start", "middle", "end")}
    assert abs(boxes["start"][0] - 60) <= 3
    assert abs((boxes["middle"][0] + boxes["middle"][2]) / 2 - 60) <= 2
    assert abs(boxes["end"][2] - 60) <= 3
    assert len({right - left for left, _, right, _ in boxes.values()}) <= 2
    assert all(abs(bottom - 40) <= 1 and top < 40 for _, top, _, bottom in boxes.values())


def test_words_turned_by_a_quarter_stand_upright_and_run_upwards() -> None:
    level, upright = around(picture(Words(30, 30, "HHH"))), around(picture(Words(30, 30, "HHH", turn=-90)))
    assert abs((level[2] - level[0]) - (upright[3] - upright[1])) <= 3
    assert abs((level[3] - level[1]) - (upright[2] - upright[0])) <= 3
    assert abs(upright[3] - 60) <= 3, "they begin at their point"
    assert upright[2] <= 62, "their foot is to the right, at the point"


def test_without_a_font_of_the_machine_words_are_spelled_in_plain_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "FONTS", ())
    raster._font.cache_clear()
    try:
        for said, plain in (("R² ≥ −1", "R2 >= -1"), ("ρ · τ…", "rho - tau..."), ("ж", "?")):
            assert np.array_equal(picture(Words(2, 20, said)), picture(Words(2, 20, plain)))
            assert inked(picture(Words(2, 20, said))).any()
    finally:
        raster._font.cache_clear()


POINTS = st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=6)
PATTERNS = st.lists(st.floats(0.5, 30), min_size=1, max_size=2).map(lambda half: [part for part in half for _ in range(2)])


def length(points: Sequence[Position]) -> float:
    return sum(math.dist(start, stop) for start, stop in pairwise(points))


def drawn_by_hand(whole: float, pattern: Sequence[float]) -> list[float]:
    """Lengths of the drawn pieces of a line, walked part by part."""
    lengths, at, place = [], 0.0, 0
    while at < whole:
        part = min(pattern[place % len(pattern)], whole - at)
        if place % 2 == 0:
            lengths.append(part)
        at, place = at + part, place + 1
    return lengths


@given(POINTS, PATTERNS)
@settings(max_examples=150, deadline=None)
def test_dashes_are_as_long_as_their_pattern_says_around_corners_too(points: list[Position], pattern: list[float]) -> None:
    found = [length(piece) for piece in _dashes(points, pattern)]
    expected = drawn_by_hand(length(points), pattern)
    shorter, longer = sorted((found, expected), key=len)
    assert shorter == pytest.approx(longer[: len(shorter)], abs=1e-6)
    assert sum(longer[len(shorter) :]) == pytest.approx(0, abs=1e-6), "at most an end of no length is told otherwise"


@given(POINTS, PATTERNS, st.floats(0.1, 0.9))
@settings(max_examples=100, deadline=None)
def test_a_point_more_on_a_straight_part_changes_no_dash(points: list[Position], pattern: list[float], share: float) -> None:
    (x, y), (right, down) = points[:2]
    more = [points[0], (x + share * (right - x), y + share * (down - y)), *points[1:]]
    assert sum(map(length, _dashes(more, pattern))) == pytest.approx(sum(map(length, _dashes(points, pattern))), abs=1e-6)
