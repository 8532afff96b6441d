"""The page that leads through the code names rooms and files that are there, every room of them, and stays one page."""

from __future__ import annotations

import re
from pathlib import Path

import layerscout

PACKAGE = Path(layerscout.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "how-the-code-is-laid-out.md"
TEXT = PAGE.read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+(?:\.py|/))`", TEXT)
PLACES = {f"/{path.relative_to(PACKAGE).as_posix()}{'/' * path.is_dir()}" for path in PACKAGE.rglob("*")} | {"/layerscout/", "/tests/"}


def test_what_the_page_names_is_there():
    assert len(NAMED) > 50
    assert [name for name in NAMED if not any(place.endswith(f"/{name}") for place in PLACES)] == []


def test_every_room_is_on_the_page():
    rooms = [
        path for folder in (PACKAGE, PACKAGE / "rl", PACKAGE / "cache") for path in folder.iterdir() if (path / "__init__.py").is_file()
    ]
    named = " ".join(NAMED)
    missing = [room.relative_to(PACKAGE).as_posix() for room in rooms if f"{room.relative_to(PACKAGE).as_posix()}/" not in named]
    assert missing == []


def test_it_can_be_read_in_one_go():
    assert len(TEXT.splitlines()) <= 60
