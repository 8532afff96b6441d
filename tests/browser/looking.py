"""A page's address in, the page as a browser shows it out, and what axe-core finds wrong with it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

GRAVE = ("serious", "critical")


@dataclass(frozen=True)
class Sight:
    """A browser that opens pages at a width, in light or dark colours, with or without scripts."""

    browser: Any

    @contextmanager
    def page(self, address: str | Path, width: int = 1400, colours: str = "light", scripts: bool = True):
        """Open a URL or a file, and give the page; whatever a script or the network complains of fails the test."""
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=colours, java_script_enabled=scripts, reduced_motion="reduce"
        )
        complaints: list[str] = []
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
        page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
        try:
            yield page
            assert complaints == []
        finally:
            context.close()


def faults(page: Any, impacts: tuple[str, ...] = GRAVE) -> list[str]:
    """Return what axe-core finds of these impacts, one line a rule, with the first places; empty when the page is sound."""
    if not page.evaluate("typeof axe === 'object'"):  # as text: a page may forbid scripts from elsewhere
        page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in impacts
    ]


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than its window: 0 when nothing has to be scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
