"""What was promised and what was done, by hand: trees of settings, what differs in them, what a file must say, and every reason to doubt."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from layerscout.cache.records import load, save
from layerscout.errors import DataError
from layerscout.report.study.registered import SETTINGS_NAME, registered_study, registration_of
from layerscout.report.study.registration import (
    PLACES,
    STAMP_NAME,
    FirstCommit,
    Promise,
    Registration,
    TaskStamp,
    differences,
    digest_of,
    merged,
)

PROMISE = Promise(
    title="Layers",
    hypotheses={"H1": "rho > 0"},
    learners={"mixed": "iql"},
    budgets=(10,),
    cells="4 depths",
    score="S",
    exclusions=(),
    refutation="below +.3",
)
HEAD = """[registration]
title = "Größe"
hypotheses = {H1 = "ρ > 0"}
learners = {}
budgets = [10]
cells = ""
score = "S"
exclusions = []
refutation = ""
"""

# --- trees of settings


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"d": 0}}}, {"a": {"b": {"c": 1, "d": 0}}}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": None}, {"a": None}),
    ],
)
def test_of_two_trees_the_second_has_the_last_word_leaf_by_leaf(first: dict, second: dict, both: dict) -> None:
    before = repr((first, second))
    assert merged(first, second) == both
    assert repr((first, second)) == before, "neither is changed"
    assert merged(both, second) == both
    assert merged(first, {}) == first == merged({}, first)


@pytest.mark.parametrize(
    ("registered", "used"),
    [
        (3, 3.0),
        ([1, 2.0], (1.0, 2)),
        ([{"a": 1}], [{"a": 1.0}]),
        ({"a": {"b": 2}}, {"a": {"b": 2.0, "c": 9}}),
        (None, None),
        (True, True),
        ("ä", "ä"),
    ],
)
def test_what_is_the_same_number_list_or_table_is_no_difference(registered: Any, used: Any) -> None:
    assert list(differences({"x": registered}, {"x": used})) == []


@pytest.mark.parametrize(
    ("registered", "used", "told"),
    [
        (0, None, "x was registered as 0 and was null"),
        ("1", 1, 'x was registered as "1" and was 1'),
        ([1, 2], [2, 1], "x was registered as [1, 2] and was [2, 1]"),
        ([1], 1, "x was registered as [1] and was 1"),
        ([{"a": 1}], [{"a": 2}], 'x was registered as [{"a": 1}] and was [{"a": 2}]'),
        ({"b": 1}, 7, 'x was registered as {"b": 1} and was 7'),
        ("größer", "kleiner", 'x was registered as "größer" and was "kleiner"'),
        (1e-9, 2e-9, "x was registered as 1e-09 and was 2e-09"),
    ],
)
def test_a_difference_is_told_as_it_stands_in_both_files(registered: Any, used: Any, told: str) -> None:
    assert list(differences({"x": registered}, {"x": used})) == [told]


def test_differences_are_named_by_their_path_and_what_was_not_registered_is_free() -> None:
    registered = {"dqn": {"lr": 1, "deep": {"a": 1, "b": 2}}, "seeds": 3}
    used = {"dqn": {"lr": 1, "deep": {"a": 0}, "batch": 4}, "more": 1}
    assert list(differences(registered, used, "train.")) == [
        "train.dqn.deep.a was registered as 1 and was 0",
        "train.dqn.deep.b was registered as 2 and is not among the settings that the runs kept",
        "train.seeds was registered as 3 and is not among the settings that the runs kept",
    ]
    assert list(differences({}, used)) == []


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_place_changes_no_number_wherever_it_stands(place: str) -> None:
    assert list(differences({place: "a", "t": {place: "a"}}, {place: "b", "t": {}})) == []


# --- the file


def test_a_digest_is_that_of_the_bytes() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of("ρ".encode()) == f"sha256:{hashlib.sha256(bytes((0xCF, 0x81))).hexdigest()}" != digest_of(b"p")


def read(path: Path, text: str | bytes) -> Registration:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Registration.read(path)


def test_a_file_is_read_with_its_words_and_its_digest(tmp_path: Path) -> None:
    found = read(tmp_path / "r.toml", HEAD + "[tasks.a]\n")
    assert (found.promise.title, found.promise.hypotheses) == ("Größe", {"H1": "ρ > 0"})
    assert found.digest == digest_of((HEAD + "[tasks.a]\n").encode())
    assert (found.defaults, found.backbones, found.tasks, found.path) == ({}, {}, {"a": {}}, tmp_path / "r.toml")
    assert found.settings("a") == {}, "a stage without settings is not named"
    assert read(tmp_path / "r.toml", HEAD + "[tasks.a]\n\n").digest != found.digest


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        (b"\xff\xfe", "is not TOML", "a registration has [registration] and one [tasks.NAME] a task"),
        ("[tasks.a]\n[tasks.a]\n", "is not TOML", "a registration has [registration] and one [tasks.NAME] a task"),
        (
            HEAD + "[more]\n[tasks.a]\n",
            r"has an unknown table \[more\]",
            "tables: study, backbones, defaults, tasks, registration, presets",
        ),
        ("[tasks.a]\n", r"registration\.title: Field required", None),
        ("", r"registration\.title: Field required", None),
        (HEAD.replace("[10]", '["ten"]') + "[tasks.a]\n", r"registration\.budgets\.0: ", None),
        (HEAD + "more = 1\n[tasks.a]\n", r"registration\.more: Extra inputs are not permitted", None),
        (HEAD, "names no task", "add a table [tasks.NAME] for every task"),
        (HEAD + "[tasks]\n", "names no task", "add a table [tasks.NAME] for every task"),
        (HEAD + "[tasks]\na = 1\n", "names no task", "add a table [tasks.NAME] for every task"),
    ],
)
def test_a_file_that_does_not_say_what_it_must_is_refused_at_the_first_place(
    tmp_path: Path, text: str | bytes, complaint: str, hint: str | None
) -> None:
    with pytest.raises(DataError, match=complaint) as error:
        read(tmp_path / "r.toml", text)
    assert error.value.hint == (hint or f"keys: {', '.join(Promise.model_fields)}")


def registration(path: Path = Path("r.toml"), **tables: Any) -> Registration:
    facts: dict[str, Any] = {"defaults": {}, "backbones": {}, "tasks": {"a": {}}}
    return Registration(path, "sha256:now", PROMISE, **facts | tables)


def test_an_extraction_has_the_defaults_under_those_of_its_backbone_under_the_tasks_own() -> None:
    found = registration(
        defaults={"extract": {"x": 1, "y": 1, "z": 1, "deep": {"p": 1}}, "other": {"q": 1}},
        backbones={"tiny": {"y": 2, "z": 2, "deep": {"q": 2}}, "big": {}},
        tasks={"a": {"extract": {"z": 3}, "probe": {"folds": 5}}, "b": {"backbones": ["big"]}, "c": {"backbones": []}},
    )
    assert found.settings("a") == {
        "probe": {"folds": 5},
        "extract tiny": {"backbone": "tiny", "x": 1, "y": 2, "z": 3, "deep": {"p": 1, "q": 2}},
        "extract big": {"backbone": "big", "x": 1, "y": 1, "z": 3, "deep": {"p": 1}},
    }
    assert list(found.settings("b")) == ["extract big"]
    assert found.settings("c") == {}
    assert found.tasks["b"] == {"backbones": ["big"]}, "asking changes nothing"
    with pytest.raises(DataError, match="registers no task 'd'") as error:
        found.settings("d")
    assert error.value.hint == "tasks: a, b, c"


# --- whether runs are those that were registered

WRITTEN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was first kept, as it is now, at the beginning of 2020."""
    monkeypatch.setattr(Registration, "commit", lambda self: FirstCommit("c" * 40, WRITTEN, "sha256:now"))


