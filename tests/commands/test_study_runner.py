"""``layerscout study``: many tasks from one file, each continued where it was, none stopped by another's failure, and its costs foretold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from calling import call, refused

from layerscout.cache.records import RunRecord, load, load_object
from layerscout.commands.study.ledger import Ledger
from layerscout.commands.study.processes import run_tasks
from layerscout.commands.study.tasks import read_study
from layerscout.errors import LayerscoutError

TEXT = """
[study]
threads = 1

[backbones.synthetic]
[backbones.wide]
backbone = "synthetic"
dtype = "float32"

[defaults.collect]
environment = "layerscout/Grid-v0"
steps = 300
policy = "epsilon:0.6"
options = { observation = "planes" }
[defaults.extract]
layers = ["structured_mid", "bottleneck"]
passport_clips = 0
[defaults.probe]
groups = 6
shifts = 3
[defaults.train]
algorithm = "dqn"
seeds = 2
updates = 12
evaluate_at = [4]
final_episodes = 2
scratch = false
dqn = { hidden = [8], batch = 8 }

[tasks.one]
[tasks.two.collect]
seed = 1
[tasks.two.train]
dqn = { lr = 0.01 }

[presets.short.train]
updates = 5
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "many.toml").write_text(TEXT)
    return tmp_path / "many.toml"


# --- settings


def test_what_is_said_nearer_to_a_task_wins(file):
    one, two = read_study(file).tasks
    assert (one.collect.seed, two.collect.seed) == (0, 1)
    assert (one.train.dqn.lr, two.train.dqn.lr) == (1e-3, 0.01)
    assert two.train.dqn.hidden == (8,)
    assert [extract.dtype for extract in one.extracts.values()] == ["float16", "float32"]
    assert one.folder == Path("outputs/many/one")
    assert (one.probe.store, one.probe.others) == ("one-synthetic", ("one-wide",))
    assert one.train.all_layers
    assert one.train.threads == one.probe.threads == 1
    short, _ = read_study(file, preset="short", assignments=["train.seeds=3", "study.keep_frames=false"]).tasks
    assert (short.train.updates, short.train.seeds, short.keep_frames) == (5, 3, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[study]", "[studdy]"), "unknown table 'studdy'; did you mean 'study'?"),
        (("threads = 1", "thread = 1"), "unknown setting 'study.thread'; did you mean 'threads'?"),
        (("[tasks.one]", '[tasks.one]\nbackbones = ["wyde"]'), "asks for the backbone 'wyde'; did you mean 'wide'?"),
        (("[tasks.one]", "[tasks.one]\nbackbones = []"), "expected a list of names"),
        (("[tasks.one]", '[tasks."../one"]'), "'../one' cannot name a task"),
        (("[tasks.two.train]", "[tasks.two.trian]"), "unknown table 'trian'; did you mean 'train'?"),
        (("[presets.short.train]", "[presets.short.report]"), "unknown table 'report'"),
        (("steps = 300", "stepps = 300"), "unknown setting 'collect.stepps'"),
    ],
)
def test_a_word_that_no_stage_would_see_is_refused(file, change, message):
    file.write_text(TEXT.replace(*change))
    refused(call("study", file, "--dry-run"), 2, message)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "no study to run"),
        (("none.toml",), 4, "no configuration file none.toml"),
        (("many.toml", "--only", "tow"), 2, "has no task 'tow'; did you mean 'two'?"),
        (("many.toml", "--preset", "shirt"), 2, "unknown preset 'shirt'; did you mean 'short'?"),
        (("many.toml", "--set", "seeds=3"), 2, "names no stage"),
    ],
)
@pytest.mark.usefixtures("file")
def test_words_that_say_no_study_are_refused(words, code, message):
    refused(call("study", *words, "--dry-run"), code, message)


def test_a_file_without_tasks_says_how_to_write_one(file):
    file.write_text("[study]\n")
    assert "[tasks.NAME.collect]" in refused(call("study", file), 2, "names no task")


