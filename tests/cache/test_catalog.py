"""A root's stores are listed as their manifests tell, damage is never hidden, and words find the store they mean."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscout.cache import manifest as manifests
from layerscout.cache.catalog.details import store_details
from layerscout.cache.catalog.entries import Entry, held_store_id, list_entries, list_remote_entries
from layerscout.cache.catalog.query import KEYS, parse_byte_count, parse_condition, parse_duration, select_entries
from layerscout.cache.catalog.references import pin_store, references, unpin_store
from layerscout.cache.identity import canonical_json, identity_digest
from layerscout.cache.layout import LayerSpec, StoreLayout
from layerscout.cache.naming import name_store, remove_name
from layerscout.cache.opening import find_folder
from layerscout.cache.root import checked_root, tree_bytes
from layerscout.cache.store import Store
from layerscout.errors import DataError, UsageError


def stores_of(example, root: Path, count: int) -> list[Store]:
    """Several stores that differ in the seed of their noise, in the order of their ids."""
    made = [replace(example, identity=example.identity | {"recipe": {"seed": seed}}).store(root) for seed in range(count)]
    return sorted(made, key=lambda store: store.id)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


# --- listing


def test_an_entry_says_what_the_opened_store_says(example, root):
    stores = stores_of(example, root, 3)
    name_store(root, "best", stores[0])
    name_store(root, "also", stores[0])
    pin_store(root, stores[1].id, "figure 2")
    found = list_entries(root)
    for entry, store in zip(found, stores, strict=True):
        assert (entry.store_id, entry.rows, entry.layers) == (store.id, store.rows, len(store.specs))
        assert (entry.created, entry.backbone, entry.dataset, entry.damage) == (store.manifest.created, "tiny", "sha256:cc", None)
        assert entry.bytes == tree_bytes(store.path) == sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    assert [entry.names for entry in found] == [("also", "best"), (), ()]
    assert [entry.states for entry in found] == [("named",), ("pinned",), ("free",)]
    assert json.loads(json.dumps([entry.describe() for entry in found], allow_nan=False))


def test_what_is_not_named_like_a_store_is_not_listed(example, root):
    (store,) = stores_of(example, root, 1)
    (root / "stores" / "notes").mkdir()
    (root / "stores" / f"{store.id}.txt").write_text("x")
    (root / "stores" / ("ls1-" + "0" * 32)).write_text("a file")
    assert [entry.store_id for entry in list_entries(root)] == [store.id]


@pytest.mark.parametrize("name", ["manifest.json", "identity.json"])
@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_shows_and_hides_nothing_else(example, root, bit, name):
    broken, whole = stores_of(example, root, 2)
    path = broken.path / name
    data = path.read_bytes()
    for position in range(bit, len(data), len(data) // 20):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])
        first, second = list_entries(root)
        assert first.damage, f"byte {position} of {len(data)}"
        assert (first.store_id, first.states, first.bytes) == (broken.id, ("free", "damaged"), tree_bytes(broken.path))
        assert (second.store_id, second.damage) == (whole.id, None)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"digest": 1}', b"[" * 100_000, b'{"format": "layerscout-store/9", "digest": ""}', None],
    ids=["empty", "torn", "null", "list", "binary", "a field", "deep", "of the future", "missing"],
)
@pytest.mark.parametrize("name", ["manifest.json", "identity.json"])
def test_a_damaged_document_is_told_not_raised(example, root, damage, name):
    (store,) = stores_of(example, root, 1)
    (store.path / name).unlink()
    if damage is not None:
        (store.path / name).write_bytes(damage)
    (entry,) = list_entries(root)
    assert entry.damage
    assert entry.rows is None
    assert entry.bytes == tree_bytes(store.path)
    with pytest.raises(DataError):
        store_details(root, store.path)


def test_the_manifest_of_another_store_is_damage(example, root):
    first, second = stores_of(example, root, 2)
    shutil.copy(first.path / "manifest.json", second.path / "manifest.json")
    assert [bool(entry.damage) for entry in list_entries(root)] == [False, True]


def test_stores_are_listed_from_their_manifests_and_identities_alone(example, root, monkeypatch):
    """None of the 103 files that each of these stores lists exists here; how long a thousand take is benchmarks/store_listing.py's."""
    specs = tuple(LayerSpec(f"blocks.{i}", 1024, "float16", "layer", i, f"blocks.{i}") for i in range(26))
    layout = StoreLayout.plan(specs, 8192)
    item = {"size": 1000, "crc32c": 123456789, "sha256": "ab" * 32}
    fields = {
        "format": "layerscout-store/1",
        "created": "2026-01-01T00:00:00+00:00",
        "rows": 8192,
        "layers": [vars(spec) for spec in specs],
    }
    fields |= {"identity_digest": identity_digest(example.identity), "provenance": {}}
    fields |= {"objects": [{"path": path} | item for path in manifests.object_paths(layout)]}
    expected = []
    for number in range(5):
        folder = root / "stores" / f"ls1-{number:032x}"
        folder.mkdir(parents=True)
        own = fields | {"store_id": folder.name}
        (folder / "manifest.json").write_text(json.dumps(own | {"digest": manifests.digest_of(own)}, indent=1))
        (folder / "identity.json").write_bytes(canonical_json(example.identity))
        expected += [folder / "manifest.json", folder / "identity.json"]
    read, whole = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (read.append(self), whole(self))[1])
    found = list_entries(root)
    assert read == expected
    assert not any(entry.damage for entry in found)
    assert {(entry.rows, entry.layers) for entry in found} == {(8192, 26)}


