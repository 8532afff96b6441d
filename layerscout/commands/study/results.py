"""A folder of results in, how far every stage of it is out: done, begun, stale, or not there. Read from the files, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from layerscout.cache.catalog.entries import Entry, list_entries, list_mirrors
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.records import Ranking, Selection, load, load_object
from layerscout.cache.records.making import load_command
from layerscout.cache.root import STAGING, STORES, default_root, store_folders
from layerscout.commands.following import after_agents, results_folder
from layerscout.commands.study.agents import OWN_PAGES, agents_standing, is_agents
from layerscout.commands.study.alone import alone_standings
from layerscout.commands.study.by_file import settings_of
from layerscout.commands.study.init import NAME
from layerscout.commands.study.ledger import LEDGER_NAME
from layerscout.commands.study.standing import CONTINUES, Standing, page_standing
from layerscout.commands.words import Sources
from layerscout.errors import LayerscoutError, UsageError, shell
from layerscout.showing import counted

OWN_ROOTS = ("cache", "stores")  # folders of stores inside a folder of results: the demo's, and that of a study begun with init


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
        """Find the folders of stores: the one that is named, else those inside the folder or itself, else a runner's, else everybody's.

        The folder of a ranking or of agents is part of one of results, which is looked at instead.
        """
        folder = whole_of(folder)
        places = [
            folder,
            *(folder / name for name in OWN_ROOTS),
            *([folder.parent / OWN_ROOTS[1]] if (folder / LEDGER_NAME).is_file() else []),
        ]
        own = [place for place in places if any(any(store_folders(place / part)) for part in (STORES, STAGING))]
        try:
            roots = [root] if root else own or [_said_root(folder) or default_root()]
        except UsageError:  # no home folder, so nobody's
            roots = []
        return Study(folder, tuple(roots))

    def standings(self) -> list[Standing]:
        """Look at every stage in order; later ones are judged by what the earlier ones hold now.

        Of a folder that one command wrote by itself, and of a folder of stores, only its own rows.
        """
        if alone := alone_standings(self.folder):
            return [*alone, *self._looked(alone)]
        inside = [one for place in self._folders() for one in alone_standings(place) if one.stage != "study"]
        if self.roots == (self.folder,):
            return [one for one in self._stores() if one.state != "missing"]
        models, rest = [one for one in inside if one.stage == "pretrain"], [one for one in inside if one.stage != "pretrain"]
        stages = [*self._data(), *models, *self._stores(), *self._probes(), *self._agents()]
        if inside and all(one.state == "missing" or one in models for one in stages):
            return inside
        return [*stages, *rest, *self._pages()]

    def _looked(self, alone: list[Standing]) -> list[Standing]:
        """A model's own folder: whether it looked at anything yet is not known, so that it can is told."""
        return [Standing("extract", "missing", "", command=one.command) for one in alone if one.stage == "pretrain" and one.state == "done"]

    def _data(self) -> list[Standing]:
        found = []
        for path in sorted(self.folder.glob("*.h5")):
            try:
                with Trajectories(path) as data:
                    self.datasets[data.stated_digest()] = path
                    steps = int(data.lengths.sum())
                    found.append(Standing("collect", "done", str(path), f"{counted(steps, 'step')} of {counted(len(data), 'episode')}"))
            except LayerscoutError as error:
                found.append(Standing("collect", "stale", str(path), why=str(error)))
        for parts in sorted(self.folder.glob("*.h5.parts")):
            file = parts.with_suffix("")
            if not file.exists():
                count = len(list(parts.glob("*.h5")))
                found.append(
                    Standing("collect", "begun", str(file), f"{count} parts", CONTINUES, command=_kept(parts, "collect", "import"))
                )
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
                found.append(
                    Standing(
                        "extract",
                        "done",
                        entry.path,
                        f"{named}: {counted(entry.rows, 'row')}, {counted(entry.layers, 'layer')}",
                    )
                )
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
                continue
            measured, command = len(list(place.glob("evidence/*.json"))), _kept(place / "evidence", "probe")
            if measured or command:
                found.append(Standing("probe", "begun", str(place), f"{measured} layers measured", CONTINUES, command=command))
        return found or [Standing("probe", "missing", str(self.folder / "probe"))]

    def _ranking(self, place: Path) -> Standing:
        try:
            ranking = load(Ranking, place / "ranking.json", warn=False)
            selection = load(Selection, place / "selection.json", warn=False)
        except LayerscoutError as error:
            return Standing("probe", "stale", str(place), why=str(error))
        self.rankings[place] = ranking
        summary = f"{counted(len(ranking.candidates), 'layer')}, best {ranking.candidates[0].name}"
        if self.datasets and ranking.dataset_digest not in self.datasets:
            return Standing("probe", "stale", str(place), summary, "the dataset is another one now")
        if selection.store_id != ranking.store_id:
            return Standing("probe", "stale", str(place), summary, "selection.json belongs to another ranking")
        gone = [store.store_id for store in ranking.stores if store.store_id not in self.stores]
        return Standing("probe", "done", str(place), summary, f"its store {gone[0]} is not here" if gone else "")

    def _agents(self) -> list[Standing]:
        return [agents_standing(place) for place in self._trained()] or [Standing("train", "missing", str(self.folder / "train"))]

    def _trained(self) -> list[Path]:
        """Folders of agents: those inside, and this one where it is one itself."""
        found = {path.parent for pattern in ("train*", "train*/*") for path in self.folder.glob(f"{pattern}/settings.json")}
        return sorted(found | {place for place in (self.folder, *self._folders()) if is_agents(place)})

    def _folders(self) -> list[Path]:
        return sorted(place for place in self.folder.glob("*") if place.is_dir())

    def _pages(self) -> list[Standing]:
        own = [(place, place / name) for place in self._trained() for name in OWN_PAGES if (place / name).is_file()]
        found = [page_standing(place / "report.html", [record]) for place, record in own]
        inputs = [place / "ranking.json" for place in self.rankings] + sorted(self.folder.glob("train*/**/runs.json"))
        if self.rankings or not own:
            found.append(page_standing(self.folder / "report.html", inputs))
        return found


