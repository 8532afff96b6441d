"""Torn, foreign and huge HDF5 files end in one error within seconds; a full disk ends in one error that names the file."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from hdf5_edits import edited
from test_trajectories import ATTRIBUTES, GOLDEN, assert_same, make_episode, record

from layerscout.cache.dataset import hdf5, hdf5_output
from layerscout.cache.dataset.hdf5 import guarded_open
from layerscout.cache.dataset.hdf5_output import Unfailing
from layerscout.cache.dataset.trajectories import Trajectories, TrajectoryWriter
from layerscout.errors import BudgetError, DataError

EPISODES = [make_episode(steps, seed) for seed, steps in enumerate((3, 1, 6))]
LOOPS_AT = 2240  # 64 zeroed bytes here lead the HDF5 library in circles when it reads the golden file's attributes


@pytest.fixture
def path(tmp_path):
    return record(tmp_path / "data.h5", EPISODES)


@pytest.fixture
def children(monkeypatch):
    """How many processes were started to look through a file."""
    started = []
    run = subprocess.run

    def note(command, **options):
        started.append(command)
        return run(command, **options)

    monkeypatch.setattr(hdf5.subprocess, "run", note)
    return started


def test_a_file_on_which_the_library_loops_is_damaged(tmp_path, monkeypatch, children):
    monkeypatch.setattr(hdf5, "LEAST_SECONDS", 0.5)
    data = bytearray(GOLDEN.read_bytes())
    data[LOOPS_AT : LOOPS_AT + 64] = bytes(64)
    path = tmp_path / "torn.h5"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"torn\.h5 is damaged: the HDF5 library loops or crashes"):
        Trajectories(path)
    assert len(children) == 1


def test_a_child_that_dies_of_any_signal_means_damage(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    path.write_bytes(GOLDEN.read_bytes())
    dead = subprocess.CompletedProcess([], -signal.SIGSEGV)
    monkeypatch.setattr(hdf5.subprocess, "run", lambda *arguments, **options: dead)
    with pytest.raises(DataError, match="crashes"):
        guarded_open(path, "hint")


def test_no_single_bit_of_a_file_can_change_in_silence(path, children):
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 200):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"data\.h5"):
            Trajectories(path)
    for start in range(0, len(whole), 997):
        path.write_bytes(whole[:start] + bytes(64) + whole[start + 64 :])
        if path.read_bytes() != whole:
            with pytest.raises(DataError, match=r"data\.h5"):
                Trajectories(path)
    assert len(children) < 10  # damage to the word that marks a sealed file; anything else is found without the library
    path.write_bytes(whole)
    with Trajectories(path) as data:
        assert_same(data.episode(2), EPISODES[2])


def test_a_foreign_file_is_looked_through_once_until_it_changes(tmp_path, children):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.arange(3)
        file["a/text"] = ["x", "y"]
        file["a/b"].attrs["unit"] = "m"
        file["a/again"] = file["/"]  # a circle of hard links
    for _ in range(3):
        with guarded_open(path, "hint") as file:
            assert file["a/b"][:].tolist() == [0, 1, 2]
    assert len(children) == 1
    os.utime(path, (0, 0))
    guarded_open(path, "hint").close()
    assert len(children) == 2


def test_our_own_files_need_no_child_and_old_ones_are_still_read(path, children):
    Trajectories(path).close()
    assert not children
    with Trajectories(GOLDEN) as data:
        assert len(data) > 0
    assert len(children) <= 1  # another test may have opened it before


def test_what_is_no_file_is_refused_and_nobody_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    for place in (tmp_path, tmp_path / "pipe.h5"):
        with pytest.raises(DataError, match=r"is (a folder|no plain file), expected a file"):
            guarded_open(place, "hint")
    with pytest.raises(FileNotFoundError):
        guarded_open(tmp_path / "absent.h5", "hint")
    (tmp_path / "text").write_text("no HDF5")
    with pytest.raises(DataError, match="truncated or not an HDF5 file"):
        guarded_open(tmp_path / "text", "hint")


def test_attributes_are_under_a_digest_of_their_own(path):
    for change in ('{"environment": "layerscout/Intercept-v0"}', '{"action_count": 6}'):
        with edited(path) as file:
            file.attrs["attributes"] = change
        with pytest.raises(DataError, match="its attributes do not have the sha256"):
            Trajectories(path)
        with pytest.raises(DataError, match="its attributes do not have the sha256"):
            TrajectoryWriter(path, ATTRIBUTES)
    with edited(path) as file:
        del file.attrs["sha256"]
    with pytest.raises(DataError, match="its attributes do not have the sha256"):
        Trajectories(path)


# memory


def test_an_episode_larger_than_memory_is_refused_before_it_is_read(path, monkeypatch):
    monkeypatch.setattr(hdf5, "LITTLE", 100)
    monkeypatch.setattr(hdf5, "available_memory", lambda: 300)
    with Trajectories(path) as data:
        with pytest.raises(BudgetError, match=r"data\.h5, episode 2 needs"):
            data.episode(2)
        assert data.frames(2, 1, 4).shape == (3, 4, 6, 3)  # 216 bytes
        with pytest.raises(BudgetError, match="'frames' needs"):
            data.frames(2, 0, 7)


# a full disk


@contextmanager
def largest_file(size: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [512, 4096, 15_000])
def test_without_room_nothing_is_lost_and_the_file_is_named(tmp_path, size):
    """A part has some 12 kB, the whole file some 20 kB: the smaller limits stop a part, the largest the merge."""
    path = tmp_path / "data.h5"
    with largest_file(size), pytest.raises(OSError, match=r"data\.h5") as failed:
        record(path, EPISODES, part_episodes=1)
    assert failed.value.errno == errno.EFBIG
    assert str(failed.value.filename).startswith(str(path))
    assert not path.exists()
    assert not list(tmp_path.rglob(".*"))
    with Trajectories(record(path, EPISODES, part_episodes=1)) as data:
        for index, episode in enumerate(EPISODES):
            assert_same(data.episode(index), episode)


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_disk_that_fills_while_the_library_writes_is_told_once(tmp_path, monkeypatch, after):
    monkeypatch.setattr(hdf5_output, "_ask_for_room", lambda descriptor, size: None)
    written = []
    pwrite = os.pwrite

    def fills(descriptor, data, place):
        if len(written) == after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(place)
        return pwrite(descriptor, data[:100], place)  # a disk may take less than it was given

    monkeypatch.setattr(os, "pwrite", fills)
    with pytest.raises(OSError, match=r"data\.h5") as failed:
        record(tmp_path / "data.h5", EPISODES, part_episodes=1)
    assert failed.value.errno == errno.ENOSPC
    monkeypatch.undo()
    with Trajectories(record(tmp_path / "data.h5", EPISODES, part_episodes=1)) as data:
        assert_same(data.episode(2), EPISODES[2])


def test_a_disk_that_cannot_be_asked_for_room_is_written_all_the_same(tmp_path, monkeypatch):
    def cannot(*arguments):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    with Trajectories(record(tmp_path / "data.h5", EPISODES)) as data:
        assert_same(data.episode(1), EPISODES[1])


def test_the_sink_is_a_file(tmp_path):
    """What h5py asks of a file: the same answers as Python's own."""
    rng = random.Random(1)
    with (tmp_path / "a").open("w+b") as own, (tmp_path / "b").open("w+b", buffering=0) as python:
        sink = Unfailing(own.fileno())
        assert sink.seekable()
        for _ in range(200):
            place, data = rng.randrange(300), rng.randbytes(rng.randrange(40))
            for file in (sink, python):
                file.seek(place)
                assert file.write(data) == len(data)
                assert file.tell() == place + len(data)
            assert sink.seek(0, os.SEEK_END) == python.seek(0, os.SEEK_END)
            assert sink.seek(-1, os.SEEK_CUR) == python.seek(-1, os.SEEK_CUR)
            start = rng.randrange(300)
            buffers = bytearray(50), bytearray(50)
            for file, buffer in zip((sink, python), buffers, strict=True):
                file.seek(start)
                file.readinto(buffer)
            assert buffers[0] == buffers[1]
        sink.flush()
        sink.seek(7)
        assert sink.truncate() == 7
        assert sink.truncate(9) == sink.end == 9
        sink.require()
