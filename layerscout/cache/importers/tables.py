"""Arrow and Parquet files in, columns of numbers or bytes out, whose shapes were looked up and not believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.importers.base import Array
from layerscout.cache.importers.needs import need_package, require_memory
from layerscout.errors import DataError

AGAIN = "the source is incomplete or damaged; fetch it again"


def read_table(paths: Sequence[Path], where: str, columns: Sequence[str] | None = None) -> Any:
    """Read Arrow (IPC) or Parquet files whole, as one ``pyarrow.Table``.

    Raises
    ------
    DataError
        There is no file, or one is damaged.
    """
    need_package("pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        parts = []
        for path in paths:
            if path.suffix == ".parquet":
                parts.append(pyarrow.parquet.ParquetFile(path).read(columns))
            else:
                with pyarrow.memory_map(str(path)) as source:
                    parts.append(pyarrow.ipc.open_file(source).read_all())
        table = pyarrow.concat_tables(parts).combine_chunks()
        table.validate(full=True)  # offsets in a damaged file may lead anywhere in memory
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{where} cannot be read: {error}", hint=AGAIN) from None
    return table


def column_values(table: Any, path: Sequence[str], shape: Sequence[int] | None, where: str, way_out: str, packed: bool = False) -> Array:
    """Return one column, or a part of a column of structures, as an array ``[row, *shape]``; bytes come as an array of objects.

    ``way_out`` is what to do about a field that cannot be read. Without a shape, the values say how many a row has. ``packed``
    tells whether rows of bytes are expected, or will do.

    Raises
    ------
    DataError
        There is no such column, a value is missing, or the rows do not have the shape.
    """
    import pyarrow
    import pyarrow.compute

    name = ".".join(path)
    try:
        column = table.column(path[0])
        found = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
        for part in path[1:]:
            found = found.field(part)
    except (KeyError, AttributeError, pyarrow.ArrowException) as error:
        raise DataError(f"{where} misses the column '{name}': {error}", hint=AGAIN) from None
    found = found.chunk(0) if isinstance(found, pyarrow.ChunkedArray) else found
    rows = len(found)
    require_memory(found.nbytes, f"{where}: '{name}'")
    if found.null_count:
        raise DataError(f"{where}: '{name}' has no value in {found.null_count} of {rows} rows", hint=way_out)
    if packed and (pyarrow.types.is_binary(found.type) or pyarrow.types.is_large_binary(found.type)):
        return np.array(found.to_pylist(), dtype=object)
    inner, ragged = found, False
    while pyarrow.types.is_list(inner.type) or pyarrow.types.is_large_list(inner.type) or pyarrow.types.is_fixed_size_list(inner.type):
        ragged |= pyarrow.compute.count_distinct(pyarrow.compute.list_value_length(inner), mode="all").as_py() > 1
        inner = inner.flatten()
    if ragged:
        raise DataError(f"{where}: '{name}' holds lists of different lengths, expected one length for all rows", hint=way_out)
    if shape is None:
        shape = () if inner is found or len(inner) == rows else (max(1, len(inner) // max(1, rows)),)
    expected = rows * math.prod(shape)
    if len(inner) != expected or inner.null_count or not _is_number(inner.type):
        raise DataError(f"{where}: '{name}' holds {len(inner)} values of {inner.type}, expected {expected} numbers", hint=way_out)
    return inner.to_numpy(zero_copy_only=False).reshape(rows, *shape)


def _is_number(kind: Any) -> bool:
    import pyarrow

    types = pyarrow.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def whole_numbers(table: Any, name: str, where: str) -> Array:
    """Return one column of whole numbers, as int64.

    Raises
    ------
    DataError
        There is no such column, or it holds something else.
    """
    found = column_values(table, [name], (), where, AGAIN)
    if found.dtype.kind not in "iu":
        raise DataError(f"{where}: '{name}' holds {found.dtype}, expected whole numbers", hint=AGAIN)
    return found.astype(np.int64)
