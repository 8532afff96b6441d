"""A folder of videos: whole ones come over frame by frame, broken ones are named, and nothing is made up about either."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from foreign_videos import FPS, pictures, write_video

from layerscout.cache.dataset.trajectories import Episode, Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.video.decoding import read_video_header
from layerscout.errors import BudgetError, DataError, UsageError

pytest.importorskip("av", reason="videos are decoded by PyAV; installed with layerscout[import]")


def imported(source: Path, out: Path, **options) -> tuple[list[Episode], dict, list[str]]:
    importing.run(importing.plan(ImportConfig(source=source, out=out, format="video", **options)))
    with Trajectories(out) as data:
        numbers = range(len(data))
        return [data.episode(number) for number in numbers], data.attributes, [data.source(number) for number in numbers]


@pytest.mark.parametrize(("codec", "suffix"), [("libx264rgb", "mp4"), ("libx264rgb", "mkv"), ("ffv1", "mkv"), ("ffv1", "avi")])
def test_every_frame_comes_back_exactly_and_alone(tmp_path, codec, suffix):
    frames = [pictures(count, count) for count in (9, 2, 13)]
    for number, one in enumerate(frames):
        write_video(tmp_path / f"in/{number}/clip.{suffix}", one, codec=codec)
    episodes, attributes, sources = imported(tmp_path / "in", tmp_path / "x.h5")
    assert sources == [f"{number}/clip.{suffix}" for number in range(3)]
    assert attributes["source_frames_per_second"] == [FPS]
    for episode, one in zip(episodes, frames, strict=True):
        np.testing.assert_array_equal(episode.frames, one)
        assert (episode.actions, episode.rewards, episode.state, episode.extra) == (None, None, None, {})
        assert not episode.terminated.any()
        assert episode.truncated.tolist() == [False] * (len(one) - 2) + [True]


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_a_stride_takes_every_so_many_th_frame(tmp_path, stride):
    frames = pictures(15, 1)
    path = write_video(tmp_path / "a.mp4", frames)
    episodes, _, _ = imported(path, tmp_path / "x.h5", stride=stride)
    np.testing.assert_array_equal(episodes[0].frames, frames[::stride])


@pytest.mark.parametrize(("rate", "expected"), [(10, range(15)), (5, range(0, 15, 2)), (4, [0, 2, 5, 7, 10, 12]), (20, np.arange(30) // 2)])
def test_a_rate_takes_the_frame_that_is_shown_at_every_tick(tmp_path, rate, expected):
    frames = pictures(15, 1)
    path = write_video(tmp_path / "a.mp4", frames)
    episodes, _, _ = imported(path, tmp_path / "x.h5", fps=rate)
    np.testing.assert_array_equal(episodes[0].frames, frames[list(expected)])


def break_video(kind: str, path: Path) -> Path:
    frames = pictures(40, 3)
    if kind == "not a video":
        path.write_bytes(b"a letter, whatever its name says " * 50)
        return path
    if kind == "one frame":
        return write_video(path, frames[:1])
    if kind == "ends early, mp4":  # its table of contents at the front survives
        write_video(path, frames)
        import av

        with av.open(str(path)) as source, av.open(f"{path}.mp4", "w", options={"movflags": "faststart"}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        Path(f"{path}.mp4").rename(path)
    else:
        path = write_video(path.with_suffix(kind[-4:].replace(" ", ".")), frames)
    data = path.read_bytes()
    third = len(data) // 3
    path.write_bytes(data[:third] + bytes(third) + data[2 * third :] if "hole" in kind else data[: 2 * third])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("not a video", "cannot be opened as a video"),
        ("one frame", "gives 1 frame, expected at least 2"),
        ("ends early, mp4", "ends after|does not decode|is damaged"),
        ("ends early, mkv", r"ends after \d\.\d+ of 4.00 seconds|is damaged"),
        ("a hole, mp4", "is damaged|does not decode"),
        ("a hole, mkv", "is damaged|does not decode|ends after"),
    ],
)
def test_broken_files_are_named_and_skipped_and_the_others_kept(tmp_path, kind, reason):
    folder = tmp_path / "in"
    whole = [pictures(6, number) for number in range(2)]
    write_video(folder / "a.mp4", whole[0])
    broken = break_video(kind, folder / "b.mp4")
    write_video(folder / "c.mp4", whole[1])
    episodes, attributes, sources = imported(folder, tmp_path / "x.h5")
    assert sources == ["a.mp4", "c.mp4"]
    for episode, one in zip(episodes, whole, strict=True):
        np.testing.assert_array_equal(episode.frames, one)
    assert list(attributes["skipped"]) == [broken.name]
    assert re.search(reason, attributes["skipped"][broken.name]), attributes["skipped"]


def test_a_folder_of_nothing_but_broken_files_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    break_video("not a video", tmp_path / "in/a.mp4")
    with pytest.raises(DataError, match=r"no episode that can be read, the first because: .*a\.mp4 cannot be opened"):
        imported(tmp_path / "in", tmp_path / "x.h5")
    (tmp_path / "in/a.mp4").unlink()
    with pytest.raises(DataError, match="has no video files"):
        imported(tmp_path / "in", tmp_path / "x.h5")


def test_a_sound_track_that_lasts_longer_does_not_look_like_missing_frames(tmp_path):
    frames = pictures(10, 1)
    path = write_video(tmp_path / "a.mp4", frames, sound=3)
    assert read_video_header(path).frames == 10
    episodes, attributes, _ = imported(path, tmp_path / "x.h5")
    np.testing.assert_array_equal(episodes[0].frames, frames)
    assert "skipped" not in attributes


def test_videos_of_several_sizes_need_one(tmp_path):
    write_video(tmp_path / "in/a.mp4", pictures(4, 1))
    write_video(tmp_path / "in/b.mp4", pictures(4, 1, shape=(32, 32, 3)))
    with pytest.raises(UsageError, match=r"videos of 2 sizes: 16x24 .*, 32x32"):
        imported(tmp_path / "in", tmp_path / "x.h5")
    episodes, _, _ = imported(tmp_path / "in", tmp_path / "x.h5", size=(8, 12))
    assert [episode.frames.shape for episode in episodes] == [(4, 8, 12, 3)] * 2


@pytest.mark.parametrize("size", [(8, 12), (4, 4)])
def test_resizing_takes_the_mean_of_what_a_pixel_covers(tmp_path, size):
    frames = pictures(5, 1)
    episodes, _, _ = imported(write_video(tmp_path / "a.mp4", frames), tmp_path / "x.h5", size=size)
    blocks = frames.reshape(5, size[0], 16 // size[0], size[1], 24 // size[1], 3).mean((2, 4))
    assert np.abs(episodes[0].frames - blocks).max() <= 1  # pillow rounds after each of its two passes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 5.0, "stride": 2}, "both --fps and --stride"),
        ({"camera": "front"}, "a video file has one"),
        ({"leave_out": ("action",)}, "no field 'action' to leave out"),
    ],
)
def test_options_that_mean_nothing_here_are_refused(tmp_path, options, message):
    path = write_video(tmp_path / "a.mp4", pictures(4, 1))
    with pytest.raises(UsageError, match=message):
        imported(path, tmp_path / "x.h5", **options)


def test_a_link_out_of_the_folder_is_skipped_and_named(tmp_path):
    write_video(tmp_path / "private.mp4", pictures(4, 1))
    write_video(tmp_path / "in/a.mp4", pictures(4, 2))
    (tmp_path / "in/b.mp4").symlink_to(tmp_path / "private.mp4")
    _, attributes, sources = imported(tmp_path / "in", tmp_path / "x.h5")
    assert sources == ["a.mp4"]
    assert "outside the dataset" in attributes["skipped"]["b.mp4"]


def test_a_playlist_named_like_a_video_opens_no_other_file(tmp_path):
    write_video(tmp_path / "private.mp4", pictures(4, 1))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'private.mp4'}'\n")
    with pytest.raises(DataError, match="cannot be opened as a video"):
        imported(tmp_path / "in", tmp_path / "x.h5")


def test_a_video_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", pictures(4, 1))
    monkeypatch.setattr("layerscout.cache.importers.needs.available_memory", lambda: 100_000)
    with pytest.raises(BudgetError, match="of memory are free") as caught:
        imported(path, tmp_path / "x.h5")
    assert "--stride" in caught.value.hint
