"""How fast a layer is read with its checksums verified, against np.load, np.memmap and zarr-python on the same numbers.

    python benchmarks/store_io.py [--quick] [--json]

All contenders take turns in one process, in shuffled order, so that a busy machine slows all of them alike.
Each loads every layer and keeps it, so memory is new to the process, as it is for a probe that reads a layer once.
The figures named "recycled" drop each layer at once and so reuse warm memory: there a read is little more than one
copy, and the checksum, which costs about as much as the copy, weighs most. Files are in the page cache throughout.
Rates count a layer's bytes; a ratio is np.load's median time divided by the contender's; the bar is on the first kind.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import zarr

from layerscout.cache.identity import SCHEMA
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writer import StoreWriter

ROWS, WIDTH, DTYPE = 8192, 1024, "float16"
BARS = {"read_vs_npload": 0.6}
BATCH = 256


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


def write(folder: Path, layer_count: int) -> tuple[Store, dict[str, float]]:
    """Write the same numbers as a store and as .npy files; return the store and the seconds each took."""
    random = np.random.default_rng(0)
    layers = {f"blocks.{number}": random.standard_normal((ROWS, WIDTH), dtype=np.float32).astype(DTYPE) for number in range(layer_count)}
    specs = [LayerSpec(name, WIDTH, DTYPE, "layer", depth, name) for depth, name in enumerate(layers)]  # type: ignore[arg-type]
    began = time.perf_counter()
    for name, values in layers.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())
    saved = time.perf_counter()
    rows = np.arange(ROWS)
    index: dict[str, np.ndarray] = {"episode": rows // 50, "step": rows % 50, "action": rows % 3, "padding": np.zeros(ROWS, np.int16)}
    index |= {"reward": np.zeros(ROWS, np.float32), "terminated": np.zeros(ROWS, bool), "truncated": np.zeros(ROWS, bool)}
    writer = StoreWriter.open(folder / "root", identity_of(specs), specs, ROWS)
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        writer.write_unit(unit, {name: values[part] for name, values in layers.items()}, {k: v[part] for k, v in index.items()})
    store = writer.commit({"command": "benchmarks/store_io.py"})
    return store, {"npsave": saved - began, "store": time.perf_counter() - saved}


def contenders(folder: Path, store: Store) -> dict[str, Callable[[str], np.ndarray]]:
    """Every way to get one layer into memory."""
    group = zarr.open_group(store.path, mode="r")
    return {
        "npload": lambda name: np.load(folder / f"{name}.npy"),
        "layerscout": lambda name: store.layer(name).all(),
        "zarr": lambda name: np.asarray(group[f"layers/{name}"][:]),
        "memmap_copy": lambda name: np.array(np.load(folder / f"{name}.npy", mmap_mode="r")),
    }


def measure(folder: Path, store: Store, repetitions: int) -> dict[str, list[float]]:
    """Seconds per layer of every contender, one figure a repetition."""
    random = np.random.default_rng(1)
    batch = np.sort(random.choice(ROWS, BATCH, replace=False))
    ways = contenders(folder, store)
    kept = dict(ways)
    dropped = {f"recycled_{name}": ways[name] for name in ("npload", "layerscout")}
    dropped["rows_layerscout"] = lambda name: store.layer(name).rows(batch)
    dropped["rows_memmap"] = lambda name: np.load(folder / f"{name}.npy", mmap_mode="r")[batch]
    oracle = {name: ways["npload"](name) for name in store.specs}
    for name in store.specs:
        for way, read in ways.items():
            assert np.array_equal(read(name), oracle[name]), f"{way} read other numbers"
    del oracle
    seconds: dict[str, list[float]] = {name: [] for name in kept | dropped}
    for _ in range(repetitions):
        for task in random.permutation(list(seconds)):
            read = (kept | dropped)[task]
            memory = []
            began = time.perf_counter()
            for name in store.specs:
                layer = read(name)
                if task in kept:
                    memory.append(layer)
            seconds[task].append((time.perf_counter() - began) / len(store.specs))
            del memory
    return seconds


def summary(seconds: dict[str, list[float]], wrote: dict[str, float], layer_bytes: int, layer_count: int) -> dict[str, Any]:
    """Medians, spread and ratios."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    figures: dict[str, Any] = {"layers": layer_count, "layer_megabytes": layer_bytes / 1e6, "repetitions": len(seconds["npload"])}
    for name, values in seconds.items():
        low, high = min(values), max(values)
        if name.startswith("rows"):
            figures[f"{name}_ms"] = {"median": median[name] * 1e3, "min": low * 1e3, "max": high * 1e3}
        else:
            figures[f"{name}_gb_per_s"] = {
                "median": layer_bytes / median[name] / 1e9,
                "min": layer_bytes / high / 1e9,
                "max": layer_bytes / low / 1e9,
            }
    figures["read_vs_npload"] = median["npload"] / median["layerscout"]
    figures["zarr_vs_npload"] = median["npload"] / median["zarr"]
    figures["read_vs_npload_recycled"] = median["recycled_npload"] / median["recycled_layerscout"]
    figures["read_vs_memmap_copy"] = median["memmap_copy"] / median["layerscout"]
    figures["write_mb_per_s"] = layer_bytes * layer_count / wrote["store"] / 1e6
    figures["write_vs_npsave_fsync"] = wrote["npsave"] / wrote["store"]
    return figures


def main() -> None:
    chosen = harness.options(__doc__)
    layer_count, repetitions = (8, 11) if chosen.quick else (16, 31)
    with tempfile.TemporaryDirectory() as folder:
        store, wrote = write(Path(folder), layer_count)
        seconds = measure(Path(folder), store, repetitions)
    figures = summary(seconds, wrote, ROWS * WIDTH * np.dtype(DTYPE).itemsize, layer_count)
    harness.finish("store_io", ("numpy", "zarr", "google-crc32c"), figures, chosen.json, at_least=BARS)


if __name__ == "__main__":
    main()
