"""Headings, sentences, tables and drawings in; one self-contained page out that loads nothing and reads without a script."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import html
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from layerscout import __version__
from layerscout.pages.drawing import Drawing
from layerscout.pages.palette import css_variables
from layerscout.pages.svg import css_rules, element
from layerscout.pages.tables import Table
from layerscout.pages.template import fill_template, read_template
from layerscout.text import html_lines, html_text

WIDE, NARROW = 1060.0, 340.0  # pixels of every figure: on a desk, and on a telephone
PACKAGES = ("torch", "diffusers", "numpy", "scipy", "scikit-learn", "gymnasium", "zarr")
DECISIVE = ("numpy", "scikit-learn", "torch")  # of these, the ones that are installed stand at a page's foot
Draw = Callable[[float], Drawing]  # a width in pixels in, the figure at that width out


@dataclass(frozen=True)
class Page:
    """A whole page: its title, a line under it, the answer that stands first, and the sections."""

    title: str
    under: str
    answer: str
    sections: Sequence[str]
    command: str
    dataset: str = ""

    def render(self) -> str:
        """Return the page's text, with the list of contents, and date, author, versions, dataset and command at its foot."""
        body, contents = number_headings("\n".join(part for part in self.sections if part))
        return fill_template(
            "layerscout.pages",
            "page.html",
            title=html_text(self.title),
            style=f"{css_variables()}\n{read_template('layerscout.pages', 'page.css')}{css_rules()}",
            script=read_template("layerscout.pages", "sort.js"),
            under=html_text(self.under),
            answer=self.answer,
            contents=contents,
            body=body,
            foot=self._foot(),
        )

    def _foot(self) -> str:
        facts = [
            f"Written on {today()} by {html_text(author())}",
            *([f"dataset: {html_text(self.dataset)}"] if self.dataset else []),
            short_versions(),
        ]
        return f"{'; '.join(facts)}; <code>{html_text(self.command)}</code>"


def author() -> str:
    """Return who writes a page: ``LAYERSCOUT_AUTHOR``, else the name that this user logs in with; n/a where there is none."""
    try:
        return os.environ.get("LAYERSCOUT_AUTHOR") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "n/a"


def short_versions() -> str:
    """Return the versions that decide a page's numbers, in a few words."""
    found = [f"layerscout {__version__}", f"Python {platform.python_version()}"]
    for package in DECISIVE:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)


def today() -> str:
    """Return the day on which a page is written, by ``SOURCE_DATE_EPOCH`` where that is set, as in 2026-05-31."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    known = seconds.isdecimal() and len(seconds) < 12  # longer ones lie behind the last day that a date can be
    return datetime.datetime.fromtimestamp(int(seconds) if known else time.time(), datetime.UTC).date().isoformat()


def number_headings(body: str) -> tuple[str, str]:
    """Give every heading an id of its own, and return the body with the list of contents.

    Sections are listed, each with the headings inside it; what is folded away is not.
    """
    used: set[str] = set()
    entries: list[tuple[str, str, str]] = []

    def identified(match: re.Match[str]) -> str:
        level, words = match[1], match[2]
        plain = html.unescape(re.sub(r"<[^>]*>", "", words))
        own = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "section"
        name = next(one for one in (own, *(f"{own}-{number}" for number in range(2, len(used) + 3))) if one not in used)
        used.add(name)
        before = body[: match.start()]
        if before.count("<details") == before.count("</details"):
            entries.append((level, name, words))
        return f'<h{level} id="{name}">{words}</h{level}>'

    body = re.sub(r"<h([23])>(.*?)</h\1>", identified, body, flags=re.DOTALL)
    items: list[str] = []
    for level, name, words in entries:
        link = f'<a href="#{name}">{words}</a>'
        if level == "2" or not items:
            items.append(link)
        else:
            items[-1] += f" · <small>{link}</small>"
    listed = "".join(f"<li>{item}</li>" for item in items)
    return body, f'<nav aria-label="Contents"><ol>{listed}</ol></nav>' if len(items) > 1 else ""


def section(heading: str, *parts: str) -> str:
    """Return a section under a heading of the second level; empty parts are left out."""
    return f"<section><h2>{html_text(heading)}</h2>{''.join(parts)}</section>"


def subsection(heading: str, *parts: str) -> str:
    """Return parts under a heading of the third level; nothing when all of them are empty."""
    body = "".join(parts)
    return f"<h3>{html_text(heading)}</h3>{body}" if body else ""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph, of a class where one is given; nothing for an empty text."""
    return f"<p{f' class={kind}' if kind else ''}>{html_text(text)}</p>" if text else ""


def bullets(sentences: Sequence[str]) -> str:
    """Return sentences as a list; nothing when there is none."""
    return f"<ul>{''.join(f'<li>{html_text(one)}</li>' for one in sentences)}</ul>" if sentences else ""


def definitions(pairs: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return terms with one or several sentences on each; those after the first stand back."""
    found = ""
    for term, sentences in pairs:
        items = "".join(f"<dd{' class=who' if place else ''}>{html_text(one)}</dd>" for place, one in enumerate(sentences))
        found += f"<dt>{html_text(term)}</dt>{items}"
    return f"<dl>{found}</dl>" if found else ""


def banner(label: str, lines: Sequence[str], good: bool = True) -> str:
    """Return an answer, to stand first: a label, and lines under it. A percentage is never torn apart."""
    text = "<br>".join(html_text(line).replace(" %", "&nbsp;%") for line in lines)
    return f'<div class="answer{"" if good else " open"}"><strong>{html_text(label)}</strong><p>{text}</p></div>'


def folded(summary: str, content: str) -> str:
    """Return content that opens at a click; nothing for nothing."""
    return f"<details><summary>{html_text(summary)}</summary>{content}</details>" if content else ""


def commands(lines: Sequence[str]) -> str:
    """Return a block of command lines, to be copied into a shell."""
    return f'<pre tabindex="0">{html_lines(chr(10).join(lines))}</pre>'


def picture(draw: Draw | None, caption: str) -> str:
    """Return a figure twice, for a desk and for a telephone, of which a reader sees one; its caption stands below, not in it."""
    if draw is None:
        return ""
    both = element(draw(WIDE), "wide") + element(draw(NARROW), "narrow")
    return f"<figure>{both}<figcaption>{html_text(caption)}</figcaption></figure>"


def versions_table() -> Table:
    """Versions of layerscout, Python, the system and the packages that change numbers, on this machine, now."""
    rows = [("layerscout", __version__), ("Python", platform.python_version()), ("system", platform.platform())]
    for package in PACKAGES:
        try:
            rows.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    return Table(("Package", "Version"), tuple(rows), words=True)
