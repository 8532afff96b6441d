"""Layers and index columns in memory in, a committed store on disk out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from synthetic_layers import MemoryStore

from layerscout.cache.layout import LayerSpec
from layerscout.cache.store import Store
from layerscout.cache.writing.writer import StoreWriter


def commit(
    root: Path,
    memory: MemoryStore,
    weights: str = "sha256:a",
    rows_per_chunk: int = 100,
    pooling: str = "mean",
    backbone: str = "synthetic",
) -> Store:
    """Write a store whose identity differs with ``weights``, ``pooling`` and the dataset."""
    names = ("terminated", "truncated")
    index = (
        memory.columns | {name: np.zeros(memory.rows, dtype=bool) for name in names} | {"padding": np.zeros(memory.rows, dtype=np.int16)}
    )
    specs = [LayerSpec(spec.name, spec.width, spec.dtype, spec.role, spec.depth, spec.module) for spec in memory.specs.values()]
    identity = {
        "schema": "layerscout-identity/1",
        "backbone": {"name": backbone, "weights_digest": weights},
        "recipe": {},
        "preprocessing": {"fingerprint": "sha256:1"},
        "dataset": {"digest": memory.dataset},
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
        "pooling": pooling,
        "logical_dtype": next(spec.dtype for spec in specs if spec.role == "layer"),
    }
    writer = StoreWriter.open(root, identity, specs, memory.rows, rows_per_chunk=rows_per_chunk)
    for unit in writer.pending():
        rows = slice(*writer.span(unit))
        arrays = {name: array[rows] for name, array in memory.arrays.items()}
        writer.write_unit(unit, arrays, {name: column[rows] for name, column in index.items()})
    return Store.open(writer.commit({}).path)
