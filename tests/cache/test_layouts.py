"""Every type, codec and chunking against oracles: zarr-python for the files, torch for bfloat16; and files that lie about themselves."""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from identity_by_hand import make_identity
from numcodecs import zstd

from layerscout.cache import bfloat16
from layerscout.cache.arrays import ArrayLayout, zstd_frame_bytes
from layerscout.cache.files import write_file
from layerscout.cache.layout import STANDARD_COLUMNS, ColumnSpec
from layerscout.cache.reader import MOST_MAPPED, LayerReader
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import DataError

INDEX = {column.name: column.dtype for column in STANDARD_COLUMNS}
CODECS, LAYER_DTYPES = ("none", "zstd"), ("float16", "float32", "bfloat16")


def make(root: Path, values: np.ndarray, dtype: str, rows_per_chunk: int, codec: str, column: np.ndarray | None = None) -> Store:
    """A store of one layer and perhaps one more column."""
    spec = LayerSpec("x", values.shape[1], dtype, "layer", 0, "x")
    columns, index = STANDARD_COLUMNS, {name: np.zeros(len(values), kind) for name, kind in INDEX.items()}
    if column is not None:
        columns = (*columns, ColumnSpec("extra", column.dtype.name, column.shape[1] if column.ndim == 2 else None))
        index = index | {"extra": column}
    writer = StoreWriter.open(root, make_identity([spec]) | {"logical_dtype": dtype}, [spec], len(values), rows_per_chunk, columns, codec)
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        writer.write_unit(unit, {"x": values[part]}, {name: column[part] for name, column in index.items()})
    return writer.commit({})


def reader_of(folder: Path, layout: ArrayLayout, values: np.ndarray) -> LayerReader:
    """Write one array's chunk files by the layout alone, and return its reader."""
    size = layout.chunk_rows
    encoded = [layout.encode(values[chunk * size : (chunk + 1) * size]) for chunk in range(layout.chunks)]
    objects = [write_file(folder, layout.path(chunk), data, chunk=True) for chunk, data in enumerate(encoded)]
    return LayerReader(folder, "x", layout, tuple(objects))


# --- zarr-python as the oracle

shapes = {
    "rows": st.integers(1, 20),
    "rows_per_chunk": st.integers(1, 25),
    "width": st.integers(1, 6),
    "codec": st.sampled_from(CODECS),
    "seed": st.integers(0, 2**32),
}


@settings(max_examples=25, deadline=None)
@given(dtype=st.sampled_from(LAYER_DTYPES), kind=st.sampled_from(["float32", "int32", "int16", "bool"]), flat=st.booleans(), **shapes)
def test_zarr_reads_what_we_read_and_what_was_written(dtype, kind, flat, rows, rows_per_chunk, width, codec, seed):
    random = np.random.default_rng(seed)
    values = random.normal(scale=100, size=(rows, width)).astype(np.float32)
    column = random.integers(-3, 3, (rows,) if flat else (rows, width)).astype(kind)
    with tempfile.TemporaryDirectory() as folder:
        store = make(Path(folder), values, dtype, rows_per_chunk, codec, column)
        reader = store.layer("x")
        stored = zarr.open_array(store.path / "layers" / "x", mode="r")
        expected = torch.from_numpy(values).to(getattr(torch, dtype))
        np.testing.assert_array_equal(reader.all(), expected.float().numpy())
        assert reader.dtype == np.dtype("float32" if dtype == "bfloat16" else dtype)
        np.testing.assert_array_equal(stored[:], expected.view(torch.uint16).numpy() if dtype == "bfloat16" else expected.numpy())
        assert stored.chunks == (min(rows, rows_per_chunk), width)
        assert stored.attrs.get("logical_dtype") == ("bfloat16" if dtype == "bfloat16" else None)
        extra = zarr.open_array(store.path / "index" / "extra", mode="r")
        for read in (extra[:], store.index("extra")):
            np.testing.assert_array_equal(read, column)
            assert read.dtype == column.dtype
        lazy = reader.dask()
        assert lazy.chunks[0] == tuple(min(rows_per_chunk, rows - first) for first in range(0, rows, min(rows, rows_per_chunk)))
        assert (lazy.shape, lazy.dtype) == (reader.shape, reader.dtype)
        np.testing.assert_array_equal(lazy.compute(scheduler="sync"), reader.all())


