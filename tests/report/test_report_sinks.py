"""Hostile names in rankings and run records do nothing in any file of a report or a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_records import example_ranking, example_runs
from hostile import HOSTILE, check, poisoned
from test_report import experiment

from layerscout.cache.records import Ranking, RunRecord
from layerscout.report import report as report_module
from layerscout.report.experiment import Experiment
from layerscout.report.report import write_report
from layerscout.report.study import page as study_module
from layerscout.report.study.page import write_study


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
