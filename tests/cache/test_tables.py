"""Columns of Arrow and Parquet tables come over row by row as they were written, or are refused: nothing moves from one row to another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from layerscout.cache.importers import parquet, tables
from layerscout.cache.importers.parquet import EpisodeRows, last_values
from layerscout.cache.importers.tables import column_values, read_table, whole_numbers
from layerscout.errors import BudgetError, DataError

pa = pytest.importorskip("pyarrow", reason="tables are read by pyarrow; installed with layerscout[import]")
pq = pytest.importorskip("pyarrow.parquet", reason="tables are read by pyarrow; installed with layerscout[import]")
OUT = "leave it out"


def column(values: object, shape: tuple[int, ...] | None, kind: object = None, packed: bool = False) -> np.ndarray:
    return column_values(pa.table({"a": pa.array(values, kind)}), ["a"], shape, "here", OUT, packed)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("listed", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2)], ids=["list", "large", "fixed"])
def test_rows_of_numbers_come_back_in_their_own_type_whatever_list_holds_them(kind, listed):
    found = column([[1, 2], [3, 4], [5, 6]], (2,), listed(kind))
    np.testing.assert_array_equal(found, [[1, 2], [3, 4], [5, 6]])
    assert found.dtype == kind.to_pandas_dtype()
    np.testing.assert_array_equal(column([[1, 2], [3, 4], [5, 6]], None, listed(kind)), found)


def test_lists_of_lists_have_the_shape_that_is_stated_and_one_axis_where_none_is():
    values = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(column(values.tolist(), (2, 3)), values)
    np.testing.assert_array_equal(column(values.tolist(), None), values.reshape(2, 6))
    np.testing.assert_array_equal(column(values.reshape(2, 6).tolist(), (2, 3)), values)


@pytest.mark.parametrize("values", [[1, 2, 3], [[1], [2], [3]]])
def test_one_number_a_row_is_a_column_without_an_axis_of_its_own(values):
    for shape in ((), None):
        np.testing.assert_array_equal(column(values, shape), [1, 2, 3])


@pytest.mark.parametrize("rows", [0, 1])
def test_a_column_of_no_row_or_one_keeps_its_shape(rows):
    assert column([[1.0, 2.0]] * rows, (2,), pa.list_(pa.float32())).shape == (rows, 2)
    assert column([[1.0, 2.0]] * rows, None, pa.list_(pa.float32())).shape == ((1, 2) if rows else (0,))
    assert column([1.0] * rows, (), pa.float32()).shape == (rows,)


@pytest.mark.parametrize(
    "values",
    [
        [[1.0], [2.0, 3.0, 4.0]],
        [[], [1.0, 2.0]],
        [[[1.0, 2.0], [3.0]], [[4.0], [5.0, 6.0]]],
        [[[1.0], [2.0]], [[3.0, 4.0]]],
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_rows_of_different_lengths_are_refused_even_where_their_sum_is_right(values, stated):
    """Numbers of one row would stand in another."""
    count = sum(np.size(part) for row in values for part in row)
    shape = (count // len(values),) if count > len(values) else ()
    with pytest.raises(DataError, match="here: 'a' holds lists of different lengths") as caught:
        column(values, shape if stated else None)
    assert caught.value.hint == OUT


@pytest.mark.parametrize(
    ("values", "shape", "told"),
    [
        ([1.0, None], (), "'a' has no value in 1 of 2 rows"),
        ([None, [1.0]], (1,), "'a' has no value in 1 of 2 rows"),
        ([[1.0, None], [2.0, 3.0]], (2,), "expected 4 numbers"),
        ([[1.0, 2.0], [3.0, 4.0]], (3,), "holds 4 values of double, expected 6 numbers"),
        (["up", "down"], (), "holds 2 values of string, expected 2 numbers"),
        ([b"up", b"down"], (), "holds 2 values of binary, expected 2 numbers"),
    ],
)
def test_what_is_missing_or_no_number_is_refused_with_the_way_out(values, shape, told):
    with pytest.raises(DataError, match=told) as caught:
        column(values, shape)
    assert caught.value.hint == OUT


def test_flags_are_numbers_and_packed_bytes_are_objects_only_where_they_are_asked_for():
    assert column([True, False], ()).tolist() == [True, False]
    found = column([b"\x00a", b""], (), packed=True)
    assert (found.dtype, found.tolist()) == (np.dtype(object), [b"\x00a", b""])
    np.testing.assert_array_equal(column([1.5, 2.5], (), packed=True), [1.5, 2.5])
    with pytest.raises(DataError, match="expected 1 numbers"):
        column_values(pa.table({"a": [b"x"]}), ["a"], (), "here", OUT)


def test_a_column_in_several_chunks_or_cut_out_of_a_table_is_the_rows_that_the_table_shows():
    whole = pa.table({"a": pa.chunked_array([[[0, 1]], [[2, 3], [4, 5]], [[6, 7]]])})
    np.testing.assert_array_equal(column_values(whole, ["a"], (2,), "here", OUT), np.arange(8).reshape(4, 2))
    np.testing.assert_array_equal(column_values(whole.slice(1, 2), ["a"], (2,), "here", OUT), [[2, 3], [4, 5]])
    nested = pa.table({"a": pa.array([{"b": {"c": 1}}, {"b": {"c": 2}}, {"b": {"c": 3}}])})
    assert column_values(nested, ["a", "b", "c"], (), "here", OUT).tolist() == [1, 2, 3]
    assert column_values(nested.slice(1, 2), ["a", "b", "c"], (), "here", OUT).tolist() == [2, 3]


@pytest.mark.parametrize("path", [["b"], ["a", "b"], ["a", "c", "d"]])
def test_a_column_that_is_not_there_is_named_with_its_whole_path(path):
    table = pa.table({"a": pa.array([{"c": 1}])})
    with pytest.raises(DataError, match=f"here misses the column '{'.'.join(path)}'"):
        column_values(table, path, (), "here", OUT)


def test_whole_numbers_are_whole_to_the_last_one_and_nothing_else_is():
    table = pa.table({"i": pa.array([0, 2**53 + 1]), "u": pa.array([0, 7], pa.uint8()), "f": [0.0, 1.0], "b": [True, False]})
    assert whole_numbers(table, "i", "here").tolist() == [0, 2**53 + 1]
    assert whole_numbers(table, "u", "here").dtype == np.int64
    for name, kind in (("f", "float64"), ("b", "bool")):
        with pytest.raises(DataError, match=f"'{name}' holds {kind}, expected whole numbers"):
            whole_numbers(table, name, "here")


def test_memory_is_asked_for_before_a_column_becomes_an_array(monkeypatch):
    monkeypatch.setattr("layerscout.cache.importers.needs.available_memory", lambda: 15)
    with pytest.raises(BudgetError, match=r"here: 'a' claims 0.0 GB"):
        column([1.0, 2.0], (), pa.float64())
    monkeypatch.setattr("layerscout.cache.importers.needs.available_memory", lambda: 16)
    assert column([1.0, 2.0], (), pa.float64()).tolist() == [1, 2]


def test_files_of_both_kinds_are_one_table_in_the_order_given(tmp_path):
    first, second = pa.table({"a": [1, 2], "b": [0, 0]}), pa.table({"a": [3], "b": [0]})
    pq.write_table(first, tmp_path / "1.parquet")
    with pa.OSFile(str(tmp_path / "2.arrow"), "wb") as sink, pa.ipc.new_file(sink, second.schema) as writer:
        writer.write_table(second)
    paths = [tmp_path / "2.arrow", tmp_path / "1.parquet"]
    assert read_table(paths, "here").column("a").to_pylist() == [3, 1, 2]
    assert read_table(paths[1:], "here", ["b"]).column_names == ["b"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table at all", b"ARROW1\0\0"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_damaged_file_or_none_is_refused_and_named(tmp_path, suffix, content):
    path = tmp_path / f"x.{suffix}"
    for paths in ([path], []):
        with pytest.raises(DataError, match="here cannot be read") as caught:
            read_table(paths, "here")
        assert caught.value.hint == tables.AGAIN
    path.write_bytes(content)
    with pytest.raises(DataError, match="here cannot be read"):
        read_table([path], "here")


def test_offsets_that_lead_elsewhere_are_refused_before_they_are_followed(tmp_path):
    offsets, numbers = pa.py_buffer(np.array([0, 2, 1, 4], np.int32)), pa.array([1.0, 2.0, 3.0, 4.0])
    torn = pa.Array.from_buffers(pa.list_(pa.float64()), 3, [None, offsets], children=[numbers])
    table = pa.table({"a": torn})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="here cannot be read"):
        read_table([tmp_path / "x.arrow"], "here")


# rows of episodes


@pytest.fixture
def shard(tmp_path) -> Path:
    """Episodes 5, 6 and 8 in row groups of three rows; episode 6 lies in all three groups, 8 is in two pieces."""
    numbers = [5, 5, 6, 6, 6, 8, 6, 8, 8]
    pq.write_table(pa.table({"episode_index": numbers, "a": list(range(9)), "b": [0.5] * 9}), tmp_path / "x.parquet", row_group_size=3)
    return tmp_path / "x.parquet"


@pytest.mark.parametrize("order", [(5, 6, 8), (8, 6, 5), (6, 6, 5)])
def test_the_rows_of_an_episode_are_the_same_in_any_order_of_asking(shard, order):
    rows = EpisodeRows(["a"])
    expected = {5: [0, 1], 6: [2, 3, 4, 6], 8: [5, 7, 8]}
    for episode in order:
        assert rows.read(shard, episode, "here").column("a").to_pylist() == expected[episode]
    assert set(rows.read(shard, 5, "here").column_names) == {"episode_index", "a"}


def test_an_episode_that_is_not_there_has_no_rows_and_its_columns(shard):
    found = EpisodeRows(["a"]).read(shard, 7, "here")
    assert (len(found), found.column_names) == (0, ["episode_index", "a"])


def test_each_row_group_is_decoded_once_and_only_those_of_the_last_episode_stay(shard, monkeypatch):
    decoded: list[int] = []
    original = EpisodeRows._decode
    monkeypatch.setattr(EpisodeRows, "_decode", lambda self, group, where: decoded.append(group) or original(self, group, where))
    rows = EpisodeRows(["a"])
    for episode in (5, 6, 8):
        rows.read(shard, episode, "here")
    assert decoded == [0, 1, 2]
    rows.read(shard, 5, "here")
    assert decoded == [0, 1, 2, 0]


def test_another_file_is_opened_and_a_closed_one_forgotten(shard, tmp_path):
    pq.write_table(pa.table({"episode_index": [5], "a": [70]}), tmp_path / "y.parquet")
    rows = EpisodeRows(["a"])
    for path, expected in ((shard, [0, 1]), (tmp_path / "y.parquet", [70]), (shard, [0, 1])):
        assert rows.read(path, 5, "here").column("a").to_pylist() == expected
    rows.close()
    shard.unlink()
    with pytest.raises(DataError, match="here cannot be read"):
        rows.read(shard, 5, "here")


def test_a_column_that_a_file_lacks_and_a_group_beyond_memory_are_refused(shard, monkeypatch):
    with pytest.raises(DataError, match="here misses the column 'c'"):
        EpisodeRows(["a", "c"]).read(shard, 5, "here")
    monkeypatch.setattr(parquet, "require_memory", lambda count, what: (_ for _ in ()).throw(BudgetError(f"{what}", hint="")))
    with pytest.raises(BudgetError, match="here: a row group"):
        EpisodeRows(["a"]).read(shard, 5, "here")


def test_the_last_value_of_an_episode_is_that_of_its_last_row_over_all_files(shard, tmp_path):
    pq.write_table(pa.table({"episode_index": [9, 9], "a": [20, 21], "b": [0.0, 1.5]}), tmp_path / "y.parquet")
    found = last_values([shard, tmp_path / "y.parquet"], ["a", "b"], "here")
    assert {episode: values["a"].item() for episode, values in found.items()} == {5: 1, 6: 6, 8: 8, 9: 21}
    assert found[9]["b"].item() == 1.5
    pq.write_table(pa.table({"episode_index": pa.array([], pa.int64()), "a": pa.array([], pa.int64())}), tmp_path / "z.parquet")
    assert last_values([tmp_path / "z.parquet"], ["a"], "here") == {}
