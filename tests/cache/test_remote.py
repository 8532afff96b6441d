"""Push and pull: what is published is whole, whoever dies or races; nothing from elsewhere is trusted before it is checked."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import obstore
import pytest
import zarr
from backends import open_object_place
from hypothesis import given
from hypothesis import strategies as st

from layerscout.cache.files import write_file
from layerscout.cache.fingerprint import misfit_of_file
from layerscout.cache.opening import open_store
from layerscout.cache.remote import assembly, bucket, transfer
from layerscout.cache.remote.arrival import receive_file
from layerscout.cache.remote.place import open_place
from layerscout.cache.remote.published import content_folder, list_remote
from layerscout.cache.remote.transfer import plan_pull, plan_push, pull, push
from layerscout.cache.store import Store
from layerscout.cache.testing import made_up
from layerscout.errors import BudgetError, DataError

SMALL = made_up(0)


@pytest.fixture
def store(tmp_path) -> Store:
    return SMALL.write(tmp_path / "here")


def objects_at(url: str) -> list[str]:
    return sorted(item["path"] for batch in obstore.list(open_object_place(url).handle) for item in batch)


def run(script: str, *arguments: object) -> subprocess.Popen:
    """Start a real process that does not wait for the disk."""
    lines = f"import os, signal, sys, json, time\nos.fsync = lambda descriptor: None\n{textwrap.dedent(script)}"
    return subprocess.Popen([sys.executable, "-c", lines, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


# killed and continued


KILLED_PUSH = """
    from layerscout.cache.remote import bucket, transfer as remote
    from layerscout.cache.store import Store
    put, count = bucket.ObjectPlace.put, iter(range(10**6))
    def put_or_die(*arguments):
        if next(count) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        put(*arguments)
    bucket.ObjectPlace.put = put_or_die
    remote.push(Store.open(sys.argv[1]), sys.argv[2], workers=3)
"""


def test_a_killed_push_is_invisible_and_continues(server, url, store, tmp_path):
    total = len(store.manifest.objects)
    process = run(KILLED_PUSH, store.path, url, total // 2)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    server.settle()
    there = objects_at(url)
    assert total // 2 - 3 <= len(there) <= total // 2
    assert list_remote(url) == []
    for read in (lambda: pull(f"{url}/{store.id}", tmp_path / "reader"), lambda: open_store(tmp_path / "reader", f"{url}/{store.id}")):
        with pytest.raises(DataError, match="incomplete"):
            read()
    assert plan_push(store, url).present_objects == len(there)
    before = len(server.requests)
    done = push(store, url)
    assert (done.outcome, done.present_objects, done.present_bytes) == ("published", len(there), sum(sizes(store, there)))
    sent = [path for method, path, _ in server.requests[before:] if method == "PUT" and "/content/" in path]
    assert len(sent) == len(set(sent)) == total - len(there)
    SMALL.check(pull(url, tmp_path / "reader"))


def sizes(store: Store, paths: list[str]) -> list[int]:
    by_path = {item.path: item.size for item in store.manifest.objects}
    return [by_path[path.partition("/content/")[2].partition("/")[2]] for path in paths]


KILLED_PULL = """
    from layerscout.cache.remote import assembly, transfer as remote
    receive, count = assembly.receive_file, iter(range(10**6))
    def receive_or_die(*arguments):
        if next(count) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        receive(*arguments)
    assembly.receive_file = receive_or_die
    remote.pull(sys.argv[1], sys.argv[2], workers=3)
