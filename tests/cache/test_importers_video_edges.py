"""Videos whose clock or container is unusual come over whole, upright and at the right times; those that are not whole do not.

Pictures are of one grey level each, four levels apart, so that lossy codecs leave no doubt which one a frame is. The values were
compared with those of FFmpeg's own command (autorotation on, ``-fps_mode passthrough``).
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from foreign_files import lerobot
from foreign_videos import CAMERAS, lerobot_episodes, pictures, write_lerobot, write_video

from layerscout.cache.dataset.trajectories import Episode, Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.video.containers import missing_part
from layerscout.cache.importers.video.decoding import read_video_header
from layerscout.errors import DataError, UsageError

av = pytest.importorskip("av", reason="videos are decoded by PyAV; installed with layerscout[import]")
STEP = 12  # grey levels from one picture to the next


def take(source: Path, **options) -> Episode:
    planned = importing.plan(ImportConfig(source=source, out=source.with_name("x.h5"), **options))
    (item,) = planned.episodes
    return planned.importer.episode(item)


def grey(count: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), STEP * number, np.uint8) for number in range(count)]


def which(episode: Episode) -> list[int]:
    return [round(float(frame.mean()) / STEP) for frame in episode.frames]


def film(path: Path, frames: list[np.ndarray], times: list[int] | None = None, last: int = 0, codec: str = "libx264", **options) -> Path:
    """Encode pictures ten a second, or at ``times`` in milliseconds, the last one shown for ``last``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number, values in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(values, format="rgb24")
            if codec == "gif":
                picture = picture.reformat(format="rgb8")
            if times:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            packets += stream.encode(picture)
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if times:
                packet.duration = times[number + 1] - times[number] if number + 1 < len(times) else last
            container.mux(packet)
    return path


