"""A folder of results and what is asked for now: more of the same goes on, everything else is refused by name with a command that keeps both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_kept_learners import SELECTION, finish, keep

from layerscout.cache import records
from layerscout.errors import UsageError
from layerscout.rl.comparison.extending import require_same_or_more
from layerscout.rl.comparison.going_on import course_of
from layerscout.rl.config import KEY_NAME, TrainConfig, comparison_key
from layerscout.rl.differences import SETTINGS_NAME

ARMS = ("a", "b")


def asked(out: Path, **said: Any) -> TrainConfig:
    base = {"environment": "any", "out": out, "seeds": 2, "updates": 40, "evaluations": 2, "dqn": {"batch": 8}}
    return TrainConfig.model_validate(base | said)


def trained(out: Path, finished: bool = True, learners: bool = True, group: str = "mlp-16", **said: Any) -> TrainConfig:
    """A group of results as a training leaves it; without ``finished`` only its key and settings."""
    config = asked(out, **said)
    (out / group).mkdir(parents=True)
    (out / group / KEY_NAME).write_text(comparison_key(config, SELECTION) + "\n")
    records.save_settings(config, out / SETTINGS_NAME)
    if finished:
        finish(out / group, *ARMS)
    if learners:
        course = course_of(config, SELECTION)
        keep(out / group, *ARMS, at=config.length, course=course)
    return config


def goes_on_from(config: TrainConfig, arms: tuple[str, ...] = ARMS) -> int:
    return require_same_or_more(config, SELECTION, comparison_key(config, SELECTION), arms)


def refused(config: TrainConfig, arms: tuple[str, ...] = ARMS) -> tuple[str, str]:
    with pytest.raises(UsageError) as error:
        goes_on_from(config, arms)
    return str(error.value), str(error.value.hint)


def test_a_folder_without_results_and_one_of_the_same_settings_begin_where_they_are(tmp_path: Path) -> None:
    assert goes_on_from(asked(tmp_path / "nothing")) == 0
    trained(tmp_path / "out", finished=False, learners=False)
    assert goes_on_from(asked(tmp_path / "out")) == 0, "what was begun under these settings is continued by the loop"


@pytest.mark.parametrize(
    "more",
    [
        {"seeds": 3},
        {"scratch": False},
        {"cnn": True},
        {"random_layers": 2},
        {"all_layers": True},
        {"seeds": 5, "cnn": True},
        {"seeds": 3, "threads": 2, "videos": 1, "checkpoint_updates": 7},
    ],
)
def test_more_seeds_and_arms_are_trained_beside_finished_ones_from_the_beginning(tmp_path: Path, more: dict[str, Any]) -> None:
    trained(tmp_path)
    assert goes_on_from(asked(tmp_path, **more)) == 0


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"seeds": 1}, "seeds is 2 there and 1 here"),
        ({"updates": 20}, "updates is 40 there and 20 here"),
        ({"standardise": False}, "standardise is True there and False here"),
        ({"updates": 80, "dqn": {"batch": 9}}, "updates is 40 there and 80 here, dqn.batch is 8 there and 9 here"),
        ({"mode": "online", "steps": 40}, "mode is offline there and online here, steps is 20000 there and 40 here"),
        ({"seeds": 3, "heads": ["linear", "mlp"]}, "heads is mlp there and linear, mlp here"),
    ],
)
def test_what_decides_a_runs_numbers_is_named_and_nothing_else(tmp_path: Path, other: dict[str, Any], told: str) -> None:
    trained(tmp_path / "out")
    message, hint = refused(asked(tmp_path / "out", threads=2, **other))
    assert message == f"{tmp_path / 'out'} holds results of other settings: {told}"
    assert hint.startswith("keep them, and train anew: layerscout train any ")
    assert f"--out {tmp_path / 'out-2'}" in hint


@pytest.mark.parametrize("what", ["no settings", "damaged settings", "another selection"])
def test_results_whose_settings_do_not_explain_their_key_are_of_another_selection_or_version(tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    trained(out)
    if what == "no settings":
        (out / SETTINGS_NAME).unlink()
    elif what == "damaged settings":
        (out / SETTINGS_NAME).write_bytes((out / SETTINGS_NAME).read_bytes()[:-9])
    else:
        (out / "mlp-16" / KEY_NAME).write_text("0" * 64)
    message, hint = refused(asked(out, seeds=3))
    assert message == f"{out / 'mlp-16'} holds results of another selection, or another version of layerscout"
    assert f"--out {tmp_path / 'out-2'}" in hint


def test_a_group_that_was_begun_with_fewer_runs_is_finished_first_by_its_own_command(tmp_path: Path) -> None:
    trained(tmp_path / "out", finished=False)
    message, hint = refused(asked(tmp_path / "out", seeds=3))
    assert message == f"{tmp_path / 'out' / 'mlp-16'} was begun with fewer runs and has not finished"
    assert hint.startswith("finish it first: layerscout train any ")
    assert "--seeds 2" in hint


# --- longer runs


@pytest.mark.parametrize("more", [{"updates": 80}, {"updates": 80, "seeds": 3}, {"updates": 120, "evaluations": 3}])
def test_longer_runs_go_on_from_the_end_of_the_shorter_ones(tmp_path: Path, more: dict[str, Any]) -> None:
    """One evaluation of 40 updates is at their end, where a run in one go would have been looked at on its way."""
    trained(tmp_path, evaluations=1)
    assert goes_on_from(asked(tmp_path, **{"evaluations": more["updates"] // 40} | more)) == 40


def test_longer_runs_that_would_have_been_looked_at_earlier_are_refused_with_a_length_that_fits(tmp_path: Path) -> None:
    """Of 2 evaluations those of 40 updates are after 20 and 40, and of 60 after 30 and 60: 80 are the next, after 40 and 80."""
    trained(tmp_path / "out", evaluations=2)
    message, hint = refused(asked(tmp_path / "out", updates=60))
    assert message == (
        f"{tmp_path / 'out'} holds runs of 40 updates, and 60 cannot go on from them: "
        "a run of 60 updates is evaluated after 30, where this one was not"
    )
    assert hint.startswith("so many updates can be gone on to: layerscout train any ")
    assert "--updates 80" in hint


def test_longer_runs_whose_learners_were_not_kept_are_trained_anew_elsewhere(tmp_path: Path) -> None:
    trained(tmp_path / "out", learners=False)
    message, hint = refused(asked(tmp_path / "out", updates=80))
    assert message.endswith(f"80 cannot go on from them: what a, b had learned was not kept in {tmp_path / 'out' / 'mlp-16'}")
    assert hint.startswith("train anew: layerscout train any ")
    assert f"--out {tmp_path / 'out-2'}" in hint


def test_learners_that_were_going_on_beside_an_arm_that_is_not_asked_for_now_go_on_first(tmp_path: Path) -> None:
    config = trained(tmp_path, learners=False, updates=80)
    keep(tmp_path / "mlp-16", *ARMS, at=40, course=course_of(config, SELECTION))
    message, hint = refused(asked(tmp_path, updates=80, seeds=3), ("a",))
    assert message == f"{tmp_path / 'mlp-16'} was going on to 80 updates, with arms that are not asked for now, and has not finished"
    assert hint.startswith("finish it first: layerscout train any ")
    assert goes_on_from(asked(tmp_path, updates=80, seeds=3)) == 0


def test_one_group_of_other_settings_among_those_of_the_same_decides(tmp_path: Path) -> None:
    trained(tmp_path, group="mlp-16")
    (tmp_path / "pixels").mkdir()
    (tmp_path / "pixels" / KEY_NAME).write_text("1" * 64)
    assert "pixels holds results of another selection" in refused(asked(tmp_path))[0]
    (tmp_path / "pixels" / KEY_NAME).write_text((tmp_path / "mlp-16" / KEY_NAME).read_text())
    assert goes_on_from(asked(tmp_path)) == 0
