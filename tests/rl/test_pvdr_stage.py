"""Laws of ``layerscout train --algorithm pvdr``: arms under one budget, continued after a kill, a page, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pvdr_worlds import SMALL

from layerscout.cache import records
from layerscout.cache.records import RunRecord
from layerscout.errors import DataError, UsageError
from layerscout.rl import run as learning
from layerscout.rl.config import TrainConfig
from layerscout.rl.transfer.pvdr import arms, pretrain, stage
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig, PvdrConfig
from layerscout.rl.transfer.pvdr.page import contact_sheet
from layerscout.rl.transfer.pvdr.rounds import HeldActions, play_round
from layerscout.worlds import collect
from layerscout.worlds.config import CollectConfig
from layerscout.worlds.dot import Dot

AGENT = {"prefill": 40, "environments": 4, "samples": 2, "adapt_updates": 2, "align_updates": 3, "align_batch": 8, "hidden": 8, "epochs": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    options = {"ground": "flat"}
    played = CollectConfig(environment="layerscout/Dot-v0", steps=120, policy="random:6", size=16, out=folder / "dot.h5", options=options)
    data = collect.run(collect.plan(played))
    config = PretrainPvdrConfig(data=data, out=folder / "pvdr", shape=SMALL, tokenizer_updates=4, updates=4, batch=4, threads=1)
    pretrain.run(pretrain.plan(config))
    return folder / "pvdr"


def settings(model, out, **changes) -> TrainConfig:
    given = {"environment": "layerscout/Dot-v0", "algorithm": "pvdr", "mode": "online", "out": out, "seeds": 2, "steps": 100, "threads": 1}
    given |= {"evaluations": 2, "evaluation_episodes": 3, "final_episodes": 4, "pvdr": PvdrConfig(model=model, **AGENT)}
    return TrainConfig(**{**given, **changes})


def test_arms_under_one_budget_a_record_and_a_page(model, tmp_path):
    planned = stage.plan(settings(model, tmp_path, seeds=1))
    assert planned.options == {"ground": "flat"}, "agents play in the world that the frames are of"
    assert planned.describe()["runs"] == 5
    record = stage.run(planned)
    assert record == records.load(RunRecord, tmp_path / "runs.json")
    assert [arm.name for arm in record.arms] == list(stage.WORDS.values())
    assert {len(run.evaluations[-1][1]) for run in record.runs} == {4}
    steps = [arm.budget.environment_steps for arm in record.arms]
    assert all(100 <= count <= 100 + 16 * AGENT["environments"] for count in steps)
    assert {one.name for one in record.references} == {"random", "constant", "optimal"}
    page = (tmp_path / "pvdr.html").read_text()
    assert "Does pretraining on videos help?" in page
    assert "data:image/png;base64," in page
    assert (tmp_path / "experiment_summary.csv").read_text().count("\n") > 5
    assert stage.plan(settings(model, tmp_path, seeds=1)).describe()["exists"]
    assert stage.run(planned) == record, "what is there is not played again"


def test_killed_runs_go_on_as_if_nothing_had_been(model, tmp_path, monkeypatch):
    only = {"seeds": 1, "pvdr": PvdrConfig(model=model, arms=("pvdr",), **AGENT)}
    whole = stage.run(stage.plan(settings(model, tmp_path / "whole", **only)))
    saved, calls = arms.save_checkpoint, []

    def killing(*arguments):
        saved(*arguments)
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(arms, "save_checkpoint", killing)
    with pytest.raises(KeyboardInterrupt):
        stage.run(stage.plan(settings(model, tmp_path / "killed", **only)))
    monkeypatch.undo()
    again = stage.run(stage.plan(settings(model, tmp_path / "killed", **only)))
    assert again.runs == whole.runs


def test_other_settings_in_the_same_folder_are_refused_and_more_seeds_are_not(model, tmp_path):
    only = {"seeds": 1, "pvdr": PvdrConfig(model=model, arms=("cloning",), **AGENT)}
    one = stage.run(stage.plan(settings(model, tmp_path, **only)))
    more = stage.run(stage.plan(settings(model, tmp_path, **(only | {"seeds": 2}))))
    assert more.runs[0] == one.runs[0]
    assert len(more.runs) == 2
    with pytest.raises(DataError, match="agents of other settings"):
        stage.plan(settings(model, tmp_path, **(only | {"steps": 200})))
    kept = tmp_path / "cloning" / "seed-0.json"
    kept.write_bytes(kept.read_bytes().replace(b'"updates": ', b'"updates": 1', 1))
    with pytest.raises(DataError, match="damaged"):
        stage.run(stage.plan(settings(model, tmp_path, **(only | {"seeds": 2}))))


class Blind:
    """A world without goals, or with odd ones."""

    action_dimensions, action_count = 2, 0

    def reset(self, which, seeds):
        pass

    def frames(self, which=None):
        return np.zeros((1, 16, 16, 3), np.uint8)


class Odd(Blind):
    def goals(self, which=None):
        return np.zeros((1, 8, 8, 3), np.uint8)


def test_worlds_that_it_cannot_play_are_named(model, tmp_path):
    with pytest.raises(UsageError, match="Grid-v0 shows no goals"):
        stage.plan(settings(model, tmp_path, environment="layerscout/Grid-v0"))
    with pytest.raises(UsageError, match="shows no goals"):
        stage.require_goals(Blind(), "a world")
    with pytest.raises(DataError, match=r"shows goals of \(8, 8, 3\) and frames of \(16, 16, 3\)"):
        stage.require_goals(Odd(), "a world")
    odd = Odd()
    odd.action_dimensions, odd.action_count = 0, 4
    with pytest.raises(UsageError, match="takes one of 4 actions"):
        stage.require_goals(odd, "a world")
    with pytest.raises(UsageError, match="mode is offline"):
        stage.plan(settings(model, tmp_path, mode="offline"))
    with pytest.raises(DataError, match=r"there is no pvdr\.json"):
        stage.plan(settings(tmp_path, tmp_path))
    with pytest.raises(UsageError, match="trains on no ranked layers"):
        learning.plan(settings(model, tmp_path))


def test_a_contact_sheet_has_a_pair_of_lines_for_every_copy():
    played = play_round(Dot(2), HeldActions(2, 4.0, np.random.default_rng(0)), np.arange(2), 1)
    sheet = contact_sheet(played)
    assert sheet.shape == (2 * 67, 33 * (len(played.deeds) + 1), 3)
    np.testing.assert_array_equal(sheet[:32, :32], played.frames[0, 0])
    np.testing.assert_array_equal(sheet[67:99, -33:-1], played.goals[1])
