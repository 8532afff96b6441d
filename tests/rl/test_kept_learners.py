"""What learners of a folder know, read from its files: which of them can be gone on from, which were left behind, and why some cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from layerscout.cache import records
from layerscout.cache.records import RunRecord, Selection
from layerscout.rl.comparison.closed_form import GROUP as CLOSED_FORM
from layerscout.rl.comparison.going_on import course_of, kept_learners, left_behind, why_not
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops.checkpoint import save_checkpoint

SELECTION = Selection(ranking="ranking.json", store_id="ls1-" + "0" * 32, dataset_digest="sha256:00", backbone="any", choices=())
RESULT = "result.json"


def config(**said) -> TrainConfig:
    return TrainConfig.model_validate({"environment": "any", "updates": 40} | said)


COURSE = course_of(config(), SELECTION)


def keep(folder: Path, *arms: str, seeds=(0, 1), at: int = 40, course: str = COURSE, added: str = "") -> Path:
    """What a group knows at the end, as far as going on reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"learner{added}.npz"
    state = {"course": course, "arms": list(arms), "seeds": list(seeds), "at": at, "agent": np.zeros(3)}
    save_checkpoint(path, course, state)
    return path


def finish(folder: Path, *arms: str, seeds=(0, 1)) -> None:
    """A group's record of finished runs."""
    budget = {"environment_steps": 0, "updates": 40, "trainable_parameters": 0, "flops": 0.0}
    budget |= {"backbone_clips": 0, "wall_seconds": 0.0, "cpu_seconds": 0.0}
    kind = {"kind": "ranked", "layer": "x", "store_id": None, "head": "mlp", "score": None, "width": 1, "budget": budget}
    runs = [{"arm": arm, "seed": seed, "returns": (), "evaluations": (), "final": 0.0, "status": "done"} for arm in arms for seed in seeds]
    values = {"environment": "any", "mode": "offline", "selection": None, "random_policy_return": None}
    folder.mkdir(parents=True, exist_ok=True)
    records.save(RunRecord.model_validate(values | {"arms": [{"name": arm} | kind for arm in arms], "runs": runs}), folder / RESULT)


# --- the course


@pytest.mark.parametrize(
    "change",
    [
        {"updates": 99},
        {"seeds": 3},
        {"evaluations": 2},
        {"evaluate_at": [7]},
        {"scratch": False},
        {"cnn": True},
        {"random_layers": 2},
        {"all_layers": True},
        {"out": "elsewhere"},
        {"threads": 3},
        {"checkpoint_updates": 7},
    ],
)
def test_how_far_how_often_and_beside_whom_a_run_goes_does_not_change_its_course(change):
    assert course_of(config(**change), SELECTION) == COURSE


@pytest.mark.parametrize(
    "change",
    [
        {"dqn": {"lr": 0.5}},
        {"standardise": False},
        {"mode": "online"},
        {"heads": ["linear"]},
        {"environment": "other"},
        {"algorithm": "iql"},
    ],
)
def test_what_decides_an_update_changes_the_course(change):
    assert course_of(config(**change), SELECTION) != COURSE


def test_another_selection_is_another_course():
    assert course_of(config(), SELECTION.model_copy(update={"dataset_digest": "sha256:11"})) != COURSE


# --- what was kept


def test_what_is_kept_is_read_by_arm_and_seed_in_the_order_of_the_files(tmp_path):
    keep(tmp_path, "a", "b")
    keep(tmp_path, "a", seeds=(2, 3), at=20, added="-seeds-2")
    first, second = kept_learners(tmp_path, COURSE)
    found = {(one.added, one.arms, one.seeds, one.at) for one in (first, second)}
    assert found == {("", ("a", "b"), (0, 1), 40), ("-seeds-2", ("a",), (2, 3), 20)}
    assert [one.path for one in (first, second)] == sorted(tmp_path.glob("learner*.npz"))


def test_another_course_damage_and_other_files_are_no_learners(tmp_path):
    keep(tmp_path, "a", course="another")
    (tmp_path / "learner-torn.npz").write_bytes(b"PK")
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    save_checkpoint(tmp_path / "learner-old.npz", COURSE, {"course": COURSE, "arms": ["a"], "seeds": [0]})  # from before it told how far
    assert kept_learners(tmp_path, COURSE) == []
    assert kept_learners(tmp_path / "nowhere", COURSE) == []


@pytest.mark.parametrize(
    ("at", "asked", "behind"),
    [(20, ["a"], True), (20, ["a", "b"], False), (20, ["a", "b", "c"], False), (40, ["a"], False), (41, [], False), (39, [], True)],
)
def test_learners_are_left_behind_that_have_not_arrived_and_go_beside_one_that_is_not_asked_for(tmp_path, at, asked, behind):
    keep(tmp_path, "a", "b", at=at)
    assert left_behind(config(), tmp_path, COURSE, asked) is behind


# --- why runs cannot go on


def why(folder: Path, arms, before=None, now=None) -> str:
    return why_not(before or config(), now or config(updates=80), [folder], COURSE, arms, RESULT)


def test_runs_go_on_where_every_one_of_them_was_kept(tmp_path):
    group = tmp_path / "mlp-64"
    finish(group, "a", "b")
    keep(group, "a", "b")
    assert why(group, ["a", "b"]) == ""
    assert why(group, ["b", "a", "new"]) == ""


def test_what_was_not_kept_is_named_arm_by_arm(tmp_path):
    group = tmp_path / "mlp-64"
    finish(group, "a", "b", "c")
    keep(group, "b")
    assert why(group, ["a", "b", "c"]) == f"what a, c had learned was not kept in {group}"
    keep(group, "a", "c", seeds=(0,), added="-more")
    assert why(group, ["a", "b", "c"]) == f"what a, c had learned was not kept in {group}", "of seed 1 nothing is there"


def test_arms_that_learned_side_by_side_go_on_together(tmp_path):
    group = tmp_path / "mlp-64"
    finish(group, "a", "b")
    keep(group, "a", "b")
    assert why(group, ["b"]) == "a learned side by side with the others and is not asked for now"


def test_a_group_that_was_solved_or_has_not_finished_is_not_asked(tmp_path):
    finish(tmp_path / CLOSED_FORM, "a")
    (tmp_path / "begun").mkdir()
    assert why_not(config(), config(updates=80), [tmp_path / CLOSED_FORM, tmp_path / "begun"], COURSE, ["a"], RESULT) == ""


def test_an_evaluation_that_was_missed_is_told_before_anything_is_read(tmp_path):
    sentence = why(tmp_path / "nowhere", [], now=config(updates=4_000, evaluate_at=[5, 1_000]))
    assert sentence == "a run of 4,000 updates is evaluated after 5, where this one was not"


@pytest.mark.parametrize(("steps", "goes_on"), [(24, True), (48, True), (30, False)])
def test_a_rollout_that_was_cut_short_cannot_be_gone_on_from(tmp_path, steps, goes_on):
    said = {"mode": "online", "algorithm": "ppo", "ppo": {"length": 8, "environments": 3}, "evaluations": 1}
    before, now = config(steps=steps, **said), config(steps=480, **said)
    sentence = why_not(before, now, [], COURSE, [], RESULT)
    assert (sentence == "") is goes_on
    if not goes_on:
        assert "takes 24 steps (ppo.length 8 times ppo.environments 3)" in sentence
    assert (
        why_not(config(steps=30, mode="online", evaluations=1), config(steps=480, mode="online", evaluations=1), [], COURSE, [], RESULT)
        == ""
    )