@settings(max_examples=25, deadline=None)
@given(dtype=st.sampled_from(["float16", "float32", "int32", "int16", "bool", "uint16"]), flat=st.booleans(), **shapes)
def test_we_read_what_zarr_writes_from_our_metadata(dtype, flat, rows, rows_per_chunk, width, codec, seed):
    layout = ArrayLayout("layers/x", dtype, rows, min(rows, rows_per_chunk), None if flat else width, codec=codec)
    values = np.random.default_rng(seed).integers(0, 9, layout.shape).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours", Path(folder) / "theirs"
        reader = reader_of(ours, layout, values)
        for root in (ours, theirs):
            write_file(root, "layers/x/zarr.json", json.dumps(layout.metadata()).encode())
        with zarr.config.set({"array.write_empty_chunks": True}):
            zarr.open_array(theirs / "layers/x", mode="r+")[:] = values
        np.testing.assert_array_equal(zarr.open_array(ours / "layers/x", mode="r")[:], values)
        for chunk in range(layout.chunks):
            mine, their = ((root / layout.path(chunk)).read_bytes() for root in (ours, theirs))
            size = layout.chunk_rows
            found = layout.decode(np.frombuffer(their[:-4], np.uint8))[: rows - chunk * size]
            np.testing.assert_array_equal(found, values[chunk * size : (chunk + 1) * size])
            assert codec == "zstd" or mine == their, "without compression the files are the same to the byte"
        np.testing.assert_array_equal(reader.all(), values)


# --- bfloat16

bits = st.integers(0, 2**32 - 1)
SPECIAL = [
    0,
    0x80000000,
    0x7F800000,
    0xFF800000,
    0x7F7FFFFF,
    0x7F7F8000,
    0x7F7F7FFF,
    0x00000001,
    0x007FFFFF,
    0x7F800001,
    0xFFFFFFFF,
    0x7FC00000,
]
TIES = [(high << 16) | low for high in (0x3F80, 0x3F81, 0x0001, 0xC2FF, 0x7F7F) for low in (0x7FFF, 0x8000, 0x8001)]


@settings(max_examples=200, deadline=None)
@given(st.lists(bits | st.sampled_from(SPECIAL + TIES), min_size=1, max_size=30))
def test_bfloat16_is_that_of_torch(patterns):
    values = np.array(patterns, dtype=np.uint32).view(np.float32)
    expected = torch.from_numpy(values.copy()).to(torch.bfloat16)
    encoded = bfloat16.to_bfloat16(values)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(encoded[number], expected.view(torch.uint16).numpy()[number])
    np.testing.assert_array_equal(np.isnan(bfloat16.from_bfloat16(encoded)), ~number)
    np.testing.assert_array_equal(bfloat16.from_bfloat16(encoded)[number], expected.float().numpy()[number])


def test_every_bfloat16_survives_a_round_trip():
    every = np.arange(2**16, dtype=np.uint16)
    decoded = bfloat16.from_bfloat16(every)
    number = ~np.isnan(decoded)
    np.testing.assert_array_equal(bfloat16.to_bfloat16(decoded)[number], every[number])
    assert (~number).sum() == 2 * (2**7 - 1)


# --- frames that lie


@settings(max_examples=100, deadline=None)
@given(size=st.integers(0, 70_000), level=st.integers(1, 5))
def test_the_size_of_a_frame_is_read_from_its_header(size, level):
    data = np.random.default_rng(size).integers(0, 4, size, dtype=np.uint8)
    assert zstd_frame_bytes(np.frombuffer(zstd.compress(data, level), np.uint8)) == size


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_have_a_size_or_none(data):
    for head in (b"", b"\x28\xb5\x2f\xfd"):
        found = zstd_frame_bytes(np.frombuffer(head + data, np.uint8))
        assert found is None or 0 <= found < 2**64


@pytest.mark.parametrize("factor", [0, 0.5, 2, 5000], ids=["nothing", "half", "twice", "a bomb"])
def test_a_frame_of_another_size_is_refused_before_it_is_decompressed(tmp_path, factor, monkeypatch):
    layout = ArrayLayout("layers/x", "float32", 8, 4, 10, codec="zstd")
    reader = reader_of(tmp_path, layout, np.ones((8, 10), np.float32))
    frame = zstd.compress(bytes(int(layout.payload_bytes * factor)), 1)
    lying = write_file(tmp_path, layout.path(1), frame, chunk=True)  # whole, with a right crc32c
    reader = replace(reader, objects=(reader.objects[0], lying))

    def never(*arguments: object) -> None:
        raise AssertionError("decompressed")

    with monkeypatch.context() as patch:
        patch.setattr(zstd, "decompress", never)
        with pytest.raises(DataError, match="does not state the 160 bytes"):
            reader.read(4, 8)
        with pytest.raises(DataError, match="does not state the 160 bytes"):
            reader.rows(np.array([5]))
    np.testing.assert_array_equal(reader.read(0, 4), np.ones((4, 10)))


