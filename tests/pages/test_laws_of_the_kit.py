"""Small parts of every page and figure: labels of ticks that can be told apart, addresses of headings, templates, and pictures in pages."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import flat
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from layerscout.pages import page
from layerscout.pages.axes import Scale, covering, level_axis, rising_axis, sample, shorten, tick_label, ticks_fitting
from layerscout.pages.charts import Panel, Plot, Point, Series, as_drawing, draw_plot, tile
from layerscout.pages.drawing import Area, Drawing, Group, Mark, Shared, Stroke, Words, box
from layerscout.pages.embedded import embedded
from layerscout.pages.flags import FLAGS, canonical_flag, explain_flag
from layerscout.pages.palette import Look
from layerscout.pages.raster import DENSITY, png
from layerscout.pages.tables import Column, Table
from layerscout.pages.template import Template, fill_template

# --- ticks


def number(label: str) -> float:
    return float(label.replace("−", "-").replace(",", ""))


@given(st.lists(st.floats(-1e6, 1e6) | st.floats(-1e30, 1e30) | st.floats(-1e-6, 1e-6), min_size=1, max_size=8))
def test_every_tick_of_a_scale_from_nothing_has_a_label_of_its_own_that_says_where_it_stands(values: list[float]) -> None:
    scale = covering([0.0, *values], 0, 500)
    ticks = scale.ticks()
    labels = [tick_label(tick) for tick in ticks]
    assert len(set(labels)) == len(labels)
    assert [number(label) for label in labels] == pytest.approx(ticks, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((0.0, 2.4e6), ["0", "500,000", "1e6", "1.5e6", "2e6", "2.5e6"]),
        ((1000.0, 1002.0), ["1,000", "1,000.5", "1,001", "1,001.5", "1,002", "1,002.5"]),
        ((-2e7, 0.0), ["−2e7", "−1.5e7", "−1e7", "−5e6", "0", "5e6"]),
    ],
)
def test_half_a_step_is_not_rounded_away(values: tuple[float, float], labels: list[str]) -> None:
    assert [tick_label(tick) for tick in covering(values, 0, 500).ticks()] == labels


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1e10, "1e10"),
        (1.5e-4, "1.5e−4"),
        (-2.5e-12, "−2.5e−12"),
        (999_999.0, "999,999"),
        (10**-3.5, "3.16e−4"),
        (10**3.5, "3,162.3"),
        (1234.04, "1,234"),
        (0.001, "0.001"),
        (-1234.5, "−1,234.5"),
        (-0.0, "0"),
    ],
)
def test_a_label_keeps_the_digits_of_its_tick(value: float, label: str) -> None:
    assert tick_label(value) == label


def test_words_are_cut_to_the_letters_that_there_is_room_for() -> None:
    for letters in range(1, 12):
        cut = shorten("abcdefghij", letters)
        assert len(cut) == min(letters, 10)
        assert cut == "abcdefghij" or cut.count("…") == 1
    assert (shorten("abcdefghij", 5), shorten("abcdefghij", 4), shorten("", 3)) == ("ab…ij", "a…ij", "")


def test_an_axis_has_a_line_and_a_label_a_tick_at_one_place() -> None:
    scale = Scale(0.0, 1.0, 200, 0)
    items = rising_axis(scale, 40, 300, 5)
    lines = [one for one in items if isinstance(one, Stroke)]
    labels = [one for one in items if isinstance(one, Words)]
    assert [one.points for one in lines] == [((40, scale(tick)), (300, scale(tick))) for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert [(one.text, one.y - 4) for one in labels] == [(tick_label(tick), scale(tick)) for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    level = level_axis(Scale(0.0, 1.0, 0, 88), 10, 90, "a title")
    assert [one.text for one in level if isinstance(one, Words)] == ["0", "0.5", "1", "a title"]
    assert [ticks_fitting(Scale(0.0, 1.0, 0, wide), 6) for wide in (10, 88, 200, 1000)] == [2, 2, 4, 6]
    assert ticks_fitting(Scale(0.0, 1.0, 1000, 0), 6) == 6


def test_a_long_title_of_an_axis_begins_where_the_figure_does() -> None:
    (title,) = (one for one in level_axis(Scale(0.0, 1.0, 40, 100), 0, 50, "x" * 60) if isinstance(one, Words) and one.kind == "axis")
    assert title.x - 6.4 * 60 / 2 >= -1e-9


@pytest.mark.parametrize(
    ("look", "kinds"),
    [
        (Look("blue"), ["Stroke", "Mark"]),
        (Look("blue", "", "ring"), ["Mark"]),
        (Look("blue", "dashed", ""), ["Stroke"]),
        (Look("blue", "", ""), []),
    ],
)
def test_a_legend_shows_of_a_look_what_is_drawn_of_it(look: Look, kinds: list[str]) -> None:
    assert [type(one).__name__ for one in sample(look)] == kinds
    hollow = sample(Look("blue", "", "circle", hollow=True))[0]
    assert isinstance(hollow, Mark)
    assert hollow.kind == "hollow"


# --- drawings


def test_a_box_has_its_corners_and_tiles_of_nothing_no_size() -> None:
    assert box(1, 2, 10, 20).points == ((1, 2), (11, 2), (11, 22), (1, 22))
    assert tile([], 2) == Panel(0.0, 0.0, ())
    assert as_drawing(Panel(10.2, 20.7, ()), "x") == Drawing(11, 21, "x", ())


def test_a_band_of_one_point_is_none_and_of_two_is_one_area() -> None:
    def areas(count: int) -> int:
        points = tuple(Point(float(at), 1.0, 0.0, 2.0) for at in range(count))
        return sum(
            isinstance(one, Area) for one, _, _ in flat(draw_plot(Plot((Series("a", Look("blue"), points, band=True),)), 300, 100).items)
        )

    assert [areas(count) for count in (0, 1, 2, 5)] == [0, 0, 1, 1]


def test_what_is_drawn_under_a_name_is_painted_wherever_it_is_named() -> None:
    square = Area(((0, 0), (10, 0), (10, 10), (0, 10)), "fill")
    shared = (
        Group([Shared("s", square)], "blue"),
        Group([Shared("s")], "red", (20, 0)),
        Group([Shared("s", square)], "green", (40, 0)),
        Shared("none"),
    )
    image = Image.open(io.BytesIO(png(Drawing(60, 10, "a", shared))))
    assert [image.getpixel((x * DENSITY, 5 * DENSITY)) for x in (5, 15, 25, 45)] == [
        (0x00, 0x72, 0xB2),
        (255, 255, 255),
        (0xC4, 0x4E, 0x00),
        (0x00, 0x80, 0x5D),
    ]


def test_turned_words_lie_where_they_are_told() -> None:
    """Ending at their point and turned upwards, as names under an axis are: nothing of them right of it or above."""
    image = Image.open(io.BytesIO(png(Drawing(100, 100, "a", (Words(60, 20, "transformer", "end", "tick", -60),))))).convert("L")
    down, across = np.nonzero(np.asarray(image) < 200)
    assert len(down) > 30
    assert across.max() / DENSITY < 68
    assert down.min() / DENSITY > 10
    assert down.max() / DENSITY > 50


# --- pages


def test_no_two_headings_have_one_address_whatever_they_are_called() -> None:
    body, contents = page.number_headings("".join(f"<h2>{name}</h2>" for name in ("A", "A", "A 2", "a-2", "A", "É", "!", "section 2")))
    ids = re.findall(r'id="([^"]+)"', body)
    assert len(set(ids)) == len(ids) == 8
    assert ids[:2] == ["a", "a-2"]
    assert re.findall(r'href="#([^"]+)"', contents) == ids


def test_a_heading_before_any_section_stands_for_itself_and_one_alone_needs_no_list() -> None:
    _, contents = page.number_headings("<h3>First</h3><h2>Second</h2><h3>Inside</h3>")
    assert contents.count("<li>") == 2
    assert '<a href="#second">Second</a> · <small><a href="#inside">Inside</a></small>' in contents
    assert page.number_headings("<h2>A</h2><h3>B</h3>")[1] == ""


@pytest.mark.parametrize(("set_to", "day"), [("0", "1970-01-01"), ("86399", "1970-01-01"), ("86400", "1970-01-02")])
def test_the_day_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch, set_to: str, day: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", set_to)
    assert page.today() == day


@pytest.mark.parametrize("set_to", ["", "yesterday", "-1", "1.5", "²", "9" * 12, "9" * 5000])
def test_a_day_that_is_no_number_of_seconds_is_today(monkeypatch: pytest.MonkeyPatch, set_to: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", set_to)
    monkeypatch.setattr(page.time, "time", lambda: 86400.0 * 365)
    assert page.today() == "1971-01-01"


def test_the_author_is_who_is_named_or_logged_in_or_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERSCOUT_AUTHOR", "Ada")
    assert page.author() == "Ada"
    monkeypatch.delenv("LAYERSCOUT_AUTHOR")
    monkeypatch.setattr(page.getpass, "getuser", lambda: "ada")
    assert page.author() == "ada"
    for error in (KeyError, OSError):

        def nobody(error: type[Exception] = error) -> str:
            raise error("no name")

        monkeypatch.setattr(page.getpass, "getuser", nobody)
        assert page.author() == "n/a"


def test_packages_that_are_not_there_are_said_to_be_missing_and_left_out_of_the_foot(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "numpy":
            return "9.9"
        raise page.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(page.importlib.metadata, "version", version)
    rows = dict(page.versions_table().rows)  # type: ignore[arg-type]
    assert (rows["numpy"], rows["torch"]) == ("9.9", "not installed")
    assert page.short_versions().endswith(", numpy 9.9")
    assert "torch" not in page.short_versions()


def test_a_page_without_a_dataset_says_none() -> None:
    assert "dataset:" not in page.Page("t", "u", "", [], "layerscout report x").render()
    assert "dataset: &lt;d&gt;;" in page.Page("t", "u", "", [], "layerscout report x", "<d>").render()


def test_a_percentage_is_not_torn_apart_and_several_lines_are_several() -> None:
    html = page.banner("Yes", ["5 % & more", "<b>"], good=False)
    assert html == '<div class="answer open"><strong>Yes</strong><p>5&nbsp;% &amp; more<br>&lt;b&gt;</p></div>'


def test_a_template_keeps_dollars_and_braces_and_lacks_no_value() -> None:
    assert Template("$x {y} @{name} @@ ${z}").substitute(name="N") == "$x {y} N @ ${z}"
    with pytest.raises(KeyError):
        fill_template("layerscout.pages", "page.html", title="only this")


def test_a_picture_in_a_page_is_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    html = embedded(tmp_path / "a.png", 'words "<b>"', "a <caption>")
    assert html == (
        '<figure><div class="scroll"><img alt="words &quot;&lt;b&gt;&quot;" src="data:image/png;base64,'
        'iVBORw=="></div><figcaption>a &lt;caption&gt;</figcaption></figure>'
    )
    (tmp_path / "a.gif").write_bytes(b"")
    assert embedded(tmp_path / "a.gif", "w").endswith('src="data:image/gif;base64,"></div></figure>')


@pytest.mark.parametrize("written", ["REWARD_NULL", "reward-null", " Reward Null ", "reward_null: 0.01"])
def test_a_flag_is_one_however_it_is_written(written: str) -> None:
    assert canonical_flag(written) == "REWARD_NULL"
    assert explain_flag(written) == FLAGS["REWARD_NULL"]
    assert "reference of the probe stage" in explain_flag(f"x{written}")


def test_a_table_of_one_row_is_not_sorted_and_one_without_names_has_no_head() -> None:
    def kind(*rows: tuple[str, ...], **options: Any) -> str:
        return re.findall(r'<table class="(\w+)"', Table(("A", "B"), rows, **options).html("t"))[0]

    assert [kind(), kind(("a", "1")), kind(("a", "1"), ("b", "2")), kind(("a", "1"), ("b", "2"), words=True)] == [
        "figures",
        "figures",
        "sortable",
        "words",
    ]
    assert "<details" not in Table(("A",), (("a",),)).html("t")
    whole = Table((Column("A", group="G"), Column("B", "what"), Column("C", "more", "H")), ()).html("t")
    assert "<dt>G: B</dt><dd>what</dd><dt>H: C</dt><dd>more</dd>" in whole
    assert '<th scope="colgroup" colspan="2">G</th><th scope="colgroup" colspan="1">H</th>' in whole
    assert "<td colspan" not in whole
