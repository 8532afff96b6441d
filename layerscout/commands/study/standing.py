"""How far one stage is at one place: done, begun, stale, or not there; and the same of a page, by what it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["done", "begun", "stale", "missing"]
CONTINUES = "the same command continues"


@dataclass(frozen=True)
class Standing:
    """How far one stage is at one place.

    ``why`` says what is left, or what a stale result was made of that is no longer so; ``alone``: agents that need no ranking; ``command``
    goes on from here, where the files tell it: None leaves it to the stages that are there.
    """

    stage: str
    state: State
    path: str
    what: str = ""
    why: str = ""
    alone: bool = False
    command: str | None = None


def page_standing(page: Path, inputs: Sequence[Path], command: str | None = None) -> Standing:
    """Return whether a page is there, and as new as what it tells of."""
    if not page.is_file():
        return Standing("report", "missing", str(page), command=command)
    newer = [path for path in inputs if path.stat().st_mtime > page.stat().st_mtime]
    why = f"{_near(newer[0], page.parent)} is newer" if newer else ""
    return Standing("report", "stale" if newer else "done", str(page), "", why, command=command)


def _near(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path
