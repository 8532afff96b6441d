"""A seed in, a small store of which every number is known out; a hypothesis strategy of such stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache import bfloat16
from layerscout.cache.identity import SCHEMA, store_id
from layerscout.cache.layout import STANDARD_COLUMNS, ColumnSpec, LayerSpec
from layerscout.cache.store import Store
from layerscout.cache.writing.writer import StoreWriter


@dataclass(frozen=True)
class SmallStore:
    """Everything that a small store is made of. ``layers`` and ``index`` are what a reader must give back, bit for bit."""

    specs: tuple[LayerSpec, ...]
    columns: tuple[ColumnSpec, ...]
    identity: dict[str, Any]
    layers: dict[str, np.ndarray]
    index: dict[str, np.ndarray]
    rows_per_chunk: int
    codec: Any = "none"

    @property
    def id(self) -> str:
        """Return the id that the store's inputs give it, before it is written."""
        return store_id(self.identity)

    def write(self, root: Path) -> Store:
        """Write every unit in order under a root and commit; return the opened store."""
        writer = self.open(root)
        for unit in writer.pending():
            writer.write_unit(unit, *self.of_span(*writer.span(unit)))
        return writer.commit({"command": "contract"})

    def open(self, root: Path) -> StoreWriter:
        """Begin a writer of this store under a root, or go on where another one stopped."""
        rows = len(self.index["step"])
        return StoreWriter.open(root, self.identity, self.specs, rows, self.rows_per_chunk, self.columns, self.codec)

    def of_span(self, start: int, stop: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the layers and the index columns of the rows ``[start, stop)``."""
        return {name: rows[start:stop] for name, rows in self.layers.items()}, {name: rows[start:stop] for name, rows in self.index.items()}

    def of_another_run(self) -> SmallStore:
        """Return a store of the same identity with other numbers, as another GPU would have computed them."""
        return replace(self, layers={name: -values for name, values in self.layers.items()})

    def check(self, store: Store, layers: Sequence[str] | None = None) -> None:
        """Assert that a store gives back these numbers."""
        assert store.id == self.id
        assert store.identity == self.identity
        assert tuple(store.specs.values()) == self.specs
        for name in self.layers if layers is None else layers:
            _assert_same(store.layer(name).all(), self.layers[name])
        for name, values in self.index.items():
            _assert_same(store.index(name), values)


def made_up(
    seed: int,
    rows: int = 7,
    rows_per_chunk: int = 4,
    widths: Sequence[int] = (3, 5),
    dtype: Any = "float16",
    codec: str = "none",
    extra: Sequence[ColumnSpec] = (),
) -> SmallStore:
    """Make up a store of layers ``blocks.0``, ``blocks.1``, … and a control ``pixels``; equal arguments, equal store."""
    random = np.random.default_rng(seed)
    specs = [LayerSpec(f"blocks.{depth}", width, dtype, "layer", depth, f"blocks.{depth}") for depth, width in enumerate(widths)]
    specs.append(LayerSpec("pixels", 2, "float32", "control", len(specs), "pixels"))
    layers = {spec.name: _values(random, spec, rows) for spec in specs}
    columns = (*STANDARD_COLUMNS, *extra)
    index = {column.name: _column(random, column, rows) for column in columns}
    index["episode"], index["step"] = np.zeros(rows, np.int32), np.arange(rows, dtype=np.int32)
    shape = [seed, rows, rows_per_chunk, dtype, codec, [column.name for column in columns]]
    identity = {
        "schema": SCHEMA,
        "backbone": {"name": "made-up", "weights_digest": "sha256:aa"},
        "recipe": {"made_of": shape},
        "preprocessing": {"clip_length": 1, "fingerprint": "sha256:bb"},
        "dataset": {"digest": "sha256:cc"},
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
        "pooling": {"kind": "mean"},
        "logical_dtype": dtype,
    }
    return SmallStore(tuple(specs), columns, identity, layers, index, rows_per_chunk, codec)


def small_stores() -> Any:
    """Return a hypothesis strategy of small stores: every dtype, codec, number of rows, chunks, layers and index columns."""
    from hypothesis import strategies as st

    extra = st.sampled_from([(), (ColumnSpec("state", "float32", 3),), (ColumnSpec("expert_action", "int32"), ColumnSpec("done", "bool"))])
    return st.builds(
        made_up,
        seed=st.integers(0, 2**16),
        rows=st.integers(1, 12),
        rows_per_chunk=st.integers(1, 6),
        widths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
        dtype=st.sampled_from(["float16", "float32", "bfloat16"]),
        codec=st.sampled_from(["none", "zstd"]),
        extra=extra,
    )


def _values(random: np.random.Generator, spec: LayerSpec, rows: int) -> np.ndarray:
    values = random.normal(size=(rows, spec.width)).astype(np.float32)
    return bfloat16.from_bfloat16(bfloat16.to_bfloat16(values)) if spec.dtype == "bfloat16" else values.astype(spec.dtype)


def _column(random: np.random.Generator, column: ColumnSpec, rows: int) -> np.ndarray:
    shape = (rows,) if column.width is None else (rows, column.width)
    values = random.integers(0, 2, size=shape).astype(column.dtype)
    if column.dtype == "float32":
        values[-1] = np.nan
    return values


def _assert_same(read: np.ndarray, values: np.ndarray) -> None:
    assert read.dtype == values.dtype
    assert read.shape == values.shape
    assert np.ascontiguousarray(read).tobytes() == np.ascontiguousarray(values).tobytes()
