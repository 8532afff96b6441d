"""Two stores of one id: what differs is counted and measured exactly; another id is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from layerscout.cache.catalog import comparison
from layerscout.cache.catalog.comparison import compare_stores, open_against
from layerscout.cache.testing import made_up
from layerscout.errors import DataError, UsageError

SMALL = made_up(0, rows=9, rows_per_chunk=4)


@pytest.fixture
def store(tmp_path):
    return SMALL.write(tmp_path / "here")


def other_run(root, rows_per_chunk=SMALL.rows_per_chunk, index=SMALL.index, **layers):
    """Another machine's store of the same id."""
    return replace(SMALL, layers=SMALL.layers | layers, index=index, rows_per_chunk=rows_per_chunk).write(root)


def test_the_same_numbers_are_equal_however_they_are_cut(store, tmp_path):
    found = compare_stores(store, other_run(tmp_path / "there", rows_per_chunk=7))
    assert found.equal
    assert found.unequal_columns == ()
    assert [layer.name for layer in found.layers] == list(SMALL.layers)
    for layer in found.layers:
        values = SMALL.layers[layer.name].astype(np.float64)
        assert (layer.values, layer.different, layer.largest_absolute, layer.largest_relative) == (values.size, 0, 0.0, 0.0)
        assert layer.root_mean_square == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-12)


@pytest.mark.parametrize("block", [1, 7, 2**20])
def test_differences_are_counted_and_measured(store, tmp_path, monkeypatch, block):
    """Against the same figures from the whole arrays at once; zeros on one side, on both, and signs among them."""
    monkeypatch.setattr(comparison, "BLOCK_VALUES", block)
    one = SMALL.layers["pixels"].copy()
    one[0, 0], one[3, 1], one[8, 1] = 0.0, 0.0, -one[8, 1]
    two = SMALL.layers["blocks.0"].copy()
    two[5] = np.nextafter(two[5], np.float16(0))
    found = compare_stores(store, other_run(tmp_path / "there", pixels=one, **{"blocks.0": two}))
    assert not found.equal
    told = {layer.name: layer for layer in found.layers}
    for name, changed in (("pixels", one), ("blocks.0", two)):
        first, second = SMALL.layers[name].astype(np.float64), changed.astype(np.float64)
        apart = np.abs(first - second)
        largest = np.maximum(np.abs(first), np.abs(second))
        assert told[name].different == (first != second).sum() > 0
        assert told[name].largest_absolute == apart.max()
        assert told[name].largest_relative == (apart / np.where(largest > 0, largest, 1.0)).max()
    assert told["pixels"].largest_relative == 2.0
    assert told["blocks.1"].different == 0
    assert found.describe()["layers"][0]["different"] == told["blocks.0"].different


def test_index_columns_that_differ_are_named(store, tmp_path):
    changed = SMALL.index | {"reward": SMALL.index["reward"] + 1, "step": SMALL.index["step"][::-1].copy()}
    found = compare_stores(store, other_run(tmp_path / "there", index=changed))
    assert found.unequal_columns == ("step", "reward")
    assert not found.equal
    assert all(layer.different == 0 for layer in found.layers)


def test_stores_of_two_ids_are_not_compared(store, tmp_path):
    with pytest.raises(DataError, match="computed from different things") as raised:
        compare_stores(store, made_up(1).write(tmp_path / "there"))
    assert made_up(1).id in str(raised.value)


def test_damage_is_an_error_and_no_difference(store, tmp_path):
    other = other_run(tmp_path / "there")
    chunk = other.path / "layers/blocks.1/c/1/0"
    chunk.write_bytes(bytes(chunk.stat().st_size))
    with pytest.raises(DataError, match=r"blocks\.1/c/1/0 is damaged"):
        compare_stores(store, other)


def test_the_other_store_lies_in_a_folder_or_under_a_root(store, tmp_path):
    other = other_run(tmp_path / "there")
    assert open_against(SMALL.id, tmp_path / "there").path == other.path
    assert open_against(SMALL.id, other.path).path == other.path
    with pytest.raises(DataError, match="does not exist"):
        open_against(SMALL.id, tmp_path)
    with pytest.raises(UsageError, match="is elsewhere"):
        open_against(SMALL.id, "s3://bucket/x")
