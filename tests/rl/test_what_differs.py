"""Laws of settings that differ and of results that grow: what is named, what is merged, and how long runs can go on to."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerscout.cache import records
from layerscout.cache.records import Arm, Run, RunRecord
from layerscout.cache.records.runs import Budget
from layerscout.rl.comparison.extending import merged, seeds_of
from layerscout.rl.comparison.going_on import fitting_length, missed_evaluations
from layerscout.rl.config import TrainConfig
from layerscout.rl.differences import SETTINGS_NAME, differing, elsewhere, kept_settings, told_differences
from layerscout.rl.loops.learning import evaluation_points


def config(**said) -> TrainConfig:
    return TrainConfig.model_validate({"environment": "any"} | said)


def told(there: TrainConfig, here: TrainConfig) -> str:
    return told_differences(there, here, differing(there, here))


def test_equal_settings_differ_in_nothing_however_they_were_said():
    assert differing(config(), config(seeds=10, dqn={"batch": config().dqn.batch})) == []
    assert told_differences(config(), config(), []) == ""


def test_what_differs_is_named_in_the_order_of_the_settings_and_a_table_once():
    there, here = config(seeds=2, updates=10), config(seeds=3, updates=20, dqn={"batch": 9, "lr": 0.5})
    assert differing(there, here) == ["seeds", "updates", "dqn"]
    assert differing(there, here, aside={"updates", "dqn"}) == ["seeds"]


@pytest.mark.parametrize(
    ("there", "here", "sentence"),
    [
        ({"seeds": 2}, {"seeds": 3}, "seeds is 2 there and 3 here"),
        ({"dqn": {"batch": 8}}, {"dqn": {"batch": 9}}, "dqn.batch is 8 there and 9 here"),
        ({"heads": ["linear", "mlp"]}, {}, "heads is linear, mlp there and mlp here"),
        ({"evaluate_at": [7, 9]}, {}, "evaluate_at is 7, 9 there and not set here"),
        ({}, {"threads": 2}, "threads is not set there and 2 here"),
        ({"best_possible": 0.0}, {}, "best_possible is 0.0 there and not set here"),
        ({"scratch": False}, {}, "scratch is False there and True here"),
        ({"work": {"damage": 0.0}}, {"work": {"damage": 2.0}}, "work.damage is 0.0 there and 2.0 here"),
        ({"work": {"sac": {"batch": 8}}}, {"work": {"sac": {"batch": 9}}}, "work.sac.batch is 8 there and 9 here"),
        ({"work": {}}, {}, "work is set there and not set here"),
    ],
)
def test_a_difference_is_told_in_words_with_what_is_there_first(there, here, sentence):
    assert told(config(**there), config(**here)) == sentence


def test_arms_that_are_said_by_hand_differ_by_name_and_one_that_is_new_was_not_set():
    there = config(work={"arms": {"plain": {"damage": 1.0}, "free": {"damage": 0.0}}})
    here = config(work={"arms": {"free": {"damage": 0.5}, "plain": {"damage": 1.0}, "dear": {"damage": 9.0}}})
    assert told(there, here) == (
        "work.arms.free.damage is 0.0 there and 0.5 here, work.arms.dear is not set there and {'damage': 9.0} here"
    )


def test_settings_are_kept_beside_results_and_come_back_as_they_were(tmp_path):
    kept = config(seeds=3, evaluate_at=[5], dqn={"batch": 9})
    records.save_settings(kept, tmp_path / SETTINGS_NAME)
    assert kept_settings(tmp_path, TrainConfig) == kept


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[1, 2]", b'{"environment": "any", "colour": "red"}', b'{"environment": 3}', b"\xff\xfe", b"{}"]
)
def test_settings_that_cannot_be_read_are_none_and_no_failure(tmp_path, content):
    if content is not None:
        (tmp_path / SETTINGS_NAME).write_bytes(content)
    assert kept_settings(tmp_path, TrainConfig) is None


def test_settings_that_lost_a_byte_are_none(tmp_path):
    records.save_settings(config(seeds=12), tmp_path / SETTINGS_NAME)
    whole = (tmp_path / SETTINGS_NAME).read_bytes()
    (tmp_path / SETTINGS_NAME).write_bytes(whole.replace(b"12", b"13", 1))
    assert kept_settings(tmp_path, TrainConfig) is None


def test_elsewhere_is_the_first_number_that_is_free(tmp_path):
    taken = tmp_path / "train"
    assert f"--out {taken}-2" in elsewhere("train", config(out=taken))
    for name in ("train-2", "train-3"):
        (tmp_path / name).mkdir()
    command = elsewhere("train", config(out=taken, seeds=3))
    assert f"--out {taken}-4" in command
    assert command.startswith("layerscout train any")
    assert "--seeds 3" in command


# --- records of one group


def record(*runs: tuple[str, int], wall: float = 1.0, flops: float = 7.0, **changes) -> RunRecord:
    budget = Budget(
        environment_steps=1, updates=2, trainable_parameters=3, flops=flops, backbone_clips=4, wall_seconds=wall, cpu_seconds=2 * wall
    )
    names = list(dict.fromkeys(name for name, _ in runs))
    arms = [Arm(name=name, kind="ranked", layer=name, store_id="s", head="mlp", score=None, width=5, budget=budget) for name in names]
    done = [Run(arm=name, seed=seed, returns=(wall,), evaluations=(), final=wall, status="done") for name, seed in runs]
    values = {"environment": "any", "mode": "offline", "selection": None, "random_policy_return": None}
    return RunRecord.model_validate(values | {"arms": arms, "runs": done} | changes)


def places(found: RunRecord) -> list[tuple[str, int]]:
    return [(run.arm, run.seed) for run in found.runs]


def test_nothing_before_is_what_came_after():
    after = record(("a", 0), ("b", 0))
    assert merged(None, after, ["b", "a"]) is after


def test_merged_runs_are_sorted_by_arm_and_seed_whoever_came_first():
    before, after = record(("b", 1), ("b", 0), ("a", 0)), record(("a", 2), ("a", 1), ("c", 0))
    together = merged(before, after, ["a", "b", "c"])
    assert [arm.name for arm in together.arms] == ["a", "b", "c"]
    assert places(together) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)]


def test_arms_that_are_not_asked_for_now_stand_behind_the_others():
    together = merged(record(("old", 0), ("a", 0)), record(("b", 0)), ["b", "unheard", "a"])
    assert [arm.name for arm in together.arms] == ["b", "a", "old"]
    assert places(together) == [("b", 0), ("a", 0), ("old", 0)]


def test_times_add_up_and_what_one_run_was_allowed_stays():
    together = merged(record(("a", 0), wall=1.25), record(("a", 1), ("b", 1), wall=2.5, flops=9.0), ["a", "b"])
    spent = {arm.name: arm.budget for arm in together.arms}
    assert (spent["a"].wall_seconds, spent["a"].cpu_seconds, spent["a"].flops) == (3.75, 7.5, 9.0)
    assert (spent["b"].wall_seconds, spent["b"].cpu_seconds) == (2.5, 5.0)
    assert spent["a"].updates == 2


def test_a_run_that_was_trained_again_counts_once_with_its_newer_returns():
    together = merged(record(("a", 0), ("a", 1), wall=1.0), record(("a", 1), wall=2.0), ["a"])
    assert [(run.seed, run.final) for run in together.runs] == [(0, 1.0), (1, 2.0)]


def test_what_is_said_of_the_comparison_is_the_newer_word():
    together = merged(record(("a", 0), random_policy_return=0.5), record(("a", 1), random_policy_return=0.75), ["a"])
    assert together.random_policy_return == 0.75


def test_seeds_are_counted_of_one_arm():
    found = record(("a", 0), ("a", 1), ("a", 2), ("b", 0))
    assert [seeds_of(found, name) for name in ("a", "b", "nobody")] == [3, 1, 0]


# --- how long runs can go on to


@pytest.mark.parametrize(
    ("length", "evaluations", "expected"),
    [
        (40, 4, [10, 20, 30, 40]),
        (40, 1, [40]),
        (10, 3, [3, 6, 10]),
        (3, 5, [1, 2, 3]),  # more looks than updates: each of them once, and none before the first
        (1, 4, [1]),
    ],
)
def test_evaluations_are_spread_evenly_and_the_last_one_is_longer(length, evaluations, expected):
    points = evaluation_points(config(updates=length, evaluations=evaluations, evaluation_episodes=2, final_episodes=7), length)
    assert list(points) == expected
    assert list(points.values()) == [2] * (len(expected) - 1) + [7]


def test_evaluations_that_were_said_by_hand_are_all_as_long_as_the_last():
    points = evaluation_points(config(updates=40, evaluate_at=[30, 5], evaluation_episodes=2, final_episodes=7), 40)
    assert points == {5: 7, 30: 7, 40: 7}


@pytest.mark.parametrize(
    ("before", "now", "missed"),
    [
        ({"updates": 40}, {"updates": 80}, []),  # 20, 40, 60, 80: the first was made, the second was the end
        ({"updates": 40}, {"updates": 80, "evaluations": 8}, []),
        ({"updates": 40}, {"updates": 60}, [15]),
        ({"updates": 40}, {"updates": 90, "evaluations": 9}, []),
        ({"updates": 40}, {"updates": 41, "evaluations": 3}, [13, 27]),
        ({"updates": 40, "evaluate_at": [10]}, {"updates": 90, "evaluate_at": [10, 50]}, []),
        ({"updates": 40, "evaluate_at": [10]}, {"updates": 90, "evaluate_at": [10, 20]}, [20]),
        ({"updates": 40}, {"updates": 80, "evaluate_at": [20]}, [20]),  # as long as the last one: it was made, but shorter
        ({"updates": 40}, {"updates": 40}, []),
    ],
)
def test_evaluations_that_one_long_run_would_have_had_are_missed_by_name(before, now, missed):
    assert missed_evaluations(config(**before), config(**now)) == missed


def test_steps_are_counted_where_agents_play():
    before, now = (config(mode="online", steps=steps, updates=1) for steps in (40, 60))
    assert missed_evaluations(before, now) == [15]
    assert fitting_length(before, now) == 80


@pytest.mark.parametrize(
    ("before", "now", "fitting"),
    [
        ({"updates": 40}, {"updates": 60}, 80),
        ({"updates": 40}, {"updates": 81}, 120),
        ({"updates": 40}, {"updates": 41, "evaluations": 3}, 120),
        ({"updates": 40}, {"updates": 50, "evaluate_at": [5]}, None),
    ],
)
def test_a_length_that_fits_is_the_next_multiple_at_which_nothing_is_missed(before, now, fitting):
    asked = config(**now)
    found = fitting_length(config(**before), asked)
    assert found == fitting
    if found is not None:
        assert found >= asked.updates
        assert missed_evaluations(config(**before), asked.lasting(found)) == []


def test_lasting_changes_the_length_of_the_mode_and_nothing_else():
    offline, online = config(updates=5, steps=7), config(mode="in-loop", updates=5, steps=7)
    assert differing(offline, offline.lasting(9)) == ["updates"]
    assert differing(online, online.lasting(9)) == ["steps"]
    assert (offline.length, online.length, offline.lasting(9).length, online.lasting(9).length) == (5, 7, 9, 9)
    assert (offline.unit, online.unit) == ("updates", "steps")
    assert offline.out == Path("outputs/train")
