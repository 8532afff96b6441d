"""Where the task ended, under whatever name the source tells it: `--end NAME` in every format of arrays, and the sentence that names it."""

from __future__ import annotations

import shlex

import h5py
import numpy as np
import pytest
from foreign_files import LENGTHS, aloha, d4rl, dreamer, ends, frames, h5, lerobot, maniskill, robomimic

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError, UsageError

pytest.importorskip("pyarrow", reason="tables are read by pyarrow; installed with layerscout[import]")
pytestmark = pytest.mark.usefixtures("trusted_hdf5")
DONE = ("bool", [1], lambda episode, frame: bool(ends(LENGTHS[episode])[frame]))
TOGETHER = np.concatenate([ends(steps) for steps in LENGTHS])


def take(source, **options) -> list[Episode]:
    planned = importing.plan(ImportConfig(source=source, out=source.parent / "never.h5", **options))
    return [planned.importer.episode(item) for item in planned.episodes]


def account(source, **options) -> str:
    return importing.plan(ImportConfig(source=source, out=source.parent / "never.h5", **options)).describe()["came_over"]


def of_dreamer(path):
    (path / "npz").mkdir()
    for number, steps in enumerate(LENGTHS):
        renamed = dreamer(steps, is_terminal=None, discount=None, done=ends(steps + 1).astype(np.int64))
        np.savez_compressed(path / f"npz/{number}.npz", **renamed)
    return path / "npz"


def of_robomimic(path):
    found = robomimic(path)
    arrays = {}
    for number, steps in enumerate(LENGTHS):
        demo = f"data/demo_{number}"
        arrays |= {f"{demo}/actions": np.zeros((steps, 2)), f"{demo}/obs/cam": frames(steps), f"{demo}/done": ends(steps)}
    found.unlink()
    return h5(path / "demos.hdf5", arrays)


def of_aloha(path):
    folder = aloha(path)
    for number, steps in enumerate(LENGTHS):
        with h5py.File(folder / f"episode_{number}.hdf5", "a") as file:
            file["done"] = ends(steps)
            del file["observations/images/cam_low"]
    return folder


def of_maniskill(path):
    found = maniskill(path, terminated=None, success=None, truncated=None)
    with h5py.File(found, "a") as file:
        for number, steps in enumerate(LENGTHS):
            file[f"traj_{number}/done"] = ends(steps)
    return found