"""


def test_a_killed_pull_is_invisible_and_continues(server, url, store, tmp_path):
    push(store, url)
    total, root = len(store.manifest.objects), tmp_path / "reader"
    process = run(KILLED_PULL, url, root, total // 2)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (root / "stores").exists()
    held = plan_pull(url, root).present_objects
    assert total // 2 - 3 <= held <= total // 2
    before = len(server.requests)
    SMALL.check(pull(url, root))
    got = [path for method, path, _ in server.requests[before:] if method == "GET" and "/content/" in path]
    assert len(got) == len(set(got)) == total - held
    assert {path.name for path in root.iterdir() if any(path.iterdir())} == {"stores"}


def test_what_a_killed_pull_left_is_checked_before_it_is_used(url, store, tmp_path, monkeypatch):
    push(store, url)
    root, count = tmp_path / "reader", itertools.count()
    with monkeypatch.context() as patch:

        def fail_late(*arguments):
            if next(count) == 20:
                raise KeyboardInterrupt
            receive_file(*arguments)

        patch.setattr("layerscout.cache.remote.assembly.receive_file", fail_late)
        with pytest.raises(KeyboardInterrupt):
            pull(url, root, workers=1)
    left = [path for path in (root / "staging").rglob("*") if path.is_file() and "store" in path.parts and path.suffix != ".json"]
    assert left
    for path in left:
        path.write_bytes(bytes(len(path.read_bytes())))
    SMALL.check(pull(url, root))


# two at once


RACING_PUSH = """
    from layerscout.cache.remote import bucket, transfer as remote
    from layerscout.cache.store import Store
    create, folder = bucket.ObjectPlace.create, sys.argv[3]
    def create_together(self, path, data):
        if path.endswith("manifest.json"):
            open(os.path.join(folder, str(os.getpid())), "w").close()
            while len(os.listdir(folder)) < 2:
                time.sleep(0.005)
        return create(self, path, data)
    bucket.ObjectPlace.create = create_together
    print(json.dumps(remote.push(Store.open(sys.argv[1]), sys.argv[2]).describe()))
