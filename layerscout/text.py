"""A stranger's string in, the same string made safe for one sink out: a terminal, a Markdown file, a CSV cell, HTML or SVG.

Names of layers, backbones, environments and stores, reasons of failures and addresses come from files and networks that anybody
may have written. Each goes through one of these functions at the place where it leaves the program, and nowhere earlier, so
that records keep what was said. Ordinary names pass every function unchanged.
"""

from __future__ import annotations

import html
import re
import unicodedata

JOINERS = "\u200c\u200d"  # invisible, but words of several scripts are spelled with them
LINES = "\n\t"
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, invisible and direction-changing formats, lone surrogates, line and paragraph ends
FORMULA = tuple("=+-@\t\r＝＋－＠")  # a spreadsheet takes a cell that begins with one of these for a formula


def visible(value: object, keep: str = "") -> str:
    r"""Return a value as one line of text in which every control character is written out, as ``\x1b`` or ``\u202e``.

    Parameters
    ----------
    value
        Anything; its ``str`` is taken.
    keep
        Control characters that stay as they are.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in keep or not _unsafe(letter) else _written_out(letter) for letter in text)


def visible_lines(value: object) -> str:
    """Return a text of several lines with every other control character written out: line breaks and tabs stay."""
    return visible(value, LINES)


def html_text(value: object) -> str:
    """Return a value for the text or an attribute of HTML, SVG or XML: no markup, and no character that XML forbids."""
    return html.escape(visible(value))


def html_lines(value: object) -> str:
    """Return a text of several lines for HTML, as for a ``pre`` element."""
    return html.escape(visible_lines(value))


def markdown_text(value: object) -> str:
    r"""Return a value for a sentence of Markdown: no HTML, no links, no code, no emphasis, no formula.

    Characters that mark nothing where they stand stay: the ``<`` of ``p < 0.05``, the brackets of ``0.4 [0.3, 0.5]``, the
    underscore of ``blocks_5``.
    """
    text = visible(value).replace("\\", "\\\\")
    text = re.sub(r"&(?=#|\w+;)", "&amp;", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    text = text.replace("](", "]\\(").replace("][", "]\\[")
    return re.sub(r"[`*$]|~(?=~)|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def markdown_cell(value: object) -> str:
    """Return a value for a cell of a Markdown table: as `markdown_text`, and a bar begins no column."""
    return markdown_text(value).replace("|", "\\|")


def markdown_code(value: object) -> str:
    """Return a value as a code span of Markdown, fenced by more backticks than it holds; safe in a table too."""
    text = visible(value).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    apart = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{apart}{text}{apart}{fence}"


def csv_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: a text that would begin one gets an apostrophe before it.

    Numbers, and texts that are numbers, stay themselves.
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if value.startswith(FORMULA) and not _is_number(value) else text


def _unsafe(letter: str) -> bool:
    if letter in JOINERS:
        return False
    code = ord(letter)
    return unicodedata.category(letter) in UNSAFE or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


def _written_out(letter: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(letter)
    code = ord(letter)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()
