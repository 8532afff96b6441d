"""Files of robomimic's, D4RL's and V-D4RL's layouts come over whole, and a stranger's HDF5 file can read nothing but itself."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from layerscout.cache.dataset.trajectories import Episode, Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import BudgetError, DataError, UsageError

pytestmark = pytest.mark.usefixtures("trusted_hdf5")
LENGTHS = (4, 2, 11)
SHAPE = (12, 10, 3)


def imported(source: Path, out: Path, **options) -> tuple[list[Episode], dict]:
    importing.run(importing.plan(ImportConfig(source=source, out=out, **options)))
    with Trajectories(out) as data:
        return [data.episode(number) for number in range(len(data))], data.attributes


def demos(next_obs: bool) -> list[dict]:
    """Demonstrations as robomimic keeps them: N rows of everything; ``whole`` has the frame after the last action too."""
    found = []
    for number, steps in enumerate(LENGTHS):
        random = np.random.default_rng([7, number])
        whole = {
            "agentview_image": random.integers(0, 256, (steps + 1, *SHAPE), dtype=np.uint8),
            "robot0_eye_in_hand_image": random.integers(0, 256, (steps + 1, *SHAPE), dtype=np.uint8),
            "robot0_eef_pos": random.normal(size=(steps + 1, 3)),
        }
        demo = {"obs": {name: values[:-1] for name, values in whole.items()}, "whole": whole}
        demo |= {"next_obs": {name: values[1:] for name, values in whole.items()}} if next_obs else {}
        demo |= {"actions": random.normal(size=(steps, 7)), "states": random.normal(size=(steps, 5))}
        demo |= {"rewards": random.normal(size=steps), "dones": ((np.arange(steps) == steps - 1) & (number != 1)).astype(np.int64)}
        found.append(demo)
    return found


@pytest.fixture
def robomimic(tmp_path):
    def write(next_obs: bool) -> tuple[Path, list[dict]]:
        path, found = tmp_path / "low_dim_v15.hdf5", demos(next_obs)
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["total"] = sum(LENGTHS)
            data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_type": 1, "env_kwargs": {}})
            for number, demo in zip((0, 2, 10), found, strict=True):  # in the order of numbers, not of letters
                group = data.create_group(f"demo_{number}")
                group.attrs["num_samples"] = len(demo["actions"])
                for name in ("actions", "states", "rewards", "dones"):
                    group[name] = demo[name]
                for part in ("obs", "next_obs"):
                    for name, values in demo.get(part, {}).items():
                        group.create_dataset(f"{part}/{name}", data=values, compression="gzip")
            file["mask/train"] = np.array([b"demo_0"])
        return path, found

    return write


@pytest.mark.parametrize("next_obs", [True, False])
def test_robomimic_comes_back_exactly(robomimic, tmp_path, next_obs):
    """Without next_obs nobody knows what the last action led to: it goes with its reward, unless the task ended with it."""
    path, found = robomimic(next_obs)
    episodes, attributes = imported(path, tmp_path / "x.h5", camera="robot0_eye_in_hand_image")
    assert (attributes["imported"], attributes["source_environment"]) == ("robomimic", "Lift")
    counts = [attributes.get(name, 0) for name in ("dropped_last_actions", "dropped_rewards_other_than_0", "repeated_last_frames")]
    assert counts == ([0, 0, 0] if next_obs else [1, 1, 2])
    for episode, demo in zip(episodes, found, strict=True):
        ended = bool(demo["dones"][-1])
        steps = len(demo["actions"]) - (not next_obs and not ended)
        place = np.arange(steps + 1) if next_obs or not ended else np.minimum(np.arange(steps + 1), steps - 1)  # the last frame twice
        np.testing.assert_array_equal(episode.frames, demo["whole"]["robot0_eye_in_hand_image"][place])
        np.testing.assert_array_equal(episode.actions, demo["actions"][:steps].astype(np.float32))
        np.testing.assert_array_equal(episode.rewards, demo["rewards"][:steps].astype(np.float32))
        np.testing.assert_array_equal(episode.extra["robot0_eef_pos"], demo["whole"]["robot0_eef_pos"][place].astype(np.float32))
        np.testing.assert_array_equal(episode.terminated, demo["dones"][:steps] > 0)
        np.testing.assert_array_equal(episode.truncated, (np.arange(steps) == steps - 1) & (not ended))
        states = episode.extra["observation.state"] if next_obs else episode.state  # of every step, or of every frame
        np.testing.assert_array_equal(states, demo["states"][slice(None) if next_obs else place].astype(np.float32))


def test_robomimic_needs_images_and_a_choice_of_them(robomimic, tmp_path):
    path, _ = robomimic(True)
    with pytest.raises(UsageError, match="2 cameras"):
        imported(path, tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            for part in ("obs", "next_obs"):
                del demo[f"{part}/agentview_image"], demo[f"{part}/robot0_eye_in_hand_image"]
    with pytest.raises(DataError, match=r"no images, its observations are: 'robot0_eef_pos' float64 \(3,\)"):
        imported(path, tmp_path / "x.h5")


def flat(form: str, following: bool) -> tuple[dict[str, np.ndarray], list[dict]]:
    """A flat file's arrays, and the episodes in it: the first ends in a terminal, the second in a timeout, the third in the file's end."""
    random = np.random.default_rng(3)
    episodes = [
        {
            "frames": random.integers(0, 256, (steps + 1, *SHAPE), dtype=np.uint8),
            "actions": random.normal(size=(steps, 2)).astype(np.float32),
            "rewards": random.normal(size=steps).astype(np.float32),
            "qpos": random.normal(size=(steps + 1, 4)),
        }
        for steps in LENGTHS
    ]
    if form == "v-d4rl":  # row t: frame t, and the action and reward that led to it; channels first
        first = {"action": np.zeros((1, 2), np.float32), "reward": np.zeros(1, np.float32)}
        arrays = {
            "observation": np.concatenate([one["frames"] for one in episodes]).transpose(0, 3, 1, 2),
            "action": np.concatenate([row for one in episodes for row in (first["action"], one["actions"])]),
            "reward": np.concatenate([row for one in episodes for row in (first["reward"], one["rewards"])]),
            "discount": np.ones(sum(LENGTHS) + 3, np.float32),
            "step_type": np.concatenate([[0, *[1] * (steps - 1), 2] for steps in LENGTHS]),
        }
        arrays["discount"][LENGTHS[0]] = 0
        return arrays, episodes
    ends = np.cumsum(LENGTHS) - 1
    total = int(sum(LENGTHS))
    arrays = {
        "observations": np.concatenate([one["frames"][:-1] for one in episodes]),
        "actions": np.concatenate([one["actions"] for one in episodes]),
        "rewards": np.concatenate([one["rewards"] for one in episodes]),
        "terminals": np.arange(total) == ends[0],
        "timeouts": np.arange(total) == ends[1],
        "infos/qpos": np.concatenate([one["qpos"][:-1] for one in episodes]),
    }
    if following:
        arrays["next_observations"] = np.concatenate([one["frames"][1:] for one in episodes])
    return arrays, episodes


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip")
    return path


@pytest.mark.parametrize(("form", "following"), [("d4rl", True), ("d4rl", False), ("v-d4rl", False)])
@pytest.mark.parametrize("shards", [False, True], ids=["file", "folder"])
def test_flat_files_come_back_exactly(tmp_path, form, following, shards):
    arrays, expected = flat(form, following)
    folder = tmp_path / "shards"
    folder.mkdir()
    path = save(folder / "data_0.hdf5", arrays)
    if shards:
        save(folder / "data_1.hdf5", arrays)
        expected = expected * 2
    episodes, attributes = imported(folder if shards else path, tmp_path / "x.h5")
    lost = form == "d4rl" and not following
    assert attributes["imported"] == "d4rl"
    assert attributes["layout"] == form
    assert attributes.get("dropped_last_actions", 0) == (2 * len(expected) // 3 if lost else 0)
    for number, (episode, one) in enumerate(zip(episodes, expected, strict=True)):
        ended = number % 3 == 0
        steps = len(one["actions"]) - (lost and not ended)
        place = np.minimum(np.arange(steps + 1), steps - 1) if lost and ended else np.arange(steps + 1)  # the last frame twice
        np.testing.assert_array_equal(episode.frames, one["frames"][place])
        np.testing.assert_array_equal(episode.actions, one["actions"][:steps])
        np.testing.assert_array_equal(episode.rewards, one["rewards"][:steps])
        np.testing.assert_array_equal(episode.terminated, (np.arange(steps) == steps - 1) & ended)
        np.testing.assert_array_equal(episode.truncated, (np.arange(steps) == steps - 1) & (not ended))
        if form == "d4rl":
            place = place if lost else np.arange(len(one["actions"]))
            np.testing.assert_array_equal(episode.extra["infos.qpos"], one["qpos"][place].astype(np.float32))


def test_states_alone_are_refused_with_what_to_do(tmp_path):
    arrays, _ = flat("d4rl", False)
    path = save(tmp_path / "hopper.hdf5", arrays | {"observations": np.zeros((sum(LENGTHS), 11), np.float32)})
    with pytest.raises(DataError, match=r"no images, its observations are float32 \(11,\)") as caught:
        imported(path, tmp_path / "x.h5")
    assert "rendered frames" in caught.value.hint


def test_a_shard_that_begins_in_the_middle_of_an_episode_is_refused(tmp_path):
    arrays, _ = flat("v-d4rl", False)
    path = save(tmp_path / "x.hdf5", {name: values[2:] for name, values in arrays.items()})
    with pytest.raises(DataError, match="does not begin with the first step"):
        imported(path, tmp_path / "x.h5")


# strangers' files


def external_link(file: h5py.File, secret: Path) -> None:
    del file["observations"]
    file["observations"] = h5py.ExternalLink(str(secret), "observations")


def external_numbers(file: h5py.File, secret: Path) -> None:
    shape = file["observations"].shape
    del file["observations"]
    file.create_dataset("observations", shape, "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual_numbers(file: h5py.File, secret: Path) -> None:
    shape = file["observations"].shape
    del file["observations"]
    layout = h5py.VirtualLayout(shape, "u1")
    layout[:] = h5py.VirtualSource(str(secret), "observations", shape)
    file.create_virtual_dataset("observations", layout)


def through_a_linked_group(file: h5py.File, secret: Path) -> None:
    del file["observations"]
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
    file["observations"] = h5py.SoftLink("/elsewhere/observations")


def claimed_shape(file: h5py.File, secret: Path) -> None:
    del file["observations"]
    file.create_dataset("observations", (10**6, 2000, 2000, 3), "u1", chunks=(1, 2000, 2000, 3))


def unwritten_shape(file: h5py.File, secret: Path) -> None:
    shape = file["observations"].shape
    del file["observations"]
    file.create_dataset("observations", shape, "u1")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (external_link, "is a link to the file"),
        (external_numbers, "lie in another file"),
        (virtual_numbers, "lie in another file"),
        (through_a_linked_group, "is a link to the file"),
        (claimed_shape, r"claims the shape .* and holds 0 of 1000000 chunks"),
        (unwritten_shape, r"claims the shape .* and holds less"),
    ],
)
def test_a_file_gives_only_what_was_written_into_it(tmp_path, harm, message):
    arrays, _ = flat("d4rl", False)
    secret = save(tmp_path / "secret.hdf5", arrays)
    path = save(tmp_path / "gift.hdf5", arrays)
    with h5py.File(path, "r+") as file:
        harm(file, secret)
    with pytest.raises(DataError, match=message):
        imported(path, tmp_path / "x.h5")
    assert not (tmp_path / "x.h5").exists()


def test_an_episode_that_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = save(tmp_path / "x.hdf5", flat("d4rl", False)[0])
    monkeypatch.setattr("layerscout.cache.importers.needs.available_memory", lambda: 1000)
    with pytest.raises(BudgetError, match="of memory are free"):
        imported(path, tmp_path / "x.h5")


def test_truncated_and_damaged_files_are_named(tmp_path):
    path = save(tmp_path / "x.hdf5", flat("d4rl", False)[0])
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        where = file["observations"].id.get_chunk_info(0)
    data[where.byte_offset + where.size // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="'/observations' is damaged"):
        imported(path, tmp_path / "out.h5")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="truncated or not an HDF5 file"):
        imported(path, tmp_path / "out.h5")
