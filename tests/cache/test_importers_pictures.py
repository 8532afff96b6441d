"""Pictures of any type, layout and packing become the frames that they show; what is no picture of one moment is refused by name."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_files import LENGTHS, SHAPE, aloha, d4rl, frames, images, jpeg, minari, npz, numbers_of, robomimic
from foreign_videos import pictures, png

from layerscout.cache.dataset.trajectories import Episode
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.pictures.compressed import decode_picture
from layerscout.cache.importers.pictures.frames import as_frames
from layerscout.cache.importers.pictures.scaling import PictureScale
from layerscout.errors import BudgetError, DataError, UsageError

pytestmark = pytest.mark.usefixtures("trusted_hdf5")
CONFIG, LAST = ImportConfig(source="set"), ImportConfig(source="set", stack="last")
ROWS = sum(LENGTHS)


def take(source: Path, **options) -> list[Episode]:
    planned = importing.plan(ImportConfig(source=source, out=source.parent / "never.h5", **options))
    return [planned.importer.episode(item) for item in planned.episodes]


def stacked(count: int, places: int, newest_first: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Grey frames, and at each step the last ``places`` of them on top of each other, the first one repeated at the beginning."""
    grey = pictures(count, 3, shape=SHAPE[:2])
    order = np.maximum(np.arange(count)[:, None] + np.arange(-places + 1, 1), 0)
    return grey, grey[order[:, ::-1] if newest_first else order]


# stacks


@pytest.mark.parametrize("places", [2, 3, 4, 5])
@pytest.mark.parametrize("last_axis", [False, True])
@pytest.mark.parametrize("newest_first", [False, True])
def test_frames_on_top_of_each_other_are_no_colours(places, last_axis, newest_first):
    grey, stacks = stacked(6, places, newest_first)
    values = stacks.transpose(0, 2, 3, 1) if last_axis else stacks
    with pytest.raises(DataError, match=rf"are {places} frames or channels stacked, no colours") as caught:
        as_frames(values, "here", CONFIG)
    assert caught.value.hint == "layerscout import set --stack last"
    np.testing.assert_array_equal(as_frames(values, "here", LAST), np.repeat(grey[..., None], 3, axis=3))


@pytest.mark.parametrize("axis", ["first", "last", "own"])
def test_colours_on_top_of_each_other_give_the_last_colours(axis):
    colours = pictures(6, 3)
    order = np.maximum(np.arange(6)[:, None] + np.arange(-2, 1), 0)
    own = colours[order]  # [frame, place, height, width, channel]
    values = {"own": own, "first": own.transpose(0, 1, 4, 2, 3).reshape(6, 9, *SHAPE[:2])}
    values["last"] = values["first"].transpose(0, 2, 3, 1)
    with pytest.raises(DataError, match="stacked, no colours"):
        as_frames(values[axis], "here", CONFIG)
    np.testing.assert_array_equal(as_frames(values[axis], "here", LAST), colours)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("still", [False, True])
def test_colours_stay_colours(channels, still):
    """Also of a picture that does not move, or is grey all over."""
    values = pictures(1, 2, shape=(6, 7, channels)).repeat(5, axis=0) if still else pictures(5, 2, shape=(6, 7, channels))
    np.testing.assert_array_equal(as_frames(values, "here", CONFIG), values)
    grey = np.repeat(pictures(5, 2, shape=(6, 7, 1)), channels, axis=3)
    np.testing.assert_array_equal(as_frames(grey, "here", CONFIG), grey)
    black = np.zeros((5, 3, 6, 7), np.uint8)
    assert as_frames(black, "here", CONFIG).shape == (5, 6, 7, 3)
    np.testing.assert_array_equal(
        as_frames(pictures(5, 2, shape=(6, 7, 3)).transpose(0, 3, 1, 2), "here", CONFIG), pictures(5, 2, shape=(6, 7, 3))
    )


