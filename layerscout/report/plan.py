"""Folders of results in, what a report of them rests on and writes out; then the report. One folder is a run, several are a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.records import load
from layerscout.cache.records.goals import GOALS_NAME
from layerscout.cache.records.making import save_words
from layerscout.cache.records.transfer import TRANSFER_NAME, TransferRecord
from layerscout.cache.records.work import WORK_NAME
from layerscout.report.experiment import Experiment, gather_experiment
from layerscout.report.goals.page import GoalReport, plan_goals, write_goals
from layerscout.report.labour.page import LabourReport, plan_labour, write_labour
from layerscout.report.report import owned_copies, tables_folder, write_report
from layerscout.report.study.page import write_study
from layerscout.report.study.registered import registration_of
from layerscout.report.tables import TABLE_NAMES
from layerscout.report.transfer.page import FILES as TRANSFER_FILES
from layerscout.report.transfer.page import write_transfer
from layerscout.showing import ShownPlan

STUDY = Path("outputs/study")
STUDY_FILES = ("study.html", "study.json", "study.csv", "study.md")


@dataclass(frozen=True)
class ReportPlan(ShownPlan):
    """Which pages are written from which records. ``out`` is the page's folder; every record was read and found whole.

    ``transfer``: the page is about students with and without a teacher, and rests on one record in that folder.
    """

    experiments: tuple[Experiment, ...]
    out: Path
    study: bool
    registration: Path | None = None
    transfer: bool = False

    @property
    def page(self) -> Path:
        """The HTML page that is written last."""
        return self.out / ("study.html" if self.study else TRANSFER_FILES[0] if self.transfer else "report.html")

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are written, but for the figures, which lie in ``figures`` beside the page."""
        if self.study or self.transfer:
            return tuple(self.out / name for name in (STUDY_FILES if self.study else TRANSFER_FILES))
        (experiment,) = self.experiments
        records = [path for path, _ in experiment.records]
        beside = [tables_folder(path, records, self.out) / name for path in records for name in TABLE_NAMES]
        return (self.page, self.out / "paper.md", *dict.fromkeys([*beside, *(copy for _, copy in owned_copies(experiment))]))

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Return what a dry run shows: what was found, and what would be written."""
        return {
            "stage": "report",
            "kind": "study" if self.study else "transfer" if self.transfer else "run",
            "folders": [str(self.out)] if self.transfer else [str(experiment.folder) for experiment in self.experiments],
            "layers": [len(experiment.ranking.candidates) for experiment in self.experiments],
            "records": [str(experiment.folder / path) for experiment in self.experiments for path, _ in experiment.records],
            "runs": sum(len(record.runs) for experiment in self.experiments for _, record in experiment.records),
            "files": [str(path) for path in self.files],
            "figures": str(self.out / "figures"),
            "registration": str(self.registration) if self.registration else None,
            "exists": self.page.is_file(),
        }


AnyReport = ReportPlan | LabourReport | GoalReport


def plan(folders: Sequence[Path], out: Path | None = None, registration: Path | None = None) -> AnyReport:
    """Read what a report rests on; writes nothing and draws nothing.

    Parameters
    ----------
    folders
        Folders of results; one is reported in place, several are the tasks of a study. One with ``work.json`` has a page on labour; of ones with
        ``goals.json``, several stand side by side on the page of the first.
    out
        Where a study goes; given with one folder, a study of that one task.
    registration
        The file in which the study was fixed before it was run; by default the one for which the runner made all of these folders.

    Raises
    ------
    DataError
        A folder is missing or holds no ranking, or a file in it cannot be read.
    """
    study = out is not None or len(folders) > 1
    if all((folder / GOALS_NAME).is_file() for folder in folders):
        return plan_goals(folders, (out or STUDY) if study else folders[0])
    if not study and (folders[0] / WORK_NAME).is_file():
        return plan_labour(folders[0])
    if not study and (folders[0] / TRANSFER_NAME).is_file():
        load(TransferRecord, folders[0] / TRANSFER_NAME)
        return ReportPlan((), folders[0], study=False, transfer=True)
    experiments = tuple(gather_experiment(folder, every=study) for folder in folders)
    promised = (registration or registration_of(folders)) if study else None
    return ReportPlan(experiments, (out or STUDY) if study else folders[0], study, promised)


def run(planned: AnyReport) -> Path:
    """Write the pages, tables and figures, and return the HTML page.

    Raises
    ------
    DataError
        No folder of a study has agents on at least three ranked layers, or a file was damaged meanwhile.
    """
    if isinstance(planned, LabourReport):
        return write_labour(planned)
    if isinstance(planned, GoalReport):
        folders = [one.folder for one in planned.results]
        page = write_goals(planned)
        if planned.out not in folders:
            save_words(planned.out, "report", *folders, "--out", planned.out)
        return page
    if planned.transfer:
        return write_transfer(planned.out)
    folders = [experiment.folder for experiment in planned.experiments]
    if not planned.study:
        return write_report(folders[0])
    page = write_study(folders, planned.out, planned.registration)
    promised = ("--registration", planned.registration) if planned.registration else ()
    save_words(planned.out, "report", *folders, *promised, "--out", planned.out)
    return page
