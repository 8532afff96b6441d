"""Passports as files of a store: optional, listed, whole, and refused when a stranger's manifest says something impossible."""

from __future__ import annotations

import json

import pytest

from layerscout.cache import manifest as manifests
from layerscout.cache.identity import identity_digest
from layerscout.cache.store import Store
from layerscout.cache.testing import made_up
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import DataError

TEXT, TENSORS = b'{"layer": "blocks.0"}\n', bytes(range(200))


def written(root, passports=("blocks.0",)) -> Store:
    made = made_up(0)
    writer = StoreWriter.open(root, made.identity, made.specs, len(made.index["step"]), made.rows_per_chunk, made.columns)
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        writer.write_unit(unit, {k: v[part] for k, v in made.layers.items()}, {k: v[part] for k, v in made.index.items()})
    for name in passports:
        writer.write_passport(name, TEXT, TENSORS)
    store = writer.commit({})
    made.check(store)
    return store


def test_a_passport_comes_back_as_it_was_written(tmp_path):
    store = written(tmp_path, ("blocks.0", "blocks.1"))
    assert store.passports == ("blocks.0", "blocks.1")
    assert store.passport("blocks.1") == (TEXT, TENSORS)
    with pytest.raises(DataError, match=r"keeps no passport of layer 'blocks\.2'; did you mean 'blocks"):
        store.passport("blocks.2")


def test_a_store_with_passports_has_the_id_of_one_without(tmp_path):
    with_them, without = written(tmp_path / "with"), written(tmp_path / "without", ())
    assert with_them.id == without.id
    assert identity_digest(with_them.identity) == identity_digest(without.identity)
    assert with_them.manifest.digest != without.manifest.digest


def test_other_zarr_readers_are_not_disturbed(tmp_path):
    import zarr

    store = written(tmp_path)
    assert sorted(zarr.open_group(store.path, mode="r").group_keys()) == ["index", "layers"]


def test_a_passport_that_changed_before_the_commit_is_noticed(tmp_path):
    made = made_up(0)
    writer = StoreWriter.open(tmp_path, made.identity, made.specs, len(made.index["step"]), made.rows_per_chunk, made.columns)
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        writer.write_unit(unit, {k: v[part] for k, v in made.layers.items()}, {k: v[part] for k, v in made.index.items()})
    writer.write_passport("blocks.0", TEXT, TENSORS)
    next(tmp_path.rglob("blocks.0.safetensors")).write_bytes(TENSORS[:-1])
    with pytest.raises(DataError, match=r"blocks\.0\.safetensors changed after it was written"):
        writer.commit({})


@pytest.mark.parametrize(
    ("name", "text", "tensors"), [("../up", TEXT, TENSORS), ("a/b", TEXT, TENSORS), ("x", b"", TENSORS), ("x", TEXT, b"")]
)
def test_what_no_reader_would_take_is_not_written(tmp_path, name, text, tensors):
    made = made_up(0)
    writer = StoreWriter.open(tmp_path, made.identity, made.specs, len(made.index["step"]), made.rows_per_chunk, made.columns)
    with pytest.raises(DataError, match="cannot be a passport"):
        writer.write_passport(name, text, tensors)


def entry(path: str, size: int = 3) -> dict:
    return {"path": path, "size": size, "crc32c": 0, "sha256": "00"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([entry("passports/blocks.1.json")], "half a passport"),
        ([entry("passports/blocks.1.safetensors")], "half a passport"),
        ([entry("passports/blocks.0.json")], "one twice"),
        ([entry("passports/../../x.json"), entry("passports/../../x.safetensors")], "is no passport"),
        ([entry("passports/a/b.json"), entry("passports/a/b.safetensors")], "is no passport"),
        ([entry("passports/x.pt")], "is no passport"),
        ([entry("passports/x.json"), entry("passports/x.safetensors", 2**40)], "is no passport"),
        ([entry("passports/x.json", 2**27), entry("passports/x.safetensors")], "is no passport"),
        ([entry("passports/x.json", 0), entry("passports/x.safetensors")], "is no passport"),
        ([entry("elsewhere/x.json")], "its layers need"),
    ],
)
def test_manifests_that_list_impossible_passports_are_refused(tmp_path, more, expected):
    fields = json.loads((written(tmp_path).path / manifests.NAME).read_text())
    del fields["digest"]
    fields["objects"] = [*fields["objects"], *more]
    content = manifests.manifest_text(fields | {"digest": manifests.digest_of(fields)})
    with pytest.raises(DataError, match=expected):
        manifests.parse_manifest(content, "the manifest")
