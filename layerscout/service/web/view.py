"""A page's parts in; the answer to a browser out: the page, or one of its tables or figures as a file."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from layerscout import __version__
from layerscout.pages.page import Draw, picture
from layerscout.pages.palette import MARKS, css_variables
from layerscout.pages.svg import css_rules, file
from layerscout.pages.template import read_template
from layerscout.service.data.datasets import dataset_id
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import apart, service_of
from layerscout.service.state import ServiceState
from layerscout.service.web.tables import FORMATS, Address, TableView, export_table, exports_of
from layerscout.service.words import FILTERS
from layerscout.text import html_lines, visible

FIGURES = {"svg": "image/svg+xml", "png": "image/png"}
CACHED_BYTES = 64 * 2**20
TOKEN = "form-token-of-the-session"  # what stands in a kept page where each session has its own
POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # of a figure that is opened by itself


@dataclass(frozen=True)
class FigureView:
    """A picture that is drawn for any width, its caption, and the addresses of its files."""

    name: str
    draw: Draw
    caption: str
    exports: tuple[tuple[str, str], ...] = ()

    @property
    def html(self) -> Markup:
        """The drawing twice, for wide and for narrow screens, of which CSS shows one."""
        return Markup(picture(self.draw, self.caption))


@dataclass(frozen=True)
class PageView:
    """A whole page: its title, its template and what stands in it; its tables and figures by name, for exports."""

    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[TableView, ...] = ()
    figures: tuple[FigureView, ...] = ()
    status: int = 200


def figure_view(name: str, draw: Draw, caption: str, address: Address) -> FigureView:
    """Make a figure whose files, one a format, can be fetched with the page's own parameters."""
    return FigureView(name, draw, caption, exports_of(name, address, tuple(FIGURES)))


def address_of(request: Request) -> Address:
    """Return the path and the parameters that a request asks for."""
    return Address(request.url.path, tuple(request.query_params.multi_items()))


async def respond(
    request: Request, build: Callable[[], PageView], version: Callable[[], Any] | None = None, heavy: bool = False
) -> Response:
    """Answer with a page.

    Parameters
    ----------
    build
        Makes the page, in a thread.
    version
        Everything that the page depends on beside its address; a page that was made for the same is sent again.
    heavy
        Whether making it takes long.
    """
    if heavy:
        found: Response = await apart(request, _respond, request, build, version)
        return found
    return await run_in_threadpool(_respond, request, build, version)


def _respond(request: Request, build: Callable[[], PageView], version: Callable[[], Any] | None) -> Response:
    address = address_of(request)
    if name := address.get("export"):
        return _export(build(), name)
    pages: PageCache = request.app.state.pages
    key = (address, version(), request.state.who) if version else None

    def make() -> tuple[bytes, int]:
        view = build()
        return render(view, request.state.who, address, service_of(request)), view.status

    body, status = pages.of(key, make) if key else make()
    body = body.replace(TOKEN.encode(), request.state.form_token.encode())
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag and status == 200:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type="text/html; charset=utf-8")


def _export(view: PageView, wanted: str) -> Response:
    name, _, form = wanted.rpartition(".")
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    for table in view.tables:
        if table.name == name and form in FORMATS:
            return Response(export_table(table, form), headers=headers, media_type=FORMATS[form])
    for figure in view.figures:
        if figure.name == name and form in FIGURES:
            drawn = figure.draw(1060.0)
            if form == "svg":
                return Response(file(drawn), headers=headers | {"Content-Security-Policy": POLICY}, media_type=FIGURES[form])
            from layerscout.pages.raster import png

            return Response(png(drawn), headers=headers, media_type=FIGURES[form])
    raise HttpProblem(404, f"this page has no '{visible(wanted)[:60]}' to export", "the page's own links name them")


def render(view: PageView, who: str, address: Address, state: ServiceState) -> bytes:
    """Fill the page's template and return the bytes that are sent."""
    values = {
        "title": view.title,
        "who": who,
        "address": address,
        "why": state.why,
        "trouble": state.runner.trouble if state.runner else "",
        "notice": state.queue.database.notice if state.queue else "",
        "tables": {table.name: table for table in view.tables},
        "figures": {figure.name: figure for figure in view.figures},
        "token": TOKEN,
        "assets": f"/static/{assets()[0]}",
        "version": __version__,
        "known_users": state.tokens is not None,
    }
    return environment().get_template(view.template).render(values | dict(view.values)).encode("utf-8", "replace")


@cache
def assets() -> tuple[str, dict[str, tuple[str, bytes]]]:
    """Return the digest and the content of our style sheet and our script, by file name."""
    own = {
        name: (resources.files("layerscout.service") / "static" / name).read_text(encoding="utf-8")
        for name in ("service.css", "service.js")
    }
    style = f"{css_variables()}\n{read_template('layerscout.pages', 'page.css')}{css_rules()}\n{own['service.css']}".encode()
    script = own["service.js"].encode()
    bars = "".join(
        f'<rect x="{4 + 8 * at}" y="{28 - tall}" width="6" height="{tall}" fill="{MARKS["blue"].light}"/>'
        for at, tall in enumerate((10, 22, 15))
    )
    icon = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{bars}</svg>'.encode()
    files = {
        "icon.svg": ("image/svg+xml", icon),
        "style.css": ("text/css; charset=utf-8", style),
        "script.js": ("text/javascript; charset=utf-8", script),
    }
    return hashlib.sha256(style + script).hexdigest()[:16], files


@cache
def environment() -> Environment:
    """Return the templates; every value is escaped, and control characters in it are written out."""
    folder = resources.files("layerscout.service") / "templates"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".html")}
    found = Environment(
        loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    found.filters |= {"lines": lambda text: Markup(html_lines(text)), "dataset_id": dataset_id, **FILTERS}
    return found


def _shown(value: Any) -> Any:
    if value is None:
        return "n/a"
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


class PageCache:
    """Pages that were made lately, up to so many bytes."""

    def __init__(self, most: int = CACHED_BYTES) -> None:
        self.most, self.size = most, 0
        self._pages: OrderedDict[Any, bytes] = OrderedDict()
        self._making: dict[Any, threading.Event] = {}
        self._lock = threading.Lock()

    def of(self, key: Any, make: Callable[[], tuple[bytes, int]]) -> tuple[bytes, int]:
        """Return a page, made by whoever asks first while the others wait; one that is no success is made for each."""
        while True:
            with self._lock:
                if key in self._pages:
                    self._pages.move_to_end(key)
                    return self._pages[key], 200
                ready = self._making.get(key)
                if ready is None:
                    self._making[key] = threading.Event()
                    break
            ready.wait()
        try:
            body, status = make()
            if status == 200:
                self.keep(key, body)
            return body, status
        finally:
            with self._lock:
                self._making.pop(key).set()

    def get(self, key: Any) -> bytes | None:
        """Return the page that is kept under a key, or None."""
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
            return self._pages.get(key)

    def keep(self, key: Any, body: bytes) -> None:
        """Keep a page; those that nobody asked for the longest go."""
        with self._lock:
            if key not in self._pages and len(body) < self.most // 4:
                self._pages[key] = body
                self.size += len(body)
            while self.size > self.most:
                self.size -= len(self._pages.popitem(last=False)[1])