@pytest.mark.parametrize("change", ["header says more", "header says less", "cut", "twice", "noise"])
def test_a_frame_whose_header_lies_is_refused(tmp_path, change):
    layout = ArrayLayout("layers/x", "float32", 40, 40, 10, codec="zstd")  # 1,600 bytes: the header states them in two bytes
    reader = reader_of(tmp_path, layout, np.ones((40, 10), np.float32))
    honest, half, double = (zstd.compress(np.ones(count, np.float32).tobytes(), 1) for count in (400, 200, 800))
    assert (honest[4] >> 6, half[4] >> 6, double[4] >> 6) == (1, 1, 1)
    frame = {
        "header says more": half[:5] + honest[5:7] + half[7:],
        "header says less": double[:5] + honest[5:7] + double[7:],
        "cut": honest[:-3],
        "twice": honest + honest,
        "noise": honest[:7] + bytes(range(30)),
    }[change]
    reader = replace(reader, objects=(write_file(tmp_path, layout.path(0), frame, chunk=True),))
    with pytest.raises(DataError, match="does not decompress"):
        reader.all()


# --- what changes while it is read


@pytest.fixture
def reader(tmp_path) -> LayerReader:
    return reader_of(tmp_path, ArrayLayout("layers/x", "float16", 30, 4, 3), np.arange(90).reshape(30, 3).astype(np.float16))


@pytest.mark.parametrize("change", ["in place", "renamed over it", "cut", "deleted"])
def test_rows_of_a_file_that_changed_after_it_was_verified_are_refused(tmp_path, reader, change):
    wanted = np.array([5, 4, 6])
    np.testing.assert_array_equal(reader.rows(wanted), np.arange(90).reshape(30, 3)[wanted])
    path = tmp_path / reader.layout.path(1)
    whole = path.read_bytes()
    other = bytes([whole[0] ^ 1]) + whole[1:]
    if change == "in place":
        path.write_bytes(other)
    elif change == "cut":
        path.write_bytes(whole[:-1])
    elif change == "deleted":
        path.unlink()
    else:
        path.with_name("other").write_bytes(other)
        path.with_name("other").replace(path)
    for _ in range(2):
        with pytest.raises(DataError, match="c/1/0"):
            reader.rows(wanted)
    path.write_bytes(whole)
    np.testing.assert_array_equal(reader.rows(wanted), np.arange(90).reshape(30, 3)[wanted])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_rows_are_given_by_integers_of_any_size(tmp_path, dtype):
    values = np.arange(600, dtype=np.float32).reshape(600, 1)
    reader = reader_of(tmp_path, ArrayLayout("layers/x", "float32", 600, 300, 1), values)
    wanted = np.array([100, 3, 100, 120], dtype=dtype)
    np.testing.assert_array_equal(reader.rows(wanted), values[wanted.astype(np.int64)])
    assert reader.rows(np.array([])).shape == (0, 1)


def test_many_threads_read_rows_of_more_chunks_than_stay_mapped(tmp_path):
    chunks = 2 * MOST_MAPPED
    values = np.arange(2 * chunks, dtype=np.float32).reshape(2 * chunks, 1)
    reader = reader_of(tmp_path, ArrayLayout("layers/x", "float32", 2 * chunks, 2, 1), values)

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(20):
            wanted = random.integers(0, 2 * chunks, 16)
            np.testing.assert_array_equal(reader.rows(wanted), values[wanted])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(16)))
    assert len(reader._mapped) <= MOST_MAPPED + 8


def test_lazy_arrays_of_two_runs_of_one_store_stay_apart(tmp_path):
    """Two honest runs have one store id, and dask takes equal names for equal arrays."""
    values = np.ones((6, 2), dtype=np.float32)
    stores = [make(tmp_path / name, values * factor, "float32", 3, "none") for name, factor in (("a", 1), ("b", 2))]
    assert stores[0].id == stores[1].id
    first, second = (store.layer("x").dask() for store in stores)
    np.testing.assert_array_equal((second - first).compute(scheduler="sync"), values)
    shutil.copytree(stores[0].path, tmp_path / "copy")
    copied = Store.open(tmp_path / "copy").layer("x").dask()
    assert not (copied - first).any().compute(scheduler="sync")
