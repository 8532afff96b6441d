"""Continuous actions from the dataset to the report: SAC while playing, IQL from the store, each killable and refused where it must be."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from by_hand import select, settings, without_times

from layerscout.errors import UsageError
from layerscout.extract.config import ExtractConfig
from layerscout.extract.run import plan as plan_extraction
from layerscout.extract.run import run as extract
from layerscout.rl.agents.sac import SAC
from layerscout.rl.loops import checkpoint
from layerscout.rl.run import plan, run
from layerscout.worlds.collect import plan as plan_collection
from layerscout.worlds.collect import run as collect
from layerscout.worlds.config import CollectConfig

PENDULUM = "Pendulum-v1"
SMALL = {"batch": 8, "hidden": [8], "warm_up": 5}


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory, _no_waiting_for_the_disk):
    pytest.importorskip("pygame", reason="Pendulum's pictures need pygame, which the extra [pretrain] brings")
    folder = tmp_path_factory.mktemp("pendulum")
    options = {"max_episode_steps": 12}
    data = collect(plan_collection(CollectConfig(environment=PENDULUM, steps=48, out=folder / "data.h5", size=32, options=options)))
    store = extract(plan_extraction(ExtractConfig(backbone="tiny", data=data, root=folder / "root", pooling="last/mean")))
    both = select(folder / "selection.json", ("ranked", store, "blocks.3"), ("pixels", store, "pixels"))
    without_model = select(folder / "pixels.json", ("pixels", store, "pixels"))
    return SimpleNamespace(selection=both, pixels=without_model, root=folder / "root")


def small(pendulum, out, mode, **changes):
    shorter = {"environment": PENDULUM, "steps": 30, "updates": 12, "evaluations": 1, "final_episodes": 1, "sac": SMALL, "iql": SMALL}
    selection = changes.pop("selection", pendulum.selection)
    return settings(selection, out, pendulum.root, mode=mode, **(shorter | {"scratch_hidden": (12,)} | changes))


def test_the_dataset_says_what_its_actions_are(pendulum):
    planned = plan(small(pendulum, pendulum.root.parent / "nothing", "online"))
    assert (planned.actions.count, planned.actions.dimensions) == (0, 1)
    assert planned.describe()["algorithm"] == "sac"
    assert planned.arms[0].store.index("action").shape[1] == 1


@pytest.mark.parametrize(("mode", "updates"), [("online", 26), ("offline", 12)])
def test_every_arm_learns(pendulum, tmp_path, mode, updates):
    record = run(plan(small(pendulum, tmp_path, mode)))
    assert [arm.name for arm in record.arms] == ["blocks.3", "pixels", "scratch"]
    assert {one.status for one in record.runs} == {"done"}
    assert {arm.budget.updates for arm in record.arms} == {updates}
    assert all(arm.budget.flops > 0 for arm in record.arms)
    parameters = {arm.name: arm.budget.trainable_parameters for arm in record.arms}
    assert parameters["scratch"] > parameters["pixels"], "its own hidden layers"
    assert all(-2000 < value < 0 for one in record.runs for value in one.returns), "Pendulum's rewards are negative"


def test_a_killed_comparison_continues_bit_equal(pendulum, tmp_path, monkeypatch):
    config = small(pendulum, tmp_path / "whole", "online", scratch=False, checkpoint_updates=7, selection=pendulum.pixels)
    whole = run(plan(config))
    save, saved = checkpoint.save_checkpoint, []

    def dies_after_saving(*arguments):
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("layerscout.rl.loops.learning.SPARING", 0)
    broken = config.model_copy(update={"out": tmp_path / "broken"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", dies_after_saving)
        with pytest.raises(KeyboardInterrupt):
            run(plan(broken))
    assert without_times(run(plan(broken))) == without_times(whole)


def test_a_run_whose_loss_is_not_finite_stops_and_the_others_go_on(pendulum, tmp_path, monkeypatch):
    update = SAC.update

    def poisoned(self, batch):
        if self.updates == 3:
            batch.reward[1] = np.nan
        return update(self, batch)

    monkeypatch.setattr(SAC, "update", poisoned)
    record = run(plan(small(pendulum, tmp_path, "online", scratch=False, selection=pendulum.pixels)))
    failed = [(one.arm, one.seed) for one in record.runs if one.status == "failed"]
    assert failed == [("pixels", 1)]
    assert "not finite at update 4" in next(one.reason for one in record.runs if one.status == "failed")
    table = (tmp_path / "experiment_summary_table.md").read_text()
    assert "pixels" in table


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("online", {"algorithm": "dqn"}, "continuous actions, and dqn chooses among discrete ones"),
        ("offline", {"algorithm": "sac"}, "sac learns while it plays"),
        ("in-loop", {"algorithm": "iql"}, "iql learns from a fixed dataset"),
    ],
)
def test_a_learner_that_cannot_is_refused(pendulum, tmp_path, mode, changes, message):
    with pytest.raises(UsageError, match=message):
        plan(small(pendulum, tmp_path / "out", mode, **changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_convolutional_network_learns_continuous_actions_too(pendulum, tmp_path, mode):
    record = run(plan(small(pendulum, tmp_path, mode, cnn=True, seeds=1)))
    assert "scratch cnn" in {arm.name for arm in record.arms}
    assert {one.status for one in record.runs} == {"done"}


def test_in_the_loop_the_same_adapters_learn_around_every_block(pendulum, tmp_path, monkeypatch):
    learned = []
    update = SAC.update

    def watched(self, batch):
        before = self.optimisers["actor"].values.clone()
        losses = update(self, batch)
        learned.append(float((self.optimisers["actor"].values - before).abs().max()))
        return losses

    monkeypatch.setattr(SAC, "update", watched)
    record = run(plan(small(pendulum, tmp_path, "in-loop", seeds=1, steps=10, sac=SMALL | {"batch": 2}, in_loop_grid=2)))
    parameters = {arm.kind: arm.budget.trainable_parameters for arm in record.arms}
    assert parameters["ranked"] == parameters["reinitialised"] == parameters["shuffled"] == parameters["identity"] < parameters["trained"]
    assert {one.status for one in record.runs} == {"done"}
    assert min(learned) > 0