def test_four_channels_before_height_and_width_are_never_brightness_with_alpha(tmp_path):
    source = d4rl(tmp_path / "in", observations=np.zeros((ROWS, 4, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"pictures of shape \(4, 16, 16\) are 4 frames or channels stacked") as caught:
        take(source)
    assert caught.value.hint == f"layerscout import {source} --out {source.parent / 'never.h5'} --stack last"
    assert take(source, stack="last")[0].frames.shape == (LENGTHS[0] + 1, 16, 16, 3)


@pytest.mark.parametrize("kind", ["minari", "robomimic", "npz", "d4rl"])
def test_stacks_are_cut_in_every_format(tmp_path, kind):
    whole = {steps: stacked(steps + 1, 4) for steps in LENGTHS}
    box = {"type": "Box", "dtype": "uint8", "shape": [4, *SHAPE[:2]], "low": 0, "high": 255}
    if kind == "npz":
        source = npz(tmp_path / "in", image=whole[LENGTHS[0]][1].transpose(0, 2, 3, 1))
        with pytest.raises(DataError, match="stacked, no colours"):
            take(source)
        planned = importing.plan(ImportConfig(source=source, stack="last"))
        np.testing.assert_array_equal(planned.sample.frames[..., 0], whole[LENGTHS[0]][0])
        return
    source = {
        "minari": lambda path: minari(path, box, observations=lambda steps: whole[steps][1]),
        "robomimic": lambda path: robomimic(path, **{f"data/demo_{n}/obs/stack": whole[s][1][:-1] for n, s in enumerate(LENGTHS)}),
        "d4rl": lambda path: d4rl(path, observations=np.concatenate([whole[steps][1][:-1] for steps in LENGTHS])),
    }[kind](tmp_path / "in")
    camera = {"robomimic": "stack"}.get(kind)
    with pytest.raises(DataError, match="stacked, no colours"):
        take(source, camera=camera)
    for steps, episode in zip(LENGTHS, take(source, camera=camera, stack="last"), strict=True):
        count = min(len(episode.frames), steps)
        np.testing.assert_array_equal(episode.frames[:count, ..., 0], whole[steps][0][:count])


def test_nothing_to_cut_is_said():
    with pytest.raises(DataError, match="have no axis of stacked frames"):
        as_frames(np.zeros((2, 40, 50, 60), np.uint8), "here", LAST)
    plain = pictures(3, 1, shape=(6, 7))
    np.testing.assert_array_equal(as_frames(plain, "here", LAST)[..., 0], plain)


# other types of numbers


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int16", "uint16", "bool", ">f4"])
def test_other_numbers_become_the_brightness_that_they_mean(dtype):
    bytes_ = pictures(4, 1)
    if dtype == "bool":
        bytes_ = np.where(bytes_ > 99, 255, 0).astype(np.uint8)
    scales = [1] if np.dtype(dtype).kind in "iu" else [255] if dtype == "bool" else [1, 255]
    for factor in scales:
        values = (bytes_ / factor).astype(dtype)
        scale = PictureScale()
        np.testing.assert_array_equal(as_frames(values, "here", CONFIG, scale), bytes_)
        assert ("multiplied by 255" if factor == 255 else "rounded") in scale.note


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.linspace(-1, 1, 48), "values from -1 to 1, expected 0 to 1 or 0 to 255"),
        (np.linspace(0, 3.2, 48), "values from 0 to 3.2, expected"),
        (np.linspace(0, 1000, 48), "values from 0 to 1000, expected"),
        (np.where(np.arange(48) == 7, np.nan, 0.5), "values from nan to nan, expected"),
        (np.arange(48) - 1, "int64 with values from -1 to 46, expected"),
        (np.arange(48) * 100, "int64 with values from 0 to 4700, expected"),
    ],
)
def test_numbers_that_are_no_brightness_are_refused_with_their_range(values, message):
    with pytest.raises(DataError, match=message):
        as_frames(values.reshape(1, 4, 4, 3), "here", CONFIG)


def test_one_dataset_has_one_scale(tmp_path):
    """The first pictures decide; later ones that do not fit are an error and not another scale."""
    scale = PictureScale()
    as_frames(np.full((2, 4, 4, 3), 200.0), "here", CONFIG, scale)
    assert (as_frames(np.full((2, 4, 4, 3), 0.9), "there", CONFIG, scale) == 1).all()  # dark, on the same scale
    assert (as_frames(np.full((2, 4, 4, 3), 30.4), "there", CONFIG, scale) == 30).all()
    scale = PictureScale()
    as_frames(np.full((2, 4, 4, 3), 0.5), "here", CONFIG, scale)
    with pytest.raises(DataError, match="there: pictures are float64 with values from 30 to 30, expected 0 to 1 as in those before"):
        as_frames(np.full((2, 4, 4, 3), 30.0), "there", CONFIG, scale)


@pytest.mark.parametrize("kind", ["d4rl", "robomimic", "minari", "npz"])
def test_real_pictures_are_found_and_said_in_every_format(tmp_path, kind):
    unit = {steps: frames(steps + 1) / np.float32(255) for steps in LENGTHS}
    box = {"type": "Box", "dtype": "float32", "shape": list(SHAPE), "low": 0, "high": 1}
    made = {
        "d4rl": lambda path: d4rl(path, observations=np.concatenate([unit[steps][:-1] for steps in LENGTHS])),
        "minari": lambda path: minari(path, box, observations=lambda steps: unit[steps]),
        "npz": lambda path: npz(path, image=unit[LENGTHS[0]]),
    }
    if kind == "robomimic":
        source = robomimic(tmp_path / "in")
        with h5py.File(source, "r+") as file:
            for number, steps in enumerate(LENGTHS):
                del file[f"data/demo_{number}/obs/cam"]
                file[f"data/demo_{number}/obs/cam"] = unit[steps][:-1]
                file[f"data/demo_{number}/obs/pose"] = np.eye(4)[None].repeat(steps, axis=0)  # a matrix is no picture
    else:
        source = made[kind](tmp_path / "in")
    planned = importing.plan(ImportConfig(source=source))
    assert planned.describe()["notes"] == ["pictures are float32 and were multiplied by 255 to bytes"]
    assert numbers_of(planned.sample.frames)[:3] == [0, 1, 2]


