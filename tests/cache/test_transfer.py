"""Push and pull count what they move, move what is missing, publish once, and plan without writing: in a bucket in memory and in folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import obstore
import pytest
from obstore.store import MemoryStore

from layerscout.cache.remote import transfer
from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.cache.remote.place import FolderPlace
from layerscout.cache.remote.published import content_folder, find_published, manifest_path
from layerscout.cache.remote.transfer import Transfer, plan_pull, plan_push, pull, push
from layerscout.cache.store import Store
from layerscout.cache.testing import made_up
from layerscout.errors import DataError

SMALL, OTHER_ID = made_up(0), "ls1-" + "0" * 32


@pytest.fixture
def store(tmp_path) -> Store:
    return SMALL.write(tmp_path / "here")


@pytest.fixture
def other(tmp_path) -> Store:
    """Another run's store of the same id."""
    return SMALL.of_another_run().write(tmp_path / "another")


@pytest.fixture
def bucket() -> ObjectPlace:
    return ObjectPlace("s3://bucket/x", MemoryStore())


@pytest.fixture(params=["bucket", "folder"])
def place(request, bucket, tmp_path):
    return bucket if request.param == "bucket" else FolderPlace(str(tmp_path / "there"), tmp_path / "there")


def paths_in(place) -> dict[str, bytes]:
    if isinstance(place, ObjectPlace):
        names = [item["path"] for batch in obstore.list(place.handle) for item in batch]
        return {name: bytes(obstore.get(place.handle, name).bytes()) for name in names}
    return files(place.folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def expected_of(store: Store, place) -> Transfer:
    objects = store.manifest.objects
    return Transfer(
        store_id=store.id,
        source=str(store.path),
        target=f"{place.url}/stores/{store.id}",
        layers=tuple(store.specs),
        objects=len(objects),
        bytes=sum(item.size for item in objects),
        present_objects=0,
        present_bytes=0,
        digest=store.manifest.digest,
    )


# push


def test_a_push_counts_publishes_and_does_nothing_the_second_time(store, place):
    planned = expected_of(store, place)
    assert plan_push(store, place) == planned
    assert paths_in(place) == {}
    assert push(store, place) == replace(planned, outcome="published")
    published = paths_in(place)
    all_there = replace(planned, outcome="present", present_objects=planned.objects, present_bytes=planned.bytes)
    assert plan_push(store, place) == push(store, place) == all_there
    assert paths_in(place) == published
    assert json.loads(json.dumps(planned.describe()))["layers"] == list(store.specs)
    assert planned.describe()["outcome"] == "planned"
    assert planned.describe()["other_digest"] is None


def test_what_lies_in_a_bucket_after_a_push(store, bucket):
    push(store, bucket)
    content = {f"{content_folder(store.manifest)}/{item.path}": (store.path / item.path).read_bytes() for item in store.manifest.objects}
    beside = {manifest_path(store.id): "manifest.json", f"stores/{store.id}/identity.json": "identity.json"}
    assert paths_in(bucket) == content | {path: (store.path / name).read_bytes() for path, name in beside.items()}
    for item in store.manifest.objects:
        assert bucket.digest(f"{content_folder(store.manifest)}/{item.path}") == item.sha256
    identity = next(item for item in store.manifest.objects if item.path == "identity.json")
    assert bucket.digest(f"stores/{store.id}/identity.json") == identity.sha256


def test_the_manifest_is_put_last_and_only_once_everything_is_there(store, bucket, monkeypatch):
    order = []
    put, create = ObjectPlace.put, ObjectPlace.create
    monkeypatch.setattr(ObjectPlace, "put", lambda self, path, *rest: (order.append(path), put(self, path, *rest))[1])
    monkeypatch.setattr(ObjectPlace, "create", lambda self, path, data: (order.append(path), create(self, path, data))[1])
    push(store, bucket)
    assert len(order) == len(store.manifest.objects) + 3
    assert order[-3:] == [f"stores/{store.id}/identity.json"] * 2 + [manifest_path(store.id)]


@pytest.mark.parametrize("killed_after", [0, 3, 11])
def test_what_a_killed_push_sent_is_not_sent_again(store, bucket, monkeypatch, killed_after):
    sent: list[str] = []
    put = ObjectPlace.put

    def counted(self, path, source, sha256):
        if len(sent) == killed_after:
            raise KeyboardInterrupt
        put(self, path, source, sha256)
        sent.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectPlace, "put", counted)
        with pytest.raises(KeyboardInterrupt):
            push(store, bucket, workers=1)
    assert manifest_path(store.id) not in paths_in(bucket)
    size = sum(item.size for item in store.manifest.objects if f"{content_folder(store.manifest)}/{item.path}" in sent)
    for done in (plan_push(store, bucket), push(store, bucket)):
        assert (done.present_objects, done.present_bytes) == (killed_after, size)


