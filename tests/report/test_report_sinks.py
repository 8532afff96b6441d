"""Hostile names in rankings and run records do nothing in any file of a report or a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_goals_report
import test_labour_standings
import test_transfer_report
from example_records import example_ranking, example_runs
from hostile import HOSTILE, check, poisoned
from test_report import experiment

from layerscout.cache.records import Ranking, RunRecord, save
from layerscout.cache.records.transfer import TRANSFER_NAME
from layerscout.cache.records.work import ElasticityPoint, FrontierPoint, WorkArm, WorkCurve
from layerscout.report import report as report_module
from layerscout.report.experiment import Experiment
from layerscout.report.goals.page import GoalReport, write_goals
from layerscout.report.goals.results import load_results
from layerscout.report.labour.figures import PANELS
from layerscout.report.labour.page import LabourReport, write_labour
from layerscout.report.report import write_report
from layerscout.report.study import page as study_module
from layerscout.report.study.page import write_study
from layerscout.report.transfer.page import write_transfer

COLUMNS = (*(column for column, _ in PANELS), "rebate", "captured")
PRICES = {"price": 1.0, "human_wage": 20.0, "energy": 0.1, "damage": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_every_file_of_a_report_and_a_study(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storable = name.replace("\udc80", "")  # JSON holds no lone surrogate; names of folders and settings may

    def gather(folder: Path, every: bool = False) -> Experiment:
        ranking: Ranking = poisoned(example_ranking(), storable)
        record: RunRecord = poisoned(example_runs(fail=(("scratch", 3),)), storable)
        settings = (("train/settings.json", {name: {name: name}}),)
        return Experiment(folder, ranking, None, (("train/runs.json", record),), settings, None)

    experiment(tmp_path, example_ranking(), example_runs())
    monkeypatch.setattr(report_module, "gather_experiment", gather)
    monkeypatch.setattr(study_module, "gather_experiment", gather)
    write_report(tmp_path)
    write_study([tmp_path, tmp_path], tmp_path / "study")
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".html", ".svg", ".md", ".csv")]
    assert len(files) >= 12
    for path in files:
        check(path.name, path.read_text())


def worked(name: str, *profits: float, **changes: Any) -> WorkArm:
    """An arm with every figure that the page draws."""
    curves = tuple(WorkCurve(column=one, unit="$", values=((1.0,) * 3,) * 2) for one in COLUMNS)
    arm = test_labour_standings.arm(name, *profits, prices=PRICES, blocks=(0, 1), curves=curves, **changes)
    places = {"speed": (0.5,) * 3, "care": (0.5,) * 3}
    return arm.model_copy(update={"judgements": tuple(one.model_copy(update=places) for one in arm.judgements)})


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_every_file_of_pages_about_labour_goals_and_teachers(name: str, tmp_path: Path) -> None:
    storable = name.replace("\udc80", "")
    arms = worked("base", 1.0, 2.0, 3.0), worked("more", 2.0, 4.0, 6.0, reasons={0: "not finite"}, novel=(0.1, 0.2, 0.3))
    frontier = (FrontierPoint(speed=0.5, care=0.5, product=60.0, error=0.1, profit=10.0, feasible=True),)
    hours = tuple(ElasticityPoint(setting=one, dollars=1.0, hour=test_labour_standings.HOUR) for one in ("price", "damage", "human_wage"))
    labour = test_labour_standings.record(*arms).model_copy(update={"frontier": frontier, "elasticity": hours})
    write_labour(LabourReport(tmp_path / "labour", poisoned(labour, storable)))
    told = load_results(test_goals_report.folder(tmp_path / "goals", **{name: name}))
    told = replace(told, record=poisoned(told.record, storable), goals=poisoned(told.goals, storable))
    write_goals(GoalReport((told,), tmp_path / "goals"))
    save(poisoned(test_transfer_report.record(*test_transfer_report.WHOLE), storable), tmp_path / "transfer" / TRANSFER_NAME)
    write_transfer(tmp_path / "transfer")
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".html", ".svg", ".md", ".csv")]
    assert len(files) >= 12
    for path in files:
        check(path.name, path.read_text())
