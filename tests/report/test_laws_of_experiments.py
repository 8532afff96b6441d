"""The folder of an experiment: what is found in it, what is told where something is missing, and where its tables go."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_records import example_ranking, example_runs, example_selection

from layerscout.cache.records import save
from layerscout.errors import DataError
from layerscout.report.experiment import find_stage_file, gather_experiment
from layerscout.report.report import owned_copies, tables_folder

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


def test_a_stages_file_is_looked_for_in_its_own_folder_first(tmp_path: Path) -> None:
    assert find_stage_file(tmp_path, "ranking.json") is None
    save(example_ranking(), tmp_path / "ranking.json")
    assert find_stage_file(tmp_path, "ranking.json") == tmp_path / "ranking.json"
    save(example_ranking(), tmp_path / "probe" / "ranking.json")
    assert find_stage_file(tmp_path, "ranking.json") == tmp_path / "probe" / "ranking.json"


def test_an_experiment_is_everything_under_its_folder_in_the_order_of_names(tmp_path: Path) -> None:
    save(example_ranking(), tmp_path / "probe" / "ranking.json")
    save(example_ranking().model_copy(update={"backbone": "other"}), tmp_path / "probe-2" / "ranking.json")
    save(example_selection(), tmp_path / "probe" / "selection.json")
    for place in ("train/runs.json", "train/a/runs_b.json", "train-2/runs.json", "runs.json", "elsewhere/runs.json", "train/a/b/runs.json"):
        save(example_runs(seeds=2), tmp_path / place)
    (tmp_path / "train" / "settings.json").write_text('{"x": 1}', encoding="utf-8")
    (tmp_path / "my-config-1.json").write_text("{}", encoding="utf-8")
    found = gather_experiment(tmp_path)
    assert [path for path, _ in found.records] == ["runs.json", "train/a/runs_b.json", "train/runs.json", "train-2/runs.json"]
    assert dict(found.settings) == {"my-config-1.json": {}, "train/settings.json": {"x": 1}}
    assert (found.selection, found.others, found.cost) == (example_selection(), (), None)
    assert [one.backbone for one in gather_experiment(tmp_path, every=True).rankings] == ["tiny", "other"]


@pytest.mark.parametrize(
    ("made", "asked", "hint"),
    [
        ("probe/ranking.json", "probe/ranking.json", "layerscout report {}"),
        ("probe/ranking.json", "train", "layerscout report {}"),
        ("a/work.json", "", "layerscout report {}/a"),
        ("x", "", "layerscout probe STORE --out {}"),
    ],
)
def test_a_folder_without_a_ranking_is_told_what_to_report_instead(tmp_path: Path, made: str, asked: str, hint: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / made).parent.mkdir(exist_ok=True)
    save(example_ranking(), tmp_path / made)
    with pytest.raises(DataError) as refused:
        gather_experiment(tmp_path / asked)
    assert refused.value.hint == hint.format(tmp_path)


def test_tables_lie_beside_their_record_or_apart_where_two_share_a_folder(tmp_path: Path) -> None:
    paths = ["train/runs.json", "train/runs1.json", "train-2/runs.json"]
    assert [tables_folder(path, paths, tmp_path).relative_to(tmp_path).as_posix() for path in paths] == [
        "train/runs",
        "train/runs1",
        "train-2",
    ]


def test_tables_are_copied_to_the_top_of_the_folder_but_never_onto_themselves(tmp_path: Path) -> None:
    save(example_ranking(), tmp_path / "probe" / "ranking.json")
    save(example_runs(seeds=2), tmp_path / "train" / "runs.json")
    (tmp_path / "probe" / "layer_analysis.csv").write_text("x", encoding="utf-8")
    copies = owned_copies(gather_experiment(tmp_path))
    assert [(source.relative_to(tmp_path).as_posix(), copy.relative_to(tmp_path).as_posix()) for source, copy in copies] == [
        ("probe/layer_analysis.csv", "layer_analysis.csv"),
        *((f"train/{name}", name) for name in ("experiment_returns.csv", "experiment_summary.csv", "experiment_summary_table.md")),
    ]
    flat = tmp_path / "flat"
    save(example_ranking(), flat / "ranking.json")
    save(example_runs(seeds=2), flat / "runs.json")
    (flat / "layer_analysis.csv").write_text("x", encoding="utf-8")
    assert owned_copies(gather_experiment(flat)) == []