def turn(path: Path, across: int, down: int, back: int, along: int) -> None:
    """Write a display matrix into an MP4 file: a pixel at (x, y) is shown at (across x + back y, down x + along y)."""
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44
    data[place : place + 36] = struct.pack(">9i", across << 16, down << 16, 0, back << 16, along << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


TURNS = {
    (1, 0, 0, 1): lambda picture: picture,
    (0, 1, -1, 0): lambda picture: np.rot90(picture, -1),
    (-1, 0, 0, -1): lambda picture: np.rot90(picture, 2),
    (0, -1, 1, 0): lambda picture: np.rot90(picture, 1),
    (-1, 0, 0, 1): lambda picture: picture[:, ::-1],
    (1, 0, 0, -1): lambda picture: picture[::-1],
    (0, 1, 1, 0): lambda picture: picture.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda picture: np.rot90(picture, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", TURNS)
def test_pictures_are_shown_as_their_display_matrix_says(tmp_path, matrix):
    frames = pictures(3, 1)
    path = write_video(tmp_path / "a.mp4", frames)
    turn(path, *matrix)
    expected = np.stack([TURNS[matrix](frame) for frame in frames])
    header = read_video_header(path)
    assert (header.height, header.width) == expected.shape[1:3]
    np.testing.assert_array_equal(take(path).frames, expected)


def test_a_plan_counts_turned_videos_by_the_size_that_they_are_shown_in(tmp_path):
    for name in "ab":
        write_video(tmp_path / f"in/{name}.mp4", pictures(3, 1))
    turn(tmp_path / "in/b.mp4", 0, 1, -1, 0)
    with pytest.raises(UsageError, match=r"videos of 2 sizes: 16x24 \(1\), 24x16 \(1\)") as caught:
        importing.plan(ImportConfig(source=tmp_path / "in"))
    assert caught.value.hint == f"layerscout import {tmp_path / 'in'} --size 16x24"
    turn(tmp_path / "in/a.mp4", 0, 1, -1, 0)
    assert importing.plan(ImportConfig(source=tmp_path / "in")).describe()["frame_shape"] == [24, 16, 3]


def test_a_turn_by_less_than_a_quarter_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(3, 1))
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44
    data[place : place + 36] = struct.pack(">9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with pytest.raises(DataError, match="turns pictures by no quarter of a circle"):
        take(path)


def test_videos_of_lerobot_are_turned_too(tmp_path):
    expected = lerobot_episodes((3, 4))
    source = write_lerobot(tmp_path / "set", "v3.0", expected)
    turn(next((source / "videos" / CAMERAS[0]).rglob("*.mp4")), -1, 0, 0, -1)
    importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5", camera=CAMERAS[0])))
    with Trajectories(tmp_path / "x.h5") as data:
        for number, one in enumerate(expected):
            np.testing.assert_array_equal(data.episode(number).frames, one[CAMERAS[0]][:, ::-1, ::-1])


@pytest.mark.parametrize("count", [3, 12, 14])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_an_avi_with_pictures_out_of_order_comes_over_in_the_order_of_showing(tmp_path, count, codec):
    """AVI tells when a packet is decoded, not when its picture is shown."""
    path = film(tmp_path / "a.avi", grey(count), codec=codec, **({"bf": "2", "qmax": "2"} if codec == "mpeg4" else {}))
    assert which(take(path)) == list(range(count))
    assert which(take(path, fps=5.0)) == list(range(0, count, 2))
    assert which(take(path, fps=20.0)) == [tick // 2 for tick in range(2 * count)]
    assert which(take(path, stride=2)) == list(range(0, count, 2))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_last_picture_that_is_shown_for_long_is_the_last_picture(tmp_path, suffix):
    times = [100 * number for number in range(12)]
    path = film(tmp_path / f"a.{suffix}", grey(12), times, last=3000, bf="0", tune="zerolatency")
    assert which(take(path)) == list(range(12))
    ticks = which(take(path, fps=10.0))
    assert ticks[:12] == list(range(12))
    assert set(ticks[12:]) == {11}
    assert len(ticks) == 11 + 30  # the last one is shown for three seconds


@pytest.mark.parametrize(("suffix", "start"), [("mp4", 1000), ("mkv", 1000), ("mkv", 36000), ("ts", 36000)])
def test_a_recording_that_begins_late_begins_with_its_first_picture(tmp_path, suffix, start):
    times = [start + 100 * number for number in range(12)]
    path = film(tmp_path / f"a.{suffix}", grey(12), times, last=100)
    assert which(take(path)) == list(range(12))
    assert which(take(path, fps=5.0)) == list(range(0, 12, 2))


def test_pictures_at_uneven_times_are_taken_when_they_are_shown(tmp_path):
    """And the last one for as long as the file says, not for the mean of all."""
    times = [0, 100, 200, 300, 700, 1100, 1150]
    path = film(tmp_path / "a.mp4", grey(7), times, last=50, bf="0", tune="zerolatency")
    assert which(take(path)) == list(range(7))
    expected = [max(number for number, time in enumerate(times) if time <= 100 * tick) for tick in range(12)]
    assert which(take(path, fps=10.0)) == expected


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("gif", "gif", {}),
        ("ts", "libx264", {}),
        ("m2ts", "mpeg2video", {}),
        ("mpg", "mpeg2video", {}),
        ("wmv", "wmv2", {}),
        ("asf", "msmpeg4", {}),
        ("flv", "flv1", {}),
        ("flv", "libx264", {}),
        ("webm", "libvpx", {}),
        ("webm", "libvpx-vp9", {}),
        ("mkv", "mpeg4", {"bf": "2"}),
        ("mov", "mjpeg", {}),
        ("3gp", "mpeg4", {}),
    ],
)
def test_every_common_container_comes_over_whole(tmp_path, suffix, codec, options):
    path = film(tmp_path / f"a.{suffix}", grey(12), codec=codec, **options)
    assert missing_part(path) is None
    assert which(take(path)) == list(range(12))
    assert which(take(path, fps=5.0)) == list(range(0, 12, 2))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "mjpeg"),
        ("mkv", "libx264"),
        ("webm", "libvpx"),
        ("avi", "libx264"),
        ("wmv", "wmv2"),
        ("flv", "flv1"),
        ("gif", "gif"),
    ],
)
@pytest.mark.parametrize("part", [0.6, 0.99])
def test_a_file_that_was_cut_short_is_no_shorter_episode(tmp_path, suffix, codec, part):
    whole = film(tmp_path / f"a.{suffix}", list(pictures(9, 3, shape=(48, 64, 3))), codec=codec)
    data = whole.read_bytes()
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut" / f"b.{suffix}"
    cut.write_bytes(data[: int(len(data) * part)])
    film(tmp_path / "cut/a.mp4", grey(4))
    importing.run(importing.plan(ImportConfig(source=tmp_path / "cut", out=tmp_path / "x.h5")))
    with Trajectories(tmp_path / "x.h5") as made:
        assert [made.source(number) for number in range(len(made))] == ["a.mp4"]
        assert cut.name in made.attributes["skipped"]


