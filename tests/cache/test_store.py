"""A store gives back what was written, equals what zarr reads, and never gives out numbers from a damaged file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerscout.cache import reader as readers
from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.layout import ArrayLayout, StoreLayout, planned_bytes
from layerscout.cache.naming import name_store
from layerscout.cache.opening import find_store, open_store
from layerscout.cache.root import default_root
from layerscout.cache.store import LayerSpec, Store
from layerscout.errors import DataError, UsageError

LAYER = "transformer_blocks.3"


@pytest.fixture
def store(example, tmp_path) -> Store:
    return example.store(tmp_path / "root")


def read_everything(store: Store) -> None:
    for name in store.specs:
        store.layer(name).all()
    for column in ("episode", "step", "action", "reward", "terminated", "truncated", "padding"):
        store.index(column)


def files_of(store: Store) -> list[Path]:
    return sorted(path for path in store.path.rglob("*") if path.is_file())


# what was written comes back


def test_round_trip(example, store):
    assert store.rows == len(example.index["step"])
    assert tuple(store.specs.values()) == example.specs
    assert store.identity == example.identity
    for name, values in example.layers.items():
        read = store.layer(name).all()
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, values)
    for name, values in example.index.items():
        read = store.index(name)
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, values)


def test_zarr_reads_the_same_numbers_and_lists_the_same_arrays(example, store):
    group = zarr.open_group(store.path, mode="r")
    listed = {name for name, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert listed == {f"layers/{name}" for name in example.layers} | {f"index/{name}" for name in example.index}
    for kind, arrays in (("layers", example.layers), ("index", example.index)):
        for name, values in arrays.items():
            array = zarr.open_array(store.path / kind / name, mode="r")
            assert array.dtype == values.dtype
            np.testing.assert_array_equal(array[:], values)
    assert dict(group[f"layers/{LAYER}"].attrs) == {"role": "layer", "depth": 0, "module": LAYER}


def test_zarr_writes_the_same_bytes(example, store, tmp_path):
    values = example.layers[LAYER]
    array = zarr.create_array(
        tmp_path / "oracle", shape=values.shape, chunks=(8, 5), dtype="float16", fill_value=np.nan, compressors=[zarr.codecs.Crc32cCodec()]
    )
    array[:] = values
    for chunk in range(3):
        assert (tmp_path / f"oracle/c/{chunk}/0").read_bytes() == (store.path / f"layers/{LAYER}/c/{chunk}/0").read_bytes()


def test_all_ways_of_reading_agree(example, store):
    values, reader = example.layers[LAYER], store.layer(LAYER)
    joined = np.concatenate([rows for _, rows in reader.chunks()])
    np.testing.assert_array_equal(joined, values)
    assert [first for first, _ in reader.chunks()] == [0, 8, 16]
    lazy = reader.dask()
    assert lazy.chunks == ((8, 8, 5), (5,))
    assert lazy.dtype == values.dtype
    np.testing.assert_array_equal(lazy.compute(scheduler="threads"), values)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).all(), values)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_equal_numpy_indexing(example, store, data):
    values, reader = example.layers[LAYER], store.layer(LAYER)
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    np.testing.assert_array_equal(reader.read(start, stop), values[start:stop])
    indices = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=12)), dtype=np.int64)
    np.testing.assert_array_equal(reader.rows(indices), values[indices])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 40), chunk_rows=st.integers(1, 12), dtype=st.sampled_from(["float16", "float32", "int32", "int16", "bool"]))
def test_chunks_cover_every_row_once_and_are_full(rows, chunk_rows, dtype):
    layout = ArrayLayout("index/x", dtype, rows, chunk_rows, None)
    values = np.arange(rows).astype(dtype)
    pieces = []
    for chunk in range(layout.chunks):
        payload = layout.encode(values[chunk * chunk_rows : (chunk + 1) * chunk_rows])
        assert len(payload) + 4 == layout.most_file_bytes
        pieces.append(payload.view(dtype))
    whole = np.concatenate(pieces)
    np.testing.assert_array_equal(whole[:rows], values)
    np.testing.assert_array_equal(whole[rows:], np.full(len(whole) - rows, layout.fill, dtype))


def test_rows_reads_only_the_chunks_it_needs(example, store):
    (store.path / f"layers/{LAYER}/c/1/0").unlink()
    reader = store.layer(LAYER)
    wanted = np.array([20, 0, 7, 16])
    np.testing.assert_array_equal(reader.rows(wanted), example.layers[LAYER][wanted])
    with pytest.raises(DataError, match="c/1/0"):
        reader.rows(np.array([8]))


def test_no_rows_touch_no_chunk(store):
    (store.path / f"layers/{LAYER}/c/1/0").unlink()
    reader = store.layer(LAYER)
    for place in (8, 10, 16):
        assert reader.read(place, place).shape == (0, reader.shape[1])
    with pytest.raises(DataError, match="c/1/0"):
        reader.read(10, 11)


def test_rows_outside_the_store_are_refused(store):
    reader = store.layer(LAYER)
    for start, stop in ((-1, 2), (3, 2), (0, 22)):
        with pytest.raises(DataError, match="rows"):
            reader.read(start, stop)
    for indices in ([-1], [21]):
        with pytest.raises(DataError, match="row indices"):
            reader.rows(np.array(indices))


def test_planned_bytes_bound_the_store(example, store):
    used = sum(path.stat().st_size for path in files_of(store))
    planned = planned_bytes(StoreLayout.plan(example.specs, store.rows, 8))
    assert used <= planned
    large = planned_bytes(StoreLayout.plan(example.specs, 10**6))
    raw = 10**6 * (2 * 5 + 2 * 3 + 4 * 4 + 4 + 4 + 4 + 4 + 1 + 1 + 2)
    assert raw <= large <= raw * 1.1


def test_unknown_layer_and_column_name_the_nearest(store):
    with pytest.raises(DataError, match=r"did you mean 'transformer_blocks.3'"):
        store.layer("transformer_block.3")
    with pytest.raises(DataError, match="did you mean 'reward'"):
        store.index("rewards")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "zarr.json", "a b", "é", "x" * 201, "_private"])
def test_layer_names_that_could_leave_their_folder_are_refused(name):
    with pytest.raises(DataError, match="cannot name a layer"):
        LayerSpec(name, 1, "float16", "layer", 0, "m")


# damage


def test_every_flipped_byte_of_the_data_is_noticed(store):
    random = np.random.default_rng(0)
    chunks = [path for path in files_of(store) if path.suffix not in (".json", ".md")]
    assert len(chunks) == 30
    for path in chunks:
        intact = path.read_bytes()
        for place in {0, len(intact) - 1, int(random.integers(len(intact)))}:
            damaged = bytearray(intact)
            damaged[place] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=f"{path} is damaged"):
                read_everything(Store.open(store.path))
        path.write_bytes(intact)
    read_everything(Store.open(store.path))


def test_a_mapped_chunk_that_changes_in_place_is_noticed_whatever_its_time_of_writing_says(store):
    """A program can set when a file was written, and no program when it was changed."""
    reader = store.layer(next(iter(store.specs)))
    path, rows = reader.store / reader.objects[0].path, np.array([1, 0])
    before = reader.rows(rows)
    np.testing.assert_array_equal(reader.rows(rows), before)
    times = path.stat()
    with path.open("r+b") as file:
        file.write(b"\x01\x02")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    with pytest.raises(DataError, match=f"{path} is damaged"):
        reader.rows(rows)


def test_what_this_machine_lacks_is_no_damage(store, monkeypatch):
    """Nobody deletes a store because too many files were open."""
    reader = store.layer(next(iter(store.specs)))

    def none_left(*arguments, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for place, name, call in (
        (readers, "FileIO", lambda: reader.read(0, 1)),
        (os, "stat", lambda: reader.rows(np.array([0]))),
        (Path, "read_bytes", lambda: Store.open(store.path)),
        (Path, "open", lambda: verify_store(store.path)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, none_left)
            if name == "stat":  # which the reader asks before it maps a chunk, and again when it reads it instead
                patch.setattr(readers.np, "fromfile", none_left)
            with pytest.raises(OSError, match="Too many open files") as failed:
                call()
        assert failed.value.errno == errno.EMFILE


@pytest.mark.parametrize("change", ["delete", "truncate", "empty", "extend"])
def test_missing_and_resized_files_are_noticed_on_opening_and_on_reading(store, change):
    for path in files_of(store):
        if path.name == "manifest.json":
            continue
        intact = path.read_bytes()
        if change == "delete":
            path.unlink()
        else:
            path.write_bytes({"truncate": intact[:-1], "empty": b"", "extend": intact + b"\0"}[change])
        with pytest.raises(DataError, match=str(path)):
            Store.open(store.path)
        if path.suffix not in (".json", ".md"):
            with pytest.raises(DataError, match=str(path)):
                read_everything(store)  # opened before the damage
        path.write_bytes(intact)


def test_swapped_chunks_are_noticed(store):
    first, second = store.path / f"layers/{LAYER}/c/0/0", store.path / f"layers/{LAYER}/c/1/0"
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    with pytest.raises(DataError, match="c/0/0 is not the file that the manifest lists"):
        Store.open(store.path).layer(LAYER).all()


def test_a_folder_without_manifest_is_incomplete(store):
    (store.path / "manifest.json").unlink()
    with pytest.raises(DataError, match="incomplete"):
        Store.open(store.path)
    with pytest.raises(DataError, match="does not exist"):
        Store.open(store.path.with_name("ls1-nothing"))


def test_every_changed_field_of_the_manifest_is_noticed(store):
    path = store.path / "manifest.json"
    intact = json.loads(path.read_bytes())
    for key in intact:
        changed = intact | {key: {"other": 1} if key == "provenance" else "other"}
        path.write_text(json.dumps(changed))
        with pytest.raises(DataError, match=r"manifest\.json"):
            Store.open(store.path)
    path.write_text(json.dumps(intact)[:-20])
    with pytest.raises(DataError, match="not valid JSON"):
        Store.open(store.path)


def test_another_stores_identity_is_noticed(example, store):
    path = store.path / "identity.json"
    path.write_bytes(path.read_bytes().replace(b"sha256:cc", b"sha256:cd"))
    with pytest.raises(DataError, match="not the identity"):
        Store.open(store.path)


# finding


def test_the_name_is_the_digest_of_the_identity_file(store):
    assert store.path.name == store.id == "ls1-" + hashlib.sha256((store.path / "identity.json").read_bytes()).hexdigest()[:32]


def test_open_by_id_name_and_folder(example, store, tmp_path, monkeypatch):
    root = tmp_path / "root"
    name_store(root, "best.one", store)
    for word in (store.id, "best.one", store.path, str(store.path)):
        assert open_store(root, word).id == store.id
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(root))
    assert open_store(None, "best.one").id == store.id
    with pytest.raises(DataError, match=r"did you mean 'best\.one'"):
        open_store(root, "best.two")
    for name in ("../x", store.id, ""):
        with pytest.raises(UsageError, match="cannot name"):
            name_store(root, name, store)


def test_a_name_that_a_store_has_is_not_given_again(store, tmp_path):
    """So a finished extraction can be repeated where nothing can be written any more."""
    root = tmp_path / "root"
    path = name_store(root, "best", store)
    before = path.stat().st_ino
    assert name_store(root, "best", store).stat().st_ino == before
    for content in (b"{", path.read_bytes().replace(store.id[:8].encode(), b"ls1-0000")):
        path.write_bytes(content)
        assert open_store(root, name_store(root, "best", store).stem).id == store.id


def test_find_store_by_identity(example, store, tmp_path):
    root = tmp_path / "root"
    found = find_store(root, example.identity)
    assert found is not None
    assert found.id == store.id
    assert find_store(root, example.identity | {"pooling": {"kind": "mean"}}) is None
    assert find_store(tmp_path / "empty", example.identity) is None


def test_a_store_with_more_layers_serves_fewer(example, store, tmp_path):
    root = tmp_path / "root"
    wanted = example.fewer("transformer_blocks.7")
    found = find_store(root, wanted.identity)
    assert found is not None
    assert found.id == store.id
    np.testing.assert_array_equal(found.layer("transformer_blocks.7").all(), example.layers["transformer_blocks.7"])
    own = wanted.store(root)
    exact = find_store(root, wanted.identity)
    assert exact is not None
    assert exact.id == own.id != store.id


def test_an_incomplete_store_is_not_served(example, store, tmp_path):
    (store.path / "manifest.json").unlink()
    assert find_store(tmp_path / "root", example.fewer("pixels").identity) is None
    with pytest.raises(DataError, match="incomplete"):
        find_store(tmp_path / "root", example.identity)


def test_a_store_may_be_moved(example, store, tmp_path):
    moved = shutil.move(store.path, tmp_path / "elsewhere")
    np.testing.assert_array_equal(Store.open(moved).layer(LAYER).all(), example.layers[LAYER])


def test_default_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("LAYERSCOUT_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "layerscout"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_root() == Path.home() / ".cache" / "layerscout"
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"


def test_importing_the_cache_loads_nothing_heavy():
    program = (
        "import sys, layerscout.cache.store, layerscout.cache.writing.writer, layerscout.cache.dataset.trajectories;"
        "sys.exit(str([name for name in ('torch', 'zarr', 'dask', 'sklearn') if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_without_a_home_the_folder_of_stores_must_be_named(monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("LAYERSCOUT_ROOT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UsageError, match="HOME is not set") as raised:
        default_root()
    assert "LAYERSCOUT_ROOT" in raised.value.hint
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(tmp_path))
    assert default_root() == tmp_path
