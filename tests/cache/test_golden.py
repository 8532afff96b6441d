"""Stores that earlier versions wrote, checked in, stay readable for ever: by this version, and by plain zarr-python.

``store-1`` was written before there were columns, codecs and bfloat16; its manifest lists none of them. ``store-2`` has them all.
Neither is ever written again. To add ``store-3`` when the format grows, write its identity and numbers down here as ``store-2``'s are
(``GOLDEN`` and ``values``), run ``WRITE_GOLDEN=store-3 pytest tests/cache/test_golden.py`` once, and check the folder in.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import pytest
import zarr
from identity_by_hand import make_identity
from test_trajectories import assert_same, make_episode

from layerscout.cache import records
from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.layout import STANDARD_COLUMNS, ColumnSpec
from layerscout.cache.opening import open_store
from layerscout.cache.records import Cost, Ranking, RunRecord, Selection
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import UnsealedFile

FOLDER = Path(__file__).parent / "golden"
ROWS, ROWS_PER_CHUNK = 21, 8
STEP = np.tile(np.arange(7), 3)
STANDARD = {
    "episode": np.repeat([0, 1, 2], 7).astype(np.int32),
    "step": STEP.astype(np.int32),
    "action": np.where(STEP == 6, -1, STEP % 3).astype(np.int32),
    "reward": np.where(STEP == 6, np.nan, STEP / 4).astype(np.float32),
    "terminated": STEP == 5,
    "truncated": np.zeros(ROWS, dtype=bool),
    "padding": np.maximum(4 - STEP, 0).astype(np.int16),
}


@dataclass(frozen=True)
class Golden:
    """What a checked-in store is known to hold."""

    store_id: str
    digest: str
    specs: tuple[LayerSpec, ...]
    columns: tuple[ColumnSpec, ...]
    index: dict[str, np.ndarray]
    codec: str


PIXELS = LayerSpec("pixels", 4, "float32", "control", -1, "")
CONTINUOUS = np.where((STEP == 6)[:, None], np.nan, np.stack([STEP / 8, -STEP], axis=1)).astype(np.float32)
GOLDEN = {
    "store-1": Golden(
        "ls1-7895fba59b4d2a97e2af715cc585afdb",
        "sha256:95ca9d39e6872851ba24bb6685ae5a4ed727a19f8decc7bde5594408450c4a01",
        (LayerSpec("blocks.0", 5, "float16", "layer", 0, "blocks.0"), LayerSpec("blocks.1", 3, "float16", "layer", 1, "blocks.1"), PIXELS),
        STANDARD_COLUMNS,
        STANDARD,
        "none",
    ),
    "store-2": Golden(
        "ls1-b72ffdb0c910980e40d6b0255c07664f",
        "sha256:b4a257ab312b50ccec21efd64d2f85a98cc7e022e32ce4f7af5745819bc38677",
        (
            LayerSpec("blocks.0", 5, "bfloat16", "layer", 0, "blocks.0"),
            LayerSpec("blocks.1", 3, "bfloat16", "layer", 1, "blocks.1"),
            PIXELS,
        ),
        (
            *(ColumnSpec("action", "float32", 2) if column.name == "action" else column for column in STANDARD_COLUMNS),
            ColumnSpec("state", "float32", 3),
            ColumnSpec("expert_action", "float32", 2),
            ColumnSpec("flag", "bool"),
            ColumnSpec("count", "int16", 2),
        ),
        STANDARD
        | {
            "action": CONTINUOUS,
            "state": (np.arange(ROWS * 3).reshape(ROWS, 3) / 16).astype(np.float32),
            "expert_action": CONTINUOUS[:, ::-1].copy(),
            "flag": STEP % 2 == 0,
            "count": np.arange(ROWS * 2, dtype=np.int16).reshape(ROWS, 2) - 7,
        },
        "zstd",
    ),
}


def values(spec: LayerSpec) -> np.ndarray:
    """Eighths below 64: every stored type holds them exactly."""
    kind = "float32" if spec.dtype == "bfloat16" else spec.dtype
    return (np.arange(ROWS * spec.width).reshape(ROWS, spec.width) / 8 - 7 + spec.depth).astype(kind)


@pytest.fixture(params=sorted(GOLDEN))
def golden(request) -> tuple[Store, Golden]:
    known = GOLDEN[request.param]
    if os.environ.get("WRITE_GOLDEN") == request.param:
        write(FOLDER / request.param, known)
    return Store.open(FOLDER / request.param), known


def write(folder: Path, known: Golden) -> None:
    assert not folder.exists(), "a golden store is written once"
    root = folder.with_suffix(".root")
    identity = make_identity(known.specs) | {"logical_dtype": known.specs[0].dtype}
    writer = StoreWriter.open(root, identity, known.specs, ROWS, ROWS_PER_CHUNK, known.columns, known.codec)
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        layers = {spec.name: values(spec).astype(np.float32)[part] for spec in known.specs}
        writer.write_unit(unit, layers, {name: column[part] for name, column in known.index.items()})
    writer.commit({"command": "golden"}).path.rename(folder)
    shutil.rmtree(root)


def test_it_holds_the_known_numbers(golden):
    store, known = golden
    assert (store.id, store.manifest.digest) == (known.store_id, known.digest)
    assert tuple(store.specs.values()) == known.specs
    assert tuple(store.columns.values()) == known.columns
    for spec in known.specs:
        reader, expected = store.layer(spec.name), values(spec)
        assert reader.dtype == expected.dtype
        np.testing.assert_array_equal(reader.all(), expected)
        np.testing.assert_array_equal(reader.read(5, 19), expected[5:19])
        np.testing.assert_array_equal(reader.rows(np.array([20, 0, 8])), expected[[20, 0, 8]])
    for name, expected in known.index.items():
        assert store.index(name).dtype == expected.dtype
        np.testing.assert_array_equal(store.index(name), expected)


def test_it_is_whole_and_found_by_its_folder(golden, tmp_path):
    store, _ = golden
    assert verify_store(store.path, full=True).problems == ()
    assert open_store(tmp_path, store.path).id == store.id


def test_plain_zarr_reads_the_same_numbers(golden):
    store, known = golden
    group = zarr.open_group(store.path, mode="r")
    for spec in known.specs:
        array = group[f"layers/{spec.name}"]
        expected = values(spec)
        if spec.dtype == "bfloat16":
            assert array.attrs["logical_dtype"] == "bfloat16"
            expected = (expected.view(np.uint32) >> 16).astype(np.uint16)
        np.testing.assert_array_equal(array[:], expected)
    for name, expected in known.index.items():
        np.testing.assert_array_equal(group[f"index/{name}"][:], expected)


def test_todays_layout_of_it_is_that_of_its_files(golden):
    """Today's code would write the same metadata; what it adds one day must be left out where it does not apply."""
    store, _ = golden
    for path, content in store.manifest.layout.metadata_files().items():
        assert (store.path / path).read_bytes() == content, path


