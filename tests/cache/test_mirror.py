"""A mirror reads each layer from far away once, gives out the same numbers, and never passes for a whole store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import obstore
import pytest
from backends import S3, open_object_place, s3_server

from layerscout.cache.naming import name_store
from layerscout.cache.opening import open_store
from layerscout.cache.remote import place
from layerscout.cache.remote.mirror import Mirror, skeleton_objects
from layerscout.cache.remote.published import content_folder
from layerscout.cache.remote.transfer import plan_pull, pull, push
from layerscout.cache.store import Store
from layerscout.cache.testing import SmallStore, made_up
from layerscout.errors import DataError

SMALL = made_up(0)


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def url(server, tmp_path) -> str:
    """A place with one store."""
    url = f"{server.bucket()}/team"
    push(SMALL.write(tmp_path / "author"), url)
    server.requests.clear()
    return url


@pytest.fixture
def unreachable(monkeypatch):
    def now() -> None:
        monkeypatch.setattr(place, "RETRIES", {"max_retries": 0})
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    return now


def test_only_what_is_read_comes_and_comes_once(server, url, tmp_path):
    mirror = open_store(tmp_path / "root", url)
    assert isinstance(mirror, Mirror)
    assert mirror.layers_here == ()
    assert not [path for path in server.got("/layers/") if "/c/" in path]
    for _ in range(2):
        SMALL.check(open_store(tmp_path / "root", f"{url}/{SMALL.id}"), ["blocks.1"])
    assert len(server.got("layers/blocks.1/c/")) == 2
    assert not server.got("layers/blocks.0/c/")
    assert not server.got("layers/pixels/c/")
    assert mirror.layers_here == ("blocks.1",)
    server.requests.clear()
    SMALL.check(open_store(tmp_path / "root", f"{url}/stores/{SMALL.id}"), ["blocks.1"])
    SMALL.check(open_store(tmp_path / "root", SMALL.id), ["blocks.1"])
    assert server.requests == []


def test_what_is_here_is_read_without_a_network(url, tmp_path, unreachable):
    root = tmp_path / "root"
    assert pull(url, root, ["blocks.0"]).layers_here == ("blocks.0",)
    name_store(root, "mine", open_store(root, SMALL.id))
    unreachable()
    for word in (SMALL.id, "mine", f"{url}/{SMALL.id}"):
        SMALL.check(open_store(root, word), ["blocks.0"])
    with pytest.raises(DataError, match=r"layer 'blocks\.1'.*does not answer.*http://127\.0\.0\.1:9"):
        open_store(root, SMALL.id).layer("blocks.1")
    with pytest.raises(DataError, match="did you mean 'pixels'"):
        open_store(root, SMALL.id).layer("pixel")


def test_a_mirror_is_not_a_whole_store(url, tmp_path):
    for layers in (["pixels"], list(SMALL.layers)):
        mirror = pull(url, tmp_path / "root", layers)
        with pytest.raises(DataError, match="is a mirror"):
            Store.open(mirror.path)
    whole = pull(url, tmp_path / "root")
    assert whole.path == tmp_path / "root" / "stores" / SMALL.id
    assert open_store(tmp_path / "root", SMALL.id).path == open_store(tmp_path / "root", url).path == whole.path


def test_a_pull_of_an_unknown_layer_writes_nothing(url, tmp_path):
    with pytest.raises(DataError, match=r"did you mean 'blocks\.1'"):
        pull(url, tmp_path / "root", ["blocks.0", "block.1"])
    assert not (tmp_path / "root").exists()


def test_the_plan_is_what_comes(server, url, tmp_path):
    root, whole = tmp_path / "root", Store.open(tmp_path / "author" / "stores" / SMALL.id)
    assert plan_pull(url, root).bytes == sum(item.size for item in whole.manifest.objects)
    for layers, new in ((["blocks.0"], None), (["blocks.0"], 0), (["blocks.0", "blocks.1"], 2)):
        planned = plan_pull(url, root, layers)
        assert not (root / "mirrors").exists() or layers != ["blocks.0"] or new == 0
        server.requests.clear()
        pull(url, root, layers)
        got = [(path, size) for method, path, size in server.requests if method == "GET" and "/content/" in path and size]
        got = [(path, size) for path, size in got if not path.endswith("/content/")]
        assert len(got) == planned.objects - planned.present_objects == (len(skeleton_objects(whole.manifest)) + 2 if new is None else new)
        assert sum(size for _, size in got) == planned.bytes - planned.present_bytes


def test_a_layer_that_comes_damaged_is_an_error_and_gets_no_name(url, tmp_path):
    store = Store.open(tmp_path / "author" / "stores" / SMALL.id)
    mirror = open_store(tmp_path / "root", url)
    item = next(item for item in store.manifest.objects if item.path == "layers/blocks.1/c/1/0")
    path, handle = f"{content_folder(store.manifest)}/{item.path}", open_object_place(url).handle
    intact = bytes(obstore.get(handle, path).bytes())
    for damaged in (intact[:-1], intact + b"\0", bytes([intact[0] ^ 1]) + intact[1:], b""):
        obstore.put(handle, path, damaged)
        with pytest.raises(DataError, match=r"blocks\.1/c/1/0 is damaged"):
            mirror.layer("blocks.1")
        assert not (mirror.path / item.path).exists()
    obstore.put(handle, path, intact)
    SMALL.check(mirror, ["blocks.1"])
    assert not list((tmp_path / "root" / "staging").rglob("*"))


READER = """
import os, sys
os.fsync = lambda descriptor: None
from layerscout.cache.opening import open_store
store = open_store(sys.argv[1], sys.argv[2])
print(store.layer("blocks.0").all().tobytes().hex())
"""


@pytest.mark.slow
def test_processes_that_fetch_the_same_layer_at_once_agree(url, tmp_path):
    arguments = [sys.executable, "-c", READER, str(tmp_path / "root"), url]
    readers = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    expected = SMALL.layers["blocks.0"].tobytes().hex()
    assert {reader.communicate(timeout=60)[0].strip() for reader in readers} == {expected}
    assert not list((tmp_path / "root" / "staging").rglob("*"))


def test_threads_that_open_the_same_url_at_once_agree(url, tmp_path):
    def read(name: str) -> None:
        SMALL.check(open_store(tmp_path / "root", url), [name])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [*SMALL.layers, *SMALL.layers]))
    assert not list((tmp_path / "root" / "staging").rglob("*"))


def test_a_store_that_moved_is_found_at_its_new_place(server, url, tmp_path):
    author, root = Store.open(tmp_path / "author" / "stores" / SMALL.id), tmp_path / "root"
    pull(url, root, ["blocks.0"])
    moved = f"{server.bucket()}/new"
    push(author, moved)
    obstore.delete(open_object_place(url).handle, [f"{content_folder(author.manifest)}/{item.path}" for item in author.manifest.objects])
    with pytest.raises(DataError, match="is missing"):
        open_store(root, SMALL.id).layer("blocks.1")
    SMALL.check(open_store(root, moved))
    SMALL.check(open_store(root, SMALL.id))


def test_two_runs_of_one_identity_never_mix(server, url, tmp_path):
    root, other = tmp_path / "root", f"{server.bucket()}/other"
    push(SMALL.of_another_run().write(tmp_path / "another author"), other)
    pull(url, root, ["blocks.0"])
    with pytest.raises(DataError, match="another run"):
        open_store(root, other)
    SMALL.check(open_store(root, SMALL.id))


def test_a_damaged_mirror_is_an_error(url, tmp_path):
    mirror = pull(url, tmp_path / "root", ["blocks.0"])
    for name in ("index/reward/c/0", "identity.json", "manifest.json", "origin.json"):
        intact = (mirror.path / name).read_bytes()
        (mirror.path / name).write_bytes(intact[:-2])
        with pytest.raises(DataError, match=name):
            open_store(tmp_path / "root", SMALL.id)
        (mirror.path / name).write_bytes(intact)
    chunk = mirror.path / "layers/blocks.0/c/0/0"
    chunk.write_bytes(bytes(chunk.stat().st_size))
    with pytest.raises(DataError, match=r"blocks\.0/c/0/0"):
        open_store(tmp_path / "root", SMALL.id).layer("blocks.0").all()
    chunk.unlink()
    SMALL.check(open_store(tmp_path / "root", SMALL.id), ["blocks.0"])


# the probe


def play(episodes: int = 24, steps: int = 9) -> SmallStore:
    """A store with episodes, so that it can be probed."""
    small = made_up(7, rows=episodes * (steps + 1), rows_per_chunk=64, widths=(6, 5, 4))
    last = np.arange(steps + 1) == steps
    index = small.index | {
        "episode": np.repeat(np.arange(episodes), steps + 1).astype(np.int32),
        "step": np.tile(np.arange(steps + 1), episodes).astype(np.int32),
        "action": np.where(np.tile(last, episodes), -1, small.index["action"]).astype(np.int32),
        "reward": np.where(np.tile(last, episodes), np.nan, small.layers["blocks.1"][:, 0] > 0).astype(np.float32),
        "terminated": np.tile(np.roll(last, -1), episodes),
        "truncated": np.zeros(episodes * (steps + 1), bool),
        "padding": np.zeros(episodes * (steps + 1), np.int16),
    }
    return replace(small, index=index)


def test_a_probe_of_a_url_reads_the_wanted_layer_alone_and_measures_the_same(server, tmp_path):
    from layerscout.probe.config import ProbeConfig
    from layerscout.probe.run import plan, run

    small, url = play(), f"{server.bucket()}/team"
    author = small.write(tmp_path / "author")
    push(author, url)
    server.requests.clear()

    def ranking(store: str, root: Path):
        settings = ProbeConfig(store=store, root=root, out=tmp_path / root.name, layers=("blocks.1",), shifts=3, groups=8, threads=1)
        return run(plan(settings))

    far = ranking(url, tmp_path / "far")
    near = ranking(author.id, tmp_path / "author")
    assert far.model_dump() == near.model_dump()
    assert {layer.name for layer in far.layers} == {"blocks.1", "pixels"}
    chunks = server.got("/layers/") and [path for path in server.got("/layers/") if "/c/" in path]
    assert sorted(path.partition("/layers/")[2] for path in chunks) == sorted(
        item.path.removeprefix("layers/")
        for item in author.manifest.objects
        if item.path.startswith(("layers/blocks.1/c", "layers/pixels/c"))
    )
    held = {item.path: item.size for item in author.manifest.objects}
    answered = sum(size for method, path, size in server.requests if method == "GET" and path.partition("/content/")[2][33:] in held)
    left_out = sum(size for path, size in held.items() if path.startswith(("layers/blocks.0/c", "layers/blocks.2/c")))
    assert answered == sum(held.values()) - left_out
    shutil.rmtree(tmp_path / "far" / "evidence")
    server.requests.clear()
    assert ranking(far.store_id, tmp_path / "far").model_dump() == near.model_dump()
    assert server.requests == []
