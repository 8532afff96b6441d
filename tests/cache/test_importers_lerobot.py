"""LeRobot datasets come over frame by frame; what they lack stays lacking; their metadata leads nowhere else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from foreign_videos import CAMERAS, FPS, lerobot_episodes, pictures, write_lerobot, write_video

from layerscout.cache.dataset.trajectories import Episode, Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError, UsageError

pytest.importorskip("av", reason="videos are decoded by PyAV; installed with layerscout[import]")
pytest.importorskip("pyarrow", reason="tables are read by pyarrow; installed with layerscout[import]")
VERSIONS = ["v2.1", "v3.0"]
TOP = CAMERAS[0]


def imported(source: Path, out: Path, **options) -> tuple[list[Episode], dict]:
    importing.run(importing.plan(ImportConfig(source=source, out=out, **options)))
    with Trajectories(out) as data:
        return [data.episode(number) for number in range(len(data))], data.attributes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("image", [False, True], ids=["video", "image"])
@pytest.mark.parametrize("camera", CAMERAS)
def test_frames_actions_and_numbers_come_back_exactly(tmp_path, version, image, camera):
    expected = lerobot_episodes()
    source = write_lerobot(tmp_path / "set", version, expected, image=image)
    episodes, attributes = imported(source, tmp_path / "x.h5", camera=camera)
    assert (attributes["imported"], attributes["lerobot_version"], attributes["robot"]) == ("lerobot", version, "so100")
    assert (attributes["frames_per_second"], attributes["dropped_last_actions"]) == (FPS, 3)
    for episode, one in zip(episodes, expected, strict=True):
        np.testing.assert_array_equal(episode.frames, one[camera])
        np.testing.assert_array_equal(episode.actions, one["action"][:-1])  # nobody saw what the last one led to
        assert episode.rewards is None
        assert not episode.terminated.any()
        assert episode.truncated.tolist() == [False] * (episode.steps - 1) + [True]
        np.testing.assert_array_equal(episode.state, one["observation.environment_state"])
        assert sorted(episode.extra) == ["observation.effort", "observation.state"]
        np.testing.assert_array_equal(episode.extra["observation.state"], one["observation.state"])
        np.testing.assert_array_equal(episode.extra["observation.effort"][:, 0], one["observation.effort"])


@pytest.mark.parametrize("version", VERSIONS)
def test_rewards_are_taken_where_there_are_some(tmp_path, version):
    source = write_lerobot(tmp_path / "set", version, lerobot_episodes(), rewards=True)
    episodes, _ = imported(source, tmp_path / "x.h5", camera=TOP)
    np.testing.assert_array_equal(episodes[0].rewards, [0, 1, 2, 3, 4])
    assert episodes[0].terminated.tolist() == [False, False, False, False, True]  # so that nobody needs what it led to
    np.testing.assert_array_equal(episodes[0].frames[-1], episodes[0].frames[-2])
    without, _ = imported(source, tmp_path / "y.h5", camera=TOP, leave_out=("next.reward", "action"))
    assert (without[0].rewards, without[0].actions) == (None, None)


def test_a_camera_must_be_chosen(tmp_path):
    source = write_lerobot(tmp_path / "set", "v3.0", lerobot_episodes())
    with pytest.raises(UsageError, match="2 cameras") as caught:
        imported(source, tmp_path / "x.h5")
    assert TOP in caught.value.hint


@pytest.mark.parametrize("version", VERSIONS)
def test_a_video_that_lacks_frames_or_has_other_times_is_refused(tmp_path, version):
    expected = lerobot_episodes()
    source = write_lerobot(tmp_path / "set", version, expected)
    video = next(path for path in sorted(source.rglob("*.mp4")) if TOP in str(path))
    write_video(video, pictures(3, 1))
    with pytest.raises(DataError, match=r"has no picture at \d+\.\d+ s, number 3 of 5"):
        imported(source, tmp_path / "x.h5", camera=TOP)
    write_video(video, pictures(20, 1), fps=FPS * 0.9)
    with pytest.raises(DataError, match="has no picture at"):
        imported(source, tmp_path / "x.h5", camera=TOP)
    write_video(video, pictures(20, 1, shape=(32, 32, 3)))
    with pytest.raises(DataError, match=r"its metadata says \(16, 24, 3\)"):
        imported(source, tmp_path / "x.h5", camera=TOP)


# what a stranger's metadata may say


def edit(source: Path, **changes) -> None:
    path = source / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("template", ["data_path", "video_path"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/passwd", "not inside it"),
        ("../outside.parquet", "not inside it"),
        ("data/../../outside.parquet", "not inside it"),
        ("link.parquet", "outside the dataset"),
        ("folder/outside.parquet", "outside the dataset"),
        ("data/{episode_index.__class__}.parquet", "has places other than"),
        ("data/{episode_index:099999999999d}.parquet", "has places other than"),
        ("data/{secret}.parquet", "asks for 'secret'"),
        ("data/none.parquet", "has no file"),
    ],
)
def test_paths_that_lead_out_are_refused(tmp_path, version, template, path, message):
    source = write_lerobot(tmp_path / "set", version, lerobot_episodes((2, 2)))
    (tmp_path / "outside.parquet").write_bytes(b"secret")
    (source / "link.parquet").symlink_to(tmp_path / "outside.parquet")
    (source / "folder").symlink_to(tmp_path)
    edit(source, **{template: path})
    with pytest.raises(DataError, match=message):
        imported(source, tmp_path / "x.h5", camera=TOP)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_episodes": 10**9}, "describes 2 episodes"),
        ({"fps": 0}, "expected a number above 0"),
        ({"fps": "ten"}, "expected a number above 0"),
        ({"fps": 25}, "not 25 a second apart"),
        ({"codebase_version": "v1.6"}, "expected v2.0, v2.1 or v3"),
        ({"features": []}, "does not describe its features"),
        (
            {"features": {TOP: {"dtype": "video", "shape": [16, 24, 3]}, "action": {"dtype": "float32", "shape": [10**9]}}},
            "holds 12 values",
        ),
    ],
)
def test_metadata_that_does_not_fit_the_data_is_refused(tmp_path, version, changes, message):
    source = write_lerobot(tmp_path / "set", version, lerobot_episodes((2, 2)))
    edit(source, **changes)
    with pytest.raises(DataError, match=message):
        imported(source, tmp_path / "x.h5", camera=TOP)


def test_lengths_that_do_not_fit_the_rows_are_refused(tmp_path):
    source = write_lerobot(tmp_path / "set", "v2.1", lerobot_episodes((2, 2)))
    path = source / "meta" / "episodes.jsonl"
    path.write_text(path.read_text().replace('"length": 2', '"length": 2000000000', 1))
    with pytest.raises(DataError, match="has 2 rows, expected 2000000000"):
        imported(source, tmp_path / "x.h5", camera=TOP)


@pytest.mark.parametrize("version", VERSIONS)
def test_truncated_tables_are_named(tmp_path, version):
    source = write_lerobot(tmp_path / "set", version, lerobot_episodes((2, 2)))
    path = sorted(source.glob("data/*/*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="episode_000000 cannot be read"):
        imported(source, tmp_path / "x.h5", camera=TOP)


def test_a_snapshot_of_the_hub_cache_may_link_to_its_blobs(tmp_path):
    """That cache keeps the files as blobs/<digest> and links to them from snapshots/<revision>/."""
    source = write_lerobot(tmp_path / "made", "v3.0", lerobot_episodes((3, 2)))
    snapshot, blobs = tmp_path / "datasets--x" / "snapshots" / "main", tmp_path / "datasets--x" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(path for path in sorted(source.rglob("*")) if path.is_file()):
        target = snapshot / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blobs / str(number))
        target.symlink_to(blobs / str(number))
    episodes, _ = imported(snapshot, tmp_path / "x.h5", camera=TOP)
    assert [episode.steps for episode in episodes] == [2, 1]
