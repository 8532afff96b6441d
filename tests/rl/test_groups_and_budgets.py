"""Two records of one group as one, budgets in updates and bytes, and the plain part of a checkpoint."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from layerscout.cache.records import Arm, Run, RunRecord
from layerscout.cache.records.runs import Budget
from layerscout.errors import BudgetError, DataError, UsageError
from layerscout.rl.comparison.dreamers import pretrained_of, replay_bytes
from layerscout.rl.comparison.extending import merged, seeds_of
from layerscout.rl.comparison.learners import updates_within
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops import checkpoint

# --- records of one group


def record(runs: dict[str, list[int]], wall: float = 1.0, cpu: float = 2.0, final: float = 0.0) -> RunRecord:
    """A record of arms with these seeds."""
    budget = Budget(
        environment_steps=10, updates=5, trainable_parameters=7, flops=1e3, backbone_clips=0, wall_seconds=wall, cpu_seconds=cpu
    )
    arms = [Arm(name=name, kind="ranked", layer="l", store_id=None, head="mlp", score=None, width=3, budget=budget) for name in runs]
    own = [
        Run(arm=name, seed=seed, returns=(final,), evaluations=(), final=final, status="done")
        for name, seeds in runs.items()
        for seed in seeds
    ]
    return RunRecord(environment="e", mode="offline", selection=None, random_policy_return=None, arms=tuple(arms), runs=tuple(own))


def names(one: RunRecord) -> list[tuple[str, int]]:
    return [(run.arm, run.seed) for run in one.runs]


def test_more_seeds_stand_behind_those_that_were_there_arm_by_arm():
    found = merged(record({"a": [0, 1], "b": [0, 1]}), record({"a": [2], "b": [2]}), ["a", "b"])
    assert names(found) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]
    assert seeds_of(found, "a") == 3
    assert seeds_of(found, "c") == 0


def test_times_of_an_arm_add_up_and_what_a_single_run_was_allowed_stays():
    found = merged(record({"a": [0], "b": [0]}, wall=1.25, cpu=2.0), record({"a": [1]}, wall=0.1, cpu=0.2), ["a", "b"])
    first, second = found.arms
    assert (first.budget.wall_seconds, first.budget.cpu_seconds, first.budget.updates) == (1.35, 2.2, 5)
    assert (second.budget.wall_seconds, second.budget.cpu_seconds) == (1.25, 2.0)


def test_arms_come_in_the_order_that_is_asked_for_and_others_behind_them():
    found = merged(record({"old": [0], "a": [0]}), record({"b": [0]}), ["b", "never trained", "a"])
    assert [arm.name for arm in found.arms] == ["b", "a", "old"]
    assert names(found) == [("b", 0), ("a", 0), ("old", 0)]


def test_a_run_that_was_made_again_is_the_newer_one():
    found = merged(record({"a": [0, 1]}, final=1.0), record({"a": [1]}, final=2.0), ["a"])
    assert [run.final for run in found.runs] == [1.0, 2.0]


def test_without_a_record_before_the_new_one_is_all():
    one = record({"a": [0]})
    assert merged(None, one, ["z"]) is one


# --- budgets


def asked(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"environment": "layerscout/Grid-v0", "selection": "s.json"} | changes)


@pytest.mark.parametrize(
    ("algorithm", "settings", "expected"),
    [
        ("iql", {"mode": "offline", "updates": 77}, 77),
        ("sac", {"mode": "online", "steps": 100, "sac": {"train_interval": 3}}, 33),
        ("dqn", {"mode": "online", "steps": 100, "dqn": {"train_interval": 100}}, 1),
        ("ppo", {"mode": "online", "steps": 64, "ppo": {"length": 16, "environments": 2, "batch": 8, "epochs": 3}}, 64 * 3 // 8),
        ("ppo", {"mode": "online", "steps": 64, "ppo": {"length": 4, "environments": 1, "batch": 999, "epochs": 3}}, 64 * 3 // 4),
    ],
)
def test_a_budget_of_steps_holds_as_many_updates_as_its_learner_takes(algorithm, settings, expected):
    assert updates_within(asked(algorithm=algorithm, **settings), algorithm) == expected


@pytest.mark.parametrize(("capacity", "frames"), [(50_000, 2 * 300 + 2), (400, 400)])
def test_replays_of_pictures_hold_every_step_twice_at_most_or_their_capacity(capacity, frames):
    dreamer = {"transfer": ["none"], "capacity": capacity, "model": {"size": 16, "stages": 2, "channels": 1}}
    config = asked(mode="online", algorithm="dreamer", steps=300, seeds=3, dreamer=dreamer)
    assert replay_bytes(config) == 3 * frames * 16 * 16


def test_an_arm_that_starts_from_a_model_says_which_one_is_missing():
    assert pretrained_of(asked(mode="online", algorithm="dreamer", dreamer={"transfer": ["none", "untrained"]})) is None
    with pytest.raises(UsageError, match="the arm 'naive' starts from a pretrained model, and none was named") as error:
        pretrained_of(asked(mode="online", algorithm="dreamer", dreamer={"transfer": ["none", "naive", "apv"]}))
    assert "layerscout pretrain apv DATA" in (error.value.hint or "")


# --- checkpoints


def test_the_plain_part_of_a_checkpoint_is_read_without_its_arrays(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save_checkpoint(path, "key", {"updates": np.int64(7), "name": "ä", "values": np.ones(3), "pair": (1, 2.5), 3: None})
    found = checkpoint.peek(path)
    assert found == {"updates": 7, "name": "ä", "values": {checkpoint.ARRAY: "array0"}, "pair": [1, 2.5], "3": None}
    json.dumps(found)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all"])
def test_a_damaged_checkpoint_is_not_peeked_into(tmp_path, content):
    path = tmp_path / "c.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged") as error:
        checkpoint.peek(path)
    assert error.value.hint == "delete it"


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float32), np.array(7.5), np.array(["ä", "bc"]), np.array([np.nan, -np.inf])])
def test_arrays_of_every_kind_come_back(tmp_path, array):
    checkpoint.save_checkpoint(tmp_path / "c.npz", "key", {"deep": [{"array": array}]})
    found = checkpoint.load_checkpoint(tmp_path / "c.npz", "key")["deep"][0]["array"]  # type: ignore[index]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


def test_a_checkpoint_in_a_place_that_is_a_file_is_refused_and_nothing_is_lost(tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(DataError, match="cannot be written") as error:
        checkpoint.save_checkpoint(tmp_path / "folder" / "c.npz", "key", {"values": np.ones(3)})
    assert not isinstance(error.value, BudgetError)
    assert (tmp_path / "folder").read_text() == "a file"
