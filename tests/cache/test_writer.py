"""A killed writer continues to the same bytes; no writer publishes numbers that are not whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from layerscout.cache.durable import FUTURE_SECONDS
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing import staging
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import BudgetError, DataError

DiskUsage = namedtuple("DiskUsage", "total used free")
LAYER = "transformer_blocks.3"


def contents(store: Store) -> dict[str, bytes]:
    """Every file but the manifest, which tells the time."""
    return {
        str(path.relative_to(store.path)): path.read_bytes()
        for path in store.path.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def attempts(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob("staging/*/*/attempt.json"))


def lease(attempt: Path, **claim: object) -> None:
    claim = {"token": "other", "host": socket.gethostname(), "pid": 1, "time": time.time()} | claim
    (attempt / "lease.json").write_text(json.dumps(claim))


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def begun(example, root) -> Path:
    """An attempt whose units 0 and 2 are done; its writer is gone."""
    example.write(example.open(root), [0, 2])
    (attempt,) = attempts(root)
    return attempt


@pytest.mark.parametrize("done", [[], [0], [2], [1, 2], [0, 1, 2]])
def test_continued_store_is_bit_equal_to_an_unbroken_one(example, tmp_path, root, done):
    unbroken = example.store(tmp_path / "unbroken")
    example.write(example.open(root), done)
    writer = example.open(root)
    assert writer.units == 3
    assert writer.pending() == [unit for unit in range(3) if unit not in done]
    assert [writer.span(unit) for unit in range(3)] == [(0, 8), (8, 16), (16, 21)]
    example.write(writer, writer.pending())
    store = writer.commit({"command": "test"})
    assert contents(store) == contents(unbroken)
    assert list((root / "staging").iterdir()) == []


def test_every_file_and_folder_is_forced_to_disk(example, root, forced_to_disk):
    store = example.store(root)
    for path in (store.path.parent, store.path, *store.path.rglob("*")):
        assert path.stat().st_ino in forced_to_disk, path


def test_every_folder_is_forced_to_disk_after_its_last_new_name(example, root, monkeypatch):
    """A name that is given after its folder was forced to disk may be lost with the power, and a store with it."""
    events: list[tuple[str, int]] = []  # inode of a folder that got a new name, or was forced to disk

    def named(self, target, method):
        done = method(self, target)
        events.append(("name", os.stat(Path(target).parent).st_ino))
        return done

    for name in ("replace", "rename"):
        method = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda self, target, method=method: named(self, target, method))
    mkdir = Path.mkdir

    def made(self, *arguments, **options):
        there = self.exists()
        mkdir(self, *arguments, **options)
        if not there:
            events.append(("name", os.stat(self.parent).st_ino))

    monkeypatch.setattr(Path, "mkdir", made)
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(("forced", os.fstat(descriptor).st_ino)))
    writer = example.open(root)
    example.write(writer, writer.pending())
    for layer in example.layers:
        writer.write_passport(layer, b"{}", b"tensors")
    store = writer.commit({})
    folders = {store.path, store.path.parent, *(path for path in store.path.rglob("*") if path.is_dir())}
    assert {path.name for path in folders} >= {"passports", "layers", "index", "c", "stores"}
    for folder in folders:
        own = [kind for kind, inode in events if inode == folder.stat().st_ino]
        assert "name" in own, folder
        assert own[-1] == "forced", folder


@pytest.mark.parametrize("lost", [errno.ESTALE, errno.EIO, errno.ENOENT])
def test_a_network_disk_that_loses_the_answer_and_asks_again_has_published_the_store(example, root, monkeypatch, lost):
    rename = Path.rename

    def renamed_and_refused(self, target):
        rename(self, target)
        raise OSError(lost, os.strerror(lost))

    monkeypatch.setattr(Path, "rename", renamed_and_refused)
    store = example.store(root)
    monkeypatch.undo()
    assert store.path == root / "stores" / store.id
    np.testing.assert_array_equal(store.layer(LAYER).all(), example.layers[LAYER])
    assert attempts(root) == []


def test_a_rename_that_fails_and_published_nothing_is_an_error(example, root, monkeypatch):
    def refused(self, target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        with pytest.raises(OSError, match="Input/output error"):
            example.store(root)
    assert example.open(root).pending() == []


def test_killed_process_continues_at_once(example, root, begun):
    # the lease still names the dead process, with a heartbeat of just now
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lease(begun, pid=dead.pid)
    torn = begun / f"store/layers/{LAYER}/c/1/0.abc.partial"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"half")
    writer = example.open(root)
    assert writer.pending() == [1]
    example.write(writer, [1])
    assert not list(writer.commit({}).path.rglob("*.partial"))
    assert list((root / "staging").iterdir()) == []


def test_chunk_size_may_differ_between_attempts(example, root, begun):
    writer = example.open(root, rows_per_chunk=16)
    assert writer.pending() == [0, 1]
    example.write(writer, [0, 1])
    np.testing.assert_array_equal(writer.commit({}).layer(LAYER).all(), example.layers[LAYER])
    assert attempts(root) == [], "its owner is dead and its store is there"


@pytest.mark.parametrize("change", ["flip", "truncate", "delete", "swap"])
def test_marker_is_not_trusted_over_its_files(example, root, begun, change):
    path = begun / f"store/layers/{LAYER}/c/2/0"
    data = path.read_bytes()
    if change == "flip":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif change == "truncate":
        path.write_bytes(data[:-1])
    elif change == "delete":
        path.unlink()
    else:
        shutil.copy(begun / f"store/layers/{LAYER}/c/0/0", path)
    assert example.open(root).pending() == [1, 2]


def test_stray_markers_are_not_trusted(example, root, begun):
    units = begun / "units"
    shutil.copy(units / "0.json", units / "1.json")  # says unit 0, lies at unit 1
    (units / "2.json").write_text((units / "2.json").read_text().replace("sha256:", "sha256:0", 1))  # another identity
    shutil.copy(units / "0.json", units / "7.json")  # there is no unit 7
    (units / "0.json").write_text("{")
    assert example.open(root).pending() == [0, 1, 2]


def test_commit_refuses_missing_units_and_changed_files(example, root):
    writer = example.open(root)
    example.write(writer, [0, 2])
    with pytest.raises(DataError, match="misses 1 of 3 units: 1"):
        writer.commit({})
    example.write(writer, [1])
    shutil.copy(attempts(root)[0] / f"store/layers/{LAYER}/c/0/0", attempts(root)[0] / f"store/layers/{LAYER}/c/1/0")
    with pytest.raises(DataError, match="c/1/0 changed after it was written"):
        writer.commit({})
    assert not (root / "stores").exists()


def test_commit_refuses_provenance_that_json_cannot_hold(example, root):
    writer = example.open(root)
    example.write(writer, range(3))
    for value in (float("nan"), Path("x"), {1, 2}):
        with pytest.raises(DataError, match="provenance"):
            writer.commit({"field": value})
    assert writer.commit({"field": None, "list": [1, "a", 0.5]}).manifest.provenance == {"field": None, "list": [1, "a", 0.5]}


def test_second_committer_gets_the_first_store(example, root, monkeypatch):
    mine = example.open(root)
    lease(attempts(root)[0], pid=os.getppid())
    other = example.open(root)
    assert len(attempts(root)) == 2
    example.write(mine, range(3))
    example.layers[LAYER][:] += 1  # two honest runs need not agree to the bit
    example.write(other, range(3))
    first = mine.commit({"by": "first"})
    second = other.commit({"by": "second"})
    assert second.id == first.id
    assert second.manifest == first.manifest
    assert contents(second) == contents(first)
    assert attempts(root) == []


def test_commit_keeps_its_work_when_the_published_store_is_damaged(example, root):
    store = example.store(root)
    (store.path / "manifest.json").unlink()
    writer = example.open(root)
    example.write(writer, range(3))
    with pytest.raises(DataError, match="incomplete"):
        writer.commit({})
    shutil.rmtree(store.path)
    assert example.open(root).pending() == []


def test_a_living_owner_keeps_its_folder_and_shares_its_finished_units(example, root, begun):
    lease(begun, pid=os.getppid())
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in begun.rglob("*") if path.is_file()}
    writer = example.open(root)
    assert writer.pending() == [1]
    example.write(writer, [1])
    writer.commit({})
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in begun.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("age", "dead"), [(1.0, False), (staging.LEASE_SECONDS + 1, True)])
def test_owner_on_another_machine_lives_as_long_as_its_heartbeat(example, root, begun, age, dead):
    lease(begun, host="elsewhere", time=time.time() - age)
    example.store(root)
    assert attempts(root) == ([] if dead else [begun])


def test_without_hard_links_the_units_of_the_dead_are_moved_and_those_of_the_living_computed_again(example, root, begun, monkeypatch):
    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refused)
    lease(begun, pid=os.getppid())
    assert example.open(root).pending() == [0, 1, 2]
    (begun / "lease.json").unlink()
    writer = example.open(root)
    assert writer.pending() == [1]
    example.write(writer, [1])
    np.testing.assert_array_equal(writer.commit({}).layer(LAYER).all(), example.layers[LAYER])


@pytest.mark.parametrize("clock", [-60.0, 60.0])
def test_a_clock_that_is_a_little_ahead_is_believed(example, root, begun, clock):
    lease(begun, host="elsewhere", time=time.time() + clock)
    example.store(root)
    assert attempts(root) == [begun]


def test_a_heartbeat_from_the_future_keeps_nothing(example, root, begun):
    lease(begun, host="elsewhere", time=time.time() + FUTURE_SECONDS + 60)
    example.store(root)
    assert attempts(root) == []


def test_a_writer_whose_work_was_deleted_stops_at_once(example, root):
    writer = example.open(root)
    example.write(writer, [0])
    shutil.rmtree(attempts(root)[0])
    with pytest.raises(DataError, match="was deleted while it was worked in"):
        writer.keep_alive()
    with pytest.raises(DataError, match="was deleted while it was worked in"):
        example.write(writer, [1])
    with pytest.raises(DataError, match="was deleted while it was worked in"):
        writer.write_passport("blocks.0", b"{}", b"x")
    assert not [path for path in root.rglob("*") if path.is_file()]
    other = example.store(root)  # published by another process meanwhile: nothing is lost, so nothing is said
    writer.keep_alive()
    example.write(writer, [1, 2])
    writer.write_passport("blocks.0", b"{}", b"x")
    assert writer.commit({}).manifest == other.manifest


def test_released_attempt_is_free(example, root):
    writer = example.open(root)
    example.write(writer, [0])
    writer.release()
    assert not list(root.rglob("lease.json"))
    assert example.open(root).pending() == [1, 2]


def test_no_space_is_refused_before_anything_is_written(example, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(10**6, 10**6 - 100, 100))
    with pytest.raises(BudgetError, match="nothing was written") as caught:
        example.open(root)
    assert caught.value.exit_code == 5
    assert not root.exists()


def test_no_space_keeps_what_is_there(example, root, begun, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: DiskUsage(1, 1, 0))
        with pytest.raises(BudgetError):
            example.open(root)
    assert example.open(root).pending() == [1]


@pytest.mark.parametrize(("value", "found"), [(np.nan, "nan"), (-np.inf, "inf"), (7e4, "70000, too large for float16,")])
def test_numbers_that_are_not_finite_name_layer_and_row(example, root, value, found):
    writer = example.open(root)
    example.layers[LAYER] = example.layers[LAYER].astype(np.float32)
    example.layers[LAYER][17, 2] = value
    with pytest.raises(DataError, match=f"layer '{LAYER}' has {found} at row 17"):
        example.write(writer, [2])
    assert example.open(root).pending() == [0, 1, 2]


@pytest.mark.parametrize("case", ["shape", "kind", "missing", "extra", "column", "overflow"])
def test_arrays_that_do_not_fit_the_plan_are_refused(example, root, case):
    writer = example.open(root)
    layers, index = ({name: values[:8] for name, values in arrays.items()} for arrays in (example.layers, example.index))
    if case == "shape":
        layers[LAYER] = layers[LAYER][:7]
    elif case == "kind":
        layers[LAYER] = layers[LAYER].astype(np.int64)
    elif case == "missing":
        del layers[LAYER]
    elif case == "extra":
        layers["more"] = layers[LAYER]
    elif case == "column":
        del index["reward"]
    else:
        index["padding"] = np.full(8, 2**15)
    name = {"extra": "more", "column": "reward", "overflow": "padding"}.get(case, LAYER)
    with pytest.raises(DataError, match=name):
        writer.write_unit(0, layers, index)
    assert writer.pending() == [0, 1, 2]


def test_identity_must_name_the_layers_that_are_written(example, root):
    other = LayerSpec("transformer_blocks.3", 6, "float16", "layer", 0, "transformer_blocks.3")
    for specs in ((other, *example.specs[1:]), example.specs[:2], example.specs[::-1]):
        with pytest.raises(DataError, match="identity"):
            StoreWriter.open(root, example.identity, specs, 21)
    with pytest.raises(DataError, match="logical_dtype"):
        StoreWriter.open(root, example.identity | {"logical_dtype": "float32"}, example.specs, 21)
    assert not root.exists()


def test_chunk_size_and_root_do_not_enter_the_name(example, tmp_path):
    names = {example.open(tmp_path / name, rows_per_chunk=size).store_id for name, size in (("a", 4), ("b", 4096))}
    assert len(names) == 1


class Killed(BaseException):
    """Stands for the power going off: nothing in the writer may catch it and go on."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_write_loses_nothing_that_was_marked(example, tmp_path, monkeypatch, after):
    unbroken = contents(example.store(tmp_path / "unbroken"))
    real = Path.replace

    def finish(root: Path) -> Store:
        writer = example.open(root)
        example.write(writer, writer.pending())
        return writer.commit({})

    for count in range(0, 60, 7):
        calls = iter(range(count + 1))

        def replace(source: Path, target: Path, calls=calls) -> Path:
            last = next(calls, None) == count  # noqa: B023
            if last and not after:
                raise Killed
            result = real(source, target)
            if last:
                raise Killed
            return result

        root = tmp_path / str(count)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            try:
                finish(root)
            except Killed:
                assert not list(root.glob("stores/*/manifest.json"))
            else:
                break
        assert contents(finish(root)) == unbroken
        assert attempts(root) == []
    else:
        assert count > 50


def test_a_kill_right_after_publishing_leaves_the_store_and_its_debris_harmless(example, root, monkeypatch):
    def killed(attempt: staging.Attempt) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(staging.Attempt, "discard", killed)
        with pytest.raises(Killed):
            example.store(root)
    (published,) = root.glob("stores/*")
    before = contents(Store.open(published))
    assert contents(example.store(root)) == before  # even a caller that did not look for the store first
    assert attempts(root) == []
