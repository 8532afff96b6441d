"""What is particular to a format: filter keys, versions, packed and broken files, strange spaces; and no stranger's file is a bug."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_files import (
    CAMERA,
    LENGTHS,
    SHAPE,
    WRITERS,
    aloha,
    d4rl,
    dreamer,
    frames,
    lerobot,
    maniskill,
    minari,
    npz,
    numbers_of,
    robomimic,
)
from foreign_videos import CAMERAS, lerobot_episodes, write_lerobot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerscout.cache.dataset.trajectories import Episode, Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import BudgetError, DataError, LayerscoutError, UsageError

pytest.importorskip("av", reason="videos are decoded by PyAV; installed with layerscout[import]")
pytest.importorskip("pyarrow", reason="tables are read by pyarrow; installed with layerscout[import]")


def take(source: Path, **options) -> list[Episode]:
    planned = importing.plan(ImportConfig(source=source, out=source.parent / "never.h5", **options))
    return [planned.importer.episode(item) for item in planned.episodes]


def refusal(config: ImportConfig, write: bool = True) -> LayerscoutError | None:
    """Import, and return what was said against it; anything but a refusal is a bug and comes out as it is."""
    try:
        planned = importing.plan(config)
        if write:
            importing.run(planned)
    except LayerscoutError as error:
        return error
    return None


# robomimic


@pytest.mark.usefixtures("trusted_hdf5")
@pytest.mark.parametrize("text", ["bytes", "strings", "fixed"])
def test_a_filter_key_takes_the_demonstrations_that_it_lists(tmp_path, text):
    source = robomimic(tmp_path / "in")
    listed = {"bytes": np.array([b"demo_1"]), "fixed": np.array(["demo_1"], dtype="S12")}.get(text)
    with h5py.File(source, "r+") as file:
        file["mask/valid"] = listed if listed is not None else np.array(["demo_1"], dtype=h5py.string_dtype())
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])
        file["mask/gone"] = np.array([b"demo_7"])
    planned = importing.plan(ImportConfig(source=source, filter_key="valid"))
    assert [item.name for item in planned.episodes] == ["demo_1"]
    assert planned.attributes["options"] == {"filter_key": "valid"}
    assert len(take(source, filter_key="train")) == len(take(source)) == 2
    with pytest.raises(UsageError, match="no filter key 'trian'; did you mean 'train'") as caught:
        take(source, filter_key="trian")
    assert caught.value.hint == "filter keys: gone, train, valid"
    with pytest.raises(DataError, match="the filter key 'gone' lists demo_7, which is not there"):
        take(source, filter_key="gone")


# LeRobot


def test_lerobot_2_0_comes_over_like_2_1(tmp_path):
    """It differs in its statistics, which nobody needs here."""
    episodes = lerobot_episodes((3, 4))
    source = write_lerobot(tmp_path / "set", "v2.0", episodes)
    (source / "meta/stats.json").write_text("{}")
    for found, expected in zip(take(source, camera=CAMERAS[0]), episodes, strict=True):
        np.testing.assert_array_equal(found.frames, expected[CAMERAS[0]])
        np.testing.assert_array_equal(found.actions, expected["action"][:-1])


def test_features_of_several_axes_and_text_are_named_and_not_lost_silently(tmp_path):
    features = {
        "action": ("float32", [1], lambda episode, frame: frame),
        "pose": ("float32", [2, 2], lambda episode, frame: [[1.0, 2.0], [3.0, 4.0]]),
        "task": ("string", [1], lambda episode, frame: "walk"),
    }
    told = importing.plan(ImportConfig(source=lerobot(tmp_path / "in", features))).describe()["came_over"]
    assert told.endswith("Not taken: 'pose' (float32 [2, 2]), 'task' (string [1]).")


def test_the_first_episodes_of_a_dataset_that_was_fetched_in_part_can_be_taken(tmp_path):
    source = write_lerobot(tmp_path / "set", "v2.1", lerobot_episodes((3, 3, 3, 3)))
    for path in [*source.rglob("episode_000003.parquet"), *source.rglob("episode_000002.mp4")]:
        path.unlink()
    done = importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5", camera="top", episodes=2)))
    assert done["episodes"] == 2
    with pytest.raises(DataError, match="has no file 'videos"):
        take(source, camera="top")


# V-D4RL's and Dreamer's NPZ files


def test_an_npz_file_that_is_broken_is_named_and_skipped(tmp_path):
    source = npz(tmp_path / "in")
    whole = sorted(source.iterdir())
    (source / "b.npz").write_bytes(whole[0].read_bytes()[:200])
    np.savez(source / "c.npz", **{name: values for name, values in dreamer(3).items() if name != "image"})
    done = importing.run(importing.plan(ImportConfig(source=source, out=tmp_path / "x.h5")))
    assert (done["episodes"], [line.partition(": ")[0] for line in done["skipped"]]) == (2, ["b.npz", "c.npz"])


def test_older_npz_files_end_by_their_discount(tmp_path):
    found = take(npz(tmp_path / "in", is_terminal=None))
    assert [bool(episode.terminated[-1]) for episode in found] == [True, True]
    assert not take(npz(tmp_path / "again"), leave_out=("is_terminal", "discount"))[0].terminated.any()


def test_no_pickle_of_an_npz_file_is_opened(tmp_path):
    """Not even when everything else of the file is read."""

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    source = tmp_path / "in"
    source.mkdir()
    np.savez(source / "a.npz", **dreamer(3))
    with zipfile.ZipFile(source / "a.npz", "a") as archive, archive.open("reward2.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (4,)})
        pickle.dump(np.array([Bomb()] * 4, dtype=object), file)
    assert take(source)[0].steps == 3
    np.savez(source / "b.npz", **dreamer(3, reward=np.array([Bomb()] * 4, dtype=object)))
    (source / "a.npz").unlink()
    assert take(source)[0].rewards is None
    assert not (tmp_path / "exploded").exists()


def test_an_npz_file_that_claims_more_than_memory_holds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    source = npz(tmp_path / "in", extra=np.zeros((4, 1)))
    for path in sorted(source.iterdir()):
        with zipfile.ZipFile(path, "w") as archive:
            for name, values in dreamer(3).items():
                with archive.open(f"{name}.npy", "w") as file:
                    if name != "image":
                        np.lib.format.write_array(file, np.asarray(values))
                        continue
                    claimed = {"descr": "|u1", "fortran_order": False, "shape": (4, 60_000, 60_000, 3)}
                    np.lib.format.write_array_header_1_0(file, claimed)
    monkeypatch.setattr("layerscout.cache.importers.needs.available_memory", lambda: 10**9)
    with pytest.raises(BudgetError, match=r"'image' claims 43\.2 GB"):
        take(source)


# ManiSkill


@pytest.mark.usefixtures("trusted_hdf5")
def test_a_maniskill_file_tells_scene_and_environment(tmp_path):
    source = maniskill(tmp_path / "in")
    planned = importing.plan(ImportConfig(source=source))
    assert planned.attributes["source_environment"] == "PickCube-v1"
    assert set(planned.source.states) == {source.name, "trajectory.rgb.pd_joint_pos.cpu.json"}
    episode = planned.importer.episode(planned.episodes[0])
    assert episode.state[0].tolist() == [1.0] * 13 + [2.0] * 4  # cube, then panda: in the order of their names
    assert episode.extra["success"][:, 0].tolist() == [0, 0, 0, 1]
    assert episode.terminated.tolist() == [False, False, False, True]


@pytest.mark.usefixtures("trusted_hdf5")
def test_a_maniskill_file_without_pictures_says_how_to_record_them(tmp_path):
    source = maniskill(tmp_path / "in", **{"obs/sensor_data/base_camera/rgb": None})
    with pytest.raises(DataError, match="has no images, its observations are: 'agent/qpos' float32") as caught:
        take(source)
    assert "--obs-mode rgb" in caught.value.hint


# ALOHA


@pytest.mark.usefixtures("trusted_hdf5")
def test_an_aloha_folder_needs_a_camera_and_is_taken_in_the_order_of_its_numbers(tmp_path):
    source = aloha(tmp_path / "in")
    (source / "episode_1.hdf5").rename(source / "episode_10.hdf5")
    (source / "episode_0.hdf5").rename(source / "episode_9.hdf5")
    with pytest.raises(UsageError, match="2 cameras and none was chosen"):
        take(source)
    planned = importing.plan(ImportConfig(source=source, camera="cam_low"))
    assert [item.name for item in planned.episodes] == ["episode_9.hdf5", "episode_10.hdf5"]
    assert planned.describe()["dropped_last_actions"] == 2
    (source / "episode_10.hdf5").write_bytes(b"torn")
    assert [item.name for item in importing.plan(ImportConfig(source=source, camera="cam_low")).episodes] == ["episode_9.hdf5"]


# Minari


@pytest.mark.usefixtures("trusted_hdf5")
def test_parts_of_a_tuple_are_named_by_their_places(tmp_path):
    box = {"type": "Box", "dtype": "uint8", "shape": list(SHAPE), "low": 0, "high": 255}
    pose = {"type": "Box", "dtype": "float32", "shape": [2], "low": -1, "high": 1}
    space = {"type": "Tuple", "subspaces": [box, {"type": "Dict", "subspaces": {"pose": pose}}]}
    parts = {"observations": None, "observations/_index_0": lambda steps: frames(steps + 1)}
    parts["observations/_index_1/pose"] = lambda steps: np.ones((steps + 1, 2), np.float32)
    planned = importing.plan(ImportConfig(source=minari(tmp_path / "in", space, **parts)))
    assert (planned.attributes["camera"], sorted(planned.sample.extra)) == ("0", ["1.pose"])
    assert numbers_of(planned.sample.frames) == [0, 1, 2, 3, 4]
    alone = {"type": "Tuple", "subspaces": [pose]}
    with pytest.raises(DataError, match=r"its observations are '0' float32 \(2,\)"):
        importing.plan(ImportConfig(source=minari(tmp_path / "alone", alone)))
    empty = {"type": "Tuple", "subspaces": []}
    with pytest.raises(DataError, match="its observations are none"):
        importing.plan(ImportConfig(source=minari(tmp_path / "empty", empty)))


@pytest.mark.usefixtures("trusted_hdf5")
def test_whole_actions_are_counted_from_the_smallest_that_the_space_has(tmp_path):
    box = {"type": "Box", "dtype": "int8", "shape": [1], "low": [-1], "high": [1]}
    planned = importing.plan(ImportConfig(source=minari(tmp_path / "in", action=box, actions=lambda s: np.arange(s)[:, None] % 3 - 1)))
    assert planned.sample.actions.tolist() == [0, 1, 2, 0]
    assert planned.attributes["action_count"] == 3
    text = {"type": "Text", "max_length": 5}
    source = minari(tmp_path / "text", action=text)
    with pytest.raises(DataError, match="has actions of a Text space") as caught:
        importing.plan(ImportConfig(source=source))
    assert caught.value.hint.endswith("--leave-out actions")
    assert importing.plan(ImportConfig(source=source, leave_out=("actions",))).sample.actions is None


# torn and foreign files


@pytest.mark.parametrize("kind", ["robomimic", "d4rl", "maniskill", "aloha", "minari"])
def test_a_file_that_hangs_the_library_ends_in_an_error(tmp_path, monkeypatch, kind):
    """The guard of HDF5 files stands before every format that reads one."""
    source = WRITERS[kind](tmp_path / "in")
    monkeypatch.setattr(
        "layerscout.cache.dataset.hdf5._look_through",
        lambda path, seconds, hint: (_ for _ in ()).throw(DataError(f"{path} hangs", hint=hint)),
    )
    with pytest.raises(DataError, match="hangs"):
        importing.plan(ImportConfig(source=source, camera=CAMERA.get(kind)))


@pytest.mark.usefixtures("trusted_hdf5")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["observations", "actions", "rewards", "terminals", "timeouts", "infos/qpos", "next_observations"]),
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 4, 7, 8]), max_size=4).map(tuple),
    dtype=st.sampled_from(["u1", "i8", "u8", "f4", "f8", "?", "S3", "c8"]),
)
def test_an_array_of_any_shape_and_type_is_taken_or_refused_but_never_a_bug(tmp_path_factory, name, shape, dtype):
    folder = tmp_path_factory.mktemp("any")
    source = d4rl(folder, **{name: np.ones(shape, dtype)})
    refused = refusal(ImportConfig(source=source, out=folder / "x.h5"))
    assert refused is None or refused.hint
    if refused is None:
        with Trajectories(folder / "x.h5") as data:
            assert len(data)


@pytest.mark.usefixtures("trusted_hdf5")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["actions", "rewards", "dones", "states", "obs/cam", "obs/pos", "next_obs/cam", "next_obs/pos"]),
    shape=st.lists(st.sampled_from([0, 1, 3, 4, 5, 9]), max_size=4).map(tuple),
    dtype=st.sampled_from(["u1", "i4", "f8", "?", "S3"]),
)
def test_a_demonstration_of_any_shape_and_type_is_taken_or_refused_but_never_a_bug(tmp_path_factory, name, shape, dtype):
    folder = tmp_path_factory.mktemp("any")
    source = robomimic(folder)
    with h5py.File(source, "r+") as file:
        for number in range(len(LENGTHS)):
            if f"data/demo_{number}/{name}" in file:
                del file[f"data/demo_{number}/{name}"]
            file[f"data/demo_{number}/{name}"] = np.ones(shape, dtype)
    refused = refusal(ImportConfig(source=source, out=folder / "x.h5", camera="cam"))
    assert refused is None or refused.hint


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.sampled_from(["observation_space", "action_space"]),
    space=st.recursive(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["Box", "Discrete", "MultiDiscrete", "MultiBinary", "Text", "Graph"])},
            optional={
                "dtype": st.sampled_from(["uint8", "float32", "int64", "nonsense", ""]),
                "shape": st.one_of(st.none(), st.text(max_size=2), st.lists(st.integers(-1, 5), max_size=4)),
                "low": st.one_of(st.none(), st.integers(-9, 9), st.lists(st.floats(), max_size=3)),
                "high": st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=2)),
                "n": st.one_of(st.integers(-2, 5), st.text(max_size=2), st.none()),
                "nvec": st.one_of(st.lists(st.integers(0, 4), max_size=3), st.none()),
                "start": st.one_of(st.integers(-3, 3), st.none()),
            },
        ),
        lambda inner: st.one_of(
            st.fixed_dictionaries({"type": st.just("Dict"), "subspaces": st.dictionaries(st.text(max_size=3), inner, max_size=3)}),
            st.fixed_dictionaries({"type": st.just("Tuple"), "subspaces": st.lists(inner, max_size=3)}),
        ),
        max_leaves=4,
    ),
)
@pytest.mark.usefixtures("trusted_hdf5")
def test_a_space_of_any_description_is_taken_or_refused_but_never_a_bug(shared_minari, where, space):
    path = shared_minari / "data/metadata.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {where: json.dumps(space)}))
    refused = refusal(ImportConfig(source=shared_minari, out=shared_minari / "never.h5"), write=False)
    path.write_text(whole)
    assert refused is None or refused.hint


@pytest.fixture(scope="module")
def shared_minari(tmp_path_factory) -> Path:
    return minari(tmp_path_factory.mktemp("minari"))


WRONG = (None, True, -1, 0, 10**12, 1.5, float("nan"), "", "x", [], [1, 2], {"bytes": b"x"}, b"x", 2**62, 1e300)


@pytest.fixture(scope="module")
def shared_lerobot(tmp_path_factory) -> Path:
    features = {
        "action": ("float32", [1], lambda episode, frame: frame),
        "next.reward": ("float32", [1], lambda episode, frame: frame),
        "next.done": ("bool", [1], lambda episode, frame: frame == 2),
        "count": ("int64", [1], lambda episode, frame: frame),
    }
    return lerobot(tmp_path_factory.mktemp("lerobot"), features)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(["meta/info.json", "meta/episodes/c/0.parquet", "data/0.parquet"]),
    place=st.integers(0, 50),
    value=st.sampled_from(WRONG),
)
def test_metadata_and_tables_of_any_content_are_taken_or_refused_but_never_a_bug(shared_lerobot, file, place, value):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = shared_lerobot / file
    whole = path.read_bytes()
    if path.suffix == ".json":
        document = json.loads(whole)
        features = document["features"]
        spots = [(document, key) for key in document] + [(features, key) for key in features]
        spots += [(feature, key) for feature in features.values() for key in feature]
        table, key = spots[place % len(spots)]
        table[key] = value.decode() if isinstance(value, bytes) else value
        path.write_text(json.dumps(document, default=str))
    else:
        table = pq.read_table(path)
        name = table.column_names[place % len(table.column_names)]
        changed = pa.array([value] * len(table), type=pa.float64() if value == 10**12 else None)
        pq.write_table(table.set_column(table.column_names.index(name), name, changed), path)
    refused = refusal(ImportConfig(source=shared_lerobot, out=shared_lerobot / "never.h5"), write=False)
    path.write_bytes(whole)
    assert refused is None or refused.hint
