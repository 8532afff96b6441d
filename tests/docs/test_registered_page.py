"""The page of the registered study says what its table of cells says: figures that no page of the program prints come from a script, and are held to it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "experiments" / "registered.md"
SCRIPT = PROJECT / "experiments" / "registered" / "exploratory.py"


def test_every_figure_that_the_script_prints_stands_on_the_page():
    text = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))
    found = runpy.run_path(str(SCRIPT))["figures"]()
    assert len(found) == 7
    assert {name: figure for name, figure in found.items() if figure not in text} == {}
