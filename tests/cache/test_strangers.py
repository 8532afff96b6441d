"""A store that somebody else published is checked before anything it says is used: it cannot write elsewhere, nor fill disk or memory."""

from __future__ import annotations

import json

import obstore
import pytest
from backends import open_object_place

from layerscout.cache.files import write_file
from layerscout.cache.manifest import digest_of
from layerscout.cache.opening import open_store
from layerscout.cache.remote.arrival import receive_file
from layerscout.cache.remote.published import list_remote
from layerscout.cache.remote.transfer import pull, push
from layerscout.cache.store import Store
from layerscout.cache.testing import made_up
from layerscout.errors import DataError

SMALL, OTHER_ID = made_up(0), "ls1-" + "0" * 32


@pytest.fixture
def store(tmp_path) -> Store:
    return SMALL.write(tmp_path / "here")


def lie(store: Store, url: str, **changes) -> None:
    """Publish a manifest with other fields, its own digest being right."""
    fields = json.loads((store.path / "manifest.json").read_bytes()) | changes
    del fields["digest"]
    content = json.dumps(fields | {"digest": digest_of(fields)}).encode()
    handle = open_object_place(url).handle
    obstore.put(handle, f"stores/{store.id}/manifest.json", content)


@pytest.mark.parametrize("path", ["../../../escaped", "/tmp/escaped", "layers/../../escaped", "layers/blocks.0/c/9/0"])
def test_paths_that_no_store_has_are_refused_before_anything_is_written(url, store, tmp_path, path):
    push(store, url)
    objects = [item.model_dump() for item in store.manifest.objects]
    lie(store, url, objects=[{**objects[0], "path": path}, *objects[1:]])
    root = tmp_path / "deep" / "er" / "root"
    for read in (lambda: pull(url, root), lambda: pull(url, root, ["blocks.0"]), lambda: open_store(root, f"{url}/{store.id}")):
        with pytest.raises(DataError, match=r"does not list the files|lists \d+ files"):
            read()
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "..", "a/b"])
def test_layer_names_that_leave_the_folder_are_refused(url, store, tmp_path, name):
    push(store, url)
    layers = json.loads((store.path / "manifest.json").read_bytes())["layers"]
    lie(store, url, layers=[{**layers[0], "name": name}, *layers[1:]])
    with pytest.raises(DataError):
        pull(url, tmp_path / "deep")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    "changes", [{"rows": 10**15}, {"rows": 10**15, "rows_per_chunk": 10**15}, {"rows_per_chunk": 10**12}, {"rows": -1}]
)
def test_shapes_that_the_files_cannot_have_are_refused(url, store, tmp_path, changes):
    push(store, url)
    lie(store, url, **changes)
    with pytest.raises(DataError):
        pull(url, tmp_path / "deep")
    assert not (tmp_path / "deep").exists()


def test_a_manifest_of_another_store_or_of_another_version_is_refused(url, store, tmp_path):
    push(store, url)
    for changes, word in (({"store_id": OTHER_ID}, OTHER_ID), ({"format": "layerscout-store/9"}, "format"), ({"store_id": "../up"}, "up")):
        lie(store, url, **changes)
        with pytest.raises(DataError, match=word):
            pull(f"{url}/{store.id}", tmp_path / "deep")
    assert not (tmp_path / "deep").exists()


def test_a_listing_tells_of_a_damaged_store_and_shows_the_others(url, store, tmp_path):
    good = made_up(5)
    push(store, url)
    push(good.write(tmp_path / "here"), url)
    lie(store, url, format="layerscout-store/9")
    found = {line.store_id: line for line in list_remote(url)}
    assert set(found) == {SMALL.id, good.id}
    assert "manifest.json" in found[SMALL.id].problem
    assert (found[good.id].problem, found[good.id].rows, found[good.id].backbone) == ("", 7, "made-up")


def test_a_sender_cannot_fill_the_disk(tmp_path):
    item = write_file(tmp_path, "x.json", bytes(100))
    written = []

    def endless():
        while True:
            written.append(sum(path.stat().st_size for path in tmp_path.rglob("*.partial")))
            yield bytes(60)

    with pytest.raises(DataError, match="instead of 100"):
        receive_file(endless(), tmp_path / "new", item, "there")
    assert max(written) <= 100
    assert list((tmp_path / "new").iterdir()) == []
