"""Tables of the page kit in; tables whose headings sort by their address, with cells that link, and their exports, out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from urllib.parse import urlencode

from layerscout.pages.tables import EMPTY, Cell, Column, Table, as_csv
from layerscout.text import visible

FORMATS = {"csv": "text/csv; charset=utf-8", "md": "text/markdown; charset=utf-8", "json": "application/json"}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?")


@dataclass(frozen=True)
class Linked(Cell):
    """A cell that leads somewhere, or carries words each with a sentence that is shown on hover and on focus."""

    href: str = ""
    tips: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Address:
    """A page's own address: its path and its parameters. Every state of a page is one, and only one, so that it can be sent to somebody."""

    path: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, otherwise: str = "") -> str:
        """First value of a parameter, ``otherwise`` where the address has none."""
        return next((value for key, value in self.parameters if key == name), otherwise)

    def all(self, name: str) -> tuple[str, ...]:
        """Values of a parameter that may stand several times in the address, in its order."""
        return tuple(value for key, value in self.parameters if key == name)

    def changed(self, **values: str | None) -> str:
        """Return the address with parameters changed, or left out where the value is None; parameters in the order of their names, a file's last."""
        kept = [(key, value) for key, value in self.parameters if key not in values and key != "export"]
        given = [*kept, *((key, value) for key, value in values.items() if value is not None)]
        words = urlencode(sorted(given, key=lambda pair: (pair[0] == "export", pair[0])))  # in whatever order a reader clicked
        return f"{self.path}?{words}" if words else self.path


@dataclass(frozen=True)
class Heading:
    """A heading: its words, where a click on it leads, and whether the table is in its order."""

    column: Column
    slug: str
    href: str = ""
    order: str = ""  # ascending, descending


@dataclass(frozen=True)
class TableView:
    """A table as a page shows it. ``whole`` are the rows for exports where the page shows a part of them."""

    name: str
    table: Table
    heads: tuple[Heading, ...]
    about: str
    caption: str = ""
    exports: tuple[tuple[str, str], ...] = ()
    whole: tuple[tuple[str | Cell, ...], ...] = ()
    data: tuple[dict[str, str], ...] = ()  # attributes of the rows, for the script
    foot: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[tuple[Cell, ...], ...]:
        """The table's rows with every text made a cell, in which an interval in brackets stands small."""
        return tuple(tuple(whole_cell(cell) for cell in row) for row in self.table.rows)

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The names over groups of columns, with how many columns each spans; empty where there are none."""
        columns = [head.column for head in self.heads]
        starts = [at for at, column in enumerate(columns) if column.group]
        if not starts:
            return ()
        spans = [stop - start for start, stop in zip(starts, [*starts[1:], len(columns)], strict=True)]
        first = [("", starts[0])] if starts[0] else []
        return (*first, *((columns[at].group, span) for at, span in zip(starts, spans, strict=True)))


def whole_cell(cell: str | Cell) -> Cell:
    """Return a text as a cell: an interval in brackets stands small."""
    if isinstance(cell, Cell):
        return cell
    value, bracket, interval = cell.partition(" [")
    return Cell(value, f"[{interval}") if bracket and interval.endswith("]") else Cell(cell)


def slugs(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return a name for every column that can stand in an address, each once."""
    found: list[str] = []
    group = ""
    for column in columns:
        group = column.group or group
        words = column.name if column.name not in ("R²",) else f"{group} {column.name}"
        slug = re.sub(r"[^a-z0-9]+", "-", words.replace("²", "2").replace("#", "place").lower()).strip("-") or "column"
        found.append(slug if slug not in found else next(name for at in count(len(found)) if (name := f"{slug}-{at}") not in found))
    return tuple(found)


def sorted_view(
    name: str, table: Table, address: Address, about: str, caption: str = "", parameter: str = "sort", data: Sequence[dict[str, str]] = ()
) -> TableView:
    """Return a table in the order that the address asks for, whose headings lead to the other orders."""
    columns = table.heads
    names = slugs(columns)
    chosen, _, direction = address.get(parameter).partition(":")
    rows, quiet, marked = list(table.rows), table.quiet, list(data)
    if chosen in names:
        order = sort_order([row[names.index(chosen)] for row in rows], direction != "asc")
        rows = [rows[at] for at in order]
        marked = [marked[at] for at in order] if marked else []
        quiet = frozenset(place for place, at in enumerate(order) if at in table.quiet)
    heads = tuple(
        _head(column, slug, address, parameter, (chosen, direction or "desc")) for column, slug in zip(columns, names, strict=True)
    )
    shown = replace(table, rows=tuple(rows), quiet=quiet)
    return TableView(
        name,
        shown,
        heads if len(rows) > 1 and not table.words else plain_heads(table),
        about,
        caption,
        exports_of(name, address),
        data=tuple(marked),
    )


