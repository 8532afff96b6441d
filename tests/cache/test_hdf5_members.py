"""Members of a stranger's HDF5 file lie in that very file and are whole; rows that flags cut are every row once; what came over is told by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.dataset.hdf5 import plain_cause
from layerscout.cache.importers.account import MOST_NAMED, what_came_over
from layerscout.cache.importers.base import ForeignEpisode, Importer
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.formats.flat_rows import find_ends
from layerscout.cache.importers.hdf5 import every_array, find_array, find_member, join_rows, largest_whole, open_hdf5, read_rows, rows_of
from layerscout.errors import BudgetError, DataError, UsageError

OUT = "fetch it again"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "it.h5", "w") as file:
        file["a/b/whole"] = np.arange(12).reshape(6, 2)
        file["a/single"] = 3.0
        file["real"] = np.arange(4.0)
        file["bytes"] = np.array([200, 7], np.uint8)
        yield file


def test_a_member_is_found_by_its_path_and_what_is_not_there_is_none(file: h5py.File) -> None:
    assert find_array(file, "a/b/whole", "here")[2].tolist() == [4, 5]
    assert isinstance(find_member(file, "a/b", "here"), h5py.Group)
    for name in ("a/c", "c", "a/b/whole/deeper", "real/x", ""):
        assert find_member(file, name, "here") is None, name
    assert find_array(file, "a/b", "here") is None, "a group is no array"


def test_links_inside_the_file_are_followed_and_those_to_nowhere_are_nothing(file: h5py.File) -> None:
    file["soft"], file["into"], file["broken"] = h5py.SoftLink("/a/b/whole"), h5py.SoftLink("/a"), h5py.SoftLink("/nowhere")
    assert find_array(file, "soft", "here")[0].tolist() == [0, 1]
    assert find_array(file, "into/b/whole", "here")[0].tolist() == [0, 1]
    assert find_member(file, "broken", "here") is None


def test_a_link_to_another_file_is_refused_wherever_it_stands_in_the_path(file: h5py.File, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["a/secret"] = np.arange(3)
    file["out"], file["group"] = h5py.ExternalLink("other.h5", "/a/secret"), h5py.ExternalLink("other.h5", "/a")
    file["by way"] = h5py.SoftLink("/group/secret")
    for name in ("out", "group", "group/secret", "by way"):
        with pytest.raises(DataError, match=f"here: '{name}' is a link to the file '.*other.h5'"):
            find_member(file, name, "here")


def test_an_array_of_which_chunks_are_missing_is_refused(file: h5py.File) -> None:
    file.create_dataset("holes", shape=(10,), chunks=(4,), dtype="f4")[:4] = 1
    with pytest.raises(DataError, match=r"'holes' claims the shape \(10,\) and holds 1 of 3 chunks"):
        find_member(file, "holes", "here")


def test_every_array_is_listed_once_by_its_path_even_where_groups_hold_each_other(file: h5py.File) -> None:
    expected = ["a/b/whole", "a/single", "bytes", "real"]
    assert [name for name, _ in every_array(file, "here")] == expected
    file["a/b/up"] = file["a"]  # a group in itself
    assert [name for name, _ in every_array(file, "here")] == expected
    assert [name for name, _ in every_array(file["a"], "here", "in/")] == ["in/b/whole", "in/single"]


def test_rows_are_those_of_the_slice_and_a_single_value_has_none(file: h5py.File, monkeypatch: pytest.MonkeyPatch) -> None:
    array = file["a/b/whole"]
    assert rows_of(array, slice(4, None), "here").tolist() == [[8, 9], [10, 11]]
    assert rows_of(array, slice(-1, None), "here").tolist() == [[10, 11]]
    assert len(rows_of(array, slice(6, 9), "here")) == 0
    with pytest.raises(DataError, match="'/a/single' is a single value, expected rows"):
        rows_of(file["a/single"], slice(None), "here")
    monkeypatch.setattr("layerscout.cache.importers.needs.available_memory", lambda: 31)
    assert rows_of(array, slice(0, 1), "here").tolist() == [[0, 1]]
    with pytest.raises(BudgetError, match="here: '/a/b/whole' claims"):
        rows_of(array, slice(0, 2), "here")  # two rows of 16 bytes


@pytest.mark.parametrize(("name", "stop"), [("c", None), ("a/single", None), ("a/b", None), ("a/b/whole", 7)])
def test_rows_that_must_be_there_are_or_are_named(file: h5py.File, name: str, stop: int | None) -> None:
    with pytest.raises(DataError, match=f"here has no '{name}' there") as caught:
        read_rows(file, name, "here", OUT, slice(0, stop))
    assert caught.value.hint == OUT
    assert len(read_rows(file, "a/b/whole", "here", OUT, slice(0, 6))) == 6


def test_the_row_that_comes_after_is_of_the_same_kind() -> None:
    rows = np.arange(4, dtype=np.uint8).reshape(2, 2)
    assert join_rows(rows, rows[:1] + 9, "x", "here", OUT).tolist() == [[0, 1], [2, 3], [9, 10]]
    for last in (np.zeros((1, 3), np.uint8), np.zeros((1, 2), np.int8)):
        with pytest.raises(DataError, match=r"'x' is uint8 \(2,\), and what comes after it"):
            join_rows(rows, last, "x", "here", OUT)


def test_the_largest_whole_number_is_that_of_all_arrays_or_unknown(file: h5py.File) -> None:
    file["negative"] = np.array([-300, 5])
    assert largest_whole(file, ["bytes"], "here") == 200
    assert largest_whole(file, ["bytes", "negative"], "here") == 300
    for names in (["bytes", "real"], ["a/single"], ["missing"], ["a"]):
        assert largest_whole(file, names, "here") is None
    assert largest_whole(file, [], "here") == 0


@pytest.mark.usefixtures("trusted_hdf5")
def test_an_error_of_the_caller_is_not_taken_for_damage_of_the_file(file: h5py.File) -> None:
    path = Path(file.filename)
    file.close()
    with pytest.raises(ValueError, match="mine"), open_hdf5(path):
        raise ValueError("mine")
    with pytest.raises(DataError, match="is damaged"), open_hdf5(path) as again:
        again["nowhere"]


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("Unable to open file (truncated file: eof = 96)", "truncated file: eof = 96"),
        ("Unable to open object (object 'x' doesn't exist)", "object 'x' doesn't exist"),
        ("Can't read (inner (deeper) words)", "inner (deeper) words"),
        ("plain words", "plain words"),
        ("words (in the middle) only", "words (in the middle) only"),
        ("two\n  lines", "two lines"),
        ("", "it does not say why"),
    ],
)
def test_the_librarys_reason_is_told_without_its_functions_name(message: str, cause: str) -> None:
    assert plain_cause(OSError(message)) == cause


@pytest.mark.parametrize(
    ("flags", "ends", "told"),
    [
        ({"terminals": [0, 1, 0, 1], "timeouts": [1, 0, 0, 0]}, [True, True, False, True], ""),
        ({"terminals": [0, 1, 0, 0]}, [False, True, False, False], "it has no 'timeouts'"),
        ({"timeouts": [0, 1, 0, 0]}, [False, True, False, False], ""),
        ({"terminals": [0, 0, 0, 1], "timeouts": [0, 0, 0, 0]}, [False, False, False, True], "no row ends an episode"),
        ({}, [False] * 4, "no row ends an episode"),
    ],
)
def test_an_episode_ends_where_any_flag_says_and_what_is_to_be_feared_is_told(
    tmp_path: Path, flags: dict[str, list[int]], ends: list[bool], told: str
) -> None:
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        for name, values in flags.items():
            file[name] = np.array(values)
        found, note = find_ends(file, "terminals", 4, "here")
        if flags:
            with pytest.raises(DataError, match=f"here has no '{next(iter(flags))}' there"):
                find_ends(file, "terminals", 5, "here")  # a flag with fewer rows than there are pictures
    assert found.tolist() == ends
    assert note.startswith(told)
    assert bool(note) == bool(told)


# what came over


class Toy(Importer):
    """An importer of nothing, with fields as they are set."""

    @staticmethod
    def recognises(path: Path) -> bool:
        return False

    def episode(self, item: ForeignEpisode) -> Episode:
        raise NotImplementedError


def toy(**settings: object) -> Toy:
    importer = Toy(ImportConfig(source=Path("it"), **settings))  # type: ignore[arg-type]
    importer.roles = {"actions": ("arm", "grip"), "rewards": ("r",), "ends": ("done",), "state": ("s",)}
    importer.fields = ["x"]
    return importer


def sample(**changes: object) -> Episode:
    steps = np.zeros(2, bool)
    whole = {"actions": np.zeros((2, 3), np.float32), "rewards": np.zeros(2, np.float32), "state": np.zeros((3, 1), np.float32)}
    return Episode(**{"frames": np.zeros((3, 2, 2, 3), np.uint8), "terminated": steps, "truncated": steps} | whole | changes)  # type: ignore[arg-type]


def test_everything_that_came_over_is_told_with_the_fields_that_it_came_from() -> None:
    told = what_came_over(toy(), sample(extra={"x": np.zeros((2, 1))}))
    assert told == "frames, actions (3 numbers: arm, grip), rewards (r), ends (done), state (s), 1 other field (x)."
    discrete = what_came_over(toy(), sample(actions=np.zeros(2, np.int64)))
    assert "actions (discrete: arm, grip)" in discrete


def test_what_was_left_out_and_what_the_source_has_not_are_two_things() -> None:
    importer = toy(leave_out=("rewards", "s"))
    del importer.roles["ends"]
    told = what_came_over(importer, sample(rewards=None, state=None))
    assert told == "frames, actions (3 numbers: arm, grip). Left out: rewards, state. Not in the source: ends."


def test_a_field_that_may_be_the_missing_role_is_named_with_the_command_that_takes_it() -> None:
    importer = toy()
    importer.roles = {}
    importer.candidates = {"actions": ["act/left", "act/right"], "rewards": ["rew", "r2"], "ends": ["is_done"]}
    told = what_came_over(importer, sample(actions=None, rewards=None, state=None))
    assert "Not in the source: actions, rewards, ends, state." in told
    assert "Actions may be in act/left, act/right: layerscout import it --action act/left --action act/right" in told
    assert "Rewards may be in rew, r2: layerscout import it --reward rew Ends may be in is_done: layerscout import it --end is_done" in told


def test_long_lists_are_cut_and_counted() -> None:
    importer = toy()
    importer.not_taken = {f"f{place}": "text" for place in range(MOST_NAMED + 2)}
    told = what_came_over(importer, sample(extra={f"x{place}": np.zeros((2, 1)) for place in range(MOST_NAMED)}))
    assert f"{MOST_NAMED} other fields (x0, x1, x2, x3, x4, x5, x6, x7)." in told
    assert "'f7' (text) and 2 more." in told


def test_a_role_is_wanted_unless_it_or_its_field_was_left_out() -> None:
    importer = toy(leave_out=("actions", "r"))
    assert [name for name in ("actions", "arm", "grip", "rewards", "r", "done", "x") if importer.wants(name)] == ["rewards", "done", "x"]


def test_names_to_leave_out_must_be_there_and_not_be_asked_for_too() -> None:
    toy(leave_out=("actions", "x", "r")).check_names()
    with pytest.raises(UsageError, match="no field 'y' to leave out") as caught:
        toy(leave_out=("y",)).check_names()
    assert caught.value.hint == "fields: actions, rewards, ends, state, arm, grip, r, done, s, x"
    for left in ("arm", "actions"):
        with pytest.raises(UsageError, match="--action arm is left out by --leave-out"):
            toy(leave_out=(left,), action=("arm",)).check_names()


@pytest.mark.parametrize(
    ("found", "asked", "taken"),
    [
        (["action", "actions", "x"], (), ("action",)),
        (["x", "actions"], (), ("actions",)),
        (["action.left", "x"], (), ("action.left",)),
        (["action.left", "action.right"], (), ()),
        (["actions/left", "x"], (), ("actions/left",)),
        (["reaction", "x"], (), ()),
        (["x", "y"], ("y", "x"), ("y", "x")),
    ],
)
def test_actions_are_those_asked_for_or_usual_or_the_only_ones_that_look_like_it(
    found: list[str], asked: tuple[str, ...], taken: tuple[str, ...]
) -> None:
    importer = toy(action=asked)
    assert importer.resolve_actions(("action",), found) == taken
    assert list(importer.candidates.get("actions", ())) == (found if not taken and "action.left" in found else [])


@pytest.mark.parametrize("name", ["obs/is_done", "Terminated", "info.success", "dones"])
def test_ends_that_look_like_it_are_candidates_and_not_taken(name: str) -> None:
    importer = toy()
    assert importer.resolve_ends(("done",), ["x", name]) == ()
    assert importer.candidates["ends"] == [name]
    assert importer.resolve_ends(("done", "x"), ["x", name]) == ("x",)
    assert importer.candidates["ends"] == []


def test_a_reward_is_the_usual_one_or_the_column_that_is_asked_for() -> None:
    found = ["reward", "rews", "r:1", "my/rew"]
    assert toy().resolve_reward("reward", found) == ("reward",)
    assert toy(reward="rews:2").resolve_reward("reward", found) == ("rews",)
    assert toy(reward="r:1").resolve_reward("reward", found) == ("r:1",), "a field of that very name comes first"
    without = toy()
    assert without.resolve_reward("reward", found[1:]) == ()
    assert without.candidates["rewards"] == ["my/rew"]
    with pytest.raises(UsageError, match="no field 'rewz'; did you mean 'rews'"):
        toy(reward="rewz:0").resolve_reward("reward", found)


@pytest.mark.parametrize(
    "setting", [{"fps": 5.0}, {"stride": 2}, {"end": "done"}, {"stack": "last"}, {"filter_key": "x"}, {"episode_length": 3}]
)
def test_a_setting_that_means_nothing_to_a_format_is_refused_by_its_flag(setting: dict) -> None:
    (name,) = setting
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(UsageError, match=f"{flag} means nothing for toy") as caught:
        toy(**setting)
    assert caught.value.hint == f"leave {flag} out"