def test_bytes_are_pictures_before_other_numbers_are(tmp_path):
    """A depth picture beside a camera is not another camera, unless it is asked for."""
    depth = {f"data/demo_{number}/obs/depth": np.full((steps, *SHAPE[:2], 1), 0.5) for number, steps in enumerate(LENGTHS)}
    source = robomimic(tmp_path / "in", **depth)
    assert importing.plan(ImportConfig(source=source)).attributes["camera"] == "cam"
    assert (take(source, camera="depth")[0].frames == 128).all()


# compressed pictures


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_that_exif_asks_for_is_made(orientation):
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:8, :8] = 250  # the corner that must come to lie where the camera says
    shown = decode_picture(jpeg(picture, orientation), "here")
    corners = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}
    assert shown.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))
    bright = shown[:: shown.shape[0] - 1, :: shown.shape[1] - 1, 0] > 200
    assert tuple(np.argwhere(bright)[0]) == corners[orientation]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "RGB"])
def test_every_kind_of_pixel_that_is_brightness_is_read(mode):
    import io

    from PIL import Image

    made = Image.fromarray(pictures(1, 1)[0]).convert(mode)
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    expected = made.convert({"1": "RGB", "L": "RGB", "P": "RGB", "LA": "RGBA"}.get(mode, mode))
    np.testing.assert_array_equal(decode_picture(buffer.getvalue(), "here"), np.asarray(expected))


@pytest.mark.parametrize("mode", ["I;16", "CMYK", "F"])
def test_pixels_that_are_no_brightness_are_refused(mode):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, {"I;16": "PNG", "CMYK": "JPEG", "F": "TIFF"}[mode])
    with pytest.raises(DataError, match=r"pixels of the kind|cannot identify"):
        decode_picture(buffer.getvalue(), "here")


# folders of pictures


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_folders_of_pictures_come_over_in_the_order_of_their_numbers(tmp_path, suffix):
    folder = tmp_path / "in" / "walk"
    folder.mkdir(parents=True)
    for number, picture in enumerate(frames(12)):
        (folder / f"frame_{number}.{suffix}").write_bytes(png(picture) if suffix == "png" else jpeg(picture))
    (folder / "._frame_3.png").write_bytes(b"what a file system leaves")
    (folder / "notes.txt").write_text("no picture")
    assert importing.detect_format(tmp_path / "in") == "images"
    (episode,) = take(tmp_path / "in")
    assert numbers_of(episode.frames) == list(range(12))
    assert numbers_of(take(folder, stride=5)[0].frames) == [0, 5, 10]
    assert episode.truncated.tolist() == [False] * 10 + [True]


def test_a_camera_chooses_the_folders_of_its_name(tmp_path):
    for episode in (0, 1):
        for place, camera in enumerate(("front", "wrist")):
            for number, picture in enumerate(frames(3)):
                file = tmp_path / f"in/episode_{episode}/{camera}/{number:03d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(png(picture + np.uint8(place)))
    assert len(take(tmp_path / "in")) == 4
    found = take(tmp_path / "in", camera="wrist")
    assert [int(episode.frames[0].max()) for episode in found] == [1, 1]
    with pytest.raises(UsageError, match="no camera 'frnt'; did you mean 'front'"):
        take(tmp_path / "in", camera="frnt")


def test_a_broken_picture_skips_its_folder_and_a_gap_is_told_of(tmp_path):
    source = images(tmp_path / "in")
    (source / "walk_1/frame_2.png").write_bytes(b"no picture")
    done = importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5")))
    assert (done["episodes"], done["skipped"][0].partition(": ")[0]) == (1, "walk_1")
    assert "picture 2 is damaged" in done["skipped"][0]
    (source / "walk_0/frame_2.png").unlink()
    (note,) = importing.plan(ImportConfig(source=source)).describe()["notes"]
    assert note == "the numbers of the pictures jump in 1 folders, as if some were missing: walk_0"
    (source / "walk_0/frame_3.png").write_bytes(png(frames(2, (8, 8, 3))[1]))
    with pytest.raises(DataError, match=r"has shape \(8, 8, 3\), the first \(16, 24, 3\)"):
        take(source)


def test_pictures_that_mobile_aloha_packed_are_unpacked(tmp_path):
    source = aloha(tmp_path / "in", packed=True)
    episodes = take(source, camera="cam_low")
    assert [numbers_of(episode.frames) for episode in episodes] == [[0, 1, 2, 3], [0, 1, 2]]


# memory


@pytest.mark.parametrize("kind", ["grey", "resized", "packed"])
def test_memory_is_asked_for_before_frames_grow(tmp_path, monkeypatch, kind):
    source = {
        "grey": lambda: d4rl(tmp_path, observations=np.zeros((ROWS, 64, 64), np.uint8)),
        "resized": lambda: d4rl(tmp_path),
        "packed": lambda: images(tmp_path),
    }[kind]()
    free = {"grey": 4 * 64 * 64 * 3, "resized": 10**5, "packed": 3000}[kind]
    monkeypatch.setattr("layerscout.cache.importers.needs.available_memory", lambda: free)
    with pytest.raises(BudgetError, match="of memory are free"):
        take(source, **({"size": "256"} if kind == "resized" else {}))