def task_folder(folder: Path, task: str = "a", started: str = "2021-05-05T00:00:00+00:00", digest: str = "sha256:now", **used: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save(TaskStamp(path="r.toml", digest=digest, task=task, started=started), folder / STAMP_NAME)
    (folder / SETTINGS_NAME).write_text(json.dumps(used))
    return folder


def reasons(folders: list[Path], **tables: Any) -> list[str]:
    found = registered_study(registration(**tables), folders)
    assert found.holds == (not found.reasons)
    return list(found.reasons)


@pytest.mark.usefixtures("committed")
def test_a_study_without_a_reason_to_doubt_is_registered_with_its_proof(tmp_path: Path) -> None:
    found = registered_study(registration(), [task_folder(tmp_path / "a")])
    assert (found.holds, found.reasons, found.commit, found.committed) == (True, (), "c" * 40, WRITTEN.isoformat())
    assert (found.path, found.digest, found.title) == ("r.toml", "sha256:now", "Layers")


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"digest": "sha256:other"}, ["a was run for another version of the file"]),
        ({"task": "b"}, ["the file has no task b", "registered and not here: a"]),
        ({"started": "2019-12-31T23:59:59+00:00"}, ["a was begun on 2019-12-31T23:59:59+00:00, before the commit"]),
        ({"started": "2020-01-01T00:00:00+00:00"}, []),
        ({"started": "2020-01-01T01:00:00+02:00"}, ["a was begun on 2020-01-01T01:00:00+02:00, before the commit"]),
    ],
)
def test_a_stamp_tells_for_which_file_and_task_a_folder_was_begun_and_when(
    tmp_path: Path, changes: dict[str, str], told: list[str]
) -> None:
    assert reasons([task_folder(tmp_path / "a", **changes)]) == told


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("name", ["probe/ranking.json", "probe-2/ranking.json", "train/runs.json", "train-b/mlp/result.json"])
def test_the_oldest_result_must_be_younger_than_the_commit(tmp_path: Path, name: str) -> None:
    folder, hour = task_folder(tmp_path / "a"), 3600
    for place, moved in ((name, -hour), ("probe/ranking.json", hour), ("train/zoo.json", 2 * hour), ("extract/ranking.json", -9 * hour)):
        path = folder / place
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
            os.utime(path, (WRITTEN.timestamp() + moved,) * 2)
    assert reasons([folder]) == [f"a/{name} was written on 2019-12-31T23:00:00+00:00, before the commit"]
    os.utime(folder / name, (WRITTEN.timestamp(),) * 2)
    assert reasons([folder]) == []