@pytest.mark.parametrize("wrong", ["size", "digest", "no digest"])
def test_an_object_that_is_not_the_one_is_sent_again(store, bucket, wrong):
    push(store, bucket)
    item = next(item for item in store.manifest.objects if item.path == "layers/blocks.0/c/0/0")
    path, data = f"{content_folder(store.manifest)}/{item.path}", (store.path / item.path).read_bytes()
    note = {"size": {"sha256": item.sha256}, "digest": {"sha256": "0" * 64}, "no digest": {}}[wrong]
    obstore.put(bucket.handle, path, data[:-1] if wrong == "size" else data, attributes=note)
    assert plan_push(store, bucket).present_objects == len(store.manifest.objects) - 1
    done = push(store, bucket)
    assert (done.outcome, done.present_objects) == ("present", done.objects - 1)
    assert bucket.digest(path) == item.sha256
    assert paths_in(bucket)[path] == data


def test_another_run_that_was_first_is_left_alone(store, other, place):
    push(other, place)
    before = paths_in(place)
    planned = replace(expected_of(store, place), outcome="another", other_digest=other.manifest.digest)
    assert plan_push(store, place) == push(store, place) == planned
    assert paths_in(place) == before


def test_of_two_that_sent_everything_the_first_manifest_stands_and_the_other_leaves_nothing(store, other, bucket, monkeypatch):
    create = ObjectPlace.create

    def late(self, path, data):
        if path == manifest_path(store.id):
            monkeypatch.setattr(ObjectPlace, "create", create)
            push(other, bucket)
        return create(self, path, data)

    monkeypatch.setattr(ObjectPlace, "create", late)
    done = push(store, bucket)
    assert (done.outcome, done.other_digest) == ("another", other.manifest.digest)
    assert not [path for path in paths_in(bucket) if path.startswith(content_folder(store.manifest))]
    assert find_published(bucket, store.id).manifest == other.manifest


def test_of_two_that_push_the_same_store_both_are_right(store, bucket, monkeypatch):
    create = ObjectPlace.create

    def late(self, path, data):
        if path == manifest_path(store.id):
            monkeypatch.setattr(ObjectPlace, "create", create)
            assert push(store, bucket).outcome == "published"
        return create(self, path, data)

    monkeypatch.setattr(ObjectPlace, "create", late)
    done = push(store, bucket)
    assert (done.outcome, done.other_digest) == ("present", None)
    assert len([path for path in paths_in(bucket) if path.startswith(content_folder(store.manifest))]) == done.objects


def test_a_folder_that_another_run_fills_meanwhile_keeps_the_first(store, other, tmp_path, monkeypatch):
    there, assemble = tmp_path / "there", transfer.assemble_store

    def late(*arguments):
        monkeypatch.setattr(transfer, "assemble_store", assemble)
        push(other, there)
        return assemble(*arguments)

    monkeypatch.setattr(transfer, "assemble_store", late)
    done = push(store, there)
    assert (done.outcome, done.other_digest) == ("another", other.manifest.digest)
    assert Store.open(there / "stores" / store.id).manifest == other.manifest


def test_a_server_without_conditions_publishes_nothing(store, bucket, monkeypatch):
    put = lambda self, path, data: obstore.put(self.handle, path, data) is not None  # noqa: E731
    monkeypatch.setattr(ObjectPlace, "create", put)
    with pytest.raises(DataError, match="ignores If-None-Match") as raised:
        push(store, bucket)
    assert "conditional writes" in raised.value.hint
    assert manifest_path(store.id) not in paths_in(bucket)


def test_what_is_not_whole_or_not_named_so_is_not_pushed(store, place, tmp_path):
    with pytest.raises(DataError, match=f"names store {OTHER_ID}, the store to push is {store.id}") as raised:
        push(store, tmp_path / "there" / OTHER_ID)
    assert str(tmp_path / "there") in raised.value.hint
    assert push(store, tmp_path / "named" / store.id).outcome == "published"
    chunk = store.path / "layers/blocks.1/c/1/0"
    whole = chunk.read_bytes()
    for damaged, words in ((whole[:-1], "is not whole here"), (bytes([whole[0] ^ 1]) + whole[1:], "is damaged")):
        chunk.write_bytes(damaged)
        with pytest.raises(DataError, match=words) as raised:
            push(store, place)
        assert "c/1/0" in str(raised.value)
        assert raised.value.hint
    assert not [path for path in paths_in(place) if path.endswith("manifest.json")]


# pull


@pytest.fixture
def published(store, place):
    push(store, place)
    return place


def test_a_pull_counts_brings_everything_and_does_nothing_the_second_time(store, published, tmp_path):
    root, objects = tmp_path / "reader", store.manifest.objects
    target, size = root / "stores" / store.id, sum(item.size for item in objects)
    planned = plan_pull(published, root)
    assert (planned.store_id, planned.target, planned.layers) == (store.id, str(target), tuple(store.specs))
    assert planned.source.startswith(f"{published.url}/stores/{store.id}")
    assert (planned.objects, planned.bytes, planned.present_objects, planned.present_bytes) == (len(objects), size, 0, 0)
    assert (planned.outcome, planned.digest, planned.other_digest) == ("planned", store.manifest.digest, None)
    assert not root.exists()
    found = pull(published, root)
    SMALL.check(found)
    assert found.path == target
    assert files(target) == files(store.path)
    assert plan_pull(published, root) == replace(planned, outcome="present", present_objects=planned.objects, present_bytes=planned.bytes)