def presorted_view(
    name: str,
    table: Table,
    address: Address,
    about: str,
    keys: Mapping[int, str],
    order: str,
    whole: Sequence[tuple[str | Cell, ...]] = (),
    caption: str = "",
) -> TableView:
    """Return a table that is sorted already, of whose columns some have a key of the order."""
    chosen, _, direction = order.partition(":")
    names = slugs(table.heads)
    heads = tuple(
        _head(column, keys[at], address, "sort", (chosen, direction or "asc")) if at in keys else Heading(column, names[at])
        for at, column in enumerate(table.heads)
    )
    return TableView(name, table, heads, about, caption, exports_of(name, address), tuple(whole))


def plain_view(name: str, table: Table, address: Address, about: str, caption: str = "") -> TableView:
    """Return a whole table in the order in which it was made, with no way to sort it."""
    return TableView(name, table, plain_heads(table), about, caption, exports_of(name, address))


def plain_heads(table: Table) -> tuple[Heading, ...]:
    """Headings that do not sort, for tables that are shown in one order."""
    return tuple(Heading(column, slug) for column, slug in zip(table.heads, slugs(table.heads), strict=True))


def exports_of(name: str, address: Address, formats: Sequence[str] = tuple(FORMATS)) -> tuple[tuple[str, str], ...]:
    """Return the words and addresses of a table's exports, or of a figure's."""
    return tuple((form, address.changed(export=f"{name}.{form}")) for form in formats)


def _head(column: Column, slug: str, address: Address, parameter: str, now: tuple[str, str]) -> Heading:
    current = slug == now[0]
    other_order = "asc" if current and now[1] == "desc" else "desc"
    order = {"asc": "ascending", "desc": "descending"}.get(now[1], "") if current else ""
    return Heading(column, slug, address.changed(**{parameter: f"{slug}:{other_order}", "page": None}), order)


def sort_order(cells: Sequence[str | Cell], falling: bool) -> list[int]:
    """Return places in order: numbers by size, words by letters, and what says nothing last."""
    keys = [sort_key(whole_cell(cell)) for cell in cells]
    known = [at for at, key in enumerate(keys) if key is not None]
    numeric = all(isinstance(keys[at], float) for at in known)
    known.sort(key=lambda at: keys[at] if numeric else str(keys[at]), reverse=falling)  # type: ignore[arg-type,return-value]
    return known + [at for at, key in enumerate(keys) if key is None]


def sort_key(cell: Cell) -> float | str | None:
    """Return by what a cell is sorted; None when it says nothing."""
    if cell.value is not None:
        return cell.value if isinstance(cell.value, str) else float(cell.value)
    if cell.text in EMPTY:
        return None
    plain = cell.text.replace(",", "").replace("−", "-").replace("%", "").strip()
    return float(plain) if NUMBER.fullmatch(plain) else cell.text.casefold()


def export_table(view: TableView, form: str) -> bytes:
    """Return a table as CSV, Markdown or JSON; intervals get columns of their own, and no text is taken for a formula."""
    rows = [tuple(whole_cell(cell) for cell in row) for row in (view.whole or view.table.rows)]
    columns = view.table.heads
    if form == "md":
        return replace(view.table, rows=tuple(rows)).markdown().encode()
    small = [any(row[at].small for row in rows) for at in range(len(columns))]
    names = [name for at, slug in enumerate(slugs(columns)) for name in ((slug, f"{slug}-interval") if small[at] else (slug,))]
    lines = [
        [value for at, cell in enumerate(row) for value in ((_plain(cell), cell.small or None) if small[at] else (_plain(cell),))]
        for row in rows
    ]
    if form == "csv":
        return as_csv(
            names, [[cell if cell is None else str(cell) if isinstance(cell, str) else cell for cell in line] for line in lines]
        ).encode()
    return json.dumps([dict(zip(names, line, strict=True)) for line in lines], allow_nan=False, indent=1).encode()


def _plain(cell: Cell) -> Any:
    key = sort_key(cell)
    if key is None:
        return cell.text if cell.text not in EMPTY else None
    if isinstance(key, float) and not getattr(cell, "href", ""):  # what leads somewhere is a name, though it be all digits
        return None if key != key or abs(key) == float("inf") else key
    tips = getattr(cell, "tips", ())
    return visible(" ".join(word for word, _ in tips) if tips and not cell.text else cell.text)
