"""The folder of an experiment in, its records and settings out: what a report may rest on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.records import COST_NAME, Cost, Ranking, RunRecord, Selection, load, load_object
from layerscout.cache.records.goals import GOALS_NAME
from layerscout.cache.records.transfer import TRANSFER_NAME
from layerscout.cache.records.work import WORK_NAME
from layerscout.errors import DataError, shell

SETTINGS = ("*settings*.json", "*config*.json", "collect.json", "extract.json", "probe.json", "train.json", "demo.json")

OWN_PAGES = (WORK_NAME, GOALS_NAME, TRANSFER_NAME)  # records of agents that were trained without a ranking, each with a page of its own


@dataclass(frozen=True)
class Experiment:
    """Everything found under one folder. Paths are relative to it; ``records`` is empty when nothing was trained.

    ``ranking`` is the one that a page of the folder is about; a study asks the others too, where they were read.
    """

    folder: Path
    ranking: Ranking
    selection: Selection | None
    records: tuple[tuple[str, RunRecord], ...]
    settings: tuple[tuple[str, dict[str, Any]], ...]
    cost: Cost | None  # of the probe, where it was measured in one go
    others: tuple[Ranking, ...] = ()

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """Every ranking that was read, the page's own first."""
        return self.ranking, *self.others


def gather_experiment(folder: Path, every: bool = False) -> Experiment:
    """Read the ranking, the selection, every run record and the saved settings of an experiment.

    The ranking may lie in the folder or in ``probe/``; run records are ``runs*.json`` in the folder, in ``train*/`` or one
    level below that. ``every``: further rankings in ``probe*/`` are read too.

    Raises
    ------
    DataError
        There is no ranking, or a file that is there cannot be read.
    """
    if folder.is_file():
        near = folder.parent.parent if folder.parent.name.startswith(("probe", "train")) else folder.parent
        raise DataError(f"{folder} is a file, expected the folder of results", hint=shell("report", near))
    if not folder.is_dir():
        raise DataError(f"no folder {folder}", hint="give the folder that layerscout probe and layerscout train wrote to")
    ranking = find_stage_file(folder, "ranking.json")
    if ranking is None:
        beside = [path.parent for name in OWN_PAGES for path in sorted(folder.glob(f"*/{name}"))]
        beside += [folder.parent] if folder.name.startswith("train") and find_stage_file(folder.parent, "ranking.json") else []
        hint = shell("report", beside[0]) if beside else shell("probe", "STORE", "--out", folder)
        raise DataError(f"no ranking.json in {folder} or {folder / 'probe'}", hint=hint)
    selection, cost = find_stage_file(folder, "selection.json"), ranking.parent / COST_NAME
    patterns = ("runs*.json", "train*/runs*.json", "train*/*/runs*.json")
    runs = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    others = [path for path in sorted(folder.glob("probe*/ranking.json")) if every and path != ranking]
    return Experiment(
        folder=folder,
        ranking=load(Ranking, ranking),
        selection=load(Selection, selection) if selection else None,
        records=tuple((path.relative_to(folder).as_posix(), load(RunRecord, path)) for path in runs),
        settings=tuple((path.relative_to(folder).as_posix(), load_object(path)) for path in setting_files(folder)),
        cost=load(Cost, cost) if cost.is_file() else None,
        others=tuple(load(Ranking, path) for path in others),
    )


def find_stage_file(folder: Path, name: str) -> Path | None:
    """Return where a stage's file lies, the stage's own folder first."""
    return next((path for path in (folder / "probe" / name, folder / name) if path.is_file()), None)


def setting_files(folder: Path) -> list[Path]:
    """Return the files of resolved settings that stages saved beside their outputs."""
    return sorted({path for depth in ("", "*/", "*/*/") for pattern in SETTINGS for path in folder.glob(depth + pattern) if path.is_file()})
