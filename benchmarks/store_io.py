"""How fast layers are written, read and sampled: a store against .npy files, memory maps, HDF5 and zarr-python, on the same numbers.

    python benchmarks/store_io.py [--quick] [--json]

26 layers of [8192, 1024] float16 (8 with --quick). All contenders take turns in one process, in shuffled order, so that a
busy machine slows all of them alike; figures are medians over the turns. A store's reads verify crc32c, its writes also
hash with sha256; h5py, .npy and zarr's raw layout verify nothing.

read      each layer whole, dropped before the next: memory is warm, so a read is little more than a copy
read_new  each layer whole and kept: memory is new to the process, as it is for a probe that reads a layer once
cold      each layer whole, after its files were dropped from the page cache
rows      256 random rows; every contender keeps what it opened, and a store has verified its chunks once before
write     all layers, every file and folder forced to disk
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import harness
import numpy as np
import zarr

from layerscout.cache.identity import SCHEMA
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.memory import hold_freed

ROWS, WIDTH, DTYPE, BATCH = 8192, 1024, "float16", 256
LAYER_BYTES = ROWS * WIDTH * np.dtype(DTYPE).itemsize
Layers = dict[str, np.ndarray]
AT_LEAST = {"read_new_vs_npload": 0.6, "cold_vs_memmap_copy": 0.9, "write_vs_npsave": 0.6}
AT_MOST = {"rows_time_vs_memmap": 1.8}


def identity_of(specs: list[LayerSpec]) -> dict[str, Any]:
    """A resolved identity for numbers that come from a seed."""
    return {
        "schema": SCHEMA,
        "backbone": {"weights_digest": "benchmark"},
        "recipe": {"seed": 0},
        "preprocessing": {"fingerprint": "benchmark"},
        "dataset": {"digest": "benchmark"},
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
        "pooling": {"kind": "none"},
        "logical_dtype": DTYPE,
    }


def sync(folder: Path) -> None:
    """Force every file and folder to disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def write_store(folder: Path, layers: Layers, codec: Any = "none") -> None:
    specs = [LayerSpec(name, WIDTH, DTYPE, "layer", depth, name) for depth, name in enumerate(layers)]  # type: ignore[arg-type]
    rows = np.arange(ROWS)
    index: Layers = {"episode": rows // 50, "step": rows % 50, "action": rows % 3, "padding": np.zeros(ROWS, np.int16)}
    index |= {"reward": np.zeros(ROWS, np.float32), "terminated": np.zeros(ROWS, bool), "truncated": np.zeros(ROWS, bool)}
    writer = StoreWriter.open(folder, identity_of(specs), specs, ROWS, codec=codec)
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        writer.write_unit(unit, {name: values[part] for name, values in layers.items()}, {k: v[part] for k, v in index.items()})
    writer.commit({"command": "benchmarks/store_io.py"})


def write_npy(folder: Path, layers: Layers) -> None:
    for name, values in layers.items():
        np.save(folder / f"{name}.npy", values)
    sync(folder)


def write_h5(folder: Path, layers: Layers, **options: Any) -> None:
    with h5py.File(folder / "layers.h5", "w") as file:
        for name, values in layers.items():
            file.create_dataset(name, data=values, **options)
    sync(folder)


def write_zarr(folder: Path, layers: Layers, **options: Any) -> None:
    group = zarr.create_group(folder / "zarr")
    for name, values in layers.items():
        group.create_array(name, data=values, **options)
    sync(folder)


def opened(way: str, folder: Path) -> Callable[[str], Any]:
    """Return the function from a layer's name to something that can be indexed by rows."""
    if way == "store" or way == "store_zstd":
        store = Store.open(next((folder / "stores").iterdir()))
        readers = {name: store.layer(name) for name in store.specs}
        return readers.__getitem__
    if way == "memmap":
        maps = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        return maps.__getitem__
    if way.startswith("h5py"):
        return h5py.File(folder / "layers.h5").__getitem__
    return zarr.open_group(folder / "zarr", mode="r").__getitem__


WRITERS: dict[str, Callable[[Path, Layers], None]] = {
    "npy": write_npy,
    "store": write_store,
    "store_zstd": lambda folder, layers: write_store(folder, layers, "zstd"),
    "h5py": write_h5,
    "h5py_chunked": lambda folder, layers: write_h5(folder, layers, chunks=(256, WIDTH), fletcher32=True),
    "zarr_default": write_zarr,
    "zarr_sharded": lambda folder, layers: write_zarr(folder, layers, chunks=(256, WIDTH), shards=(4096, WIDTH), compressors=None),
}


def readers(folders: dict[str, Path]) -> dict[str, tuple[Path, Callable[[str], np.ndarray], Callable[[str, np.ndarray], np.ndarray]]]:
    """Every way to get a layer, and some rows of it, into memory, with the folder that it reads."""
    sources = {way: opened(way, folder) for way, folder in folders.items() if way != "npy"}
    sources["memmap"] = opened("memmap", folders["npy"])
    npy, store, zarr_of_store = folders["npy"], sources["store"], next((folders["store"] / "stores").iterdir())
    group = zarr.open_group(zarr_of_store, mode="r")
    found = {
        way: (folders[way], lambda name, s=s: s(name)[:], lambda name, rows, s=s: s(name)[rows])
        for way, s in sources.items()
        if way in folders
    }
    found["npload"] = npy, lambda name: np.load(npy / f"{name}.npy"), lambda name, rows: np.load(npy / f"{name}.npy")[rows]
    # opened anew for every layer, as np.load is; the rows come from maps that stay open
    found["memmap_copy"] = (
        npy,
        lambda name: np.array(np.load(npy / f"{name}.npy", mmap_mode="r")),
        lambda name, rows: sources["memmap"](name)[rows],
    )
    for way in ("store", "store_zstd"):
        source = sources[way]
        found[way] = folders[way], lambda name, s=source: s(name).all(), lambda name, rows, s=source: s(name).rows(rows)
    found["zarr_on_store"] = (
        folders["store"],
        lambda name: group[f"layers/{name}"][:],
        lambda name, rows: group[f"layers/{name}"].oindex[rows],
    )
    assert store("blocks.0").dtype == DTYPE
    return found


def forget(folder: Path) -> None:
    """Drop a folder's files from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def turns(names: list[str], repetitions: int, seed: int) -> Iterator[str]:
    random = np.random.default_rng(seed)
    for _ in range(repetitions):
        yield from random.permutation(names)


def measure(scratch: Path, layer_count: int, repetitions: int) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
    """Seconds of every task and contender, one figure a repetition; and the megabytes that each takes on disk."""
    random = np.random.default_rng(0)
    smooth = np.cumsum(random.standard_normal((ROWS, WIDTH), dtype=np.float32), axis=0) / 30
    layers = {
        f"blocks.{number}": (smooth + random.standard_normal((ROWS, WIDTH), dtype=np.float32)).astype(DTYPE)
        for number in range(layer_count)
    }
    seconds: dict[str, dict[str, list[float]]] = {task: {} for task in ("write", "read", "read_new", "cold", "rows")}
    folders = {way: scratch / way for way in WRITERS}
    for way in turns(list(WRITERS), max(5, repetitions // 2), 1):
        shutil.rmtree(folders[way], ignore_errors=True)
        folders[way].mkdir()
        began = time.perf_counter()
        WRITERS[way](folders[way], layers)
        seconds["write"].setdefault(way, []).append(time.perf_counter() - began)
    megabytes = {way: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6 for way, folder in folders.items()}
    ways = readers(folders)
    batches = [np.sort(random.choice(ROWS, BATCH, replace=False)) for _ in layers]
    for task in ("cold", "read", "read_new", "rows"):  # cold first: rows leaves files mapped, and a mapped page cannot be dropped
        for way, (_, whole, some) in ways.items():
            for (name, expected), batch in zip(layers.items(), batches, strict=True):
                found = some(name, batch) if task == "rows" else whole(name)
                assert np.array_equal(found, expected[batch] if task == "rows" else expected), f"{way} read other numbers"
        for way in turns(list(ways), repetitions, 2):
            folder, whole, some = ways[way]
            if task == "cold":
                forget(folder)
            kept, began = [], time.perf_counter()
            for name, batch in zip(layers, batches, strict=True):
                found = some(name, batch) if task == "rows" else whole(name)
                if task == "read_new":
                    kept.append(found)
            seconds[task].setdefault(way, []).append((time.perf_counter() - began) / layer_count)
            del kept, found
    return seconds, megabytes


def summary(seconds: dict[str, dict[str, list[float]]], megabytes: dict[str, float], layer_count: int, repetitions: int) -> dict[str, Any]:
    """Medians, spread and ratios."""
    figures: dict[str, Any] = {"layers": layer_count, "repetitions": repetitions}
    for task, ways in seconds.items():
        count = LAYER_BYTES * (layer_count if task == "write" else 1)
        for way, values in ways.items():
            ordered = [statistics.median(values), min(values), max(values)]
            if task == "rows":
                figures[f"rows_{way}_ms"] = dict(zip(("median", "min", "max"), (value * 1e3 for value in ordered), strict=True))
            else:
                figures[f"{task}_{way}_gb_per_s"] = dict(
                    zip(("median", "max", "min"), (count / value / 1e9 for value in ordered), strict=True)
                )
    median = {task: {way: statistics.median(values) for way, values in ways.items()} for task, ways in seconds.items()}
    for task in ("read", "read_new"):
        for way in ("npload", "memmap_copy", "zarr_on_store"):
            figures[f"{task}_vs_{way}"] = median[task][way] / median[task]["store"]
    figures["cold_vs_memmap_copy"] = median["cold"]["memmap_copy"] / median["cold"]["store"]
    figures["rows_time_vs_memmap"] = median["rows"]["store"] / median["rows"]["memmap_copy"]
    figures["write_vs_npsave"] = median["write"]["npy"] / median["write"]["store"]
    return figures | {f"disk_{way}_mb": size for way, size in megabytes.items()}


def main() -> None:
    chosen = harness.options(__doc__)
    layer_count, repetitions = (8, 7) if chosen.quick else (26, 11)
    hold_freed()  # freed memory stays with the process, for every contender
    with tempfile.TemporaryDirectory(dir=".") as folder:
        seconds, megabytes = measure(Path(folder), layer_count, repetitions)
    figures = summary(seconds, megabytes, layer_count, repetitions)
    harness.finish("store_io", ("numpy", "zarr", "h5py", "awscrt"), figures, chosen.json, at_least=AT_LEAST, at_most=AT_MOST)


if __name__ == "__main__":
    main()