SOURCES = {
    "d4rl": lambda path: d4rl(path, terminals=None, timeouts=None, done=TOGETHER),
    "robomimic": of_robomimic,
    "npz": of_dreamer,
    "aloha": of_aloha,
    "maniskill": of_maniskill,
    "lerobot": lambda path: lerobot(path, {"action": ("float32", [1], lambda e, k: k), "done": DONE}),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_an_end_under_another_name_is_named_and_taken_when_asked_for(kind, tmp_path):
    found = SOURCES[kind](tmp_path)
    told = account(found)
    assert "ends" in told.partition("Not in the source")[2]
    command = told.rpartition("Ends may be in done: ")[2]
    words = shlex.split(command)
    assert words[words.index("--end") + 1] == "done"
    assert not any(episode.terminated.any() for episode in take(found))
    taken = take(found, end="done")
    assert [episode.steps for episode in taken] == list(LENGTHS)
    for episode in taken:
        assert episode.terminated.tolist() == ends(episode.steps).tolist()
        assert not episode.truncated.any()
        assert "done" not in episode.extra
    assert "ends (done)" in account(found, end="done")


@pytest.mark.parametrize("kind", ["d4rl", "robomimic", "lerobot"])
def test_an_end_that_is_not_there_is_told_with_what_is(kind, tmp_path):
    source = SOURCES[kind](tmp_path)
    with pytest.raises(UsageError, match=r"no field 'dome'; did you mean 'done'") as caught:
        take(source, end="dome")
    assert "--end takes: " in caught.value.hint


def test_a_flat_file_keeps_its_timeouts_beside_a_chosen_end(tmp_path):
    first = np.arange(sum(LENGTHS)) == LENGTHS[0] - 1
    source = d4rl(tmp_path, terminals=None, timeouts=first, dones=np.arange(sum(LENGTHS)) == sum(LENGTHS) - 1)
    one, two = take(source, end="dones")
    assert (one.terminated.any(), one.truncated.any()) == (False, True)
    assert two.terminated.tolist() == ends(LENGTHS[1]).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_pictures_of_numbers_have_one_scale_over_all_files(tmp_path, dtype):
    """A file that is dark all over is no picture of 0 to 1 where the others reach 255."""
    source = aloha(tmp_path)
    for number, level in enumerate((255, 1)):
        with h5py.File(source / f"episode_{number}.hdf5", "a") as file:
            del file["observations/images/cam_low"], file["observations/images/cam_high"]
            file["observations/images/cam_high"] = np.full((LENGTHS[number], 16, 24, 3), level, dtype)
    bright, dark = take(source)
    assert (bright.frames.max(), dark.frames.max()) == (255, 1)


def test_ends_of_the_wrong_length_are_refused(tmp_path):
    source = h5(
        tmp_path / "one.hdf5",
        {"data/demo_0/actions": np.zeros((5, 2)), "data/demo_0/obs/cam": frames(5), "data/demo_0/done": np.zeros(9)},
    )
    with pytest.raises(DataError, match="'ends' has 9 rows, expected 5"):
        take(source, end="done")


def test_a_file_with_a_second_first_step_is_no_single_episode(tmp_path):
    """Transitions would run over its reset."""
    (tmp_path / "npz").mkdir()
    np.savez(tmp_path / "npz/0.npz", **dreamer(4, is_first=np.array([1, 0, 0, 1, 0], bool)))
    np.savez(tmp_path / "npz/1.npz", **dreamer(3))
    planned = importing.plan(ImportConfig(source=tmp_path / "npz", out=tmp_path / "x.h5"))
    with pytest.raises(DataError, match="'is_first' says that another episode begins at row 3"):
        planned.importer.episode(planned.episodes[0])
    result = importing.run(planned)
    assert result["episodes"] == 1
    assert "another episode begins at row 3" in result["skipped"][0]


def test_flags_that_are_missing_are_no_ends(tmp_path):
    missing = np.where(np.arange(sum(LENGTHS)) == 3, np.nan, 0.0)
    with pytest.raises(DataError, match="flags that end an episode have no value at row 3"):
        take(d4rl(tmp_path, terminals=missing))


@pytest.mark.parametrize("count", [-1, 1])
@pytest.mark.parametrize(("name", "role"), [("actions", "actions"), ("rewards", "rewards")])
def test_roles_of_another_length_are_refused_and_not_lost(tmp_path, name, role, count):
    source = d4rl(tmp_path, **{name: np.zeros(sum(LENGTHS) + count)})
    with pytest.raises(DataError, match=f"'{name}' has {sum(LENGTHS) + count} rows, its observations {sum(LENGTHS)}") as caught:
        take(source)
    assert f"--leave-out {role}" in caught.value.hint
    assert getattr(take(source, leave_out=(role,))[0], role) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rewards": 3.0}, "'rewards' (float64, one value)"),
        ({"actions": np.array([b"up"] * sum(LENGTHS))}, "'actions' (|S2 ())"),
        ({"infos/c": np.zeros(sum(LENGTHS), [("x", "f4"), ("y", "i4")])}, "'infos/c' ("),
    ],
)
def test_what_a_flat_file_has_and_cannot_be_taken_is_named(tmp_path, changes, told):
    assert told in account(d4rl(tmp_path, **changes)).partition("Not taken: ")[2]


def test_a_flat_file_without_rows_is_told_so(tmp_path):
    nothing = {
        "observations": np.zeros((0, 16, 24, 3), np.uint8),
        "actions": np.zeros((0, 2)),
        "rewards": np.zeros(0),
        "terminals": np.zeros(0),
    }
    with pytest.raises(DataError, match="no episode"):
        take(h5(tmp_path / "empty.hdf5", nothing))