def test_some_layers_make_a_mirror_and_no_more_is_brought(store, published, tmp_path):
    root = tmp_path / "reader"
    planned = plan_pull(published, root, ["blocks.1"])
    chunks = [item for item in store.manifest.objects if item.path.startswith("layers/") and "/c/" in item.path]
    wanted = [item for item in store.manifest.objects if item not in chunks or item.path.startswith("layers/blocks.1/")]
    assert planned.layers == ("blocks.1",)
    assert (planned.objects, planned.bytes) == (len(wanted), sum(item.size for item in wanted))
    assert (planned.target, planned.outcome, planned.present_objects) == (str(root / "mirrors" / store.id), "planned", 0)
    assert not root.exists()
    mirror = pull(published, root, ["blocks.1"])
    SMALL.check(mirror, ["blocks.1"])
    assert set(files(mirror.path)) == {item.path for item in wanted} | {"manifest.json", "origin.json"}
    present = plan_pull(published, root, ["blocks.1"])
    assert (present.outcome, present.present_objects, present.present_bytes) == ("present", planned.objects, planned.bytes)
    more = plan_pull(published, root, ["blocks.1", "blocks.0"])
    assert (more.outcome, more.layers, more.present_objects) == ("planned", ("blocks.1", "blocks.0"), planned.objects)
    whole = pull(published, root)
    assert whole.path == root / "stores" / store.id
    assert pull(published, root, ["blocks.0"]).path == whole.path, "what is here whole needs no mirror"


def test_an_unknown_layer_is_refused_before_anything_is_written(store, published, tmp_path):
    for call in (pull, plan_pull):
        with pytest.raises(DataError, match=r"layer 'blocks\.9' is not in store .*did you mean 'blocks\."):
            call(published, tmp_path / "reader", ["blocks.9"])
    assert not (tmp_path / "reader").exists()


def test_what_is_pulled_is_read_from_here_ever_after(store, published, tmp_path, monkeypatch):
    root = tmp_path / "reader"
    pull(published, root)
    monkeypatch.setattr(ObjectPlace, "stream", lambda *a: pytest.fail("asked again"))
    monkeypatch.setattr(FolderPlace, "stream", lambda *a: pytest.fail("asked again"))
    assert np.array_equal(pull(published, root).layer("blocks.0").all(), SMALL.layers["blocks.0"])


def test_without_a_root_the_users_own_is_meant(store, bucket, tmp_path, monkeypatch):
    push(store, bucket)
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(tmp_path / "own"))
    assert plan_pull(bucket, None).target == str(tmp_path / "own" / "stores" / store.id)
    assert pull(find_published(bucket, None), None).path == tmp_path / "own" / "stores" / store.id


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_is_told_in_bytes(store, published, tmp_path, workers):
    heard: list[int] = []

    class Task:
        def advance(self, amount, **facts):
            heard.append(amount)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    class Listener:
        def task(self, name, total, unit):
            heard.append(-total)
            assert unit == "bytes"
            return Task()

    total = sum(item.size for item in store.manifest.objects)
    pull(published, tmp_path / "reader", None, Listener(), workers)
    assert heard[0] == -total
    assert sum(heard[1:]) == total
    heard.clear()
    push(store, tmp_path / "again", Listener(), workers)
    assert (heard[0], sum(heard[1:])) == (-total, total)


@pytest.mark.parametrize(
    ("outcome", "present", "counted"),
    [
        ("planned", 0, (4, 37, 0, 0)),
        ("planned", 3, (4, 37, 3, 30)),  # every file is there, and the manifest is not
        ("published", 3, (4, 37, 3, 30)),
        ("present", 3, (4, 37, 4, 37)),
        ("present", 2, (4, 37, 2, 20)),  # of a store that lost a file there
        ("another", 0, (4, 37, 0, 0)),
    ],
)
def test_the_manifest_is_counted_with_the_files_and_is_there_only_with_all_of_them(outcome, present, counted):
    moved = Transfer("ls1-0", "here", "there", ("a",), 3, 30, present, 10 * present, "sha256:aa", outcome, manifest_bytes=7)
    told = moved.describe()
    assert tuple(told[name] for name in ("objects", "bytes", "present_objects", "present_bytes")) == counted
    assert "manifest_bytes" not in told
    assert (told["layers"], told["outcome"]) == (["a"], outcome)
    assert replace(moved, manifest_bytes=0).describe()["bytes"] == 30
    assert Transfer("ls1-0", "here", "there", ("a",), 3, 30, 0, 0, "sha256:aa").manifest_bytes == 0
