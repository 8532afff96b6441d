"""Strings from files and networks can do nothing at any sink: no control characters, no raw markup, no formula cells."""

from __future__ import annotations

import csv
import io
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscout.text import csv_cell, html_lines, html_text, markdown_cell, markdown_code, markdown_text, visible, visible_lines

ORDINARY = [
    "blocks.5",
    "transformer_blocks.12.attn",
    "0.627 [0.607, 0.647]",
    "p < 0.05",
    "R² − 1 · ρ ≥ ½",
    "wan-2.1 & co",
    "漢字",
    "नमस्‍ते",
    "–",
    "a (b)",
]


def harmless(text: str) -> bool:
    """Does it hold no character that a terminal obeys and XML forbids?"""
    return all(letter.isprintable() or letter in "\u200c\u200d" or unicodedata.category(letter) in ("Co", "Cn", "Zs") for letter in text)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_passes_unchanged(text: str) -> None:
    assert visible(text) == visible_lines(text) == markdown_text(text) == markdown_cell(text) == csv_cell(text) == text
    assert markdown_code(text) == f"`{text}`"


@given(st.text(st.characters(codec=None)))
def test_no_control_character_survives(text: str) -> None:
    for made in (visible, html_text, markdown_text, markdown_cell, markdown_code, csv_cell):
        told = made(text)
        assert isinstance(told, str)
        assert harmless(told)
        told.encode()
    assert harmless(visible_lines(text).replace("\n", "").replace("\t", ""))
    assert visible(visible(text)) == visible(text)


@given(st.text(st.characters(codec=None)))
def test_xml_reads_back_what_the_terminal_shows(text: str) -> None:
    read = ElementTree.fromstring(f'<a b="{html_text(text)}">{html_text(text)}</a>')
    assert (read.text or "") == read.get("b") == visible(text)
    assert (ElementTree.fromstring(f"<pre>{html_lines(text)}</pre>").text or "") == visible_lines(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("abc\u202etxt", "abc\\u202etxt"),
        ("\u2028\udc80\ufffe", "\\u2028\\udc80\\ufffe"),
        ("\U000e0001", "\\U000e0001"),
        (7, "7"),
    ],
)
def test_control_characters_are_written_out(text: object, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("![x](http://evil)", "![x]\\(http://evil)"),
        ("a|b", "a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("`rm`", "\\`rm\\`"),
        ("**loud** _soft_ a_b", "\\*\\*loud\\*\\* \\_soft\\_ a_b"),
        ("&lt;b&gt; &#60; R & D", "&amp;lt;b&amp;gt; &amp;#60; R & D"),
        ("$x$ ~~y~~", "\\$x\\$ \\~~y\\~~"),
    ],
)
def test_markdown_marks_nothing_up(text: str, shown: str) -> None:
    assert markdown_cell(text) == shown
    assert markdown_text(text) == shown.replace("\\|", "|")


def test_a_code_span_ends_where_it_should() -> None:
    assert markdown_code("a`b``c") == "```a`b``c```"
    assert markdown_code("`x") == "`` `x ``"
    assert markdown_code("a|b") == "`a\\|b`"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_no_cell_is_a_formula(text: str) -> None:
    told = csv_cell(text)
    assert str(told).startswith("'")
    file = io.StringIO()
    csv.writer(file).writerow([told])
    assert next(csv.reader(io.StringIO(file.getvalue()))) == [told]


@pytest.mark.parametrize("value", [-0.5, 3, None, "-0.5", "+1e-3", "-7"])
def test_figures_stay_figures(value: object) -> None:
    assert csv_cell(value) == value
