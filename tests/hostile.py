"""Names that do harm where they are shown as they are, and what no place that shows them may contain."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

from markdown_it import MarkdownIt  # comes with rich
from pydantic import BaseModel

HOSTILE = [
    "\x1b]0;title\x07\x1b[2J",  # sets the terminal's title and clears it
    "first\nerror: forged\rline",
    '<script>alert(1)</script>"><img src=x onerror=alert(1)>',
    "=cmd|' /C calc'!A0",
    "![x](http://evil/x.png)`**|$_ [y](javascript:alert(1))",
    "\u202egpj.exe\u2028\udc80\ufffe",
]


def unharmed(text: str) -> bool:
    """Is there no character that a terminal obeys, but for line breaks of our own?"""
    return all(letter.isprintable() for letter in text.replace("\n", ""))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "img" or not (dict(attrs).get("src") or "").startswith("data:image/"):  # films and pictures of our own
            self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]


def check(name: str, text: str) -> None:
    """Look at a file's text for what its kind of program would obey."""
    assert unharmed(text), name
    if name.endswith(".html"):
        tags = _Tags()
        tags.feed(text)
        assert tags.tags.count("script") == 1, name  # the page's own
        assert "img" not in tags.tags, name
    elif name.endswith(".svg"):
        ElementTree.fromstring(text)
        assert "<script" not in text, name
    elif name.endswith(".md"):
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        inner = [part for token in tokens for part in (token, *(token.children or ()))]
        assert not [part for part in inner if part.type in ("html_inline", "html_block", "link_open")], name
        assert all(part.attrs["src"].startswith("figures/") for part in inner if part.type == "image"), name
        for table in text.split("\n\n"):
            rows = [line for line in table.splitlines() if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}) <= 1, name
    elif name.endswith(".csv"):
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                assert not cell.startswith(("=", "+", "@")) or _is_number(cell), name


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


KEPT = (
    "format",
    "role",
    "mode",
    "status",
    "kind",
    "score_kind",
    "score_version",
    "normalisation",
    "method",
    "head",
    "prices",
    "column",
    "setting",
)


def poisoned(value: Any, name: str) -> Any:
    """Return a record in which every free string, at whatever depth, begins with a hostile name."""
    if isinstance(value, BaseModel):
        fields = {field: getattr(value, field) for field in type(value).model_fields}
        return value.model_copy(update={field: poisoned(inner, name) for field, inner in fields.items() if field not in KEPT})
    if isinstance(value, tuple):
        return tuple(poisoned(inner, name) for inner in value)
    if isinstance(value, dict):
        return {f"{name}{key}": poisoned(inner, name) for key, inner in value.items()}
    return f"{name}{value}" if value and isinstance(value, str) else value
