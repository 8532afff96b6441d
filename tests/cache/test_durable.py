"""A file that is written whole appears whole, lasts, and leaves nothing when it fails; what killed writers left is cleared."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerscout.cache import durable
from layerscout.cache.durable import ABANDONED_SECONDS, FUTURE_SECONDS, is_abandoned, sync_folders, temporary_name, whole_file, write_atomic

ANOTHER_MACHINE = "another-machine"


@pytest.fixture
def calls(monkeypatch):
    """What was forced to disk or renamed, in order, by the name that it had then."""
    told: list[tuple[str, str]] = []
    paths: dict[int, Path] = {}
    opened, replace = os.open, Path.replace

    def note_open(path, *arguments, **options):
        descriptor = opened(path, *arguments, **options)
        paths[descriptor] = Path(path)
        return descriptor

    def note_sync(descriptor):
        found = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        told.append(("folder" if found.is_dir() else "file", found.name))

    def note_replace(self, target):
        told.append(("name", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    return told


def test_bytes_come_before_the_name_and_the_name_before_the_end(tmp_path, calls):
    write_atomic(tmp_path / "a.json", b"whole")
    assert [kind for kind, _ in calls] == ["file", "name", "folder"]
    assert calls[1:] == [("name", "a.json"), ("folder", tmp_path.name)]
    assert (tmp_path / "a.json").read_bytes() == b"whole"


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "a"
    write_atomic(path, b"old")
    with whole_file(path) as file:
        file.write(b"new, half")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new, half"
    assert os.listdir(path.parent) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_failing_disk_leaves_the_old_file_and_names_it(tmp_path, monkeypatch, number):
    path = tmp_path / "a"
    write_atomic(path, b"old")

    def full(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="a") as failed:
        write_atomic(path, b"new")
    assert (failed.value.errno, failed.value.filename) == (number, str(path))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_cannot_be_begun_is_named_by_its_own_name(tmp_path, monkeypatch):
    def none_left(*arguments, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(arguments[0]))

    monkeypatch.setattr(Path, "open", none_left)
    with pytest.raises(OSError, match="a") as failed:
        write_atomic(tmp_path / "a", b"new")
    assert failed.value.filename == str(tmp_path / "a")


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def torn(target: Path, monkeypatch: pytest.MonkeyPatch, process: int | None = None, host: str | None = None, age: float = 0.0) -> Path:
    with monkeypatch.context() as patch:
        if process is not None:
            patch.setattr(os, "getpid", lambda: process)
        if host is not None:
            patch.setattr(durable, "gethostname", lambda: host)
        path = temporary_name(target)
    path.write_bytes(b"half")
    os.utime(path, (0, time.time() - age))
    return path


def test_a_writer_clears_what_killed_writers_of_the_same_file_left(tmp_path, monkeypatch):
    gone = dead_process()
    mine, others = torn(tmp_path / "a.json", monkeypatch, gone), torn(tmp_path / "a.jso", monkeypatch, gone)
    working = torn(tmp_path / "a.json", monkeypatch, os.getppid())
    write_atomic(tmp_path / "a.json", b"whole")
    assert not mine.exists()
    assert others.exists()
    assert working.exists()


@pytest.mark.parametrize(
    ("age", "stale"),
    [
        (0.0, False),
        (ABANDONED_SECONDS - 60, False),
        (ABANDONED_SECONDS + 60, True),
        (60 - FUTURE_SECONDS, False),  # two machines' clocks never agree
        (-FUTURE_SECONDS - 60, True),
        (-(10.0**8), True),
    ],
)
def test_another_machines_file_is_judged_by_its_time_alone(tmp_path, monkeypatch, age, stale):
    assert is_abandoned(torn(tmp_path / "a", monkeypatch, host=ANOTHER_MACHINE, age=age)) == stale


@pytest.mark.parametrize(("age", "stale"), [(0.0, False), (-(10.0**8), False), (ABANDONED_SECONDS + 60, True)])
def test_a_living_process_of_this_machine_keeps_its_file_whatever_the_clock_says(tmp_path, monkeypatch, age, stale):
    assert is_abandoned(torn(tmp_path / "a", monkeypatch, process=os.getppid(), age=age)) == stale


def test_what_vanished_is_not_abandoned(tmp_path):
    assert not is_abandoned(temporary_name(tmp_path / "a"))


def test_every_folder_between_the_root_and_a_file_is_forced_to_disk(tmp_path, calls):
    (tmp_path / "layers" / "z" / "c").mkdir(parents=True)
    sync_folders(tmp_path, ["layers/z/c/0", "layers/z/zarr.json"])
    assert sorted(name for _, name in calls) == sorted([tmp_path.name, "layers", "z", "c"])


def test_a_file_that_holds_the_very_bytes_is_left_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomic(path, b"same")
    before = path.stat()

    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", read_only)
        write_atomic(path, b"same")
        for other in (b"sane", b"same ", b""):
            with pytest.raises(OSError, match="Read-only"):
                write_atomic(path, other)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_atomic(path, b"other")
    assert path.read_bytes() == b"other"
