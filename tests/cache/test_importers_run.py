"""Importing as a user does it: the format is found out, a killed import continues, and the whole chain says n/a to what is not there."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
from foreign_videos import CAMERAS, lerobot_episodes, pictures, write_lerobot, write_video
from typer.testing import CliRunner

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode
from layerscout.cache.importers.columns import column_name
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.formats import video
from layerscout.cache.importers.pictures.frames import as_frames, resize
from layerscout.cli import app
from layerscout.errors import BudgetError, DataError, MissingExtraError, UsageError

pytest.importorskip("av", reason="videos are decoded by PyAV; installed with layerscout[import]")
pytest.importorskip("pyarrow", reason="tables are read by pyarrow; installed with layerscout[import]")


def call(*words: object):
    return CliRunner().invoke(app, ["import", *map(str, words)])


@pytest.fixture
def folder(tmp_path):
    """Five videos, the second broken, and the pictures of the whole ones by name."""
    frames = {f"{letter}.mp4": pictures(4 + number, number) for number, letter in enumerate("abcde")}
    for name, one in frames.items():
        write_video(tmp_path / "in" / name, one)
    (tmp_path / "in/b.mp4").write_bytes(b"broken")
    del frames["b.mp4"]
    return tmp_path / "in", frames


# finding out the format


def test_every_format_is_recognised_by_itself_alone(tmp_path):
    made = {}
    made["lerobot"] = write_lerobot(tmp_path / "lerobot", "v3.0", lerobot_episodes((2, 2)))
    made["video"] = write_video(tmp_path / "videos/a.mp4", pictures(3, 0)).parent
    with h5py.File(tmp_path / "demos.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((2, 1))
    with h5py.File(tmp_path / "flat.hdf5", "w") as file:
        for name in ("observations", "actions", "rewards", "terminals"):
            file[name] = np.zeros(2)
    made |= {"robomimic": tmp_path / "demos.hdf5", "d4rl": tmp_path / "flat.hdf5"}
    (tmp_path / "minari/data").mkdir(parents=True)
    (tmp_path / "minari/data/metadata.json").write_text('{"data_format": "hdf5"}')
    made["minari"] = tmp_path / "minari"
    assert {name: importing.detect_format(path) for name, path in made.items()} == {name: name for name in made}
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "is an empty folder"), (tmp_path / "absent", "no dataset")):
        with pytest.raises(DataError, match=message):
            importing.detect_format(path)


# the command


def test_the_command_plans_imports_and_finds_it_complete(folder, tmp_path):
    source, frames = folder
    out = tmp_path / "x.h5"
    shown = json.loads(call(source, "--out", out, "--dry-run", "--json").stdout)
    assert (shown["format"], shown["episodes"], shown["actions"], shown["rewards"], shown["complete"]) == ("video", 5, "none", False, False)
    assert not out.exists()
    assert not list(tmp_path.glob("*.parts"))
    done = call(source, "--out", out, "--json")
    facts = json.loads(done.stdout)
    assert (facts["episodes"], facts["steps"]) == (4, sum(len(one) - 1 for one in frames.values()))
    assert "b.mp4" in facts["skipped"][0]
    assert "episodes skipped, because they could not be read: 1" in done.stderr
    assert "b.mp4: " in done.stderr
    assert facts["bytes"] == out.stat().st_size
    # an estimate from one file's first pictures: random ones do not compress, so it is close
    assert 0.5 < shown["bytes"] / facts["bytes"] < 2
    before = out.read_bytes()
    assert json.loads(call(source, "--out", out, "--json").stdout) == facts
    assert out.read_bytes() == before


def test_the_command_tells_of_dropped_actions_and_takes_so_many_episodes(tmp_path):
    source = write_lerobot(tmp_path / "set", "v3.0", lerobot_episodes())
    done = call(source, "--out", tmp_path / "x.h5", "--camera", CAMERAS[1], "--episodes", 2, "--size", "8x12", "--json")
    facts = json.loads(done.stdout)
    assert (facts["episodes"], facts["dropped_last_actions"]) == (2, 2)
    assert "nobody recorded what they led to: 2" in done.stderr
    with Trajectories(tmp_path / "x.h5") as data:
        assert data.frame_shape == (8, 12, 3)
        assert data.attributes["options"] == {"camera": CAMERAS[1], "size": "8x12"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--size", "big"], 2, "not 'big'"),
        (["--size", "0"], 2, "not '0'"),
        (["--format", "vidoe"], 2, "unknown importer 'vidoe'; did you mean 'video'?"),
        (["--episodes", "0"], 2, "'import.episodes'"),
        (["--format", "lerobot"], 4, "has no file 'meta/info.json'"),
    ],
)
def test_mistakes_are_told_in_one_line(folder, tmp_path, words, code, message):
    done = call(folder[0], "--out", tmp_path / "x.h5", *words)
    assert done.exit_code == code
    assert message in done.stderr.splitlines()[0]
    assert done.stdout == ""


def test_a_missing_package_names_the_extra(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="needs the package 'av'") as caught:
        importing.plan(ImportConfig(source=folder[0], out=tmp_path / "x.h5"))
    assert caught.value.hint == "in a checkout of layerscout: pip install '.[import]'"


# continuing


@pytest.mark.parametrize("killed_after", range(6))
def test_a_killed_import_continues_to_the_same_file(folder, tmp_path, monkeypatch, killed_after):
    source, frames = folder
    monkeypatch.setattr(importing, "PART_BYTES", 0)  # every episode is made safe at once
    whole = importing.plan(ImportConfig(source=source, out=tmp_path / "whole.h5"))
    importing.run(whole)
    planned = importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5"))
    read, seen = video.Video.episode, []

    def dying(self, item):
        if len(seen) == killed_after:
            raise KeyboardInterrupt
        seen.append(item.name)
        return read(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(video.Video, "episode", dying)
        if killed_after < 5:
            with pytest.raises(KeyboardInterrupt):
                importing.run(planned)
    seen.clear()
    monkeypatch.setattr(video.Video, "episode", lambda self, item: (seen.append(item.name), read(self, item))[1])
    again = importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5"))
    seen.clear()
    importing.run(again)
    if killed_after < 5:
        assert seen == [f"{letter}.mp4" for letter in "abcde"][killed_after - (killed_after == 2) :]  # a skipped last one is tried again
    with Trajectories(tmp_path / "x.h5") as data, Trajectories(tmp_path / "whole.h5") as unbroken:
        assert data.digest() == unbroken.digest()
        assert [data.source(number) for number in range(len(data))] == list(frames)
        assert list(data.attributes["skipped"]) == ["b.mp4"]


def test_an_import_with_other_options_is_not_mixed_into_it(folder, tmp_path):
    importing.run(importing.plan(ImportConfig(source=folder[0], out=tmp_path / "x.h5")))
    with pytest.raises(UsageError, match="recorded with other settings"):
        importing.plan(ImportConfig(source=folder[0], out=tmp_path / "x.h5", stride=2))


def test_a_disk_without_room_is_told_before_anything_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "free_bytes", lambda path: 1000)
    with pytest.raises(BudgetError, match=r"0\.0 MB are free"):
        importing.run(importing.plan(ImportConfig(source=folder[0], out=tmp_path / "x.h5")))
    assert not list(tmp_path.glob("x.h5*"))


# what every importer shares


CONFIG = ImportConfig(source="set")


def test_as_many_frames_as_actions_lose_the_last_action_and_invent_nothing():
    frames = pictures(4, 0)
    actions, rewards = [("action", np.arange(4))], ("reward", np.arange(4.0))
    per_row = {"angle": np.arange(4.0), "joints": np.zeros((4, 2))}
    fields = ForeignFields(4, actions, rewards, np.array([0, 1, 0, 0]), None, ("states", np.ones((4, 3))), per_row)
    episode = assemble_episode(frames, fields, "here", CONFIG)
    assert (episode.steps, len(episode.frames)) == (3, 4)
    assert episode.actions.tolist() == [0, 1, 2]
    assert episode.rewards.tolist() == [0, 1, 2]
    assert episode.terminated.tolist() == [False, True, False]  # as the source says it of the steps that are left
    assert episode.truncated.tolist() == [False, False, True]
    assert (episode.state.shape, episode.extra["angle"].shape, episode.extra["joints"].shape) == ((4, 3), (4, 1), (4, 2))
    with pytest.raises(DataError, match="here has 4 frames and 6 steps, expected 6 or 7 frames"):
        assemble_episode(frames, ForeignFields(6), "here", CONFIG)
    with pytest.raises(DataError, match="'reward' has 3 rows, expected 4") as caught:
        assemble_episode(frames, ForeignFields(4, rewards=("reward", np.zeros(3))), "here", CONFIG)
    assert caught.value.hint == "layerscout import set --leave-out rewards"


def test_an_action_that_ended_the_task_is_kept_with_its_reward():
    """Its next frame is of no use to a value; everything of a frame is there once more, and the frame is the one before."""
    frames = pictures(4, 0)
    fields = ForeignFields(4, [("action", np.arange(4))], ("reward", np.arange(4.0)), np.array([0, 0, 0, 1]), numbers={"x": np.arange(4)})
    episode = assemble_episode(frames, fields, "here", CONFIG)
    np.testing.assert_array_equal(episode.frames, frames[[0, 1, 2, 3, 3]])
    assert (episode.actions.tolist(), episode.rewards.tolist()) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert (episode.terminated.tolist(), episode.truncated.any()) == ([False, False, False, True], False)
    assert episode.extra["x"][:, 0].tolist() == [0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([2, 0], np.int32), ("int64", (2,))),
        (np.array([[2], [0]], np.uint8), ("int64", (2,))),
        (np.array([[2, 1], [0, 1]]), ("float32", (2, 2))),
        (np.array([0.5, 1.0]), ("float32", (2, 1))),
        (np.zeros((2, 3, 2)), ("float32", (2, 6))),
    ],
)
def test_whole_numbered_single_actions_are_discrete_and_all_others_vectors(values, expected):
    actions = assemble_episode(pictures(3, 0), ForeignFields(2, [("action", values)]), "here", CONFIG).actions
    assert (actions.dtype.name, actions.shape) == expected


def test_names_become_names_of_columns():
    assert [column_name(name) for name in ("infos/qpos", "reward", "eef pos", "_x", "a.b-c_d")] == [
        "infos.qpos",
        "observation.reward",
        "eef.pos",
        "x",
        "a.b-c_d",
    ]
    with pytest.raises(DataError, match="cannot be named"):
        column_name("///")


def test_pictures_of_any_layout_become_frames_in_colour():
    last = pictures(3, 0, shape=(6, 7, 3))
    np.testing.assert_array_equal(as_frames(last.transpose(0, 3, 1, 2), "here", CONFIG), last)
    grey = last[..., 0]
    for values in (grey, grey[..., None], grey[:, None]):
        np.testing.assert_array_equal(as_frames(values, "here", CONFIG), np.repeat(grey[..., None], 3, axis=3))
    for values in (last.astype(complex), np.zeros((3, 33, 34, 35), np.uint8), np.zeros((3, 6), np.uint8)):
        with pytest.raises(DataError, match="here: pictures"):
            as_frames(values, "here", CONFIG)
    np.testing.assert_array_equal(resize(last, (6, 7)), last)
    alpha = pictures(2, 1, shape=(4, 4, 4))
    np.testing.assert_array_equal(resize(alpha, (2, 2))[..., :3], resize(alpha[..., :3], (2, 2)))  # alpha blends into nothing


# the chain


def probe(tmp_path, source, **options):
    from layerscout.extract.config import ExtractConfig
    from layerscout.extract.run import plan, run
    from layerscout.probe import run as probing
    from layerscout.probe.config import ProbeConfig

    data = tmp_path / "data.h5"
    importing.run(importing.plan(ImportConfig(source=source, out=data, size=(64, 64), **options)))
    store = run(plan(ExtractConfig(backbone="tiny", data=data, root=tmp_path / "root", layers=("blocks.2",), pooling="last/mean")))
    return store, probing.run(probing.plan(ProbeConfig(store=store.id, root=tmp_path / "root", out=tmp_path / "out", shifts=20)))


def test_what_a_video_lacks_is_not_there_in_the_ranking(tmp_path):
    for number in range(6):
        write_video(tmp_path / f"in/{number}.mp4", pictures(9, number))
    store, ranking = probe(tmp_path, tmp_path / "in")
    assert (store.index("action") == -1).all()
    assert np.isnan(store.index("reward")).all()
    for layer in ranking.layers:
        assert (layer.reward_r2, layer.reward_r2_shuffled, layer.bits_action) == (None, None, None)
        assert layer.transition_r2 is not None
    assert any("reward R² is n/a" in note for note in ranking.notes)


def test_what_lerobot_lacks_is_not_there_in_the_ranking(tmp_path):
    source = write_lerobot(tmp_path / "set", "v3.0", lerobot_episodes((9, 8, 10, 7, 9, 8)))
    store, ranking = probe(tmp_path, source, camera=CAMERAS[0])
    assert store.columns["action"].width == 6
    assert np.isnan(store.index("reward")).all()
    for layer in ranking.layers:
        assert (layer.reward_r2, layer.reward_r2_shuffled) == (None, None)
        assert layer.transition_r2 is not None