@pytest.mark.usefixtures("committed")
def test_settings_are_held_stage_by_stage_and_must_have_been_kept(tmp_path: Path) -> None:
    folder, promised = task_folder(tmp_path / "a", train={"seeds": 5}), {"train": {"seeds": 6}, "probe": {"folds": 5}}
    assert reasons([folder], defaults=promised) == [
        "a: probe.folds was registered as 5 and is not among the settings that the runs kept",
        "a: train.seeds was registered as 6 and was 5",
    ]
    (folder / SETTINGS_NAME).unlink()
    assert reasons([folder], defaults=promised) == ["a kept no settings"]


@pytest.mark.usefixtures("committed")
def test_every_registered_task_must_be_there_and_every_folder_must_have_been_run_for_the_file(tmp_path: Path) -> None:
    folders = [task_folder(tmp_path / "a"), tmp_path / "strange"]
    assert reasons(folders, tasks={"a": {}, "b": {}, "c": {}}) == [
        "strange was not run for this registration",
        "registered and not here: b, c",
    ]
    assert reasons([]) == ["registered and not here: a"]


def test_a_file_in_no_commit_and_one_that_was_changed_since_prove_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = task_folder(tmp_path / "a", started="1999-01-01T00:00:00+00:00")
    monkeypatch.setattr(Registration, "commit", lambda self: None)
    assert reasons([folder]) == ["the file is in no commit, so nobody can see when it was written"]
    then = FirstCommit("abcdef0123456789", WRITTEN - datetime.timedelta(days=9999), "sha256:then")
    monkeypatch.setattr(Registration, "commit", lambda self: then)
    found = registered_study(registration(), [task_folder(tmp_path / "a")])
    assert found.reasons == ("the file was changed after commit abcdef012345, which first kept it",)


# --- stamps


def test_a_stamp_of_another_version_gives_way_and_one_of_this_stays(tmp_path: Path) -> None:
    folder = task_folder(tmp_path / "a", digest="sha256:other")
    registration().stamp(folder, "a")
    stamp = load(TaskStamp, folder / STAMP_NAME)
    assert (stamp.digest, stamp.path, stamp.task) == ("sha256:now", "r.toml", "a")
    assert datetime.datetime.fromisoformat(stamp.started).utcoffset() == datetime.timedelta(0)
    kept = task_folder(tmp_path / "b")
    registration().stamp(kept, "a")
    assert load(TaskStamp, kept / STAMP_NAME).started == "2021-05-05T00:00:00+00:00"


def test_the_registration_is_found_by_the_stamps_of_all_folders_where_the_file_is_there(tmp_path: Path) -> None:
    def stamped(name: str, path: Path) -> Path:
        save(TaskStamp(path=path.as_posix(), digest="d", task="a", started="s"), tmp_path / name / STAMP_NAME)
        return tmp_path / name

    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    first, second, third = stamped("1", one), stamped("2", one), stamped("3", other)
    assert registration_of([first, second]) is None, "there is no such file"
    one.write_text("")
    other.mkdir()
    assert registration_of([first, second]) == one
    assert registration_of([first, third]) is None
    assert registration_of([third]) is None, "a folder is no file"
    assert registration_of([first, tmp_path / "4"]) is None
    assert registration_of([]) is None
    (first / STAMP_NAME).write_text("{")
    assert registration_of([first, second]) is None
