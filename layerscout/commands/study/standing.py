"""A folder of results in, how far every stage of it is out: done, begun, stale, or not there. Read from the files, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from layerscout.cache.catalog.entries import Entry, list_entries, list_mirrors
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.records import Ranking, RunRecord, Selection, load, load_object
from layerscout.cache.records.goals import GOALS_NAME
from layerscout.cache.records.making import load_command
from layerscout.cache.records.work import WORK_NAME
from layerscout.cache.root import STAGING, STORES, default_root
from layerscout.errors import LayerscoutError, UsageError
from layerscout.misfits import describe_misfit
from layerscout.rl.config import KEY_NAME, TrainConfig, comparison_key

OWN_PAGES = (WORK_NAME, GOALS_NAME)  # records of agents that need no ranking: each folder of them has a page of its own
OWN_ROOTS = ("cache", "stores")  # folders of stores inside a folder of results: the demo's, and that of a study begun with init
State = Literal["done", "begun", "stale", "missing"]


@dataclass(frozen=True)
class Standing:
    """How far one stage is at one place.

    ``why`` says what is left, or what a stale result was made of that is no longer so; ``alone``: agents that need no ranking.
    """

    stage: str
    state: State
    path: str
    what: str = ""
    why: str = ""
    alone: bool = False


@dataclass
class Study:
    """What lies in a folder of results and in the folders of stores that it uses, as far as it was read."""

    folder: Path
    roots: tuple[Path, ...]
    datasets: dict[str, Path] = field(default_factory=dict)  # digest → trajectory file
    stores: dict[str, Entry] = field(default_factory=dict)  # of these datasets, or all where there is none
    rankings: dict[Path, Ranking] = field(default_factory=dict)

    @staticmethod
    def at(folder: Path, root: Path | None) -> Study:
        """Find the folders of stores: the one that is named, else those inside the folder, else everybody's."""
        own = [folder / name for name in OWN_ROOTS if (folder / name / STORES).is_dir() or (folder / name / STAGING).is_dir()]
        try:
            roots = [root] if root else own or [default_root()]
        except UsageError:  # no home folder, so nobody's
            roots = []
        return Study(folder, tuple(roots))

    def standings(self) -> list[Standing]:
        """Look at every stage in order; later ones are judged by what the earlier ones hold now."""
        return [*self._data(), *self._stores(), *self._probes(), *self._agents(), *self._pages()]

    def _data(self) -> list[Standing]:
        found = []
        for path in sorted(self.folder.glob("*.h5")):
            try:
                with Trajectories(path) as data:
                    self.datasets[data.stated_digest()] = path
                    steps = int(data.lengths.sum())
                    found.append(Standing("collect", "done", str(path), f"{steps:,} steps of {len(data):,} episodes"))
            except LayerscoutError as error:
                found.append(Standing("collect", "stale", str(path), why=str(error)))
        for parts in sorted(self.folder.glob("*.h5.parts")):
            file = parts.with_suffix("")
            if not file.exists():
                count = len(list(parts.glob("*.h5")))
                found.append(Standing("collect", "begun", str(file), f"{count} parts", "the same command continues"))
        return found or [Standing("collect", "missing", str(self.folder / "data.h5"))]

    def _stores(self) -> list[Standing]:
        every = [entry for root in self.roots if root.is_dir() for entry in list_entries(root)]
        every += [entry for root in self.roots if root.is_dir() for entry in list_mirrors(root)]
        found = []
        for entry in every:
            mine = entry.dataset in self.datasets or (not self.datasets and self._own(entry))
            named = f"{', '.join(entry.names) or entry.store_id} ({entry.backbone or 'n/a'})"
            if entry.damage and (mine or self._own(entry)):
                found.append(Standing("extract", "stale", entry.path, named, f"damaged: {entry.damage}"))
            elif mine:
                self.stores[entry.store_id] = entry
                found.append(Standing("extract", "done", entry.path, f"{named}: {entry.rows:,} rows, {entry.layers} layers"))
            elif self._own(entry):
                found.append(Standing("extract", "stale", entry.path, named, "it is of a dataset that is no longer here"))
        for root in self.roots:
            if root.is_relative_to(self.folder):
                found += _unfinished(root)
        return found or [Standing("extract", "missing", str(self.roots[0]) if self.roots else "")]

    def _own(self, entry: Entry) -> bool:
        return Path(entry.path).is_relative_to(self.folder)

    def _probes(self) -> list[Standing]:
        places = [place for place in (self.folder, *sorted(self.folder.glob("probe*"))) if place.is_dir()]
        found = []
        for place in places:
            if (place / "ranking.json").is_file():
                found.append(self._ranking(place))
            elif measured := len(list(place.glob("evidence/*.json"))):
                found.append(Standing("probe", "begun", str(place), f"{measured} layers measured", "the same command measures the others"))
        return found or [Standing("probe", "missing", str(self.folder / "probe"))]

    def _ranking(self, place: Path) -> Standing:
        try:
            ranking = load(Ranking, place / "ranking.json", warn=False)
            selection = load(Selection, place / "selection.json", warn=False)
        except LayerscoutError as error:
            return Standing("probe", "stale", str(place), why=str(error))
        self.rankings[place] = ranking
        summary = f"{len(ranking.candidates)} layers, best {ranking.candidates[0].name}"
        if self.datasets and ranking.dataset_digest not in self.datasets:
            return Standing("probe", "stale", str(place), summary, "the dataset is another one now")
        if selection.store_id != ranking.store_id:
            return Standing("probe", "stale", str(place), summary, "selection.json belongs to another ranking")
        gone = [store.store_id for store in ranking.stores if store.store_id not in self.stores]
        return Standing("probe", "done", str(place), summary, f"its store {gone[0]} is not here" if gone else "")

    def _agents(self) -> list[Standing]:
        return [_comparison(place) for place in self._trained()] or [Standing("train", "missing", str(self.folder / "train"))]

    def _trained(self) -> list[Path]:
        """Folders of agents: those inside, and this one where it is one itself."""
        found = {path.parent for pattern in ("train*", "train*/*") for path in self.folder.glob(f"{pattern}/settings.json")}
        itself = (self.folder / "settings.json").is_file() and load_command("train", self.folder) is not None
        return sorted(found | ({self.folder} if itself else set()))

    def _pages(self) -> list[Standing]:
        own = [(place, place / name) for place in self._trained() for name in OWN_PAGES if (place / name).is_file()]
        found = [_page(self.folder, place / "report.html", [record]) for place, record in own]
        inputs = [place / "ranking.json" for place in self.rankings] + sorted(self.folder.glob("train*/**/runs.json"))
        if self.rankings or not own:
            found.append(_page(self.folder, self.folder / "report.html", inputs))
        return found


