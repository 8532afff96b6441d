"""Laws of ``layerscout train --algorithm pvdr``: arms under one budget, continued after a kill, a page, and what is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pvdr_worlds import SMALL
from safetensors.torch import load_file, save_file

from layerscout.cache import records
from layerscout.cache.records import RunRecord
from layerscout.cache.records.goals import FILM_NAME, GOAL_ARMS, GOALS_NAME, GoalRecord
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.networks.pvdr.pvdr import read_networks
from layerscout.rl import run as learning
from layerscout.rl.config import TrainConfig
from layerscout.rl.seeing.planned import ENLARGED, contact_sheet, film
from layerscout.rl.transfer.pvdr import arms, pretrain, stage
from layerscout.rl.transfer.pvdr.action_fit import action_fit, explained, linear_fit
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig, PvdrConfig
from layerscout.rl.transfer.pvdr.learner import PvdrLearner
from layerscout.rl.transfer.pvdr.rounds import HeldActions, Round, play_round
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


def test_a_model_that_is_replaced_after_the_plan_trains_nobody(model, tmp_path):
    copied = shutil.copytree(model, tmp_path / "model")
    planned = stage.plan(settings(copied, tmp_path / "out", seeds=1))
    state = load_file(copied / "pvdr.safetensors")
    save_file({name: value * 0.5 if value.is_floating_point() else value for name, value in state.items()}, copied / "pvdr.safetensors")
    with pytest.raises(DataError, match="changed since their digest was taken"):
        stage.run(planned)
    assert not list((tmp_path / "out").glob("*/seed-*.json"))


def test_arms_under_one_budget_a_record_and_a_page(model, tmp_path):
    planned = stage.plan(settings(model, tmp_path, seeds=1))
    assert planned.options == {"ground": "flat"}, "agents play in the world that the frames are of"
    assert planned.describe()["runs"] == 5
    record = stage.run(planned)
    assert record == records.load(RunRecord, tmp_path / "runs.json")
    assert [arm.name for arm in record.arms] == list(GOAL_ARMS.values())
    for run in record.runs:
        assert run.final == pytest.approx(np.mean(run.returns[-50:])), "of what was played to learn from, as in every record"
    assert {len(run.evaluations[-1][1]) for run in record.runs} == {4}
    steps = [arm.budget.environment_steps for arm in record.arms]
    assert all(100 <= count <= 100 + 16 * AGENT["environments"] for count in steps)
    assert {one.name for one in record.references} == {"random", "constant", "optimal"}
    goals = records.load(GoalRecord, tmp_path / GOALS_NAME)
    assert [one.arm for one in goals.alignment] == list(GOAL_ARMS.values())[:-1], "every arm that plans"
    assert all(one.aligned is not None and one.aligned <= 1.0 for one in goals.alignment)
    assert goals.model == records.load_object(model / "pvdr.json")
    with Image.open(tmp_path / FILM_NAME) as moving:
        assert moving.n_frames > 2
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
    with pytest.raises(UsageError, match="shows no goals") as refused:
        stage.require_goals(Blind(), "a world")
    assert refused.value.hint == "a world with goals: layerscout/Dot-v0"
    with pytest.raises(UsageError, match="shows no goals") as refused:
        stage.require_goals(Blind(), "dm_control/point_mass-easy")
    assert "collect dm_control/point_mass-easy --set collect.options.goal=picture" in (refused.value.hint or "")
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


def test_what_actions_can_be_told_is_measured_on_other_episodes_and_changes_nothing(model):
    planned = stage.plan(settings(model, model.parent / "unused"))
    learner = PvdrLearner("pvdr", PvdrConfig(**AGENT), *read_networks(model, SMALL), 2, 0)
    assert action_fit(learner, planned.make_world, 0).linear is None, "nothing was lived through"
    learner.experience.add(play_round(planned.make_world(4), HeldActions(2, 4.0, np.random.default_rng(0)), np.arange(4), 1))
    before = learner.state_dict()
    first, again = (action_fit(learner, planned.make_world, 0) for _ in range(2))
    assert first == again
    assert first.aligned != action_fit(learner, planned.make_world, 1).aligned, "another seed has other episodes"
    assert repr(learner.state_dict()) == repr(before)
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    done = z @ torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.5, 0.0]]) + 1.0
    known, others = torch.cat([z, torch.ones(60, 1)], 1)[:40], torch.cat([z, torch.ones(60, 1)], 1)[40:]
    assert linear_fit(known, done[:40], others, done[40:]) == pytest.approx(1.0), "a number of z that never varies does no harm"
    noise = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    plain = 1 - float((noise**2).sum() / ((done[40:] - done[40:].mean(0)) ** 2).sum())
    assert explained(done[40:] + noise, done[40:]) == pytest.approx(plain, rel=1e-5)
    assert explained(noise, torch.ones(20, 2)) is None


def test_a_film_shows_what_is_seen_where_the_plan_ends_and_the_goal_and_stands_still_after_the_end():
    played = play_round(Dot(2), HeldActions(2, 4.0, np.random.default_rng(0)), np.arange(2), 1)
    ending = torch.full((2, 3, 32, 32), -0.5)
    deeds = tuple(deed._replace(ending=ending + 0.05 * at) for at, deed in enumerate(played.deeds))
    live = played.live.copy()
    live[2:, 1] = False  # as if the second one had ended after two steps
    moving = film(Round(played.frames, played.goals, deeds, live, played.reached))[:, ::ENLARGED, ::ENLARGED]
    assert moving.shape == (len(played.deeds) + 1, 65, 98, 3)
    np.testing.assert_array_equal(moving[:, :32, :32], played.frames[:, 0])
    np.testing.assert_array_equal(moving[2:, 33:, :32], np.broadcast_to(played.frames[2, 1], (len(moving) - 2, 32, 32, 3)))
    assert (moving[1, :32, 33:65] == round(0.05 * 255)).all()
    assert (moving[5, 33:, 33:65] == round(0.05 * 255)).all(), "the last plan of an episode that ended"
    np.testing.assert_array_equal(moving[3, 33:, -32:], played.goals[1])


def test_a_contact_sheet_has_a_pair_of_lines_for_every_copy():
    played = play_round(Dot(2), HeldActions(2, 4.0, np.random.default_rng(0)), np.arange(2), 1)
    sheet = contact_sheet(played)[::ENLARGED, ::ENLARGED]
    assert sheet.shape == (2 * 67, 33 * (len(played.deeds) + 1), 3)
    np.testing.assert_array_equal(sheet[:32, :32], played.frames[0, 0])
    np.testing.assert_array_equal(sheet[67:99, -33:-1], played.goals[1])