def _said_root(folder: Path) -> Path | None:
    """Return the folder of stores that the study's settings file names."""
    said = settings_of(Sources(Path(NAME)), "extract", folder)
    return None if said is None or said.root is None else folder / said.root


def whole_of(folder: Path) -> Path:
    """Return the folder of results that the folder of a ranking or of agents is part of; any other folder itself."""
    if folder.name.startswith("probe") and ((folder / "ranking.json").is_file() or (folder / "evidence").is_dir()):
        return results_folder(folder)
    if folder.name.startswith("train") and is_agents(folder):
        try:
            selection = Path(str(load_object(folder / "settings.json").get("selection")))
        except LayerscoutError:
            return folder
        if shell("report", folder.parent) == after_agents(folder, selection) and not any((folder / name).is_file() for name in OWN_PAGES):
            return folder.parent
    return folder


def _kept(folder: Path, *stages: str) -> str | None:
    """Return the command that is kept in a folder, of one of these stages."""
    return next((command for stage in stages if (command := load_command(stage, folder)) is not None), None)


def _unfinished(root: Path) -> list[Standing]:
    found = []
    for folder in sorted((root / STAGING).glob("ls1-*")):
        units = max((len(list(attempt.glob("units/*.json"))) for attempt in folder.iterdir() if attempt.is_dir()), default=0)
        command = next((told for attempt in sorted(folder.iterdir()) if (told := _kept(attempt, "extract")) is not None), None)
        found.append(Standing("extract", "begun", str(folder), f"{units} units finished", CONTINUES, command=command))
    return found
