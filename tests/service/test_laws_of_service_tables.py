"""Tables of the pages by themselves: their orders, the names of their columns, and what stands in their files."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from layerscout.pages.tables import Cell, Column, Table
from layerscout.service.web.tables import (
    Address,
    Linked,
    export_table,
    exports_of,
    plain_view,
    presorted_view,
    slugs,
    sort_key,
    sort_order,
    sorted_view,
    whole_cell,
)
from layerscout.service.web.view import FigureView, PageView, _export

HERE = Address("/x")


def view_of(columns: tuple[Any, ...], *rows: tuple[Any, ...], address: Address = HERE, **options: Any):
    return sorted_view("t", Table(columns, rows, **options), address, "T")


# --- orders


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("12", 12.0),
        ("1,234.5", 1234.5),
        ("−0.25", -0.25),
        ("+3", 3.0),
        ("50 %", 50.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("2e-3", 0.002),
        ("n/a", None),
        ("–", None),
        ("", None),
        (".", "."),
        ("+", "+"),
        ("-.", "-."),
        ("..", ".."),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        (".e5", ".e5"),
        ("Blocks.5", "blocks.5"),
        ("ÄRGER", "ärger"),
        ("ß", "ss"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("٣", "٣"),
    ],
)
def test_a_cell_is_sorted_by_its_figure_or_else_by_its_letters(text: str, key: float | str | None) -> None:
    assert sort_key(Cell(text)) == key


def test_a_cell_that_knows_its_figure_is_sorted_by_that() -> None:
    assert sort_key(Cell("12 min", value=720)) == 720.0
    assert sort_key(Cell("–", value="")) == ""
    assert sort_key(Cell("n/a", "0 … 1", value=0.0)) == 0.0


def test_an_order_keeps_what_is_equal_as_it_was_and_puts_nothing_last_both_ways() -> None:
    cells = ["2", "n/a", "1", "2", "–", "1"]
    assert sort_order(cells, False) == [2, 5, 0, 3, 1, 4]
    assert sort_order(cells, True) == [0, 3, 2, 5, 1, 4]
    assert sort_order([], True) == []
    assert sort_order(["n/a", "n/a"], True) == [0, 1]


def test_one_word_among_figures_makes_all_of_them_words() -> None:
    assert [["10", "9", "b"][at] for at in sort_order(["10", "9", "b"], False)] == ["10", "9", "b"]  # "10.0" < "9.0" < "b"


def test_rows_that_stand_back_and_what_the_script_reads_go_with_their_rows() -> None:
    table = Table(("A",), (("2",), ("3",), ("1",)), quiet=frozenset({0}))
    found = sorted_view("t", table, Address("/x", (("sort", "a:asc"),)), "T", data=[{"n": "two"}, {"n": "three"}, {"n": "one"}])
    assert found.table.rows == (("1",), ("2",), ("3",))
    assert found.table.quiet == {1}
    assert found.data == ({"n": "one"}, {"n": "two"}, {"n": "three"})
    unknown = sorted_view("t", table, Address("/x", (("sort", "b:asc"),)), "T")
    assert (unknown.table.rows, unknown.table.quiet) == (table.rows, table.quiet)


@pytest.mark.parametrize(
    ("asked", "order", "next_one"),
    [
        (None, "", "a:desc"),
        ("a:desc", "descending", "a:asc"),
        ("a:asc", "ascending", "a:desc"),
        ("a", "descending", "a:asc"),  # without a word it falls
        ("a:up", "", "a:desc"),
        ("b:asc", "", "a:desc"),
    ],
)
def test_a_heading_leads_to_the_order_that_is_not_shown(asked: str | None, order: str, next_one: str) -> None:
    address = Address("/x", (("page", "3"), ("q", "y"), *([("sort", asked)] if asked else [])))
    first = view_of(("A", "B"), ("1", "2"), ("3", "4"), address=address).heads[0]
    assert first.order == order
    assert first.href == Address("/x", (("q", "y"), ("sort", next_one))).changed()  # from the first page again


def test_a_heading_that_has_been_clicked_leads_to_an_order_that_is_then_shown() -> None:
    from urllib.parse import parse_qsl, urlsplit

    rows = (("1",), ("3",), ("2",))
    address, shown = HERE, []
    for _ in range(3):
        found = view_of(("A",), *rows, address=address)
        shown.append([row[0] for row in found.table.rows])
        address = Address("/x", tuple(parse_qsl(urlsplit(found.heads[0].href).query)))
    assert shown == [["1", "3", "2"], ["3", "2", "1"], ["1", "2", "3"]]


@pytest.mark.parametrize(("rows", "options"), [((("1",),), {}), ((), {}), ((("1",), ("2",)), {"words": True})])
def test_what_has_one_order_has_no_headings_to_sort_by(rows: Any, options: dict[str, Any]) -> None:
    assert [head.href for head in view_of(("A",), *rows, **options).heads] == [""]


def test_a_table_that_is_sorted_elsewhere_says_by_which_column() -> None:
    table = Table((Column("Store"), Column("Size"), Column("State")), (("a", "1", "–"),))
    found = presorted_view("stores", table, Address("/stores"), "Stores", {0: "id", 1: "size"}, "size:desc", [("b", "2", "–")])
    assert [(head.href, head.order) for head in found.heads] == [
        ("/stores?sort=id%3Adesc", ""),
        ("/stores?sort=size%3Aasc", "descending"),
        ("", ""),
    ]
    assert found.whole == (("b", "2", "–"),)
    assert presorted_view("s", table, Address("/s"), "S", {0: "id"}, "id").heads[0].order == "ascending"


# --- names of columns


def test_every_column_has_a_name_of_its_own_that_can_stand_in_an_address() -> None:
    names = ["A b", "a-b", "R²", "#", "", "…", "A b", "a b 2", "日本", "P(top 3)", "Score?", "a-b"]
    found = slugs([Column(name) for name in names])
    assert len(set(found)) == len(names)
    assert found[:5] == ("a-b", "a-b-1", "r2", "place", "column")
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for slug in found)


def test_a_name_that_was_made_up_for_another_column_is_not_given_twice() -> None:
    assert len(set(slugs([Column("a 2"), Column("a"), Column("a")]))) == 3


def test_figures_of_one_name_are_told_apart_by_their_group() -> None:
    columns = (Column("Layer"), Column("R²", group="Reward"), Column("Gain"), Column("R²", group="State"), Column("Gain"))
    assert slugs(columns) == ("layer", "reward-r2", "gain", "state-r2", "gain-4")


def test_groups_span_their_columns_and_together_all() -> None:
    columns = (Column("L"), Column("#"), Column("a", group="G"), Column("b"), Column("c", group="H"))
    assert view_of(columns).groups == (("", 2), ("G", 2), ("H", 1))
    assert view_of(columns[2:]).groups == (("G", 2), ("H", 1))
    assert view_of(columns[:2]).groups == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.4 [0.3, 0.5]", ("0.4", "[0.3, 0.5]")),
        ("a [b] c", ("a [b] c", "")),
        ("[0.3, 0.5]", ("[0.3, 0.5]", "")),
        ("", ("", "")),
        ("x [y [z]", ("x", "[y [z]")),
    ],
)
def test_an_interval_in_brackets_stands_small(text: str, parts: tuple[str, str]) -> None:
    found = whole_cell(text)
    assert (found.text, found.small) == parts


# --- exports


def exported(view: Any, form: str) -> Any:
    text = export_table(view, form).decode()
    return json.loads(text, parse_constant=pytest.fail) if form == "json" else list(csv.reader(io.StringIO(text)))


def test_what_leads_somewhere_stays_a_name_though_it_be_all_digits() -> None:
    """Beginnings of digests: one in a hundred looks like a number."""
    view = view_of(("Job", "Rows"), (Linked("123456789012", href="/jobs/1"), "12"), (Linked("12345678e123", href="/jobs/2"), "1,000"))
    assert exported(view, "json") == [{"job": "123456789012", "rows": 12.0}, {"job": "12345678e123", "rows": 1000.0}]
    assert exported(view, "csv") == [["job", "rows"], ["123456789012", "12.0"], ["12345678e123", "1000.0"]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_file_holds_what_json_cannot(value: float) -> None:
    view = view_of(("A",), (Cell("x", value=value),), ("1e999",))
    assert exported(view, "json") == [{"a": None}, {"a": None}]
    assert exported(view, "csv") == [["a"], ["n/a"], ["n/a"]]


def test_a_cell_of_flags_is_exported_as_its_flags() -> None:
    flags = Linked("", value="DEAD_DIMS FEW_EPISODES", tips=(("DEAD_DIMS", "some"), ("FEW_EPISODES", "few")))
    assert exported(view_of(("Doubts",), (flags,), ("–",)), "json") == [{"doubts": "DEAD_DIMS FEW_EPISODES"}, {"doubts": None}]


def test_control_characters_are_written_out_in_every_file() -> None:
    view = view_of(("A",), ("\x1b[2J",), ("a\u202eb",))
    assert exported(view, "json") == [{"a": "\\x1b[2J"}, {"a": "a\\u202eb"}]
    for form in ("csv", "md"):
        assert b"\x1b" not in export_table(view, form)


def test_a_file_has_all_rows_where_the_page_shows_some() -> None:
    table = Table((Column("A"),), (("1",),))
    view = presorted_view("t", table, HERE, "T", {}, "a", [("1",), ("2",), ("3",)])
    assert [row["a"] for row in exported(view, "json")] == [1.0, 2.0, 3.0]
    assert export_table(view, "md").decode().count("\n") == 5


def test_an_empty_table_is_a_file_of_its_headings() -> None:
    view = plain_view("t", Table(("A b", "C"), ()), HERE, "T")
    assert exported(view, "csv") == [["a-b", "c"]]
    assert exported(view, "json") == []


def test_a_files_address_keeps_the_pages_and_never_two_files() -> None:
    address = Address("/x", (("export", "old.csv"), ("z", "1"), ("a", "2")))
    assert exports_of("t", address, ("csv",)) == (("csv", "/x?a=2&z=1&export=t.csv"),)
    assert address.changed(a=None, z=None) == "/x"


def test_a_page_gives_only_the_files_that_it_has() -> None:
    view = PageView("T", "x.html", tables=(plain_view("a.b", Table(("A",), (("1",),)), HERE, "T"),), figures=(FigureView("f", None, ""),))  # type: ignore[arg-type]
    assert _export(view, "a.b.csv").headers["content-disposition"] == 'attachment; filename="a.b.csv"'
    from layerscout.service.problems import HttpProblem

    for wanted in ("a.csv", "a.b.svg", "f.csv", "a.b", "", ".", "\x1b.csv"):
        with pytest.raises(HttpProblem, match="this page has no") as refused:
            _export(view, wanted)
        assert refused.value.status == 404
        assert "\x1b" not in str(refused.value)
