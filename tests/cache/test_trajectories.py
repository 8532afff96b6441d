"""Episodes come back as they were recorded, a recording continues, and a damaged file names its fault."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_edits import edited, resealed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerscout.cache.dataset.trajectories import Episode, Trajectories, TrajectoryWriter
from layerscout.cache.durable import ABANDONED_SECONDS, temporary_name
from layerscout.errors import DataError, UsageError

ATTRIBUTES = {"environment": "layerscout/Grid-v0", "action_count": 5, "policy": "random", "seed": 0, "frame_skip": None}
LENGTHS = (3, 1, 6, 2, 4)
KINDS = [("s", "expert_action", (4, False)), ("f", "joint.angles", (3, True))]  # letter, name, (width, one a frame)
GOLDEN = Path(__file__).parent / "golden" / "trajectories-1.h5"  # written before there were continuous actions and extra fields


def make_episode(
    steps: int, seed: int = 0, rewards: bool = True, state: bool = True, dimensions: int | None = None, acts: bool = True, extra: str = ""
) -> Episode:
    """``dimensions``: of continuous actions; ``extra``: any of "s" (an array a step) and "f" (one a frame)."""
    random = np.random.default_rng([seed, steps])
    discrete = dimensions is None
    episode = Episode(
        frames=random.integers(0, 256, (steps + 1, 4, 6, 3), dtype=np.uint8),
        actions=random.integers(0, 5, steps) if discrete else random.normal(size=(steps, dimensions)).astype(np.float32),
        rewards=random.normal(size=steps).astype(np.float32) if rewards else None,
        terminated=np.arange(steps) == steps - 1,
        truncated=np.zeros(steps, dtype=bool),
        state=random.normal(size=(steps + 1, 2)).astype(np.float32) if state else None,
    )
    arrays = {
        "s": ("expert_action", random.normal(size=(steps, 4)).astype(np.float32)),
        "f": ("joint.angles", random.normal(size=(steps + 1, 3)).astype(np.float32)),
    }
    return replace(episode, actions=episode.actions if acts else None, extra=dict(arrays[letter] for letter in extra))


def assert_same(one: Episode, other: Episode) -> None:
    first, second = dict(one.arrays()), dict(other.arrays())
    assert list(first) == list(second)
    for name, values in first.items():
        assert values.dtype == second[name].dtype
        np.testing.assert_array_equal(values, second[name])


def record(path: Path, episodes: list[Episode], part_episodes: int = 2, attributes: dict | None = None) -> Path:
    writer = TrajectoryWriter(path, attributes or ATTRIBUTES, part_episodes)
    for episode in episodes[writer.episodes :]:
        writer.append(episode)
    return writer.commit()


@pytest.fixture
def episodes() -> list[Episode]:
    return [make_episode(steps, seed) for seed, steps in enumerate(LENGTHS)]


@pytest.fixture
def path(tmp_path, episodes) -> Path:
    return record(tmp_path / "data.h5", episodes)


# round trip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    part_episodes=st.integers(1, 4),
    rewards=st.booleans(),
    state=st.booleans(),
    dimensions=st.sampled_from([None, 1, 7]),
    acts=st.booleans(),
    extra=st.sampled_from(["", "s", "f", "sf"]),
)
def test_round_trip(tmp_path_factory, lengths, part_episodes, rewards, state, dimensions, acts, extra):
    episodes = [make_episode(steps, seed, rewards, state, dimensions, acts, extra) for seed, steps in enumerate(lengths)]
    path = record(tmp_path_factory.mktemp("data") / "x.h5", episodes, part_episodes)
    with Trajectories(path) as data:
        assert len(data) == len(lengths)
        np.testing.assert_array_equal(data.lengths, lengths)
        assert data.frame_shape == (4, 6, 3)
        assert (data.has_rewards, data.has_state, data.state_width) == (rewards, state, 2 if state else None)
        assert (data.has_actions, data.action_dimensions) == (acts, dimensions if acts else None)
        assert data.extra == {name: value for letter, name, value in KINDS if letter in extra}
        assert data.attributes == ATTRIBUTES
        for index, episode in enumerate(episodes):
            assert_same(data.episode(index), episode)


def test_frames_equal_a_slice_of_the_episode(path, episodes):
    with Trajectories(path) as data:
        for start, stop in ((0, 7), (2, 5), (6, 7), (3, 3)):
            np.testing.assert_array_equal(data.frames(2, start, stop), episodes[2].frames[start:stop])
        for start, stop in ((-1, 2), (0, 8), (3, 2)):
            with pytest.raises(DataError, match=r"episode 2: frames"):
                data.frames(2, start, stop)
        for index in (-1, 5):
            with pytest.raises(DataError, match="has no episode"):
                data.episode(index)


def test_any_hdf5_reader_finds_the_documented_layout(path, episodes):
    with h5py.File(path, "r") as file:
        assert file.attrs["format"] == "layerscout-trajectories/1"
        assert list(file["episodes"]) == [f"{index:06d}" for index in range(5)]
        frames = file["episodes/000002/frames"]
        assert (frames.chunks, frames.compression) == ((1, 4, 6, 3), "gzip")
        np.testing.assert_array_equal(frames[:], episodes[2].frames)


def test_a_file_of_the_first_format_stays_readable_with_its_digest():
    with Trajectories(GOLDEN) as data:
        assert data.digest() == "sha256:095c9b72f1af1139b4f3ffc96b4caecad48d1b84cdcb10406b5c2d0868495ad3"
        assert (data.has_actions, data.action_dimensions, data.extra) == (True, None, {})
        for index, steps in enumerate((3, 1, 6)):
            assert_same(data.episode(index), make_episode(steps, index))


def test_an_episode_keeps_where_it_came_from_and_the_recording_how_it_ended(tmp_path, episodes):
    writer = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=1)
    writer.append(episodes[0], source="a.mp4")
    again = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)
    assert again.sources == ["a.mp4"]
    again.append(episodes[1])
    with Trajectories(again.commit({"skipped": ["b.mp4"]})) as data:
        assert [data.source(0), data.source(1)] == ["a.mp4", ""]
        assert data.attributes == ATTRIBUTES | {"skipped": ["b.mp4"]}
        with Trajectories(record(tmp_path / "y.h5", episodes[:2])) as plain:
            assert data.digest() == plain.digest()
    assert TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES).finished  # what only the end could tell is no other setting


# continuing


@pytest.mark.parametrize("before", range(6))
def test_a_dropped_recording_continues_after_its_last_part(tmp_path, path, episodes, before):
    writer = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=2)
    for episode in episodes[:before]:
        writer.append(episode)
    del writer
    again = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=3)
    safe = before // 2 * 2
    assert (again.episodes, again.steps, again.finished) == (safe, sum(LENGTHS[:safe]), False)
    for episode in episodes[safe:]:
        again.append(episode)
    with Trajectories(again.commit()) as continued, Trajectories(path) as unbroken:
        assert continued.digest() == unbroken.digest()
    assert [file.name for file in tmp_path.iterdir() if file != path] == ["x.h5"]


def test_the_file_is_forced_to_disk_before_it_gets_its_name(path, forced_to_disk):
    assert {path.stat().st_ino, path.parent.stat().st_ino} <= forced_to_disk


def test_flush_makes_everything_safe(tmp_path, episodes):
    writer = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)
    writer.append(episodes[0])
    assert (writer.episodes, writer.steps) == (0, 0)
    writer.flush()
    assert (writer.episodes, writer.steps) == (1, 3)
    assert TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES).episodes == 1


def test_finished_file_is_recognised_and_kept(path, episodes):
    bytes_before = path.read_bytes()
    writer = TrajectoryWriter(path, ATTRIBUTES)
    assert (writer.finished, writer.episodes, writer.steps) == (True, 5, sum(LENGTHS))
    with pytest.raises(UsageError, match="finished with 5 episodes"):
        writer.append(episodes[0])
    assert writer.commit() == path
    assert path.read_bytes() == bytes_before


def test_parts_left_by_a_kill_after_the_merge_are_cleared(path):
    parts = path.with_name("data.h5.parts")
    parts.mkdir()
    (parts / "000000.h5").write_bytes(b"old")
    assert TrajectoryWriter(path, ATTRIBUTES).finished
    assert not parts.exists()


def test_a_kill_during_the_merge_loses_no_part(tmp_path, path, episodes, monkeypatch):
    writer = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=2)
    for episode in episodes:
        writer.append(episode)
    with monkeypatch.context() as patch:
        patch.setattr(h5py.Group, "copy", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.commit()
    assert not (tmp_path / "x.h5").exists()
    again = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)
    assert again.episodes == 5
    with Trajectories(again.commit()) as continued, Trajectories(path) as unbroken:
        assert continued.digest() == unbroken.digest()


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("place", ["x.h5", "x.h5.parts/000000.h5"])
@pytest.mark.parametrize("owner", ["alive", "dead", "elsewhere", "elsewhere long ago"])
def test_only_what_dead_processes_left_is_cleared(tmp_path, monkeypatch, place, owner):
    target = tmp_path / place
    target.parent.mkdir(exist_ok=True)
    process = dead_process()
    with monkeypatch.context() as patch:
        if owner == "dead":
            patch.setattr(os, "getpid", lambda: process)
        if owner.startswith("elsewhere"):
            patch.setattr("layerscout.cache.durable.gethostname", lambda: "another-machine")
        torn = temporary_name(target)
    torn.write_bytes(b"half")
    if owner == "elsewhere long ago":
        os.utime(torn, (0, time.time() - ABANDONED_SECONDS - 60))
    other = tmp_path / ".y.h5.partial"
    other.write_bytes(b"of another recording")
    TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)
    assert torn.exists() == (owner in ("alive", "elsewhere"))
    assert other.exists()


def test_two_writers_of_one_recording_end_with_one_whole_file(tmp_path, path, episodes):
    """Both may be told that it is done: it is the recording that they were asked for."""
    one, other = (TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=2) for _ in range(2))
    for episode in episodes:
        one.append(episode)
        other.append(episode)
    assert one.commit() == other.commit()
    assert other.finished
    with Trajectories(tmp_path / "x.h5") as written, Trajectories(path) as expected:
        assert written.digest() == expected.digest()
    assert sorted(item.name for item in tmp_path.iterdir() if item.name.startswith(("x", "."))) == ["x.h5"]


def test_a_writer_that_another_one_overtook_with_other_episodes_is_refused(tmp_path, episodes):
    one, other = (TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=2) for _ in range(2))
    for episode in episodes:
        one.append(episode)
    for episode in episodes[:-1]:
        other.append(episode)
    one.commit()
    with pytest.raises(UsageError, match=r"another process finished .* with 5 episodes and 16 steps, this one had 4 and 12"):
        other.commit()
    with Trajectories(tmp_path / "x.h5") as written:
        assert len(written) == len(episodes)


def test_a_writer_that_begins_while_another_one_ends_finds_the_file(tmp_path, episodes, monkeypatch):
    """The parts that it lists are gone when it looks into them."""
    one = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=2)
    for episode in episodes:
        one.append(episode)
    one.flush()
    existing = TrajectoryWriter._existing

    def late(self):
        found = existing(self)
        monkeypatch.setattr(TrajectoryWriter, "_existing", existing)
        one.commit()
        return found

    monkeypatch.setattr(TrajectoryWriter, "_existing", late)
    other = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=2)
    assert (other.finished, other.episodes, other.steps) == (True, len(episodes), sum(LENGTHS))
    assert other.commit() == tmp_path / "x.h5"


def test_other_attributes_are_refused(tmp_path, path, episodes):
    writer = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)
    writer.append(episodes[0])
    writer.flush()
    for file in (path, tmp_path / "x.h5"):
        with pytest.raises(UsageError, match="other settings") as caught:
            TrajectoryWriter(file, ATTRIBUTES | {"seed": 1})
        assert "choose another path, or delete" in caught.value.hint


def test_damaged_and_lost_parts_are_named(tmp_path, episodes):
    writer = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES, part_episodes=2)
    for episode in episodes:
        writer.append(episode)
    first = tmp_path / "x.h5.parts/000000.h5"
    data = first.read_bytes()
    first.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"000000\.h5 is truncated or damaged"):
        TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)
    first.unlink()
    with pytest.raises(DataError, match="holds episode 000002, expected 000000"):
        TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)


def test_nothing_recorded_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no episode was recorded"):
        TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES).commit()


# the content digest


def test_digest_depends_on_the_arrays_alone(tmp_path, path, episodes):
    with Trajectories(path) as data:
        digest = data.digest()
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    other = record(tmp_path / "elsewhere.h5", episodes, part_episodes=5, attributes={"policy": "another"})
    with edited(other) as file:  # the same numbers, stored in another way
        frames = file["episodes/000000/frames"][:]
        del file["episodes/000000/frames"]
        file["episodes/000000/frames"] = frames
    with Trajectories(other) as data:
        assert data.digest() == digest


def test_digest_changes_with_every_array_and_with_the_order(tmp_path, path, episodes):
    with Trajectories(path) as data:
        digests = {data.digest()}
    variants = [episodes[::-1], episodes[:4]]
    for name in ("frames", "actions", "rewards", "terminated", "truncated", "state"):
        values = getattr(episodes[1], name).copy()
        values.flat[0] = not values.flat[0]
        variants.append([episodes[0], replace(episodes[1], **{name: values}), *episodes[2:]])
    variants.append([replace(episode, actions=None) for episode in episodes])
    variants.append([replace(episode, actions=episode.actions[:, None].astype(np.float32)) for episode in episodes])
    variants += [[make_episode(steps, seed, extra=extra) for seed, steps in enumerate(LENGTHS)] for extra in ("s", "f", "sf")]
    variants.append([replace(one, extra={"angles": one.extra["joint.angles"]}) for one in variants[-2]])  # the same under another name
    variants.append([replace(one, extra={"angles": one.extra["angles"] + np.float32(1)}) for one in variants[-1]])
    for number, variant in enumerate(variants):
        with Trajectories(record(tmp_path / f"{number}.h5", variant)) as data:
            digests.add(data.digest())
    assert len(digests) == len(variants) + 1


# refusals


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("actions", np.zeros(0, dtype=np.int64), "'actions' has shape"),
        ("actions", np.zeros(3, dtype=np.float32), "'actions' has shape"),
        ("actions", np.array([0, -1, 0]), "'actions' has -1 at index 1, expected whole numbers from 0"),
        ("actions", np.zeros((3, 0), dtype=np.float32), "'actions' has shape"),
        ("actions", np.zeros((3, 2), dtype=np.float64), "'actions' is float64, expected int64 or float32"),
        ("actions", np.full((3, 2), np.nan, dtype=np.float32), "'actions' is not finite at index 0"),
        ("extra", {"speed": np.zeros(3, np.float32)}, "'extra/speed' has shape"),
        ("extra", {"speed": np.zeros((2, 1), np.float32)}, r"'extra/speed' has shape \(2, 1\), .* length 3 or 4"),
        ("extra", {"speed": np.zeros((3, 1), np.float16)}, "'extra/speed' is float16, expected float32 or int64 or float64"),
        ("extra", {"speed": np.full((3, 1), np.inf, np.float32)}, "'extra/speed' is not finite"),
        ("extra", {"../speed": np.zeros((3, 1), np.float32)}, "'../speed' cannot name an extra field"),
        ("extra", {"reward": np.zeros((3, 1), np.float32)}, "'reward' cannot name an extra field"),
        ("frames", np.zeros((3, 4, 6, 3), dtype=np.uint8), "'frames' has shape"),
        ("frames", np.zeros((4, 4, 6, 3), dtype=np.float32), "'frames' is float32, expected uint8"),
        ("frames", np.zeros((4, 4, 6), dtype=np.uint8), "'frames' has shape"),
        ("rewards", np.array([0, np.nan, 0], dtype=np.float32), "'rewards' is not finite at index 1"),
        ("state", np.full((4, 2), np.inf, dtype=np.float32), "'state' is not finite at index 0"),
        ("truncated", np.zeros(2, dtype=bool), "'truncated' has shape"),
        ("terminated", np.zeros(0, dtype=bool), "has no steps"),
    ],
)
def test_episodes_that_break_the_format_are_refused(tmp_path, field, value, message):
    good = make_episode(3)
    writer = TrajectoryWriter(tmp_path / "x.h5", ATTRIBUTES)
    with pytest.raises(DataError, match=message):
        writer.append(Episode(**vars(good) | {field: value}))
    writer.append(good)
    changes = ({"rewards": False}, {"state": False}, {"acts": False}, {"dimensions": 5}, {"extra": "s"})
    for other in (make_episode(3, **change) for change in changes):
        with pytest.raises(DataError, match="earlier ones have"):
            writer.append(other)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, np.int64(3)])
def test_attributes_must_be_plain(tmp_path, value):
    with pytest.raises(DataError, match="attributes"):
        TrajectoryWriter(tmp_path / "x.h5", {"seed": value})


def test_missing_and_truncated_files(tmp_path, path):
    with pytest.raises(DataError, match="no trajectory file"):
        Trajectories(tmp_path / "absent.h5")
    data = path.read_bytes()
    for size in (0, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"data\.h5 is truncated or"):
            Trajectories(path)


def replace_field(file: h5py.File, name: str, value: np.ndarray) -> None:
    del file[f"episodes/000001/{name}"]
    file[f"episodes/000001/{name}"] = value


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file["episodes/000001"].pop("actions"), r"episode 1 has frames .* and fields rewards, state\[2\]; episode 0 has"),
        (lambda file: file["episodes/000001"].pop("terminated"), r"episode 1 misses the field 'terminated'"),
        (lambda file: file.create_group("episodes/000001/extra/deeper/still"), "'extra/deeper' is not an array"),
        (lambda file: file.create_dataset("episodes/000001/extra/state", data=np.zeros((1, 1), np.float32)), "'state' cannot name"),
        (lambda file: file["episodes/000001"].pop("frames"), r"episode 1 misses the field 'frames'"),
        (lambda file: file["episodes/000001"].pop("rewards"), r"episode 1 has frames .* and fields .*; episode 0 has"),
        (lambda file: file["episodes"].pop("000001"), r"misses the episode 'episodes/000001'"),
        (lambda file: file["episodes"].pop("000004"), r"misses the episode 'episodes/000004'"),
        (lambda file: file["episodes"].create_group("000005"), "holds 6 episodes, it states 5"),
        (lambda file: file.pop("episodes"), "has no episodes"),
        (lambda file: file.attrs.pop("format"), "has format None"),
        (lambda file: file.attrs.pop("attributes"), "'attributes' is not JSON"),
        (lambda file: file["episodes/000001"].attrs.pop("sha256"), "misses its attribute 'sha256'"),
        (lambda file: replace_field(file, "actions", np.zeros(0, dtype=np.int64)), "episode 1: 'actions' has shape"),
        (lambda file: replace_field(file, "terminated", np.zeros(0, dtype=bool)), "episode 1 has no steps"),
        (lambda file: replace_field(file, "actions", np.zeros(2, dtype=np.int64)), r"episode 1: '.*' has shape"),
        (lambda file: replace_field(file, "actions", np.zeros(1, dtype=np.float64)), "episode 1: 'actions' is float64, expected int64"),
        (lambda file: replace_field(file, "frames", np.zeros((2, 4, 6), dtype=np.uint8)), "episode 1: 'frames' has shape"),
    ],
)
def test_opening_names_the_episode_and_field_that_break_the_format(path, damage, message):
    with edited(path) as file:
        damage(file)
    with pytest.raises(DataError, match=message) as caught:
        Trajectories(path)
    assert str(path) in str(caught.value)


def test_changed_values_are_noticed(path, episodes):
    with edited(path) as file:
        file["episodes/000001/actions"][0] += 1
    with Trajectories(path) as data:
        assert_same(data.episode(0), episodes[0])
        with pytest.raises(DataError, match="episode 1 is damaged"):
            data.episode(1)
        with pytest.raises(DataError, match="episode 1 is damaged"):
            data.digest()


def test_damaged_compressed_frames_are_noticed(path):
    with h5py.File(path, "r") as file:
        where = file["episodes/000002/frames"].id.get_chunk_info(3)
    data = bytearray(path.read_bytes())
    data[where.byte_offset + where.size // 2] ^= 0xFF
    path.write_bytes(data)
    resealed(path)
    with Trajectories(path) as trajectories, pytest.raises(DataError, match="episode 2"):
        trajectories.episode(2)


def test_a_copy_elsewhere_reads_the_same(tmp_path, path, episodes):
    copy = shutil.copy(path, tmp_path / "copy.h5")
    with Trajectories(copy) as data:
        assert_same(data.episode(4), episodes[4])
