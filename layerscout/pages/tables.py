"""Columns and rows of text in; the same table as HTML, as Markdown and as CSV out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layerscout.text import csv_cell, html_text, markdown_cell

UNDEFINED = "n/a"
EMPTY = ("", "–", UNDEFINED)  # cells that say nothing: sorted last


@dataclass(frozen=True)
class Column:
    """A column's heading, what its figures are in a few words, and, for the first of several that belong together, their name."""

    name: str
    hint: str = ""
    group: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell whose text is not all: an interval or a list in small type below it, and the figure by which it is sorted."""

    text: str
    small: str = ""
    value: float | str | None = None


@dataclass(frozen=True)
class Table:
    """Headings and rows; the first cell of a row names it.

    Parameters
    ----------
    columns
        Names, or `Column` where there is more to say.
    rows
        As many cells in each as there are columns. A text such as ``0.4 [0.3, 0.5]`` shows its interval in small type.
    words
        The cells are prose, not figures: to the left, and not sorted.
    quiet
        Numbers of rows that stand back, as those of controls.
    """

    columns: tuple[str | Column, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    words: bool = False
    quiet: frozenset[int] = frozenset()

    @property
    def heads(self) -> tuple[Column, ...]:
        """The columns, all with hint and group."""
        return tuple(Column(one) if isinstance(one, str) else one for one in self.columns)

    def markdown(self) -> str:
        """Return the table as Markdown: the first column to the left, figures to the right, ``words`` to the left."""
        return as_markdown([one.name for one in self.heads], (map(_flat, row) for row in self.rows), self.words)

    def html(self, name: str, caption: str = "") -> str:
        """Return the table for a page: its caption above, then a frame in which it scrolls sideways with its first column held.

        Parameters
        ----------
        name
            What the table is, in a few words, for whoever hears the page.
        caption
            What to know before reading it; it stands outside the frame, so that it never scrolls away.
        """
        kind = "words" if self.words else "sortable" if len(self.rows) > 1 else "figures"
        rows = "".join(
            f"<tr{' class=other' if place in self.quiet else ''}>{''.join(self._cell(cell, at) for at, cell in enumerate(row))}</tr>"
            for place, row in enumerate(self.rows)
        )
        above = f"<figcaption>{html_text(caption)}</figcaption>" if caption else ""
        hints = "".join(
            f"<dt>{html_text(_in_full(self.heads, at))}</dt><dd>{html_text(one.hint)}</dd>" for at, one in enumerate(self.heads) if one.hint
        )
        hints = f'<details class="columns"><summary>What the columns are</summary><dl>{hints}</dl></details>' if hints else ""
        frame = f'<div class="scroll" tabindex="0" role="region" aria-label="{html_text(name)}">'
        return (
            f'<figure class="table">{above}{frame}<table class="{kind}">{self._head()}<tbody>{rows}</tbody></table></div>{hints}</figure>'
        )

    def _head(self) -> str:
        heads = self.heads
        if not any(one.name for one in heads):
            return ""
        starts = [at for at, one in enumerate(heads) if one.group]
        groups = ""
        if starts:
            spans = [stop - start for start, stop in zip(starts, [*starts[1:], len(heads)], strict=True)]
            cells = "".join(
                f'<th scope="colgroup" colspan="{span}">{html_text(heads[at].group)}</th>' for at, span in zip(starts, spans, strict=True)
            )
            groups = f'<tr class="groups">{f"<td colspan={starts[0]}></td>" if starts[0] else ""}{cells}</tr>'
        names = "".join(
            f'<th scope="col" data-column="{at}"{_title(one.hint)}{" class=first" if one.group else ""}>{html_text(one.name)}</th>'
            for at, one in enumerate(heads)
        )
        return f"<thead>{groups}<tr>{names}</tr></thead>"

    def _cell(self, cell: str | Cell, at: int) -> str:
        if isinstance(cell, str):  # prose may end in brackets that are no interval
            cell = Cell(cell) if self.words and "\n" not in cell else parse_cell(cell)
        kinds = [*(["first"] if at and self.heads[at].group else []), *(["none"] if cell.text == UNDEFINED else [])]
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        value = "" if cell.value is None else f' data-value="{html_text(cell.value)}"'
        small = f"<small>{'<br>'.join(html_text(line) for line in cell.small.splitlines())}</small>" if cell.small else ""
        tag = 'th scope="row"' if at == 0 else "td"
        return f"<{tag}{kind}{value}>{html_text(cell.text)}{small}</{tag[:2]}>"


def parse_cell(text: str) -> Cell:
    """Return a text as a cell: the interval of an estimate, and the lines of a list, stand small."""
    value, bracket, interval = text.partition(" [")
    if bracket and interval.endswith("]"):
        return Cell(value, f"[{interval}")
    return Cell("", text) if "\n" in text else Cell(text)


def facts(values: Mapping[str, Any], name: str) -> str:
    """Return names and values as a table of words for a page."""
    return Table(("", ""), tuple((key, str(value)) for key, value in values.items()), words=True).html(name)


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested settings as dotted names with their values; an empty table is a value."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += flatten_settings(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else [(f"{prefix}{key}", value)]
    return found


def as_markdown(columns: Sequence[str], rows: Iterable[Iterable[str]], words: bool = False) -> str:
    """Return a Markdown table; what a cell holds stays text, whatever it looks like."""
    head = f"| {' | '.join(map(markdown_cell, columns))} |\n|---|{('---|' if words else '---:|') * (len(columns) - 1)}\n"
    return head + "".join(f"| {' | '.join(markdown_cell(cell.replace(chr(10), ' ')) for cell in row)} |\n" for row in rows)


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV text; a missing figure is written as n/a, floats keep every digit, and no text is taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    writer.writerows([UNDEFINED if cell is None else csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _flat(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell.text} {cell.small}".strip()


def _title(hint: str) -> str:
    return f' title="{html_text(hint)}"' if hint else ""


def _in_full(heads: Sequence[Column], at: int) -> str:
    group = next((one.group for one in reversed(heads[: at + 1]) if one.group), "")
    return f"{group}: {heads[at].name}" if group else heads[at].name
