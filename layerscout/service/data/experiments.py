"""Folders of results in; every comparison of agents and every study in them, named by the digest of its record, out."""

from __future__ import annotations

import fnmatch
import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.records import RunRecord, load
from layerscout.cache.records.study import StudyRecord
from layerscout.errors import DataError, LayerscoutError
from layerscout.service.data.results import RESULT_ID, served_folders
from layerscout.service.data.roots import inside
from layerscout.service.problems import HttpProblem

FRESH_SECONDS, KEPT = 2.0, 8
STUDY, RUNS, RANKING = "study.json", "runs*.json", "ranking.json"


@dataclass(frozen=True)
class FoundRuns:
    """A comparison or a study under a folder of results. ``experiment`` is the folder that a report of it rests on."""

    id: str
    kind: str  # comparison, study
    path: Path
    place: Path
    when: float
    experiment: Path | None
    title: str = ""
    mode: str = ""
    arms: int = 0
    runs: int = 0
    dataset: str = ""
    damage: str = ""


class Experiments:
    """Everything that was trained under the places; ``version`` grows with every change."""

    def __init__(self, places: tuple[Path, ...]) -> None:
        self.places = places
        self.version = 0
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[tuple[int, int], FoundRuns]] = {}
        self._all: dict[str, FoundRuns] = {}
        self._opened: OrderedDict[tuple[Path, float], Any] = OrderedDict()
        self._looked = -1e9  # never
        self._looking = threading.Lock()

    def all(self) -> dict[str, FoundRuns]:
        """Return every comparison and study by its id, newest first."""
        if time.monotonic() - self._looked >= FRESH_SECONDS and self._looking.acquire(blocking=self._looked < 0):
            try:  # one looks; the others are shown what was there a moment ago
                listed = [one for place in self.places for one in self._under(place)]
                found: dict[str, FoundRuns] = {}
                for one in sorted(listed, key=lambda one: (one.experiment is None, -one.when)):
                    found.setdefault(one.id, one)  # of copies the one with a ranking beside it, then the newest
                found = dict(sorted(found.items(), key=lambda item: -item[1].when))
                if found != self._all:
                    self._all = found
                    self.version += 1
                self._looked = time.monotonic()
            finally:
                self._looking.release()
        return self._all

    def find(self, runs_id: str) -> FoundRuns:
        """Return the comparison or study with an id.

        Raises
        ------
        HttpProblem
            There is none (404).
        """
        found = self.all().get(runs_id) if RESULT_ID.fullmatch(runs_id) else None
        if found is None:
            raise HttpProblem(404, f"no runs {runs_id[:40]} here", "the list of runs has all ids", "data")
        return found

    def chapters(self, found: FoundRuns) -> Any:
        """Return what the report says of a comparison: one chapter a post-adapter, with verdict, claims and figures.

        Raises
        ------
        DataError
            There is no ranking beside it, or a file is damaged.
        """
        from layerscout.report.chapters import chapters_of
        from layerscout.report.experiment import gather_experiment

        if found.damage:
            raise DataError(found.damage, hint="train again")
        if found.experiment is None:
            raise DataError(
                "no ranking lies beside these runs, so nothing says what they were to show", hint="serve the folder around both"
            )
        with self._lock:
            kept = self._opened.get((found.path, found.when))
        if kept is None:
            path = found.path.relative_to(found.experiment).as_posix()
            kept = [part for part in chapters_of(gather_experiment(found.experiment)) if part.path == path]
            with self._lock:
                self._opened[found.path, found.when] = kept
                while len(self._opened) > KEPT:
                    self._opened.popitem(last=False)
        return kept

    def _under(self, place: Path) -> list[FoundRuns]:
        wanted = (
            (folder / name)
            for folder, names in served_folders(place)
            for name in sorted(names)
            if name == STUDY or fnmatch.fnmatch(name, RUNS)
        )
        return [self._one(path, place) for path in wanted]

    def _one(self, path: Path, place: Path) -> FoundRuns:
        about = path.lstat()
        state = about.st_mtime_ns, about.st_size
        if path not in self._known or self._known[path][0] != state:
            self._known[path] = (state, _read(path, place, about.st_mtime))
        return self._known[path][1]


def _read(path: Path, place: Path, when: float) -> FoundRuns:
    named = hashlib.sha256(str(path).encode()).hexdigest()[:32]
    kind = "study" if path.name == STUDY else "comparison"
    try:
        named = hashlib.sha256(inside(place, path).read_bytes()).hexdigest()[:32]
        if kind == "study":
            study = load(StudyRecord, path, warn=False)
            tasks = study.analyses[0].tasks if study.analyses else ()
            return FoundRuns(named, kind, path, place, when, None, ", ".join(task.name for task in tasks))
        record = load(RunRecord, path, warn=False)
    except (LayerscoutError, OSError) as error:
        return FoundRuns(named, kind, path, place, when, None, damage=str(error).replace(f"{place}/", ""))
    return FoundRuns(
        named,
        kind,
        path,
        place,
        when,
        _experiment(path, place),
        record.environment,
        record.mode,
        len(record.arms),
        len(record.runs),
        record.dataset_digest or "",
    )


def _experiment(path: Path, place: Path) -> Path | None:
    """Return the folder around a record that has a ranking, at most two above it, as ``layerscout report`` looks for both."""
    for folder in (path.parent, *list(path.parents)[1:3]):
        if not folder.is_relative_to(place):
            return None
        if (folder / RANKING).is_file() or (folder / "probe" / RANKING).is_file():
            return folder
    return None