def test_a_decoder_that_gives_fewer_pictures_than_there_are_is_noticed(tmp_path, monkeypatch):
    """Nothing else says so: neither the container nor the clock."""
    from layerscout.cache.importers.video import decoding

    path = film(tmp_path / "a.mp4", grey(12))
    real = decoding.PictureCount.give

    def losing(self, picture):
        if self.decoded < 9:
            real(self, picture)

    monkeypatch.setattr(decoding.PictureCount, "give", losing)
    with pytest.raises(DataError, match="it holds 12 pictures and 9 of them decode"):
        take(path)


def test_cover_art_is_no_video(tmp_path):
    song = tmp_path / "a.mp4"
    with av.open(str(song), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        moving = container.add_stream("libx264", rate=10)
        moving.height, moving.width, moving.pix_fmt = 48, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in cover.encode(picture.reformat(format="yuvj420p")):
            container.mux(packet)
        for values in grey(6):
            container.mux(moving.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(moving.encode(None))
    assert which(take(song)) == list(range(6))


def test_windows_of_episodes_that_share_pictures_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = write_lerobot(tmp_path / "set", "v3.0", lerobot_episodes())
    path = source / "meta/episodes/chunk-000/file-000.parquet"
    whole = pq.read_table(path)

    def move(column: str, row: int, by: float) -> None:
        name = f"videos/{CAMERAS[0]}/{column}"
        values = whole.column(name).to_pylist()
        values[row] += by
        pq.write_table(whole.set_column(whole.column_names.index(name), name, pa.array(values)), path)

    def take_set() -> None:
        importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5", camera=CAMERAS[0]))

    take_set()
    move("from_timestamp", 1, -0.1)  # one picture early: it begins with the last one of the episode before
    with pytest.raises(DataError, match=r"episode_000000 and episode_000001 share pictures of .*until 0\.500 s and from 0\.400 s on"):
        take_set()
    move("from_timestamp", 1, 0.1)  # one late: it ends with the first one of the episode after
    with pytest.raises(DataError, match=r"episode_000001: its 2 pictures from 0\.600 s on end after 0\.700 s|share pictures"):
        take_set()
    move("to_timestamp", 2, -0.1)
    with pytest.raises(DataError, match=r"episode_000002: its 7 pictures from 0\.700 s on end after 1\.300 s"):
        take_set()
    move("from_timestamp", 1, 0.02)  # a fifth of a picture is rounding
    take_set()


def test_a_file_of_one_row_group_is_decoded_once(tmp_path, monkeypatch):
    """So that four times the episodes take four times the work; what counts is what is read, not the time it takes."""
    import pyarrow.parquet as pq

    read: list[int] = []
    real = pq.ParquetFile.read_row_group

    def counted(self, group, columns=None, **options):
        if columns and any("image" in name for name in columns):
            read.append(self.metadata.row_group(group).num_rows)
        return real(self, group, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for name, groups in (("one", None), ("many", 5)):  # rows of a group: all, or fewer than two episodes have
        read.clear()
        source = lerobot(tmp_path / name, lengths=(3, 4, 2, 5, 3, 4), group_rows=groups)
        importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / f"{name}.h5")))
        assert sum(read) <= 21 + (groups or 21), "every row once, and once more for the plan's first episode"
        with Trajectories(tmp_path / f"{name}.h5") as data:
            assert data.lengths.tolist() == [2, 3, 1, 4, 2, 3]
            for number, length in enumerate((3, 4, 2, 5, 3, 4)):
                assert [round(float(frame.mean()) / 20) for frame in data.episode(number).frames] == list(range(length))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("times", "told"), [([0, 100, 200, 300], ""), ([0, 33, 67, 100], ""), ([0, 100, 300, 400], "0.1 to 0.2 s")])
def test_pictures_that_are_not_evenly_apart_are_told_of(tmp_path, suffix, times, told):
    """Where one is missing inside, or some are shown for longer, a step is not of one length."""
    source = film(tmp_path / f"a.{suffix}", grey(4), times=times)
    planned = importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5"))
    notes = importing.run(planned)["notes"]
    assert bool(notes) == bool(told)
    assert all(told in note and "--fps" in note for note in notes)
    by_clock = importing.plan(ImportConfig(source=source, out=tmp_path / "y.h5", fps=10.0))
    assert not importing.run(by_clock)["notes"]
