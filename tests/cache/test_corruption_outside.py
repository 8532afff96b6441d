"""Files that lie around stores, damaged in every way: what the second table of docs/reference/corruption.md says is what happens.

``WRITE_TABLES=1 pytest tests/cache/test_corruption_outside.py`` writes the table anew.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_corruption import PAGE
from test_trajectories import ATTRIBUTES, make_episode, record

from layerscout.cache import records
from layerscout.cache.catalog.prune import plan_prune
from layerscout.cache.catalog.references import pin_store, references
from layerscout.cache.dataset.trajectories import Trajectories, TrajectoryWriter
from layerscout.cache.naming import name_store
from layerscout.cache.opening import open_store
from layerscout.cache.records import Cost
from layerscout.cache.remote.mirror import Origin, open_mirror
from layerscout.cache.remote.transfer import pull
from layerscout.cache.testing import made_up
from layerscout.errors import DataError, UsageError

DAMAGES = ("bit flipped", "truncated", "emptied", "deleted", "exchanged for another")
FLIPS = 20
SMALL, OTHER = made_up(0), made_up(1)


@dataclass(frozen=True)
class Case:
    """A file, another whole file of its kind, what reads it, and the word for that."""

    name: str
    path: Path
    another: Path
    read: Callable[[], object]
    word: str


def trajectories(folder: Path) -> Case:
    path = record(folder / "data.h5", [make_episode(3), make_episode(2)])
    with Trajectories(path) as data:
        planned = data.bound()

    def read() -> None:
        with Trajectories(path, planned) as data:
            data.episode(0)

    return Case("trajectory file", path, record(folder / "other.h5", [make_episode(3, seed=9)]), read, "open")


def part(folder: Path) -> Case:
    def begun(path: Path, **attributes: object) -> Path:
        writer = TrajectoryWriter(path, ATTRIBUTES | attributes, part_episodes=1)
        for steps in (3, 2):
            writer.append(make_episode(steps))
        return path.with_name(f"{path.name}.parts") / "000000.h5"

    path, another = begun(folder / "data.h5"), begun(folder / "other.h5", seed=1)
    return Case("part of a recording", path, another, lambda: TrajectoryWriter(folder / "data.h5", ATTRIBUTES), "continue")


def of_a_record(folder: Path) -> Case:
    for name, seconds in (("cost.json", 1.0), ("other.json", 2.0)):
        records.save(Cost(wall_seconds=seconds, cpu_seconds=seconds), folder / name)

    def read() -> None:
        found = records.load(Cost, folder / "cost.json")
        if found.wall_seconds != 1.0:
            raise Another

    return Case("record (`ranking.json`, `runs.json`, …)", folder / "cost.json", folder / "other.json", read, "read")


def saved_settings(folder: Path) -> Case:
    for name, seconds in (("settings.json", 1.0), ("other.json", 2.0)):
        records.save_settings(Cost(wall_seconds=seconds, cpu_seconds=seconds), folder / name)

    def read() -> None:
        if records.load_object(folder / "settings.json")["wall_seconds"] != 1.0:
            raise Another

    return Case("`settings.json`", folder / "settings.json", folder / "other.json", read, "read")


def name(folder: Path) -> Case:
    root = folder / "root"
    stores = [small.write(root) for small in (SMALL, OTHER)]
    path, another = name_store(root, "best", stores[0]), name_store(root, "other", stores[1])

    def read() -> None:
        if not path.exists():
            raise DataError("no store 'best'")
        standing = references(root)
        if standing.unreadable:
            with pytest.raises(DataError, match="nothing was deleted"):
                plan_prune(root, unreferenced=True)
        if open_store(root, "best").id != SMALL.id:
            raise Another

    return Case("name in `refs/`", path, another, read, "open")


def kept(folder: Path) -> Case:
    """A pin is a wish. However damaged, it keeps its store; only what it says is lost."""
    root = folder / "root"
    for small in (SMALL, OTHER):
        pin_store(root, small.write(root).id, "needed")
    path, another = (root / "pins" / f"{small.id}.json" for small in (SMALL, OTHER))

    def read() -> None:
        if path.exists() and plan_prune(root, unreferenced=True).victims:
            raise AssertionError("a pinned store would go")

    return Case("pin in `pins/`", path, another, read, "open")


def origin(folder: Path) -> Case:
    there, root = folder / "there", folder / "root"
    SMALL.write(there)
    pull(str(there), root, ["pixels"])
    path = root / "mirrors" / SMALL.id / "origin.json"
    records.save(Origin(url=str(folder / "elsewhere")), folder / "other.json")
    return Case("`origin.json` of a mirror", path, folder / "other.json", lambda: open_mirror(root, SMALL.id).fetch(["blocks.0"]), "open")


class Another(Exception):
    """Another whole file of the same kind was read, and is believed."""


def variants(case: Case, damage: str) -> list[bytes | None]:
    whole = case.path.read_bytes()
    if damage == "bit flipped":
        found = []
        for bit in random.Random(0).sample(range(8 * len(whole)), FLIPS):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            found.append(bytes(changed))
        return found
    if damage == "truncated":
        return [whole[:-1], whole[: len(whole) // 2], whole[:1]]
    return [{"emptied": b"", "deleted": None, "exchanged for another": case.another.read_bytes()}[damage]]


def cell(case: Case, damage: str) -> str:
    told = set()
    whole = case.path.read_bytes()
    for content in variants(case, damage):
        if content is None:
            case.path.unlink()
        else:
            case.path.write_bytes(content)
        try:
            case.read()
        except (DataError, UsageError):
            told.add(case.word)
        except Another:
            told.add("believed")
        else:
            told.add("no harm")
        case.path.write_bytes(whole)
    assert len(told) == 1, (case.name, damage, told)
    return told.pop()


def test_the_page_tells_what_happens(tmp_path):
    lines = ["| file outside stores | " + " | ".join(DAMAGES) + " |", "|---|" + "---|" * len(DAMAGES)]
    for make in (trajectories, part, of_a_record, saved_settings, name, kept, origin):
        folder = tmp_path / make.__name__
        folder.mkdir()
        case = make(folder)
        lines.append(f"| {case.name} | " + " | ".join(cell(case, damage) for damage in DAMAGES) + " |")
        shutil.rmtree(folder)
    found, page = "\n".join(lines), PAGE.read_text()
    start = page.index("| file outside stores |")
    stop = page.index("\n\n", start)
    if os.environ.get("WRITE_TABLES"):
        PAGE.write_text(page[:start] + found + page[stop:])
    else:
        assert page[start:stop] == found, "WRITE_TABLES=1 writes the page anew"
