"""``--algorithm ppo`` as a command sees it: online and in the loop, killed and continued, with its budget counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from by_hand import INTERCEPT, select, settings, without_times

from layerscout.errors import UsageError
from layerscout.rl.comparison import in_loop
from layerscout.rl.config import TrainConfig, comparison_key
from layerscout.rl.loops import learning
from layerscout.rl.plan import TrainPlan
from layerscout.rl.run import plan, run

PPO = {"length": 8, "environments": 2, "batch": 8, "epochs": 2, "hidden": [8]}


@pytest.fixture(scope="module")
def selections(tmp_path_factory, small, synthetic_store, tiny_store):
    folder = tmp_path_factory.mktemp("selections")
    grid = select(folder / "grid.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    intercept = select(folder / "intercept.json", ("ranked", tiny_store, "blocks.5"))
    return SimpleNamespace(grid=grid, intercept=intercept, root=small.root)


def planned(selections, out, **changes) -> TrainPlan:
    return plan(
        settings(selections.grid, out, selections.root, **({"mode": "online", "algorithm": "ppo", "ppo": PPO, "steps": 60} | changes))
    )


def test_online_is_killed_and_continued_bit_by_bit_and_counts_its_steps(selections, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "SPARING", 0)
    whole = run(planned(selections, tmp_path / "whole", checkpoint_updates=7))
    assert {arm.budget.environment_steps for arm in whole.arms} == {60}
    assert {arm.budget.updates for arm in whole.arms} == {3 * 2 * 2 + 2 * 2}, "three rollouts of 16 steps, one of 12"
    assert {one.status for one in whole.runs} == {"done"}
    saves, save = [], learning.checkpoint.save_checkpoint

    def die(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learning.checkpoint, "save_checkpoint", die)
        with pytest.raises(KeyboardInterrupt):
            run(planned(selections, tmp_path / "broken", checkpoint_updates=7))
    assert without_times(run(planned(selections, tmp_path / "broken", checkpoint_updates=7))) == without_times(whole)


def test_in_the_loop_gradients_reach_the_adapters_before_the_frozen_block(selections, tmp_path, monkeypatch):
    monkeypatch.setattr(in_loop, "CALIBRATION_CLIPS", 8)
    changes = {"environment": INTERCEPT, "mode": "in-loop", "algorithm": "ppo", "ppo": PPO | {"length": 4, "batch": 4, "epochs": 1}}
    shorter = {"steps": 16, "evaluations": 1, "final_episodes": 1, "in_loop_grid": 2}
    record = run(plan(settings(selections.intercept, tmp_path, selections.root, **(changes | shorter))))
    assert {one.status for one in record.runs} == {"done"}
    assert {arm.budget.updates for arm in record.arms} == {4}
    assert np.isfinite([value for one in record.runs for value in one.returns]).all()


def test_offline_is_refused_and_the_plan_says_what_online_costs(selections, tmp_path):
    with pytest.raises(UsageError, match="ppo learns from what it plays itself"):
        planned(selections, tmp_path, mode="offline")
    described = planned(selections, tmp_path, steps=4000).describe(measure=True)
    assert described["algorithm"] == "ppo"
    assert described["seconds_of_updates"] > 0


def test_results_of_other_learners_keep_their_key(selections):
    common = {"environment": "e", "selection": selections.grid, "algorithm": "dqn", "mode": "online"}
    chosen = planned(selections, selections.root / "none").selection
    of = {batch: TrainConfig.model_validate(common | {"ppo": {"batch": batch}}) for batch in (8, 16)}
    assert comparison_key(of[8], chosen) == comparison_key(of[16], chosen)
    mine = {batch: config.model_copy(update={"algorithm": "ppo"}) for batch, config in of.items()}
    assert comparison_key(mine[8], chosen) != comparison_key(mine[16], chosen)