# records and trajectory files

MODELS = {"ranking": Ranking, "selection": Selection, "cost": Cost, "runs": RunRecord}


@pytest.mark.parametrize("name", MODELS)
def test_records_of_before_there_were_digests_stay_readable(name):
    with pytest.warns(UnsealedFile, match=f"{name}.json has no digest"):
        found = records.load(MODELS[name], FOLDER / "records-1" / f"{name}.json")
    assert found.format == json.loads((FOLDER / "records-1" / f"{name}.json").read_bytes())["format"]


@pytest.mark.parametrize("name", ["selection", "cost", "runs"])
def test_records_with_digests_stay_readable_and_are_written_the_same(name):
    path = FOLDER / "records-2" / f"{name}.json"
    found = records.load(MODELS[name], path)
    assert found == records.load(MODELS[name], FOLDER / "records-1" / f"{name}.json", warn=False)
    text = path.read_bytes()
    start = text.rindex(b',\n "digest": ')
    assert hashlib.sha256(text[:start] + b"\n}\n").hexdigest().encode() in text[start:]


def test_trajectory_files_with_a_checksum_stay_readable():
    """By this version, and by plain h5py, which skips what stands before the content."""
    path = FOLDER / "trajectories-2.h5"
    with Trajectories(path) as data:
        assert data.digest() == "sha256:7e0eaa56c32a738c3e3ff9cee06211d6c04b139a90d436bc57bf38abc03fd46e"
        assert (data.action_dimensions, data.extra) == (2, {"expert_action": (4, False), "joint.angles": (3, True)})
        for index, steps in enumerate((3, 1)):
            assert_same(data.episode(index), make_episode(steps, index, dimensions=2, extra="sf"))
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 512
        assert file["episodes/000000/frames"].shape == (4, 4, 6, 3)
    line = path.read_bytes()[:512].rstrip(b"\0").decode()
    content = path.read_bytes()[512:]
    assert line == f"layerscout-hdf5/1 crc32c {google_crc32c.value(content):08x} bytes {len(content)}\n"
