"""A manifest comes back as it was written, tells of every change, and never makes a reader do what no store needs."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from identity_by_hand import make_identity

from layerscout import __version__
from layerscout.cache import identity as identities
from layerscout.cache import manifest as manifests
from layerscout.cache.arrays import ColumnSpec, LayerSpec
from layerscout.cache.files import LARGEST_DOCUMENT, StoredObject
from layerscout.cache.layout import STANDARD_COLUMNS, StoreLayout
from layerscout.cache.manifest import (
    LARGEST_PASSPORT,
    Manifest,
    digest_of,
    is_passport,
    object_paths,
    parse_manifest,
    passport_paths,
    read_manifest,
    write_manifest,
)
from layerscout.errors import DataError

SPECS = (LayerSpec("blocks.0", 3, "float16", "layer", 0, "m.0"), LayerSpec("blocks.1", 5, "float16", "layer", 1, "m.1"))
EXTRA = (*STANDARD_COLUMNS, ColumnSpec("state", "float32", 2))
LAYOUT = StoreLayout.plan(SPECS, 9, 4)
IDENTITY = make_identity(SPECS)
PROVENANCE = {"command": "test", "seconds": 1.5, "nested": {"b": [1, None], "a": "ü"}}
PASSPORTS = {path: 7 for layer in ("blocks.0", "blocks.1") for path in passport_paths(layer)}


def sizes_of(layout: StoreLayout) -> dict[str, int]:
    chunks = {array.path(unit): array.most_file_bytes for array in layout.arrays() for unit in range(layout.units)}
    return chunks | dict.fromkeys((*layout.metadata_paths(), manifests.IDENTITY_NAME), 11)


def objects_of(sizes: dict[str, int]) -> list[StoredObject]:
    return [StoredObject(path=path, size=size, crc32c=number, sha256=f"{number:064x}") for number, (path, size) in enumerate(sizes.items())]


def written(root, layout=LAYOUT, sizes=None, provenance=PROVENANCE) -> Manifest:
    root.mkdir(parents=True, exist_ok=True)
    return write_manifest(root, IDENTITY, layout, objects_of(sizes or sizes_of(layout)), provenance)


def fields_of(root) -> dict:
    return json.loads((root / manifests.NAME).read_bytes())


def resealed(fields: dict) -> bytes:
    """What a forger writes: other content, and the digest that goes with it."""
    own = {key: value for key, value in fields.items() if key != "digest"}
    return json.dumps(own | {"digest": digest_of(own)}).encode()


def refused(content: bytes, words: str) -> DataError:
    with pytest.raises(DataError, match=words) as raised:
        parse_manifest(content, "M")
    assert str(raised.value).startswith("M ")
    assert "M " not in str(raised.value)[1:]  # said once
    assert raised.value.hint
    return raised.value


@pytest.mark.parametrize("layout", [LAYOUT, StoreLayout.plan(SPECS, 3, 4, EXTRA, "zstd"), StoreLayout.plan(SPECS[:1], 4, 1)])
def test_what_is_written_comes_back(tmp_path, layout):
    sizes = sizes_of(layout) | PASSPORTS
    before = datetime.now(UTC) - timedelta(seconds=1)
    made = written(tmp_path, layout, sizes)
    assert read_manifest(tmp_path) == made
    assert parse_manifest((tmp_path / manifests.NAME).read_bytes(), "M") == made
    assert made.layout == layout
    assert made.passports == ("blocks.0", "blocks.1")
    assert (made.store_id, made.identity_digest) == (identities.store_id(IDENTITY), identities.identity_digest(IDENTITY))
    assert made.run_key == identities.run_key(IDENTITY)
    assert made.provenance == PROVENANCE
    assert made.written_by == f"layerscout {__version__}"
    assert before <= datetime.fromisoformat(made.created) <= datetime.now(UTC)
    assert datetime.fromisoformat(made.created).microsecond == 0
    assert [item.path for item in made.objects] == sorted(sizes)
    assert {item.path: item.size for item in made.objects} == sizes
    fields = fields_of(tmp_path)
    assert list(fields) == list(Manifest.model_fields)
    assert made.digest == digest_of({key: value for key, value in fields.items() if key != "digest"})
    assert (tmp_path / manifests.NAME).read_bytes() == json.dumps(fields, indent=1).encode() + b"\n"


def test_the_bytes_and_the_name_are_forced_to_disk(tmp_path, forced_to_disk):
    written(tmp_path)
    assert {(tmp_path / manifests.NAME).stat().st_ino, tmp_path.stat().st_ino} <= forced_to_disk


def test_the_order_in_which_files_were_written_does_not_matter(tmp_path):
    objects = objects_of(sizes_of(LAYOUT))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert (
        write_manifest(tmp_path / "a", IDENTITY, LAYOUT, objects, {}).objects
        == write_manifest(tmp_path / "b", IDENTITY, LAYOUT, objects[::-1], {}).objects
    )


def test_a_manifest_without_columns_has_the_standard_ones(tmp_path):
    """As the first stores were written."""
    written(tmp_path)
    fields = {key: value for key, value in fields_of(tmp_path).items() if key not in ("columns", "codec")}
    found = parse_manifest(resealed(fields), "M")
    assert (found.columns, found.codec) == (STANDARD_COLUMNS, "none")


@pytest.mark.parametrize("provenance", [{"a": float("nan")}, {"a": {1, 2}}, {"a": b"x"}])
def test_provenance_must_be_plain(tmp_path, provenance):
    with pytest.raises(DataError, match="provenance is not plain JSON"):
        written(tmp_path, provenance=provenance)
    assert not (tmp_path / manifests.NAME).exists()


def test_a_manifest_is_as_large_as_readers_accept_and_no_larger(tmp_path, monkeypatch):
    written(tmp_path)
    size = (tmp_path / manifests.NAME).stat().st_size
    (tmp_path / manifests.NAME).unlink()
    monkeypatch.setattr(manifests, "LARGEST_DOCUMENT", size - 1)
    with pytest.raises(DataError, match=f"would have {size:,} bytes, at most {size - 1:,}"):
        written(tmp_path)
    assert not (tmp_path / manifests.NAME).exists()
    monkeypatch.setattr(manifests, "LARGEST_DOCUMENT", size)
    written(tmp_path)


def test_no_number_is_spelled_that_json_does_not_have():
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            manifests.manifest_text({"a": number})


# reading


def test_without_a_manifest_there_is_no_store(tmp_path):
    with pytest.raises(DataError, match="is incomplete: it has no manifest") as raised:
        read_manifest(tmp_path)
    assert "run the same extract command again" in raised.value.hint
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_manifest(tmp_path / "nowhere")
    (tmp_path / manifests.NAME).mkdir()
    with pytest.raises(DataError, match="is incomplete"):
        read_manifest(tmp_path)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    written(tmp_path)

    def failing(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(manifests, "read_document", failing)
    with pytest.raises(DataError, match=r"manifest\.json cannot be read: Input/output error"):
        read_manifest(tmp_path)


def test_a_shortage_of_the_machine_is_no_damage(tmp_path, monkeypatch):
    written(tmp_path)

    def none_left(path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(manifests, "read_document", none_left)
    with pytest.raises(OSError, match="Too many open files") as raised:
        read_manifest(tmp_path)
    assert raised.value.filename == str(tmp_path / manifests.NAME)


def test_every_field_is_under_the_digest(tmp_path):
    written(tmp_path)
    fields = fields_of(tmp_path)
    for name, value in fields.items():
        changed = {"format": None, "layers": value[::-1] if isinstance(value, list) else None}.get(name)
        if isinstance(value, str) and name != "format":
            changed = value[:-1] + chr(ord(value[-1]) ^ 1)
        elif isinstance(value, int):
            changed = value + 1
        elif name in ("columns", "objects"):
            changed = value[:-1]
        elif isinstance(value, dict):
            changed = value | {"command": "other"}
        if changed is None:
            continue
        with pytest.raises(DataError, match="M "):
            parse_manifest(json.dumps(fields | {name: changed}).encode(), "M")
    refused(json.dumps(fields | {"provenance": {}}).encode(), "is damaged: its content does not have the digest it states")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b'"x"', b"{}", b"\xff", b'{"digest": 1}', b"[" * 100_000, b'{"rows": ' + b"9" * 5000 + b"}"],
    ids=["empty", "list", "null", "text", "no fields", "no UTF-8", "a number for a digest", "deep", "a number without end"],
)
def test_what_is_no_manifest_is_refused(content):
    refused(content, "M ")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "layerscout-store/2"},
        {"rows": "nine"},
        {"rows": 0},
        {"rows": -9},
        {"rows_per_chunk": 0},
        {"layers": []},
        {"codec": "lz4"},
        {"stray": 1},
        {"rows": 10**4000},
        {"rows": 9 * 10**4299, "rows_per_chunk": 1},  # the number of its files has more digits than Python writes down
    ],
    ids=str,
)
def test_fields_that_no_store_has_are_refused_though_the_digest_fits(tmp_path, change):
    written(tmp_path)
    refused(resealed(fields_of(tmp_path) | change), "M ")


# the list of files


def listed(root, change) -> bytes:
    """The manifest with its list of files changed by ``change(path → size)``, and the digest that goes with it."""
    written(root, sizes=sizes_of(LAYOUT) | PASSPORTS)
    fields = fields_of(root)
    sizes = {item["path"]: item["size"] for item in fields["objects"]}
    change(sizes)
    fields["objects"] = [item.model_dump() for item in objects_of(sizes)]
    return resealed(fields)


CHUNK, LAST = "layers/blocks.0/c/0/0", "layers/blocks.1/c/2/0"


def test_the_list_is_exactly_what_the_layers_need(tmp_path):
    assert parse_manifest(listed(tmp_path / "same", lambda sizes: None), "M").rows == LAYOUT.rows
    for number, path in enumerate(sizes_of(LAYOUT)):
        needed = len(sizes_of(LAYOUT))
        less = listed(tmp_path / f"less{number}", lambda sizes, path=path: sizes.pop(path))
        refused(less, f"lists {needed - 1} files, its layers need {needed}$")
        renamed = listed(tmp_path / f"other{number}", lambda sizes, path=path: sizes.update({f"{path}x": sizes.pop(path)}))
        assert str(refused(renamed, "does not list the files that its layers need")).endswith(f": {path}")
    refused(listed(tmp_path / "more", lambda sizes: sizes.update(stray=1)), "files, its layers need")


def test_a_file_listed_twice_is_no_other_file(tmp_path):
    written(tmp_path)
    fields = fields_of(tmp_path)
    fields["objects"][-1] = fields["objects"][0]
    refused(resealed(fields), "does not list the files")


@pytest.mark.parametrize(("change", "fits"), [(0, True), (-1, False), (1, False)])
def test_an_uncompressed_chunk_has_exactly_its_bytes(tmp_path, change, fits):
    content = listed(tmp_path, lambda sizes: sizes.update({LAST: sizes[LAST] + change}))
    if fits:
        parse_manifest(content, "M")
    else:
        refused(content, f"for {LAST}, which has")


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), ("most", True), ("more", False)])
def test_a_compressed_chunk_has_at_most_its_bytes(tmp_path, size, fits):
    layout = replace(LAYOUT, codec="zstd")
    most = layout.layers()["blocks.0"].most_file_bytes
    written(tmp_path, layout, sizes_of(layout))
    fields = fields_of(tmp_path)
    number = {"most": most, "more": most + 1}.get(size, size)
    for item in fields["objects"]:
        if item["path"] == CHUNK:
            item["size"] = number
    if fits:
        parse_manifest(resealed(fields), "M")
    else:
        refused(resealed(fields), f"states {number} bytes for {CHUNK}, which has {most}")


@pytest.mark.parametrize("path", [manifests.IDENTITY_NAME, "zarr.json", "layers/blocks.0/zarr.json"])
def test_a_document_is_at_most_as_large_as_readers_accept(tmp_path, path):
    parse_manifest(listed(tmp_path / "most", lambda sizes: sizes.update({path: LARGEST_DOCUMENT})), "M")
    refused(listed(tmp_path / "more", lambda sizes: sizes.update({path: LARGEST_DOCUMENT + 1})), f"bytes for {path}, more than")


# passports


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), ("most", True), ("more", False)])
def test_a_passport_is_of_a_size_that_readers_accept(tmp_path, suffix, size, fits):
    most = {"json": LARGEST_DOCUMENT, "safetensors": LARGEST_PASSPORT}[suffix]
    number = {"most": most, "more": most + 1}.get(size, size)
    content = listed(tmp_path, lambda sizes: sizes.update({f"passports/blocks.0.{suffix}": number}))
    if fits:
        assert parse_manifest(content, "M").passports == ("blocks.0", "blocks.1")
    else:
        refused(content, "which is no passport")


@pytest.mark.parametrize("path", ["passports/../x.json", "passports/blocks.0.npz", "passports/a/b.json", "passports/.json"])
def test_a_file_among_passports_that_is_none_is_refused(tmp_path, path):
    refused(listed(tmp_path, lambda sizes: sizes.update({path: 1})), "which is no passport")


def test_half_a_passport_is_refused(tmp_path):
    for path in PASSPORTS:
        name = path.replace("/", "-")
        refused(listed(tmp_path / name, lambda sizes, path=path: sizes.pop(path)), "half a passport, or one twice")
    written(tmp_path / "twice", sizes=sizes_of(LAYOUT) | PASSPORTS)
    fields = fields_of(tmp_path / "twice")
    fields["objects"] += [item for item in fields["objects"] if item["path"] == "passports/blocks.0.json"]
    refused(resealed(fields), "half a passport, or one twice")
    for number, path in enumerate(PASSPORTS):
        written(tmp_path / str(number))
        assert read_manifest(tmp_path / str(number)).passports == ()
        assert is_passport(path)
    assert not is_passport("layers/passports/x.json")


def test_a_passport_is_named_by_its_text(tmp_path):
    whole = written(tmp_path, sizes=sizes_of(LAYOUT) | PASSPORTS)
    for suffix, names in ((".json", ("blocks.0", "blocks.1")), (".safetensors", ())):
        some = tuple(item for item in whole.objects if item.path.endswith(suffix))
        assert whole.model_copy(update={"objects": some}).passports == names
    assert LARGEST_PASSPORT == 1024**3


def test_every_file_of_a_layout_is_named_once():
    paths = object_paths(LAYOUT)
    assert len(paths) == len(set(paths)) == LAYOUT.units * len(LAYOUT.arrays()) + len(LAYOUT.metadata_paths()) + 1
    assert set(paths) == set(sizes_of(LAYOUT))
    assert not any(map(is_passport, paths))


def test_the_digest_is_of_the_content_and_not_of_its_spelling():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})
    assert digest_of({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
