"""The page, the files and the tables of a study: they say what the record says, and the page needs nothing but itself."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from example_records import example_ranking
from simulated_study import TASKS, simulate
from test_report import Links, experiment
from typer.testing import CliRunner

from layerscout.cache.records import load
from layerscout.cache.records.study import StudyRecord
from layerscout.cli import app
from layerscout.errors import DataError
from layerscout.report.study.measures import MEASURES
from layerscout.report.study.page import write_study
from layerscout.report.study.tables import STUDY_COLUMNS, measures_table


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(simulate(folder, tasks=2, layers=5), folder / "out")
    return folder / "out"


def test_the_page_stands_alone_and_names_every_task_and_measure(written: Path) -> None:
    text = (written / "study.html").read_text()
    links = Links()
    links.feed(text)
    assert links.scripts == 1
    assert all(address.startswith("#") for address in links.addresses)
    assert {address[1:] for address in links.addresses} <= set(links.ids)
    assert links.open == []
    assert "prefers-color-scheme: dark" in text
    assert "var(--blue)" in text
    assert len(links.ids) == len(set(links.ids))
    for name in (*TASKS[:2], *MEASURES, "blocks.4", "Pretrained against untrained blocks"):
        assert name in text
    foot = r"<footer><p>Written on \d{4}-\d\d-\d\d by \S+; dataset: \S+.*; layerscout \S+, Python \S+, numpy \S+.*<code>layerscout report "
    assert re.search(foot, text)
    plain = re.sub(r"<svg.*?</svg>", "", text, flags=re.S).lower()
    assert not re.search(r"\bnan\b|\binf\b", plain)


def test_the_files_say_the_same(written: Path) -> None:
    record = load(StudyRecord, written / "study.json")
    assert [part.metric for part in record.analyses] == ["final", "evaluation"]
    with (written / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (*STUDY_COLUMNS, "inverse_dynamics")  # the ranking's own measures come last
    assert len(rows) == 2 * 2 * 5  # pretrained and untrained
    assert {row["random_return"] for row in rows} == {"-2.0"}
    assert {row["learned"] for row in rows} == {"learned"}
    for row, layer in zip(rows, record.analyses[0].layers, strict=True):
        assert (row["layer"], row["skill_score"]) == (layer.layer, "n/a")
        assert float(row["reward_r2"]) == layer.measures["reward R²"]
        assert float(row["mean_return_last_50"]) == pytest.approx(np.mean(layer.returns))
        assert float(row["mean_evaluation"]) == pytest.approx(np.mean(layer.returns) + 0.01)
    text = (written / "study.md").read_text()
    assert record.analyses[0].sentence in text
    shown = set(re.findall(r"\]\((figures/[^)]+)\)", text))
    assert shown == {path.relative_to(written).as_posix() for path in (written / "figures").iterdir()}


def test_tables_keep_their_columns_in_markdown(written: Path) -> None:
    analysis = load(StudyRecord, written / "study.json").analyses[0]
    table = measures_table(analysis)
    assert {len(row) for row in table.rows} == {len(table.columns)}
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.markdown().splitlines()}
    assert counts == {len(table.columns) + 1}


def test_writing_a_study_twice_gives_the_same_bytes(written: Path) -> None:
    before = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    write_study([written.parent / "task0", written.parent / "task1"], written)
    assert {path: path.read_bytes() for path in written.rglob("*") if path.is_file()} == before


def test_nothing_to_study_is_an_error_that_says_what_is_missing(tmp_path: Path) -> None:
    experiment(tmp_path, example_ranking())
    with pytest.raises(DataError, match="no agents on at least three layers"):
        write_study([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_takes_several_folders_and_says_where_the_study_is(written: Path, tmp_path: Path) -> None:
    folders = [str(written.parent / name) for name in ("task0", "task1")]
    done = CliRunner().invoke(app, ["report", *folders, "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told.pop("next") == f"layerscout status {tmp_path / 'out'}"
    assert {name: Path(path).is_file() for name, path in told.items()} == dict.fromkeys(("page", "json", "csv", "md"), True)
    assert load(StudyRecord, tmp_path / "out" / "study.json") == load(StudyRecord, written / "study.json")
