"""Datasets that Minari itself wrote come over whole: every frame, action, reward and flag."""

from __future__ import annotations

import json
import shutil
import warnings
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from layerscout.cache.dataset.trajectories import Episode, Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError, UsageError

minari = pytest.importorskip("minari", reason="the importer is proved on files that Minari writes; installed with layerscout[test]")
FORMS = ["hdf5", "arrow", "parquet"]
LENGTHS = (3, 1, 5)
SMALL, LARGE = (24, 20, 3), (40, 36, 3)  # Minari compresses pictures whose sides have 32 pixels and more


def box(shape, low=-np.inf, high=np.inf, dtype=np.float32):
    return gymnasium.spaces.Box(low, high, shape, dtype)


def pictures(shape):
    return box(shape, 0, 255, np.uint8)


def noise(shape):
    return lambda random, steps: random.integers(0, 256, (steps + 1, *shape), dtype=np.uint8)


def choices(low, high):
    return lambda random, steps: random.integers(low, high, steps)


def normals(width):
    return lambda random, steps: random.normal(size=(steps, width)).astype(np.float32)


def smooth(random, steps: int, shape) -> np.ndarray:
    """Pictures that JPEG keeps well: slow ramps that differ from frame to frame."""
    height, width, channels = shape
    ramp = np.linspace(0, 120, height)[:, None, None] + np.linspace(0, 60, width)[None, :, None] + np.zeros(channels)
    return (ramp[None] + random.integers(0, 60, (steps + 1, 1, 1, 1))).astype(np.uint8)


def write(tmp_path: Path, monkeypatch, form: str, observation_space, action_space, observe, act, **options) -> tuple[Path, list]:
    """Let Minari make a dataset of three episodes; return its folder and what went in."""
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    random = np.random.default_rng(0)
    buffers = []
    for number, steps in enumerate(LENGTHS):
        ended = [step == steps - 1 for step in range(steps)]
        buffers.append(
            EpisodeBuffer(
                id=number,
                observations=observe(random, steps),
                actions=act(random, steps),
                rewards=random.normal(size=steps).tolist(),
                terminations=[end and number != 0 for end in ended],
                truncations=[end and number == 0 for end in ended],
            )
        )
    spaces = {"observation_space": observation_space, "action_space": action_space}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari misses an author, a link to code and more
        minari.create_dataset_from_buffers("walks/test-v0", buffers, data_format=form, **spaces, **options)
    return tmp_path / "minari" / "walks" / "test-v0", buffers


def imported(source: Path, out: Path, **options) -> tuple[list[Episode], dict]:
    importing.run(importing.plan(ImportConfig(source=source, out=out, **options)))
    with Trajectories(out) as data:
        return [data.episode(number) for number in range(len(data))], data.attributes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "small pictures"])
def test_a_dataset_comes_back_exactly(tmp_path, monkeypatch, form, raw):
    shape = LARGE if raw else SMALL
    observe = noise(shape)
    act = choices(2, 6)
    options = {"jpeg_encoding": False} if raw else {}
    source, buffers = write(tmp_path, monkeypatch, form, pictures(shape), gymnasium.spaces.Discrete(4, start=2), observe, act, **options)
    episodes, attributes = imported(source, tmp_path / "x.h5")
    assert (attributes["imported"], attributes["action_count"], attributes["camera"]) == ("minari", 4, "observations")
    assert [episode.steps for episode in episodes] == list(LENGTHS)
    for episode, buffer in zip(episodes, buffers, strict=True):
        np.testing.assert_array_equal(episode.frames, buffer.observations)
        np.testing.assert_array_equal(episode.actions, np.asarray(buffer.actions) - 2)  # counted from 0
        np.testing.assert_array_equal(episode.rewards, np.float32(buffer.rewards))
        np.testing.assert_array_equal(episode.terminated, buffer.terminations)
        np.testing.assert_array_equal(episode.truncated, buffer.truncations)
        assert episode.state is None
        assert episode.extra == {}


@pytest.mark.parametrize("form", FORMS)
def test_compressed_pictures_are_those_that_minari_reads(tmp_path, monkeypatch, form):
    observe, act = partial(smooth, shape=LARGE), normals(2)
    source, buffers = write(tmp_path, monkeypatch, form, pictures(LARGE), box((2,)), observe, act)
    episodes, _ = imported(source, tmp_path / "x.h5")
    for episode, theirs, buffer in zip(episodes, minari.load_dataset("walks/test-v0"), buffers, strict=True):
        np.testing.assert_array_equal(episode.frames, theirs.observations)
        assert np.abs(episode.frames.astype(int) - buffer.observations).max() <= 8  # what JPEG loses of a ramp
        np.testing.assert_array_equal(episode.actions, buffer.actions)


