"""The kit of all pages: headings can be linked, tables scroll alone and sort, figures are there twice, strings do nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from layerscout.pages import page
from layerscout.pages.drawing import Drawing, Words
from layerscout.pages.page import (
    Page,
    banner,
    bullets,
    commands,
    definitions,
    folded,
    number_headings,
    paragraph,
    picture,
    section,
    subsection,
)
from layerscout.pages.tables import Cell, Column, Table, as_csv, as_markdown, facts, flatten_settings, parse_cell


class Tags(HTMLParser):
    """Every start tag with its attributes and the tags it stands in; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs), tuple(self.open)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.seen if name == tag]


TABLE = Table(
    (Column("Layer"), Column("S", "the score", "Score"), Column("low"), Column("R²", "reward", "Reward")),
    (("blocks.1", "0.5 [0.4, 0.6]", "n/a", Cell("0.10", value=0.1)), ("blocks.2", "0.7", "–", "a\nb")),
    quiet=frozenset({1}),
)


def draw(width: float) -> Drawing:
    return Drawing(width, 10, "what it shows", (Words(0, 8, f"{width:g}"),))


def whole(*sections: str) -> str:
    return Page("A title", "under it", banner("Yes", ["one 5 %"]), sections, "layerscout report 'a b'").render()


def test_headings_have_ids_of_their_own_and_stand_in_the_contents() -> None:
    body, contents = number_headings(
        section("The agents: a", subsection("What it cost", "x"))
        + section("The agents: a", folded("more", section("Inside", "y")))
        + section("漢", "z")
    )
    ids = re.findall(r'<h[23] id="([^"]+)"', body)
    assert ids == ["the-agents-a", "what-it-cost", "the-agents-a-2", "inside", "section"]
    links = re.findall(r'href="#([^"]+)"', contents)
    assert links == ["the-agents-a", "what-it-cost", "the-agents-a-2", "section"]  # what is folded away is not listed
    assert number_headings("<h2>One</h2>")[1] == ""


def test_a_page_is_whole_and_names_its_date_version_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    text = whole(section("One", TABLE.html("A table", "its caption")), section("Two", picture(draw, "a caption")))
    tags = Tags(text)
    assert [tag for tag, _, _ in tags.seen if tag in ("header", "main", "footer", "nav", "script")] == [
        "header",
        "main",
        "nav",
        "footer",
        "script",
    ]
    assert "Written on 1970-01-01 by " in text
    assert "layerscout report &#x27;a b&#x27;" in text
    assert tags.all("html") == [{"lang": "en"}]
    assert "http" not in text
    assert "@{" not in text
    assert all(f"@media {kind}" in text for kind in ("print", "(prefers-color-scheme: dark)", "(max-width: 960px)"))
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", page.today())


def test_a_figure_is_there_for_a_desk_and_for_a_telephone_and_says_what_it_shows() -> None:
    tags = Tags(picture(draw, "caption"))
    shown = tags.all("svg")
    assert [one["class"] for one in shown] == ["wide", "narrow"]
    assert all((one["role"], one["aria-label"]) == ("img", "what it shows") for one in shown)
    assert [one["width"] for one in shown] == ["1060", "340"]
    assert picture(None, "caption") == ""


def test_a_table_scrolls_in_a_frame_that_holds_neither_caption_nor_hints() -> None:
    tags = Tags(TABLE.html("Every figure", "what to know"))
    assert [attributes for tag, attributes, _ in tags.seen if tag == "div"] == [
        {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Every figure"}
    ]
    assert all("div" not in inside for tag, _, inside in tags.seen if tag in ("figcaption", "details"))
    assert [attributes["scope"] for attributes in tags.all("th")] == ["colgroup", "colgroup", *["col"] * 4, *["row"] * 2]
    assert [attributes.get("data-column") for attributes in tags.all("th")][2:6] == ["0", "1", "2", "3"]
    assert sum(int(attributes.get("colspan") or 1) for attributes in (tags.all("td")[0], *tags.all("th")[:2])) == 4
    text = TABLE.html("Every figure")
    assert '<th scope="row">blocks.1</th><td class="first">0.5<small>[0.4, 0.6]</small></td><td class="none">n/a</td>' in text
    assert '<td class="first" data-value="0.1">0.10</td>' in text
    assert "<small>a<br>b</small>" in text
    assert "<tr class=other>" in text
    assert "<dt>Score: S</dt><dd>the score</dd>" in text
    assert '<table class="sortable">' in text
    assert '<table class="words">' in Table(("a", "b"), (("x", "y"),), words=True).html("t")
    assert "<thead>" not in facts({"a": 1}, "t")


def test_a_table_is_the_same_in_markdown_and_csv() -> None:
    assert (
        TABLE.markdown()
        == "| Layer | S | low | R² |\n|---|---:|---:|---:|\n| blocks.1 | 0.5 [0.4, 0.6] | n/a | 0.10 |\n| blocks.2 | 0.7 | – | a b |\n"
    )
    assert as_markdown(("a", "b|c"), [("x|y", "z")], words=True) == "| a | b\\|c |\n|---|---|\n| x\\|y | z |\n"
    assert as_csv(("a", "b"), [("=1", None), (0.1, -2)]) == "a,b\n'=1,n/a\n0.1,-2\n"


def test_intervals_and_lists_stand_small() -> None:
    assert parse_cell("0.5 [0.4, 0.6]") == Cell("0.5", "[0.4, 0.6]")
    assert parse_cell("[0.4, 0.6]") == Cell("[0.4, 0.6]")
    assert parse_cell("a\nb") == Cell("", "a\nb")
    assert parse_cell("a [b] c") == Cell("a [b] c")
    assert "<td>clipped to [0, 1]</td>" in facts({"score": "clipped to [0, 1]"}, "how"), "a sentence's brackets hold no interval"


def test_nested_settings_become_dotted_names() -> None:
    assert flatten_settings({"a": {"b": 1, "c": {}}, "d": [2]}) == [("a.b", 1), ("a.c", {}), ("d", [2])]


def test_empty_parts_are_left_out() -> None:
    assert paragraph("") == bullets(()) == definitions(()) == folded("a", "") == subsection("a", "") == ""
    assert "<h3>" in subsection("a", "b")
    assert 'id="one"' in whole(section("One", ""), "", section("Two"))


EVIL = '<script>alert(1)</script>"\x1b[2J\n'


def test_strings_do_nothing_on_a_page() -> None:
    table = Table((Column(EVIL, EVIL, EVIL), EVIL), ((EVIL, Cell(EVIL, EVIL, EVIL)), (EVIL, EVIL)))
    parts = (
        paragraph(EVIL),
        bullets([EVIL]),
        definitions([(EVIL, [EVIL, EVIL])]),
        folded(EVIL, "x"),
        commands([EVIL]),
        table.html(EVIL, EVIL),
    )
    figure = picture(lambda width: Drawing(width, 9, EVIL, (Words(0, 0, EVIL),)), EVIL)
    text = Page(EVIL, EVIL, banner(EVIL, [EVIL]), [section(EVIL, subsection(EVIL, *parts), figure), section(EVIL)], EVIL).render()
    assert "\x1b" not in text
    assert len(Tags(text).all("script")) == 1