def test_a_place_lists_what_was_pushed_there(example, root, tmp_path):
    from layerscout.cache.remote.transfer import push

    for store in (stores := stores_of(example, root, 2)):
        push(store, tmp_path / "shared")
    local, there = list_entries(root), list_remote_entries(f"file://{tmp_path / 'shared'}")
    assert [entry.path for entry in there] == [f"file://{tmp_path / 'shared'}/stores/{store.id}" for store in stores]
    assert list_remote_entries(there[1].path) == there[1:]
    assert [replace(entry, path="", committed=0.0) for entry in there] == [replace(entry, path="", committed=0.0) for entry in local]


def test_details_hold_identity_manifest_and_what_surrounds_the_store(example, root):
    (store,) = stores_of(example, root, 1)
    name_store(root, "best", store)
    pin_store(root, store.id, "figure 2")
    sums = root / "partials" / store.id / "a" / "b.npz"
    sums.parent.mkdir(parents=True)
    sums.write_bytes(b"x" * 77)
    facts = store_details(root, store.path)
    assert facts["identity"] == store.identity
    assert facts["provenance"] == {"command": "test"}
    assert (facts["names"], facts["pinned"], facts["pin_reason"], facts["partial_sums_bytes"]) == (["best"], True, "figure 2", 77)
    assert facts["bytes"] == facts["bytes_on_disk"] == tree_bytes(store.path)
    assert facts["files"] == sum(path.is_file() for path in store.path.rglob("*"))
    chunk_bytes = sum(path.stat().st_size for path in store.path.glob("layers/*/c/*/0"))
    assert sum(layer["bytes"] for layer in facts["layers"]) == chunk_bytes


# --- finding


def test_a_store_is_found_by_id_beginning_name_and_folder(example, root):
    store, other = stores_of(example, root, 2)
    name_store(root, "best", store)
    beginning = next(store.id[:length] for length in range(8, 36) if store.id[:length] != other.id[:length])
    for word in (store.id, beginning, "best", str(store.path)):
        assert find_folder(root, word) == store.path
        assert held_store_id(root, word) == store.id


def test_what_does_not_mean_one_store_is_told(example, root, tmp_path):
    (store,) = stores_of(example, root, 1)
    name_store(root, "best", store)
    with pytest.raises(DataError, match=r"no store 'bset'.*did you mean 'best'"):
        find_folder(root, "bset")
    with pytest.raises(DataError, match="no store 'ls1-'"):
        find_folder(root, "ls1-")
    twin = store.path.with_name(store.id[:-1] + ("0" if store.id[-1] != "0" else "1"))
    twin.mkdir()
    with pytest.raises(DataError, match="beginning of 2 stores"):
        find_folder(root, store.id[:20])
    elsewhere = shutil.copytree(store.path, tmp_path / "copy")
    assert find_folder(root, str(elsewhere)) == elsewhere
    with pytest.raises(DataError, match="not a store under"):
        held_store_id(root, str(elsewhere))
    shutil.rmtree(store.path)
    with pytest.raises(DataError, match=f"'best' names store {store.id}, which is not under"):
        find_folder(root, "best")