# --- the work


def told(*words: object, code: int = 0) -> dict:
    result = call("study", "many.toml", *words, "--json", "-q")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_study_does_what_its_dry_run_said_and_nothing_twice(file):
    costs = told("--dry-run")["tasks"][0]
    assert not Path("outputs").exists()
    first = told("--only", "one")
    assert [(row["task"], row["state"], row["stages_done"]) for row in first["tasks"]] == [("one", "done", 5)]
    folder = Path("outputs/many/one")
    record = load(RunRecord, folder / "train" / "runs.json")
    cells = {(arm.store_id, arm.layer) for arm in record.arms if arm.kind != "pixels"}
    assert len(cells) == costs["cells"] == 4
    assert len(record.runs) == costs["runs"]
    assert sum(len(returns) for run in record.runs for _, returns in run.evaluations) == costs["evaluation_episodes"]
    assert [when for when, _ in record.runs[0].evaluations] == [4, 12]
    assert load_object(folder / "settings.json")["extract wide"]["dtype"] == "float32"
    assert Path(first["page"]).is_file()

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = told("--only", "one")
    assert again["tasks"][0]["stages_done"] == 0
    assert again["tasks"][0]["seconds"] == first["tasks"][0]["seconds"]
    changed = {path.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed <= {"settings.json", "one"}

    other = call("study", "many.toml", "--only", "one", "--set", "train.updates=6", "--json", "-q")
    assert "holds results of other settings" in refused_json(other, 2)
    assert Ledger.open(folder).stages["train"].key is None


def refused_json(result, code: int) -> str:
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)["error"]


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_task_that_fails_stops_no_other_and_frames_go_when_nothing_needs_them(file):
    file.write_text(TEXT.replace("[tasks.one]", '[tasks.one.probe]\nlayers = ["nowhere"]'))
    found = told("--set", "study.keep_frames=false", "--set", "study.report=none", code=4)
    one, two = found["tasks"]
    assert (one["state"], one["stage"], two["state"]) == ("failed", "probe", "done")
    assert "layer 'nowhere' is not in" in one["error"]
    assert found["exit_code"] == 4
    assert not Path("outputs/many/two/data.h5").exists()
    file.write_text(TEXT)
    mended = told("--set", "study.keep_frames=false")
    assert [row["stages_done"] for row in mended["tasks"]] == [2, 0]
    assert Path("outputs/many/study/study.html").is_file()


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_tasks_side_by_side_end_each_for_itself(file):
    study = read_study(file, assignments=["train.updates=4", "study.report=none"])
    lines: list[str] = []
    killed = KilledAtOnce()
    outcomes = {outcome.task: outcome for outcome in run_tasks([killed, study.tasks[1]], 2, lines.append)}  # type: ignore[list-item]
    assert outcomes["killed"].message == "its process ended with code 9"
    assert outcomes["killed"].exit_code == 1
    assert outcomes["two"].failed == ""
    assert load(RunRecord, study.tasks[1].train.out / "runs.json").runs
    assert sum(line.startswith("two: ") for line in lines) == 5


class KilledAtOnce:
    """A task whose process ends as soon as it reads what it shall do."""

    name = "killed"

    def __reduce__(self):
        return os._exit, (9,)


def test_time_of_an_attempt_that_failed_is_counted(tmp_path):
    ledger = Ledger.open(tmp_path / "task")
    with pytest.raises(LayerscoutError), ledger.timed("probe", "key"):
        raise LayerscoutError("no")
    assert not ledger.finished("probe", "key")
    ledger.stages["probe"] = ledger.stages["probe"].model_copy(update={"seconds": 1e9})
    with ledger.timed("probe", "key") as said:
        said.append("done")
    found = Ledger.open(tmp_path / "task")
    assert found.finished("probe", "key")
    assert found.stages["probe"].seconds >= 1e9
    assert found.stages["probe"].result == "done"
    with found.timed("probe", "another"):
        pass
    assert found.stages["probe"].seconds < 1e9
