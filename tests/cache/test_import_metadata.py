"""What strangers' metadata say of spaces, episodes and times is looked up and not believed: each word of it is taken, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerscout.cache.importers.formats.lerobot_layout import LeRobotLayout, as_number, as_whole
from layerscout.cache.importers.formats.minari_spaces import SpaceLeaf, read_spaces
from layerscout.errors import DataError

HERE = Path("here")


def leaves(space: object, name: str = "action_space") -> dict[str, SpaceLeaf]:
    return read_spaces({name: json.dumps(space)}, name, "actions", HERE)


def leaf(**space: object) -> SpaceLeaf:
    (found,) = leaves(space).values()
    return found


def box(dtype: str, low: Any, high: Any, shape: list[int] | None = None) -> dict[str, object]:
    return {"type": "Box", "dtype": dtype, "shape": list(np.shape(low)) if shape is None else shape, "low": low, "high": high}


def test_a_tree_of_spaces_has_a_leaf_a_path_and_a_space_alone_the_name_of_its_root():
    tree = {
        "type": "Dict",
        "subspaces": {
            "arm": {"type": "Tuple", "subspaces": [{"type": "Discrete", "n": 2}, box("float32", [0.0, 0.0], [1.0, 1.0])]},
            "mode": {"type": "MultiBinary", "n": 3},
        },
    }
    found = leaves(tree)
    assert {path: (one.kind, one.path, one.shape) for path, one in found.items()} == {
        "arm/0": ("Discrete", ("actions", "arm", 0), ()),
        "arm/1": ("Box", ("actions", "arm", 1), (2,)),
        "mode": ("MultiBinary", ("actions", "mode"), (3,)),
    }
    assert leaves({"type": "Discrete", "n": 4})["actions"].path == ("actions",)
    assert leaves({"type": "Dict", "subspaces": {}}) == {}


@pytest.mark.parametrize(
    ("space", "count", "start", "bound"),
    [
        ({"type": "Discrete", "n": 5}, 5, 0, 4),
        ({"type": "Discrete", "n": 5, "start": -2}, 5, -2, 2),
        ({"type": "Discrete", "n": 2, "start": -9}, 2, -9, 9),
        ({"type": "Discrete", "n": 1, "start": 7}, 1, 7, 7),
        (box("int8", [-1], [1]), 3, -1, 1),
        (box("int64", -2, 3), 6, -2, 3),
        (box("int8", [0], [4]), 0, 0, 4),  # counted from 0 it is its own code
        (box("int8", [-1, -1], [1, 1]), 0, 0, 1),  # two numbers are no single choice
        (box("uint8", [0, 0], [255, 255]), 0, 0, 255),
        (box("int32", [-(2**31)], [2**31 - 1]), 0, 0, None),  # the whole type is no limit
        (box("int64", [-(2**63)], [2**63 - 1]), 0, 0, None),
        (box("int16", [-(2**15)], [2**15 - 1]), 0, 0, 2**15),
        (box("int64", [0], [10**9]), 0, 0, 10**9),
        (box("int32", [0], [2**31 - 1]), 0, 0, None),
        (box("int32", [0], [2**31 - 2]), 0, 0, 2**31 - 2),
        ({"type": "Box", "dtype": "uint8", "shape": [2], "low": [0, 0]}, 0, 0, np.inf),
        ({"type": "MultiDiscrete", "nvec": [3, 4]}, 0, 0, 4),
        ({"type": "MultiDiscrete"}, 0, 0, None),
        (box("float32", [-1.0], [1.0]), 0, 0, None),
        ({"type": "Box", "dtype": "uint8", "shape": [4, 4, 3]}, 0, 0, np.inf),
        ({"type": "MultiBinary", "n": [2, 3]}, 0, 0, None),
        ({"type": "Text"}, 0, 0, None),
    ],
)
def test_a_leaf_tells_how_many_whole_numbers_there_are_where_they_begin_and_how_far_they_go(space, count, start, bound):
    found = leaf(**space)
    assert (found.count, found.start, found.bound) == (count, start, bound)


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (box("float32", [[0.0] * 3] * 2, [[1.0] * 3] * 2), (2, 3)),
        (box("float32", 0.0, 1.0), ()),
        ({"type": "MultiDiscrete", "nvec": [3, 4]}, (2,)),
        ({"type": "MultiDiscrete", "nvec": [[3, 4], [5, 6]]}, (2, 2)),
        ({"type": "MultiBinary", "n": 4}, (4,)),
        ({"type": "MultiBinary", "n": [2, 3]}, (2, 3)),
        ({"type": "Discrete", "n": 9}, ()),
        ({"type": "Box", "dtype": "float32", "shape": [0, 3]}, (0, 3)),
    ],
)
def test_a_leaf_has_the_shape_of_one_member(space, shape):
    assert leaf(**space).shape == shape


def test_a_leaf_is_told_by_its_type_and_shape_or_its_kind():
    assert str(leaf(**box("float32", [0.0], [1.0]))) == "float32 (1,)"
    assert str(leaf(type="Text")) == "Text ()"


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"type": "Box", "dtype": "float32", "shape": [3, -1]}, "a Box space has shape"),
        ({"type": "Box", "dtype": "float32", "shape": [2.5]}, "a Box space has shape"),
        ({"type": "Box", "dtype": "float32", "shape": None}, "a Box space has shape"),
        ({"type": "MultiBinary"}, "a MultiBinary space has shape None"),
        ({"type": "Discrete", "n": "many"}, "the space 'actions' is not described as spaces are"),
        ({"type": "Box", "dtype": "int65", "shape": [1], "low": [0], "high": [9]}, None),
        ({"type": "Box", "dtype": "int8", "shape": [1], "low": ["a"], "high": [9]}, "is not described as spaces are"),
        ({"type": "Dict", "subspaces": {"arm": 3}}, "the space 'actions/arm' is described by 3"),
        ({"type": "Tuple", "subspaces": [None]}, "the space 'actions/0' is described by None"),
    ],
)
def test_what_no_space_says_is_refused_by_its_path(space, told):
    if told is None:  # a type that numpy does not know has no limit of its own
        assert leaf(**space).bound == 9
        return
    with pytest.raises(DataError, match=told) as caught:
        leaves(space)
    assert "Minari" in caught.value.hint


@pytest.mark.parametrize(
    "metadata", [{}, {"action_space": "{"}, {"action_space": None}, {"action_space": "[]"}, {"action_space": "[" * 5000}]
)
def test_metadata_without_a_space_are_refused(metadata):
    with pytest.raises(DataError, match=r"metadata\.json does not describe its action space"):
        read_spaces(metadata, "action_space", "actions", HERE)


def test_two_parts_of_one_path_are_refused_so_that_neither_is_lost():
    tree = {"subspaces": {"a/b": {"type": "Discrete", "n": 2}, "a": {"subspaces": {"b": {"type": "Discrete", "n": 3}}}}}
    with pytest.raises(DataError, match="two parts of the observation space have the path 'a/b'"):
        leaves(tree, "observation_space")


# LeRobot


@pytest.mark.parametrize(("value", "above", "number"), [(3, -1, 3.0), (0, -1, 0.0), (0.5, 0, 0.5), (-0.5, -1, -0.5)])
def test_a_number_of_the_metadata_is_taken(value, above, number):
    found = as_number(value, "fps", above)
    assert (found, type(found)) == (number, float)


@pytest.mark.parametrize("value", [0, -1, True, "30", None, [30], float("nan"), float("inf"), 1e9])
def test_what_is_no_number_above_the_bound_is_refused_with_what_was_seen(value):
    with pytest.raises(DataError, match=r"fps is .*, expected a number above 0") as caught:
        as_number(value, "fps", above=0)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [0, 3, 3.0, 2**53 - 1])
def test_whole_numbers_may_be_written_with_a_point(value):
    found = as_whole(value, "length")
    assert (found, type(found)) == (value, int)


@pytest.mark.parametrize("value", [-1, 2.5, True, False, "3", None, 2**53, float("nan"), float("inf")])
def test_everything_else_is_no_whole_number(value):
    with pytest.raises(DataError, match="expected a whole number from 0"):
        as_whole(value, "length")


CAMERA, VIDEO = "cam", {"dtype": "video", "shape": [16, 24, 3]}


def dataset(folder: Path, **changes: object) -> Path:
    info = {"codebase_version": "v2.1", "fps": 10, "total_episodes": 2, "features": {CAMERA: VIDEO}, "chunks_size": 2}
    info |= {"data_path": "data/{episode_chunk:02d}/{episode_index:06d}.parquet", "video_path": "videos/{video_key}/{episode_index}.mp4"}
    (folder / "meta").mkdir(exist_ok=True)
    (folder / "meta/info.json").write_text(json.dumps({name: value for name, value in (info | changes).items() if value is not None}))
    return folder


def episodes(folder: Path, *lines: object) -> LeRobotLayout:
    (folder / "meta/episodes.jsonl").write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    layout = LeRobotLayout.read(folder)
    layout.find_episodes(CAMERA)
    return layout


@pytest.mark.parametrize("version", ["v1.6", "v4.0", "2.1", None, 3])
def test_another_version_is_refused_and_the_known_ones_are_named(tmp_path, version):
    with pytest.raises(DataError, match=r"expected v2\.0, v2\.1 or v3") as caught:
        LeRobotLayout.read(dataset(tmp_path, codebase_version=version))
    assert "convert" in caught.value.hint


@pytest.mark.parametrize("features", [None, [], "cam", {"cam": None}, {"cam": ["video"]}])
def test_features_that_are_no_table_of_tables_are_refused(tmp_path, features):
    with pytest.raises(DataError, match="does not describe its features"):
        LeRobotLayout.read(dataset(tmp_path, features=features))


def test_a_vector_of_one_number_is_a_number_and_other_shapes_are_as_stated(tmp_path):
    shapes = {"one": [1], "two": [2], "grid": [3, 1], "none": []}
    layout = LeRobotLayout.read(dataset(tmp_path, features={name: {"shape": shape} for name, shape in shapes.items()} | {"left out": {}}))
    assert [layout.shape(name) for name in (*shapes, "left out")] == [(), (2,), (3, 1), (), ()]
    for wrong in ([0], [2, -1], "12", [1.5], [None], {"a": 1}, 3):
        layout.features["wrong"] = {"shape": wrong}
        with pytest.raises(DataError, match="the feature 'wrong' has shape"):
            layout.shape("wrong")


def test_episodes_come_in_the_order_of_their_numbers_and_in_files_of_their_chunk(tmp_path):
    layout = episodes(dataset(tmp_path), {"episode_index": 3, "length": 7.0}, "", {"episode_index": 0, "length": 5, "tasks": ["x"]})
    assert [(name, row["length"]) for name, row in layout.rows.items()] == [("episode_000000", 5), ("episode_000003", 7)]
    assert [layout.data_name(row) for row in layout.rows.values()] == ["data/00/000000.parquet", "data/01/000003.parquet"]
    assert [layout.video_name(row, CAMERA) for row in layout.rows.values()] == ["videos/cam/0.mp4", "videos/cam/3.mp4"]
    assert layout.metadata_files == ["meta/info.json", "meta/episodes.jsonl"]


@pytest.mark.parametrize(
    "lines",
    [
        ["{"],
        ["[]"],
        ["3"],
        [{"episode_index": 0}],
        [{"episode_index": 0, "length": -1}],
        [{"episode_index": "0", "length": 4}],
    ],
)
def test_lines_that_describe_no_episode_are_refused_and_their_file_is_named(tmp_path, lines):
    with pytest.raises(DataError, match=r"episodes\.jsonl"):
        episodes(dataset(tmp_path), *lines)


@pytest.mark.parametrize("numbers", [[0], [0, 0], [0, 1, 2], []])
def test_another_number_of_episodes_than_stated_is_refused_so_that_none_is_lost(tmp_path, numbers):
    with pytest.raises(DataError, match=rf"describes {len(set(numbers))} episodes, meta/info.json states 2"):
        episodes(dataset(tmp_path), *({"episode_index": number, "length": 3} for number in numbers))


def layout_of(tmp_path: Path) -> LeRobotLayout:
    return LeRobotLayout.read(dataset(tmp_path, codebase_version="v3.0", video_path="{video_key}/{chunk_index}/{file_index}.mp4"))


@pytest.mark.parametrize(
    ("times", "near"),
    [
        ([0.0, 0.1, 0.2], True),
        ([0.0, 0.124, 0.2], True),
        ([0.0, 0.1, 0.226], False),
        ([0.1, 0.2, 0.3], False),
        ([0.0, np.nan, 0.2], False),
        ([0.0, 0.1], False),
    ],
)
def test_frames_lie_a_tick_apart_from_0_on_or_are_refused(tmp_path, times, near):
    layout = layout_of(tmp_path)
    if near:
        layout.check_times(np.arange(3), np.array(times), 3, "here")
        layout.check_times(None, np.array(times), 3, "here")
        return
    with pytest.raises(DataError, match="here: its frames are not numbered from 0 or not 10 a second apart"):
        layout.check_times(np.arange(3), np.array(times), 3, "here")


@pytest.mark.parametrize("index", [[1, 2, 3], [0, 2, 1], [0, 1], [0, 1, 2, 3]])
def test_frames_that_are_not_numbered_from_0_are_refused_also_without_times(tmp_path, index):
    with pytest.raises(DataError, match="not numbered from 0"):
        layout_of(tmp_path).check_times(np.array(index), None, 3, "here")
    layout_of(tmp_path).check_times(np.arange(3), None, 3, "here")
    layout_of(tmp_path).check_times(None, None, 0, "here")


def windows(layout: LeRobotLayout, *rows: tuple[int, float, float, int]) -> None:
    """Check rows of (file, from, to, length); the frames are a tenth of a second apart."""
    for number, (file, begin, end, length) in enumerate(rows):
        place = {"chunk_index": 0, "file_index": file, "from_timestamp": begin, "to_timestamp": end}
        layout.rows[f"e{number}"] = {"episode_index": number, "length": length} | {
            f"videos/{CAMERA}/{name}": value for name, value in place.items()
        }
    layout._check_windows(CAMERA)


def test_episodes_may_follow_each_other_in_a_video_and_lie_at_the_same_time_in_two(tmp_path):
    windows(layout_of(tmp_path), (0, 0.0, 0.3, 3), (0, 0.3, 0.8, 5), (1, 0.0, 0.5, 5))
    windows(layout_of(tmp_path), (0, 0.3, 0.8, 5), (0, 0.0, 0.3, 3))  # in any order
    windows(layout_of(tmp_path), (0, 0.0, 0.26, 3), (0, 0.28, 0.8, 5))  # times may be rounded


def test_pictures_that_two_episodes_share_or_that_no_window_holds_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"e0 and e1 share pictures of cam/0/0\.mp4: until 0\.300 s and from 0\.200 s on"):
        windows(layout_of(tmp_path), (0, 0.0, 0.3, 3), (0, 0.2, 0.7, 5))
    with pytest.raises(DataError, match=r"e0: its 3 pictures from 0\.000 s on end after 0\.200 s"):
        windows(layout_of(tmp_path), (0, 0.0, 0.2, 3))
