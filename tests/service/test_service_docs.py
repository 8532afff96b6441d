"""The page of the API is the document's, and the files that run the service elsewhere name commands and options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from calling import help_of
from service_reference import PAGE, page
from team import World

from layerscout.service.app import make_app

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_api_is_what_the_document_says(world: World) -> None:
    """Otherwise: python -m tools.service_reference."""
    assert PAGE.read_text(encoding="utf-8") == page(make_app(world.config()).inner.openapi())


def test_the_units_and_containers_name_options_that_exist() -> None:
    known = set(re.findall(r"--[a-z-]+", help_of("serve")))
    for name in ("layerscout.service", "Dockerfile", "layerscout.def"):
        lines = [line for line in (ROOT / "deploy" / name).read_text().splitlines() if "layerscout serve" in line or '"serve"' in line]
        assert lines, name
        for line in lines:
            words = shlex.split(line.replace("[", " ").replace("]", " ").replace(",", " "), comments=True)
            assert {word for word in words if word.startswith("--")} <= known, line


def test_the_proxy_sends_what_the_guard_asks_for() -> None:
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for words in ("proxy_set_header Host $host", "X-Forwarded-Proto https", "proxy_buffering off"):
        assert words in text
