"""``import layerscout`` in a notebook: it costs nothing, does what the commands do, and shows what it made as tables."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import layerscout as ls
from layerscout import api
from layerscout.api import Plans
from layerscout.cache import records
from layerscout.cache.importers.plan import ImportPlan
from layerscout.cache.records import Estimate
from layerscout.cache.records.study import StudyRecord
from layerscout.cache.records.transfer import TransferRecord
from layerscout.extract.plan import ExtractPlan
from layerscout.probe.plan import ProbePlan
from layerscout.report.goals.page import GoalReport
from layerscout.report.plan import ReportPlan
from layerscout.rl.plan import TrainPlan
from layerscout.rl.transfer.apv.pretraining import PretrainAPVPlan
from layerscout.rl.transfer.plan import TransferPlan
from layerscout.rl.transfer.pvdr.pretrain import PretrainPvdrPlan
from layerscout.rl.transfer.pvdr.stage import GoalTrainPlan
from layerscout.showing import MOST_ROWS, Shown, ShownPlan, flat_record
from layerscout.worlds.collect import CollectPlan

GRID = "layerscout/Grid-v0"


def loaded_by(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


# --- names


def test_importing_the_package_imports_nothing_else():
    before, after = loaded_by("pass"), loaded_by("import layerscout")
    assert {name for name in after - before if name.startswith("layerscout")} == {"layerscout"}
    assert not {"numpy", "pydantic", "typer", "torch", "pathlib"} & (after - before)


def test_every_public_name_is_there_and_says_what_it_is():
    for name in ls.__all__:
        assert name in dir(ls)
        thing = getattr(ls, name)
        assert name == "__version__" or inspect.getdoc(thing), name
    assert list(inspect.signature(ls.extract).parameters) == ["backbone", "data", "progress", "keys"]
    with pytest.raises(AttributeError, match="has no attribute 'extrakt'"):
        _ = ls.extrakt


def test_the_page_of_the_names_has_them_all_and_no_other():
    page = (Path(__file__).parents[1] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: (layerscout[.\w]+)$", page, re.MULTILINE)}
    assert {"plan" if name == "Plans" else name for name in shown} == set(ls.__all__) - {"__version__"}


@pytest.mark.parametrize("first", ["pass", "import layerscout.extract.config, layerscout.probe.config", "from layerscout import extract"])
def test_a_stage_is_its_function_and_its_package_whatever_was_imported_first(first):
    code = f"{first}\nimport layerscout as ls\nassert callable(ls.extract) and callable(ls.probe) and callable(ls.report)"
    code += "\nimport layerscout.extract.config as config\nassert ls.extract.config is config\nfrom layerscout.extract.config import ExtractConfig"
    assert "torch" not in loaded_by(code)


# --- the stages


@pytest.fixture(scope="module")
def results(small, synthetic_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    options = {"out": out / "probe", "shifts": 3, "root": small.root, "threads": 1}
    ranking = ls.probe(synthetic_store, **options)
    keys = {"out": out / "train", "root": small.root, "seeds": 2, "updates": 5, "evaluations": 1, "final_episodes": 2, "dqn": {"batch": 4}}
    return out, ranking, ls.train(GRID, out / "probe" / "selection.json", **keys)


def test_the_functions_find_what_the_commands_made(small, synthetic_store):
    """One identity for one question, however it is asked."""
    assert ls.extract("synthetic", small.planes, root=small.root).id == synthetic_store.id
    assert ls.plan.extract("synthetic", str(small.planes), root=str(small.root)).existing.id == synthetic_store.id
    again = ls.collect(GRID, steps=400, policy="epsilon:0.6", options={"observation": "planes"}, out=small.planes)
    assert again == small.planes
    assert ls.plan.collect(GRID, steps=400, policy="epsilon:0.6", options={"observation": "planes"}, out=small.planes).complete


def test_what_was_written_is_read_back(results, small, synthetic_store):
    out, ranking, record = results
    assert ls.load_ranking(out / "probe") == ls.load_ranking(out / "probe" / "ranking.json") == ranking
    assert ls.load_runs(out / "train") == record
    assert ls.probe(synthetic_store.id, root=small.root, out=out / "probe", shifts=3) == ranking, "an id and an open store ask the same"
    assert ls.plan.probe(synthetic_store, out=out / "probe", shifts=3).existing == ranking
    assert ls.plan.train(GRID, out / "probe" / "selection.json", root=small.root, seeds=3, out=out / "other").describe()["seeds"] == 3
    assert ls.report(out) == out / "report.html"
    assert (out / "train" / "events.jsonl").is_file()


def test_models_of_videos_and_students_of_teachers_are_functions_too(small, tmp_path):
    """Each continues what the same settings began, whether a command or a function was asked."""
    model = {"size": 16, "stages": 2, "depth": 2, "latents": 3, "classes": 4, "deter": 8, "hidden": 8}
    keys = {"out": tmp_path / "apv", "updates": 2, "batch": 2, "length": 5, "model": model, "threads": 1}
    planned = ls.plan.pretrain("apv", str(small.intercept), **keys)
    assert (planned.describe()["updates_done"], planned.describe()["exists"]) == (0, False)
    found = ls.pretrain("apv", small.intercept, **keys)
    assert found["model"] == str(tmp_path / "apv")
    assert len(found["read_out"]) == 5, "the probe's read-out of the true state is handed to the stage, as the command does"
    assert ls.pretrain("apv", small.intercept, **keys) == found
    assert ls.plan.pretrain("apv", small.intercept, **keys).describe()["exists"]
    assert (tmp_path / "apv" / "events.jsonl").is_file()
    with pytest.raises(ls.UsageError, match=r"unknown setting 'pretrain\.apv\.updtes'; did you mean 'updates'"):
        ls.plan.pretrain("apv", small.intercept, updtes=3)
    with pytest.raises(ls.UsageError, match="no method of pretraining is called 'apw'") as error:
        ls.pretrain("apw", small.intercept)
    assert error.value.hint == "one of apv, pvdr"
    few = {"iterations": 3, "seeds": 1, "evaluation_episodes": 2, "instances": 4, "threads": 1, "arms": ["baseline"]}
    few |= {"ppo": {"length": 8, "environments": 2, "batch": 8, "epochs": 1, "hidden": [4]}, "out": tmp_path / "transfer"}
    assert ls.plan.transfer(GRID, **few).describe()["stage"] == "transfer"
    record = ls.transfer(GRID, **few)
    assert [arm.name for arm in record.arms] == ["baseline"]
    assert ls.transfer(GRID, **few) == record == records.load(TransferRecord, tmp_path / "transfer" / "transfer.json")
    assert ls.report(tmp_path / "transfer") == tmp_path / "transfer" / "transfer.html"


def test_mistakes_are_those_of_the_commands(small, tmp_path):
    with pytest.raises(ls.UsageError, match=r"unknown setting 'extract\.batsh'; did you mean 'batch'"):
        ls.extract("tiny", small.intercept, batsh=3)
    with pytest.raises(ls.UsageError, match=r"setting 'collect\.steps' is missing"):
        ls.plan.collect(GRID)
    with pytest.raises(ls.DataError, match="no store 'nothing'"):
        ls.open_store("nothing", root=tmp_path)
    assert issubclass(ls.BudgetError, ls.LayerscoutError)


def test_settings_come_from_a_file_too(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text("[collect]\nsteps = 70\n[presets.long.collect]\nsteps = 140\n")
    assert ls.plan.collect(GRID, config=file, out=tmp_path / "d.h5").config.steps == 70
    assert ls.plan.collect(GRID, config=file, preset="long", out=tmp_path / "d.h5").config.steps == 140


# --- layers as arrays


@pytest.mark.parametrize("key", [slice(0, 5), slice(None), slice(-3, None), slice(10, 2), slice(1, 200, 7), 3, -1, np.array([5, 1, 5])])
def test_a_layer_is_indexed_like_the_array_of_its_rows(synthetic_store, key):
    name = next(iter(synthetic_store))
    reader = ls.open_store(synthetic_store.path)[name]
    rows = reader.read(0, synthetic_store.rows)
    assert len(reader) == len(rows)
    np.testing.assert_array_equal(reader[key], rows[key])
    assert reader[key].dtype == rows.dtype


def test_a_row_outside_a_layer_is_an_error(synthetic_store):
    reader = synthetic_store[next(iter(synthetic_store))]
    for row in (synthetic_store.rows, -synthetic_store.rows - 1):
        with pytest.raises(ls.DataError):
            _ = reader[row]
    with pytest.raises(ls.DataError, match="did you mean"):
        _ = synthetic_store["structured_midd"]


# --- tables


def test_the_frame_of_a_ranking_holds_every_figure_of_every_layer(results):
    _, ranking, _ = results
    frame = ranking.to_frame()
    assert list(frame["name"]) == [layer.name for layer in ranking.layers]
    assert list(frame["rank"].dropna()) == list(range(1, len(ranking.candidates) + 1))
    for row, layer in zip(frame.to_dict("records"), ranking.layers, strict=True):
        for name, value in layer:
            if isinstance(value, Estimate):
                low, high = value.low, value.high
                assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == (
                    value.value,
                    *(np.nan if end is None else end for end in (low, high)),
                )
            elif isinstance(value, int | str | float):
                assert row[name] == value


def test_the_frame_of_runs_has_a_row_a_run_with_its_arms_budget(results):
    _, _, record = results
    frame = record.to_frame()
    assert [tuple(pair) for pair in frame[["arm", "seed"]].to_numpy()] == [(run.arm, run.seed) for run in record.runs]
    assert set(frame["updates"]) == {5}
    assert list(frame["final"]) == [run.final for run in record.runs]


def test_a_notebook_shows_everything_that_the_stages_give(results, small, synthetic_store, tmp_path):
    _, ranking, record = results
    plans = [ls.plan.collect(GRID, steps=10, out=tmp_path / "d.h5"), ls.plan.extract("synthetic", small.planes, root=small.root)]
    for shown in (ranking, record, synthetic_store, *plans):
        assert isinstance(shown, Shown)
        html = shown._repr_html_()
        assert html.startswith("<p>")
        assert html.count("<tr>") == min(len(shown.summary()[2]), MOST_ROWS) + 1
        assert len(shown.to_frame()) == len(shown.frame_rows()) > 0
    assert all(name in synthetic_store._repr_html_() for name in synthetic_store)


def test_a_study_is_a_table_of_what_foretold_the_return_and_a_frame_of_its_layers():
    path = Path(__file__).parents[1] / "docs" / "experiments" / "blocks" / "study.json"
    study = records.load(StudyRecord, path, warn=False)
    first, frame = study.analyses[0], study.to_frame()
    assert [tuple(pair) for pair in frame[["task", "layer"]].to_numpy()] == [(layer.task, layer.layer) for layer in first.layers]
    assert list(frame["return_0"]) == [layer.returns[0] for layer in first.layers]
    assert set(first.layers[0].measures) <= set(frame)
    assert all(measure.name in study._repr_html_() for measure in first.measures)


def test_every_stage_has_a_plan_that_a_notebook_shows():
    plans = [CollectPlan, ImportPlan, ExtractPlan, ProbePlan, PretrainAPVPlan, PretrainPvdrPlan, TrainPlan, GoalTrainPlan, TransferPlan]
    plans += [ReportPlan, GoalReport]
    assert all(issubclass(plan, ShownPlan) for plan in plans)
    named = {name for name, part in vars(Plans).items() if callable(part) and not name.startswith("_")}
    assert named == {"collect", "import_data", "extract", "probe", "pretrain", "train", "transfer", "report"}
    for name in named:
        done, planned = (list(inspect.signature(getattr(where, name)).parameters) for where in (api, Plans()))
        assert planned == [word for word in done if word != "progress"], "a plan takes what the stage takes"


def test_names_from_files_are_text_and_no_markup_in_a_notebook(results):
    _, ranking, _ = results
    layer = ranking.layers[0].model_copy(update={"name": "<script>alert(1)</script>"})
    html = ranking.model_copy(update={"layers": (layer, *ranking.layers[1:]), "backbone": "<b>"})._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html


def test_without_pandas_the_way_to_it_is_told(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ls.MissingExtraError, match="pandas is not installed") as error:
        results[1].to_frame()
    assert error.value.hint == "in a checkout of layerscout: pip install '.[pandas]'"


def test_a_record_lies_flat_with_three_columns_for_an_interval():
    confirmed = records.Confirmation(reward_r2=Estimate(value=0.5, low=0.4, high=0.6), transition_r2=None, effective_rank=None, score=None)
    row = flat_record(confirmed, "held_")
    assert row == {
        "held_reward_r2": 0.5,
        "held_reward_r2_low": 0.4,
        "held_reward_r2_high": 0.6,
        **{
            f"held_{name}{end}": None
            for name in ("transition_r2", "effective_rank", "score", "bits_action", "state_r2")
            for end in ("", "_low", "_high")
        },
    }