@pytest.mark.parametrize("form", FORMS)
def test_a_tree_of_observations_gives_one_camera_the_state_and_the_other_numbers(tmp_path, monkeypatch, form):
    space = gymnasium.spaces.Dict(
        {
            "views": gymnasium.spaces.Dict({"front": pictures(SMALL), "wrist": pictures(SMALL)}),
            "state": box((3,)),
            "reward": box((1,)),
            "goal": gymnasium.spaces.Discrete(5),
        }
    )

    def observe(random, steps):
        views = {name: random.integers(0, 256, (steps + 1, *SMALL), dtype=np.uint8) for name in ("front", "wrist")}
        state, reward = normals(3)(random, steps + 1), normals(1)(random, steps + 1)
        return {"views": views, "state": state, "reward": reward, "goal": random.integers(0, 5, steps + 1)}

    source, buffers = write(tmp_path, monkeypatch, form, space, box((2,)), observe, normals(2))
    with pytest.raises(UsageError, match="2 cameras and none was chosen") as caught:
        imported(source, tmp_path / "x.h5")
    assert "views/front, views/wrist" in caught.value.hint
    with pytest.raises(UsageError, match="no camera 'views/frnt'; did you mean 'views/front'"):
        imported(source, tmp_path / "x.h5", camera="views/frnt")
    with pytest.raises(UsageError, match="no field 'gaol' to leave out; did you mean 'goal'"):
        imported(source, tmp_path / "x.h5", camera="views/wrist", leave_out=("gaol",))
    episodes, _ = imported(source, tmp_path / "x.h5", camera="views/wrist")
    for episode, buffer in zip(episodes, buffers, strict=True):
        np.testing.assert_array_equal(episode.frames, buffer.observations["views"]["wrist"])
        np.testing.assert_array_equal(episode.state, buffer.observations["state"])
        assert sorted(episode.extra) == ["goal", "observation.reward"]  # "reward" is a column of its own
        np.testing.assert_array_equal(episode.extra["observation.reward"], buffer.observations["reward"])
        np.testing.assert_array_equal(episode.extra["goal"][:, 0], buffer.observations["goal"])
    fewer, _ = imported(source, tmp_path / "y.h5", camera="views/wrist", leave_out=("goal", "actions", "state"))
    assert (fewer[0].actions, fewer[0].state, sorted(fewer[0].extra)) == (None, None, ["observation.reward"])


def test_states_alone_are_refused_with_what_to_do(tmp_path, monkeypatch):
    source, _ = write(tmp_path, monkeypatch, "hdf5", box((4,)), box((1,)), lambda random, steps: normals(4)(random, steps + 1), normals(1))
    with pytest.raises(DataError, match=r"has no images, its observations are 'observations' float32 \(4,\)") as caught:
        imported(source, tmp_path / "x.h5")
    assert "rendered frames" in caught.value.hint


@pytest.fixture
def source(tmp_path, monkeypatch, request) -> Path:
    observe = noise(SMALL)
    act = choices(0, 3)
    return write(tmp_path, monkeypatch, request.param, pictures(SMALL), gymnasium.spaces.Discrete(3), observe, act)[0]


def edit(source: Path, **changes) -> None:
    path = source / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("source", FORMS, indirect=True)
def test_metadata_that_does_not_fit_the_files_is_refused(source, tmp_path):
    whole = (source / "data" / "metadata.json").read_text()
    huge = json.dumps({"type": "Box", "dtype": "uint8", "shape": [10**6, 10**6, 3], "low": 0, "high": 255})
    for changes, message in [
        ({"total_episodes": 10**9}, "states 1000000000"),
        ({"data_format": "../../etc"}, "data format"),
        ({"observation_space": "nonsense"}, "does not describe its observation space"),
        ({"action_space": json.dumps({"type": "Text"})}, "actions of a Text space"),
        ({"observation_space": json.dumps({"type": "Box", "dtype": "uint8", "shape": [-5, 5]})}, "a Box space has shape"),
    ]:
        edit(source, **changes)
        with pytest.raises(DataError, match=message):
            imported(source, tmp_path / "x.h5")
        (source / "data" / "metadata.json").write_text(whole)
    edit(source, observation_space=huge)
    if not (source / "data" / "main_data.hdf5").exists():  # what the file itself says counts, and it is not believed to be larger
        with pytest.raises(DataError, match=r"'observations' holds \d+ values"):
            imported(source, tmp_path / "x.h5")


@pytest.mark.parametrize("source", ["arrow"], indirect=True)
def test_a_link_out_of_the_dataset_is_refused(source, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(source / "data" / "1", outside)
    (source / "data" / "1").symlink_to(outside)
    with pytest.raises(DataError, match="outside the dataset"):
        imported(source, tmp_path / "x.h5")