"""


def test_two_pushers_that_both_sent_everything_end_with_one_store(url, tmp_path):
    runs = {run.write(tmp_path / name).manifest.digest: run for name, run in (("a", SMALL), ("b", SMALL.of_another_run()))}
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    both = [run(RACING_PUSH, tmp_path / name / "stores" / SMALL.id, url, meeting) for name in "ab"]
    done = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(facts["outcome"] for facts in done) == ["another", "published"]
    winner, loser = sorted(done, key=lambda facts: facts["outcome"] == "another")
    assert loser["other_digest"] == winner["digest"]
    assert all(winner["digest"].removeprefix("sha256:")[:32] in path for path in objects_at(url) if "/content/" in path)
    runs[winner["digest"]].check(pull(url, tmp_path / "reader"))


def test_a_server_that_ignores_conditions_is_refused(url, store, monkeypatch):
    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda *arguments, mode=None, **options: put(*arguments, **options))
    with pytest.raises(DataError, match="If-None-Match"):
        push(store, url)
    assert list_remote(url) == []


# nothing damaged is published or kept


def test_a_store_that_is_damaged_here_is_not_published(url, store, tmp_path):
    chunk = store.path / "layers/blocks.0/c/0/0"
    intact = chunk.read_bytes()
    chunk.write_bytes(bytes(len(intact)))
    for target in (url, str(tmp_path / "folder")):
        with pytest.raises(DataError, match=r"blocks\.0/c/0/0 is damaged"):
            push(store, target)
        assert not Path(target, "stores").exists()
    chunk.unlink()
    with pytest.raises(DataError, match="not whole here"):
        push(store, url)
    assert list_remote(url) == []


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("place", ["bucket", "folder"])
def test_a_store_that_is_deleted_while_it_is_pushed_is_said_to_be_deleted(url, store, tmp_path, monkeypatch, when, place):
    target = url if place == "bucket" else str(tmp_path / "folder")
    if when == "before":
        shutil.rmtree(store.path)
    else:  # right before its first file is read
        module, name = (transfer, "misfit_of_file") if place == "bucket" else (assembly, "receive_file")
        read = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments: shutil.rmtree(store.path, ignore_errors=True) or read(*arguments))
    with pytest.raises(DataError, match="was deleted here while it was pushed"):
        push(store, target)
    assert place == "folder" or list_remote(url) == []


def test_a_wrong_object_is_replaced_while_nothing_is_published(url, store, tmp_path):
    handle, folder = open_object_place(url).handle, content_folder(store.manifest)
    for item in store.manifest.objects[:6]:
        note = {"sha256": item.sha256 if item.size % 2 else "0" * 64}  # a right note on a wrong size, and the reverse
        obstore.put(handle, f"{folder}/{item.path}", bytes(item.size + item.size % 2), attributes=note)
    assert plan_push(store, url).present_objects == 0
    assert push(store, url).present_objects == 0
    SMALL.check(pull(url, tmp_path / "reader"))


def test_pushing_again_restores_what_was_lost(url, store, tmp_path):
    push(store, url)
    lost = f"{content_folder(store.manifest)}/layers/blocks.1/c/1/0"
    obstore.delete(open_object_place(url).handle, lost)
    with pytest.raises(DataError, match=r"blocks\.1/c/1/0 is missing") as raised:
        pull(url, tmp_path / "reader")
    assert "push the store again" in raised.value.hint
    done = push(store, url)
    assert (done.outcome, done.present_objects) == ("present", done.objects - 1)
    SMALL.check(pull(url, tmp_path / "reader"))


def test_large_objects_go_in_parts(url, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "PART_BYTES", 5 * 2**20)  # the least that S3 takes
    large = made_up(1, rows=4, widths=(900_000,))
    push(large.write(tmp_path / "here"), url)
    large.check(pull(url, tmp_path / "reader"))


@given(data=st.binary(max_size=60), other=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=4), chunk=st.booleans())
def test_only_the_very_bytes_are_received(tmp_path_factory, data, other, cuts, chunk):
    folder = tmp_path_factory.mktemp("receive")
    item = write_file(folder, "c/0" if chunk else "x.json", data, chunk=chunk)
    bounds = [0, *sorted(cuts), 60 + 4]
    pieces = lambda content: [content[a:b] for a, b in itertools.pairwise(bounds)]  # noqa: E731
    whole = (folder / item.path).read_bytes()
    receive_file(pieces(whole), folder / "new", item, "there")
    assert misfit_of_file(folder / "new" / item.path, item) is None
    if other != whole:
        with pytest.raises(DataError, match="is damaged"):
            receive_file(pieces(other), folder / "never", item, "there")
        assert list((folder / "never").rglob("*.*")) == []
    for part in (item.model_copy(update={"crc32c": item.crc32c ^ 1}), item.model_copy(update={"sha256": "0" * 64})):
        assert misfit_of_file(folder / "new" / item.path, part) is not None


def test_a_disk_without_room_is_told_before_anything_is_written(url, store, tmp_path, monkeypatch):
    push(store, url)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 10, 10))
    for call in (lambda: pull(url, tmp_path / "r"), lambda: pull(url, tmp_path / "r", ["pixels"]), lambda: push(store, tmp_path / "r")):
        with pytest.raises(BudgetError):
            call()
    assert not (tmp_path / "r").exists()


# other readers


def test_zarr_opens_a_pushed_store_where_it_lies(url, store):
    push(store, url)
    inside = open_place(f"{url}/{content_folder(store.manifest)}")
    group = zarr.open_group(zarr.storage.ObjectStore(inside.handle, read_only=True), mode="r", use_consolidated=True)
    for name, values in SMALL.layers.items():
        np.testing.assert_array_equal(group[f"layers/{name}"][:], values)


def test_a_pushed_folder_is_a_root(store, tmp_path):
    folder = tmp_path / "network disk"
    assert push(store, folder).outcome == "published"
    SMALL.check(open_store(folder, store.id))
    SMALL.check(pull(folder.as_uri(), tmp_path / "reader"))


def test_a_copy_of_a_root_in_a_bucket_can_be_pulled(url, store, tmp_path):
    handle = open_object_place(url).handle
    for path in store.path.rglob("*"):
        if path.is_file():
            obstore.put(handle, f"stores/{store.id}/{path.relative_to(store.path)}", path.read_bytes())
    SMALL.check(pull(url, tmp_path / "reader"))
