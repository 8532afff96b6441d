"""A folder belongs to one kind of training, and agents that plan are evaluated as the settings say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from layerscout.cache import records
from layerscout.errors import DataError, UsageError
from layerscout.progress import SILENT
from layerscout.rl import plan as comparing
from layerscout.rl.config import TrainConfig
from layerscout.rl.differences import SETTINGS_NAME
from layerscout.rl.economics import plan as working
from layerscout.rl.kinds import kind_in, kind_of, require_same_kind
from layerscout.rl.transfer import plan as teaching
from layerscout.rl.transfer.config import TransferConfig
from layerscout.rl.transfer.pvdr import stage

SAID = {
    "comparison": {},
    "work": {"work": {"episodes": 1}},
    "goals": {"algorithm": "pvdr", "mode": "online"},
    "students": {},
}


def config(kind: str, **more):
    model = TransferConfig if kind == "students" else TrainConfig
    return model.model_validate({"environment": "layerscout/Dishwashing-v0"} | SAID[kind] | more)


@pytest.mark.parametrize("there", SAID)
@pytest.mark.parametrize("asked", SAID)
def test_a_folder_of_one_kind_is_never_taken_by_another(tmp_path, there, asked):
    records.save_settings(config(there, out=tmp_path), tmp_path / SETTINGS_NAME)
    wanted = config(asked, out=tmp_path)
    assert kind_of(wanted) == asked
    if there == asked:
        require_same_kind(wanted)
        return
    with pytest.raises(UsageError, match="and the same place was named for") as caught:
        require_same_kind(wanted)
    assert f"--out {tmp_path}-2" in caught.value.hint
    assert ("layerscout transfer" if asked == "students" else "layerscout train") in caught.value.hint


def test_a_folder_that_tells_nothing_belongs_to_nobody(tmp_path):
    require_same_kind(config("work", out=tmp_path))
    (tmp_path / SETTINGS_NAME).write_text("{")
    require_same_kind(config("goals", out=tmp_path))
    assert kind_in(tmp_path) is None


@pytest.mark.parametrize(
    ("there", "asked", "plan"),
    [("work", "comparison", comparing), ("comparison", "work", working), ("comparison", "goals", stage), ("goals", "students", teaching)],
)
def test_a_plan_looks_before_anything_is_written(tmp_path, there, asked, plan):
    records.save_settings(config(there, out=tmp_path), tmp_path / SETTINGS_NAME)
    selection = tmp_path / "selection.json"
    selection.write_text("{}")
    with pytest.raises(UsageError, match=f"{tmp_path} holds"):
        plan.plan(config(asked, out=tmp_path, **({} if asked == "students" else {"selection": selection})))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["selection.json", SETTINGS_NAME]


@pytest.mark.parametrize(
    ("said", "at", "episodes"),
    [
        ({"steps": 100, "evaluations": 4}, (25, 50, 75, 100), 3),
        ({"steps": 100, "evaluations": 1}, (100,), 4),
        ({"steps": 2, "evaluations": 5}, (1, 2), 3),  # never before the first step, and nowhere twice
        ({"steps": 100, "evaluate_at": (30, 60)}, (30, 60, 100), 4),  # as long as the last one each
    ],
)
def test_agents_that_plan_are_evaluated_when_and_as_long_as_is_said(tmp_path, monkeypatch, said, at, episodes):
    class Stopped(Exception):
        pass

    runs = []

    def noting(goal_run, *others):
        runs.append(goal_run)
        raise Stopped

    monkeypatch.setattr(stage, "train_goal_run", noting)
    monkeypatch.setattr(stage, "read_networks", lambda *words: None)
    wanted = config("goals", out=tmp_path, evaluation_episodes=3, final_episodes=4, **said)
    planned = SimpleNamespace(config=wanted, make_world=None, shape=None, weights="", key="key")
    with SILENT.task("train", 1) as task, pytest.raises(Stopped):
        stage._run(planned, "cloning", 0, task)
    assert (runs[0].evaluate_at, runs[0].episodes, runs[0].final_episodes) == (at, episodes, 4)


def test_results_without_a_key_are_agents_of_other_settings_and_no_missing_file(tmp_path, monkeypatch):
    world = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(stage, "read_shape", lambda place: None)
    monkeypatch.setattr(stage, "_described", lambda config: {})
    monkeypatch.setattr(stage, "weights_digest", lambda place: "sha256:00")
    monkeypatch.setattr(stage.GoalTrainPlan, "make_world", lambda self, copies: world)
    monkeypatch.setattr(stage, "require_goals", lambda world, name: None)
    wanted = config("goals", out=tmp_path)
    assert stage.plan(wanted).key
    (tmp_path / "runs.json").write_text("{}")
    with pytest.raises(DataError, match="holds agents of other settings"):
        stage.plan(wanted)
    (tmp_path / stage.KEY_NAME).write_text(stage._key(wanted, {}, "sha256:00"))
    assert stage.plan(wanted).key == stage._key(wanted, {}, "sha256:00")
