"""Folders of results in; every ranking in them, named by the digest of its question, out."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from layerscout.cache.records import Ranking, Selection, load, load_object
from layerscout.errors import DataError, LayerscoutError
from layerscout.pages.ranking import ordering
from layerscout.service.data.roots import inside
from layerscout.service.problems import HttpProblem

RANKING, QUESTION, SELECTION = "ranking.json", "probe.json", "selection.json"  # as the probe names them
RESULT_ID = re.compile(r"[0-9a-f]{32}")
DEEPEST, FRESH_SECONDS, KEPT = 5, 2.0, 24  # folders below a place that are searched; rankings that stay read
PASSED_OVER = frozenset({"evidence", "stores", "staging", "mirrors", "partials", "trash", "figures", "service"})


@dataclass(frozen=True)
class FoundResult:
    """A ranking in a folder. ``damage`` says why it cannot be read; then all that follows is empty."""

    id: str
    folder: Path
    place: Path  # the served folder around it
    when: float  # seconds since 1970
    here: bool  # whether a job of this service made it
    damage: str = ""
    stores: tuple[str, ...] = ()
    twin: str | None = None
    dataset: str = ""
    backbone: str = ""
    labels: tuple[str, ...] = ()
    score_kind: str = ""
    weights: tuple[float, ...] = ()
    layers: int = 0
    rows: int = 0
    best: str = ""
    best_score: float | None = None


class Results:
    """Every ranking under the places: the service's own results, and folders of results of the command line.

    ``version`` grows with every change. The same question in two places has the same answer and is told once.
    """

    def __init__(self, own: Path | None, runs: tuple[Path, ...]) -> None:
        self.own, self.runs = own, runs
        self.version = 0
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[tuple[int, ...], FoundResult]] = {}
        self._all: dict[str, FoundResult] = {}
        self._rankings: OrderedDict[tuple[Path, float], Ranking] = OrderedDict()
        self._looked = -1e9  # never
        self._looking = threading.Lock()

    def all(self) -> dict[str, FoundResult]:
        """Return every ranking by its id, newest first."""
        if time.monotonic() - self._looked >= FRESH_SECONDS and self._looking.acquire(blocking=self._looked < 0):
            try:  # one looks; the others are shown what was there a moment ago
                if time.monotonic() - self._looked >= FRESH_SECONDS:
                    self._look()
            finally:
                self._looking.release()
        return self._all

    def look_again(self) -> None:
        """Forget when the places were last looked at: a job has just ended, and whoever asks next waits for its answer."""
        self._looked = -1e9

    def find(self, result_id: str) -> FoundResult:
        """Return the ranking with an id.

        Raises
        ------
        HttpProblem
            There is none (404).
        """
        found = self.all().get(result_id) if RESULT_ID.fullmatch(result_id) else None
        if found is None:
            raise HttpProblem(404, f"no ranking {result_id[:40]} here", "the list of rankings has all ids", "data")
        return found

    def ranking(self, found: FoundResult) -> Ranking:
        """Read a ranking.

        Raises
        ------
        DataError
            Its file is damaged or gone.
        """
        if found.damage:
            raise DataError(found.damage, hint="probe again")
        name = (found.folder, found.when)
        with self._lock:
            if name in self._rankings:
                self._rankings.move_to_end(name)
                return self._rankings[name]
        ranking = load(Ranking, inside(found.place, found.folder / RANKING), warn=False)
        with self._lock:
            self._rankings[name] = ranking
            while len(self._rankings) > KEPT:
                self._rankings.popitem(last=False)
        return ranking

    def selection(self, found: FoundResult) -> Selection:
        """Read what a ranking hands to training."""
        return load(Selection, inside(found.place, found.folder / SELECTION), warn=False)

    def _look(self) -> None:
        listed = [self._one(folder, self.own, True) for folder in _folders(self.own)] if self.own else []
        listed += [self._one(folder, place, False) for place in self.runs for folder in _folders(place)]
        found: dict[str, FoundResult] = {}
        for one in sorted(listed, key=lambda one: (bool(one.damage), not one.here, -one.when)):
            found.setdefault(one.id, one)
        ordered = dict(sorted(found.items(), key=lambda item: -item[1].when))
        if ordered != self._all:
            self._all = ordered
            self.version += 1
        self._looked = time.monotonic()

    def _one(self, folder: Path, place: Path, here: bool) -> FoundResult:
        state = tuple(number for name in (RANKING, QUESTION) for number in _state(folder / name))
        known = self._known.get(folder)
        if known is None or known[0] != state:
            known = (state, _read(folder, place, here))
            self._known[folder] = known
        return known[1]


def result_id(key: str) -> str:
    """Return the name of a question's ranking: the beginning of the question's digest."""
    return key[:32]


def served_folders(place: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders under a place with their files' names, without those of stores; links are not followed."""
    if place is None or not place.is_dir():
        return
    depth = len(place.parts)
    for folder, folders, names in os.walk(place):
        here = Path(folder)
        beyond = len(here.parts) - depth >= DEEPEST
        folders[:] = [] if beyond else sorted(name for name in folders if name not in PASSED_OVER and not name.startswith((".", "ls1-")))
        yield here, names


def _folders(place: Path | None) -> Iterator[Path]:
    yield from (folder for folder, names in served_folders(place) if RANKING in names)


def _read(folder: Path, place: Path, here: bool) -> FoundResult:
    path = folder / RANKING
    when = path.lstat().st_mtime
    try:
        named = _named(inside(place, path))
        ranking = load(Ranking, path, warn=False)
    except (LayerscoutError, OSError) as error:
        return FoundResult(
            hashlib.sha256(str(path).encode()).hexdigest()[:32], folder, place, when, here, damage=_without_place(str(error), place)
        )
    first = ranking.candidates[0] if ranking.candidates else None
    score = ordering(ranking, first) if first else None
    return FoundResult(
        id=named,
        folder=folder,
        place=place,
        when=when,
        here=here,
        stores=tuple(store.store_id for store in ranking.stores) or (ranking.store_id,),
        twin=ranking.twin_store_id,
        dataset=ranking.dataset_digest,
        backbone=ranking.backbone,
        labels=tuple(store.label or store.backbone for store in ranking.stores) or (ranking.backbone,),
        score_kind=ranking.score_kind,
        weights=ranking.weights,
        layers=len(ranking.candidates),
        rows=ranking.rows,
        best=first.name if first else "",
        best_score=score.value if score else None,
    )


def _named(path: Path) -> str:
    """Return a ranking's id: its question's, else that of its own text, which an older version wrote."""
    try:
        named = result_id(str(load_object(path.parent / QUESTION)["key"]))
    except (DataError, KeyError):
        named = ""
    return named if RESULT_ID.fullmatch(named) else hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def _without_place(text: str, place: Path) -> str:
    return text.replace(f"{place}{os.sep}", "")


def _state(path: Path) -> tuple[int, int, int]:
    try:
        about = path.stat()
        return about.st_ino, about.st_size, about.st_mtime_ns
    except OSError:
        return (-1, -1, -1)