def _page(folder: Path, page: Path, inputs: list[Path]) -> Standing:
    """Return whether a page is there, and as new as what it tells of."""
    if not page.is_file():
        return Standing("report", "missing", str(page))
    newer = [path for path in inputs if path.stat().st_mtime > page.stat().st_mtime]
    why = f"{newer[0].relative_to(folder)} is newer" if newer else ""
    return Standing("report", "stale" if newer else "done", str(page), "", why)


def _comparison(place: Path) -> Standing:
    """Return how far a comparison of agents is, and whether its settings and its selection are still those that it was made with."""
    groups = sorted(path.parent for path in place.glob(f"*/{KEY_NAME}"))
    if (place / WORK_NAME).is_file():
        return Standing("train", "done", str(place), f"work: {len(groups)} arms")
    finished = [group for group in groups if (group / "result.json").is_file()]
    try:
        config = TrainConfig.model_validate(load_object(place / "settings.json"))
        record = load(RunRecord, place / "runs.json", warn=False) if (place / "runs.json").is_file() else None
        alone = config.algorithm == "pvdr" or config.work is not None
        selected = load(Selection, config.selection, warn=False) if config.selection.is_file() and not alone else None
    except ValidationError as error:
        return Standing("train", "stale", str(place), why=f"settings.json: {describe_misfit(error.errors()[0])}")
    except (LayerscoutError, ValueError) as error:
        return Standing("train", "stale", str(place), why=str(error))
    summary = f"{config.mode}: {len(finished)} groups finished"
    if record is not None:
        failed = sum(run.status == "failed" for run in record.runs)
        summary = f"{config.mode}: {len(record.arms)} arms, {len(record.runs)} runs" + (f", {failed} failed" if failed else "")
    if selected is not None and groups:
        key = comparison_key(config, selected)
        if any((group / KEY_NAME).read_text(encoding="utf-8").strip() != key for group in groups):
            return Standing("train", "stale", str(place), summary, "the selection, or layerscout itself, is another one now")
    if record is None:
        left = "the same command continues" if alone else f"{len(groups) - len(finished)} begun, the same command continues"
        return Standing("train", "begun", str(place), config.mode if alone else summary, left, alone)
    return Standing(
        "train", "done", str(place), summary, "" if selected or alone else f"its selection {config.selection} is not here", alone
    )


def _unfinished(root: Path) -> list[Standing]:
    found = []
    for folder in sorted((root / STAGING).glob("ls1-*")):
        units = max((len(list(attempt.glob("units/*.json"))) for attempt in folder.iterdir() if attempt.is_dir()), default=0)
        found.append(Standing("extract", "begun", str(folder), f"{units} units finished", "the same command continues"))
    return found