def test_a_root_that_is_none_is_told(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        checked_root(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        checked_root(tmp_path / "file")
    assert checked_root(tmp_path) == tmp_path
    assert list_entries(tmp_path) == []


# --- names and pins


def test_pins_and_names_come_and_go(example, root):
    (store,) = stores_of(example, root, 1)
    assert pin_store(root, store.id)
    assert not pin_store(root, store.id)
    assert pin_store(root, store.id, "a reason")
    assert not pin_store(root, store.id)  # a reason is not lost by pinning again
    assert references(root).pins[store.id].reason == "a reason"
    assert references(root).why_kept(store.id) == ("is pinned (a reason)", f"layerscout store unpin {store.id} --root {root}")
    assert unpin_store(root, store.id)
    assert not unpin_store(root, store.id)
    name_store(root, "best", store)
    assert references(root).why_kept(store.id) == ("is named 'best'", f"layerscout store name --remove best --root {root}")
    assert remove_name(root, "best")
    assert not remove_name(root, "best")
    assert references(root).why_kept(store.id) is None


def test_a_damaged_pin_still_keeps_its_store(example, root):
    (store,) = stores_of(example, root, 1)
    pin_store(root, store.id)
    (root / "pins" / f"{store.id}.json").write_text("{")
    assert references(root).why_kept(store.id)
    assert list_entries(root)[0].pinned


def test_a_name_cannot_reach_out_of_its_folder(example, root):
    (store,) = stores_of(example, root, 1)
    pin_store(root, store.id)
    assert not remove_name(root, f"../pins/{store.id}")
    assert references(root).pins


# --- filters and order

ENTRIES = st.builds(
    Entry,
    store_id=st.integers(0, 2**128 - 1).map(lambda number: f"ls1-{number:032x}"),
    path=st.just("somewhere"),
    bytes=st.integers(0, 10**13),
    committed=st.floats(1e9, 1.7e9),
    names=st.sampled_from([(), ("best",), ("best", "other")]),
    pinned=st.booleans(),
    backbone=st.sampled_from([None, "tiny", "tiny-untrained"]),
    created=st.sampled_from([None, "2026-01-02T03:04:05+00:00", "2025-12-31T00:00:00+00:00"]),
    rows=st.none() | st.integers(1, 10**6),
    layers=st.none() | st.integers(1, 50),
)
LISTS = st.lists(ENTRIES, max_size=12, unique_by=lambda entry: entry.store_id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("size>1GB", lambda entry: entry.bytes > 10**9),
        ("size <= 1.5 GiB", lambda entry: entry.bytes <= 1.5 * 2**30),
        ("rows>=1000", lambda entry: entry.rows is not None and entry.rows >= 1000),
        ("layers!=9", lambda entry: entry.layers is not None and entry.layers != 9),
        ("age>1y", lambda entry: time.time() - entry.committed > 365.25 * 86400),
        ("backbone=tiny", lambda entry: entry.backbone == "tiny"),
        ("backbone=tiny*", lambda entry: (entry.backbone or "").startswith("tiny")),
        ("backbone!=tiny", lambda entry: entry.backbone != "tiny"),
        ("name=best", lambda entry: "best" in entry.names),
        ("name!=other", lambda entry: "other" not in entry.names),
        ("name=", lambda entry: not entry.names),
        ("state=pinned", lambda entry: entry.pinned),
        ("state=free", lambda entry: not entry.pinned and not entry.names),
        ("created=2026*", lambda entry: (entry.created or "").startswith("2026")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@settings(max_examples=25, deadline=None)
@given(found=LISTS)
def test_a_filter_keeps_exactly_what_it_says(text, expected, found):
    assert {entry.store_id for entry in select_entries(found, [text])} == {entry.store_id for entry in found if expected(entry)}


@settings(max_examples=25, deadline=None)
@given(found=LISTS, first=st.sampled_from(["size>1GB", "name=best"]), second=st.sampled_from(["rows<5000", "state=pinned"]))
def test_filters_narrow_one_another_in_any_order(found, first, second):
    assert (
        select_entries(found, [first, second])
        == select_entries(found, [second, first])
        == select_entries(select_entries(found, [first]), [second])
    )


@settings(max_examples=25, deadline=None)
@given(found=LISTS, data=st.data())
def test_order_does_not_depend_on_the_input_and_puts_the_unknown_last(found, data):
    key = data.draw(st.sampled_from(KEYS))
    shuffled = data.draw(st.permutations(found))
    assert [entry.store_id for entry in select_entries(found, order=key)] == [
        entry.store_id for entry in select_entries(shuffled, order=key)
    ]
    for order, sign in (("rows:asc", 1), ("rows:desc", -1)):
        rows = [entry.rows for entry in select_entries(found, order=order)]
        known = [count for count in rows if count is not None]
        assert rows == sorted(known, reverse=sign < 0) + [None] * (len(rows) - len(known))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size", "is not KEY"),
        ("", "is not KEY"),
        ("siez>1GB", "unknown key 'siez'; did you mean 'size'"),
        ("size>1XB", "'1XB' is not a size"),
        ("size>-1", "'-1' is not a size"),
        ("size>nan", "'nan' is not a size"),
        ("age>30", "'30' is not a time"),
        ("rows>many", "'many' is not a number"),
        ("backbone>tiny", "compares a text with '>'"),
    ],
)
def test_what_is_no_filter_is_told(text, message):
    with pytest.raises(UsageError, match=message):
        parse_condition(text)


def test_wrong_orders_are_told():
    with pytest.raises(UsageError, match="did you mean 'size'"):
        select_entries([], order="sizes")
    with pytest.raises(UsageError, match="direction 'down'"):
        select_entries([], order="size:down")


def test_units_are_what_they_say():
    assert [parse_byte_count(text) for text in ("7", "2kB", "2KB", "1.5MB", "1GB", "1TB", "1KiB")] == [
        7,
        2000,
        2000,
        1.5e6,
        1e9,
        1e12,
        1024,
    ]
    assert [parse_duration(text) for text in ("90s", "1.5m", "2h", "1d", "2w")] == [90, 90, 7200, 86400, 1209600]
