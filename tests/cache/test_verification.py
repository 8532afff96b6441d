"""Every way to damage a store is found, with the file's name; a whole store has no problem."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pytest

from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.files import CRC_BYTES
from layerscout.cache.store import Store

OBJECTS = {
    "chunk": "layers/transformer_blocks.3/c/1/0",
    "last chunk": "layers/pixels/c/2/0",
    "index chunk": "index/reward/c/0",
    "array metadata": "layers/transformer_blocks.7/zarr.json",
    "group metadata": "zarr.json",
    "identity": "identity.json",
    "manifest": "manifest.json",
}
NEIGHBOURS = {  # another file of the same kind and, for chunks, of the same size
    "chunk": "layers/transformer_blocks.3/c/0/0",
    "last chunk": "layers/pixels/c/1/0",
    "index chunk": "index/reward/c/1",
    "array metadata": "layers/transformer_blocks.3/zarr.json",
    "group metadata": "layers/zarr.json",
}


def flip(store: Store, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(store: Store, path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def lengthen(store: Store, path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def empty(store: Store, path: Path) -> None:
    path.write_bytes(b"")


def delete(store: Store, path: Path) -> None:
    path.unlink()


def swap(store: Store, path: Path) -> None:
    kind = next(kind for kind, name in OBJECTS.items() if store.path / name == path)
    other = store.path / NEIGHBOURS[kind]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def link(store: Store, path: Path) -> None:
    moved = store.path.parent / "moved"
    path.rename(moved)
    path.symlink_to(moved)


@pytest.fixture
def store(example, tmp_path) -> Store:
    return example.store(tmp_path / "root")


@pytest.mark.parametrize("full", [False, True])
def test_a_whole_store_has_no_problem(store, full):
    checked = verify_store(store.path, full)
    assert checked.problems == ()
    assert checked.files == sum(path.is_file() for path in store.path.rglob("*"))


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("damage", [flip, truncate, lengthen, empty, delete, swap, link], ids=lambda damage: damage.__name__)
def test_every_damage_to_every_kind_of_file_is_found_by_name(store, kind, damage):
    if damage is swap and kind not in NEIGHBOURS:
        (store.path / OBJECTS[kind]).write_bytes((store.path / "layers/zarr.json").read_bytes())
    else:
        damage(store, store.path / OBJECTS[kind])
    found = verify_store(store.path).problems
    assert OBJECTS[kind] in {problem.path for problem in found}
    expected = {truncate: "wrong size", lengthen: "wrong size", empty: "wrong size", delete: "missing"}.get(damage, "damaged")
    kinds = {problem.kind for problem in found if problem.path == OBJECTS[kind]}
    if kind != "manifest" and damage is not swap:
        assert kinds == {expected}
    assert all(problem.path in (OBJECTS[kind], NEIGHBOURS.get(kind)) for problem in found)


def test_even_the_last_line_break_of_a_manifest_is_missed(store):
    path = store.path / "manifest.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert Store.open(store.path).rows == store.rows
    assert [problem.path for problem in verify_store(store.path).problems] == ["manifest.json"]


@pytest.mark.parametrize("name", ["layers/transformer_blocks.3/c/9/0", "index/reward/c/0.partial", "notes.txt", "layers/new/zarr.json"])
def test_a_stray_file_is_found(store, name):
    (store.path / name).parent.mkdir(parents=True, exist_ok=True)
    (store.path / name).write_bytes(b"x")
    assert [(problem.path, problem.kind) for problem in verify_store(store.path).problems] == [(name, "stray")]


def test_all_problems_are_listed_at_once(store):
    for kind, damage in (("chunk", flip), ("last chunk", delete), ("index chunk", truncate)):
        damage(store, store.path / OBJECTS[kind])
    (store.path / "stray").write_text("x")
    assert {problem.kind for problem in verify_store(store.path).problems} == {"damaged", "missing", "wrong size", "stray"}


def test_a_store_under_another_stores_name_is_found(example, tmp_path):
    first = example.store(tmp_path / "a")
    second = replace(example, identity=example.identity | {"pooling": "mean"}).store(tmp_path / "b")
    for name in ("manifest.json", "identity.json"):
        shutil.copy(second.path / name, first.path / name)  # a whole store of the same bytes, in the wrong place
    found = verify_store(first.path, full=True).problems
    assert "manifest.json" in {problem.path for problem in found}
    assert second.id in " ".join(problem.detail for problem in found)


@pytest.mark.parametrize("kind", ["chunk", "array metadata"])
def test_only_full_finds_a_change_that_keeps_the_checksum(store, kind):
    """A multiple of the checksum's polynomial, added to a file, leaves the crc32c as it is; sha256 notices."""
    polynomial = ((0x82F63B78 << 1) | 1).to_bytes(5, "little")  # 33 coefficients, first bit first
    path = store.path / OBJECTS[kind]
    data = bytearray(path.read_bytes())
    for offset, byte in enumerate(polynomial):
        data[8 + offset] ^= byte
    covered = slice(0, -CRC_BYTES) if kind == "chunk" else slice(None)
    assert google_crc32c.value(bytes(data[covered])) == google_crc32c.value(path.read_bytes()[covered])
    path.write_bytes(data)
    assert verify_store(store.path).problems == ()
    assert [(problem.path, problem.kind) for problem in verify_store(store.path, full=True).problems] == [(OBJECTS[kind], "damaged")]


def test_a_mirror_may_lack_layers_but_nothing_else(store, tmp_path):
    from layerscout.cache.remote.transfer import pull, push

    push(store, tmp_path / "shared")
    mirror = pull(f"{tmp_path / 'shared'}/stores/{store.id}", tmp_path / "other", layers=["pixels"])
    assert verify_store(mirror.path, full=True).problems == ()
    (mirror.path / "index/reward/c/0").unlink()
    flip(store, mirror.path / OBJECTS["last chunk"])
    assert {(problem.path, problem.kind) for problem in verify_store(mirror.path).problems} == {
        ("index/reward/c/0", "missing"),
        (OBJECTS["last chunk"], "damaged"),
    }
