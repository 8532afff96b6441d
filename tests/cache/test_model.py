"""A store that is written, killed, continued, damaged and read in any order agrees with plain arrays in memory."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from identity_by_hand import make_identity

from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.layout import STANDARD_COLUMNS, ColumnSpec
from layerscout.cache.opening import find_store
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import DataError

COLUMN_DTYPES = ("int16", "int32", "float32", "bool")


def exact(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that float16, bfloat16 and float32 hold exactly, so that the model needs no rounding of its own."""
    return random.integers(-120, 120, shape).astype(np.float32) / 4


class StoreModel(RuleBasedStateMachine):
    """``layers`` and ``index`` are the model; ``done`` and ``wounded`` say what the files on disk must know of it."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        draw = data.draw
        self.root = Path(tempfile.mkdtemp())
        self.rows, self.rows_per_chunk = draw(st.integers(1, 17)), draw(st.integers(1, 8))
        self.codec, dtype = draw(st.sampled_from(["none", "zstd"])), draw(st.sampled_from(["float16", "bfloat16", "float32"]))
        widths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
        layers = [LayerSpec(f"b.{depth}", width, dtype, "layer", depth, f"b.{depth}") for depth, width in enumerate(widths)]
        self.specs = (*layers, LayerSpec("pixels", 2, "float32", "control", -1, ""))
        extra = draw(st.lists(st.tuples(st.sampled_from(COLUMN_DTYPES), st.none() | st.integers(1, 3)), max_size=2))
        self.columns = (*STANDARD_COLUMNS, *(ColumnSpec(f"extra.{place}", *what) for place, what in enumerate(extra)))
        random = np.random.default_rng(draw(st.integers(0, 2**32)))
        self.layers = {spec.name: exact(random, (self.rows, spec.width)) for spec in self.specs}
        self.index: dict[str, np.ndarray] = {}
        for column in self.columns:
            shape = (self.rows,) if column.width is None else (self.rows, column.width)
            values = exact(random, shape)
            if column.dtype == "float32":
                values[random.random(shape) < 0.2] = np.nan
            self.index[column.name] = values.astype(column.dtype)
        self.identity = make_identity(self.specs) | {"logical_dtype": dtype}
        self.store: Store | None = None
        self.wounded: tuple[str, int] | None = None  # path of a damaged file of the store, and its unit
        self.done: set[int] = set()
        self.open_writer()

    def open_writer(self) -> None:
        arguments: Any = (self.root, self.identity, self.specs, self.rows, self.rows_per_chunk, self.columns, self.codec)
        self.writer = StoreWriter.open(*arguments)

    # --- before the commit

    @precondition(lambda self: self.store is None and self.writer.pending())
    @rule(data=st.data())
    def write_a_unit(self, data: st.DataObject) -> None:
        self.write(data.draw(st.sampled_from(self.writer.pending())))

    @precondition(lambda self: self.store is None and self.writer.pending())
    @rule()
    def write_the_others(self) -> None:
        for unit in self.writer.pending():
            self.write(unit)

    def write(self, unit: int) -> None:
        part = slice(*self.writer.span(unit))
        self.writer.write_unit(unit, {k: v[part] for k, v in self.layers.items()}, {k: v[part] for k, v in self.index.items()})
        self.done.add(unit)

    @precondition(lambda self: self.store is None)
    @rule()
    def kill_and_continue(self) -> None:
        self.open_writer()
        assert set(range(self.writer.units)) - set(self.writer.pending()) == self.done

    @precondition(lambda self: self.store is None and self.done)
    @rule(data=st.data(), cut=st.booleans())
    def kill_damage_and_continue(self, data: st.DataObject, cut: bool) -> None:
        unit = data.draw(st.sampled_from(sorted(self.done)))
        array = data.draw(st.sampled_from(self.writer.layout.arrays()))
        files = {path.stat().st_ino: path for path in self.root.glob(f"staging/*/*/store/{array.path(unit)}")}
        for path in files.values():  # in place, and so in every attempt that links it
            size = path.stat().st_size
            path.write_bytes(b"\x5a" * (size - 1 if cut else size))
        self.done.discard(unit)
        self.kill_and_continue()

    @precondition(lambda self: self.store is None and not self.writer.pending())
    @rule()
    def commit(self) -> None:
        self.store = self.writer.commit({"command": "model"})
        assert find_store(self.root, self.identity).manifest == self.store.manifest
        assert not list((self.root / "staging").rglob("*/store"))

    @precondition(lambda self: self.store is None and self.writer.pending())
    @rule()
    def nothing_is_published_too_early(self) -> None:
        with pytest.raises(DataError, match="misses"):
            self.writer.commit({})
        assert find_store(self.root, self.identity) is None

    # --- after it

    def agrees(self, read: Any, expected: np.ndarray, units: set[int], array: Any) -> None:
        """What is read equals the model, unless it lies in the damaged file: then it is refused."""
        hurt = self.wounded is not None and self.wounded[0] == array.path(self.wounded[1]) and self.wounded[1] in units
        if hurt:
            with pytest.raises(DataError, match=r"damaged|not the file|decompress"):
                read()
        else:
            found = read()
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_array_equal(found, expected)

    def expected(self, name: str) -> np.ndarray:
        dtype = next(spec.dtype for spec in self.specs if spec.name == name)
        return self.layers[name].astype("float32" if dtype == "bfloat16" else dtype)

    @precondition(lambda self: self.store)
    @rule(data=st.data())
    def read_a_slice(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.layers)))
        start = data.draw(st.integers(0, self.rows))
        stop = data.draw(st.integers(start, self.rows))
        size = self.store.manifest.rows_per_chunk
        units = {row // size for row in range(start, stop)}
        reader = self.store.layer(name)
        self.agrees(lambda: reader.read(start, stop), self.expected(name)[start:stop], units, reader.layout)

    @precondition(lambda self: self.store)
    @rule(data=st.data())
    def read_rows(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.layers)))
        rows = np.array(data.draw(st.lists(st.integers(0, self.rows - 1), max_size=9)), dtype=np.int64)
        units = set((rows // self.store.manifest.rows_per_chunk).tolist())
        reader = self.store.layer(name)
        self.agrees(lambda: reader.rows(rows), self.expected(name)[rows], units, reader.layout)

    @precondition(lambda self: self.store)
    @rule(data=st.data())
    def read_a_column(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.index)))
        array = self.store.manifest.layout.index()[name]
        self.agrees(lambda: self.store.index(name), self.index[name], set(range(array.chunks)), array)

    @precondition(lambda self: self.store)
    @rule()
    def open_again(self) -> None:
        self.store = Store.open(self.store.path)
        assert tuple(self.store.specs.values()) == self.specs
        assert tuple(self.store.columns.values()) == self.columns

    @precondition(lambda self: self.store and self.wounded is None)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        array = data.draw(st.sampled_from(self.store.manifest.layout.arrays()))
        unit = data.draw(st.integers(0, array.chunks - 1))
        self.wounded = array.path(unit), unit
        path = self.store.path / self.wounded[0]
        self.whole = path.read_bytes()
        place = data.draw(st.integers(0, len(self.whole) - 1))
        path.write_bytes(self.whole[:place] + bytes([self.whole[place] ^ (1 << data.draw(st.integers(0, 7)))]) + self.whole[place + 1 :])

    @precondition(lambda self: self.store and self.wounded)
    @rule()
    def mend(self) -> None:
        (self.store.path / self.wounded[0]).write_bytes(self.whole)
        self.wounded = None

    @precondition(lambda self: self.store)
    @rule(full=st.booleans())
    def verify_names_the_damaged_file_alone(self, full: bool) -> None:
        found = [problem.path for problem in verify_store(self.store.path, full).problems]
        assert found == ([self.wounded[0]] if self.wounded else [])

    @precondition(lambda self: self.store)
    @rule()
    def a_late_writer_gets_the_same_store(self) -> None:
        self.open_writer()
        assert self.writer.commit({"command": "late"}).manifest == self.store.manifest

    @invariant()
    def nothing_half_written_is_published(self) -> None:
        if hasattr(self, "root"):
            assert not list(self.root.glob("stores/**/*.partial"))

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)


TestStoreModel = StoreModel.TestCase
TestStoreModel.pytestmark = [pytest.mark.slow]  # type: ignore[attr-defined]
TestStoreModel.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
