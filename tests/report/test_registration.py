"""A registration says what was promised and when: its digest and its first commit cannot be had afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from layerscout.cache.records import load
from layerscout.errors import DataError
from layerscout.report.study.registration import STAMP_NAME, Registration, TaskStamp, differences

TEXT = """
[registration]
title = "Layers"
hypotheses = { H1 = "rho > 0", H2 = "within groups", H3 = "better than S" }
learners = { mixed = "iql" }
budgets = [3000, 12000]
cells = "4 depths x 2 weights"
score = "S-ctrl"
exclusions = ["tasks that were not learned"]
refutation = "interval of mean rho ends below +.3"

[backbones.tiny]
pooling = ["future/mean"]
[backbones.transnet]

[defaults.train]
seeds = 8
dqn = { gamma = 0.99, lr = 3e-4 }

[tasks.catch.collect]
steps = 20000
[tasks.hunt]
backbones = ["tiny"]
[tasks.catch.train]
dqn = { lr = 1e-3 }
"""


def git(folder: Path, *words: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *own, *words], check=True, capture_output=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(TEXT)
    return tmp_path / "study.toml"


def test_common_settings_hold_where_a_task_says_nothing_else(path: Path) -> None:
    registration = Registration.read(path)
    assert registration.settings("catch") == {
        "train": {"seeds": 8, "dqn": {"gamma": 0.99, "lr": 1e-3}},
        "collect": {"steps": 20000},
        "extract tiny": {"backbone": "tiny", "pooling": ["future/mean"]},
        "extract transnet": {"backbone": "transnet"},
    }
    assert set(registration.settings("hunt")) == {"train", "extract tiny"}
    assert registration.promise.budgets == (3000, 12000)
    with pytest.raises(DataError, match="registers no task 'grid'"):
        registration.settings("grid")


def test_the_first_commit_is_the_proof_whatever_was_changed_later(path: Path) -> None:
    assert Registration.read(path).commit() is None  # in no repository
    git(path.parent, "init")
    assert Registration.read(path).commit() is None  # not committed
    git(path.parent, "add", path.name)
    git(path.parent, "commit", "-m", "one")
    first = Registration.read(path)
    committed = first.commit()
    assert committed is not None
    assert committed.digest == first.digest
    path.write_text(TEXT.replace("12000", "99000"))
    git(path.parent, "commit", "-am", "two")
    changed = Registration.read(path)
    assert changed.digest != first.digest
    assert changed.commit() == committed


def test_a_stamp_keeps_the_time_of_the_first_start(path: Path) -> None:
    registration = Registration.read(path)
    registration.stamp(path.parent / "out", "catch")
    file = path.parent / "out" / STAMP_NAME
    before = file.read_bytes()
    registration.stamp(path.parent / "out", "catch")
    assert file.read_bytes() == before
    stamp = load(TaskStamp, file)
    assert (stamp.digest, stamp.task) == (registration.digest, "catch")
    with pytest.raises(DataError, match="no task 'maze'"):
        registration.stamp(path.parent / "out", "maze")


def test_settings_that_differ_are_named_and_places_are_free() -> None:
    registered = {"seeds": 8, "hidden": [64, 64], "out": "a", "dqn": {"lr": 1, "gamma": 0.9}, "extra": True}
    used = {"seeds": 8.0, "hidden": (64, 64), "out": "b", "dqn": {"lr": 1.0, "gamma": 0.99, "batch": 3}}
    assert list(differences(registered, used)) == [
        "dqn.gamma was registered as 0.9 and was 0.99",
        "extra was registered as true and is not among the settings that the runs kept",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((TEXT, "no = ["), "is not TOML"),
        (("title =", "titel ="), "registration.title"),
        (("[defaults.train]", "[defalts.train]"), r"unknown table \[defalts\]"),
        (("[tasks.", "[presets."), "names no task"),
    ],
)
def test_a_registration_that_says_too_little_is_refused(path: Path, change: tuple[str, str], message: str) -> None:
    path.write_text(TEXT.replace(*change))
    with pytest.raises(DataError, match=message):
        Registration.read(path)
    with pytest.raises(DataError, match="no registration"):
        Registration.read(path.with_name("other.toml"))
