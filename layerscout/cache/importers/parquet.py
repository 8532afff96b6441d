"""Parquet files that hold many episodes in, the rows of one episode after the other out; every row group is decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from layerscout.cache.importers import tables
from layerscout.cache.importers.needs import need_package, require_memory
from layerscout.errors import DataError

EPISODE = "episode_index"


class EpisodeRows:
    """Reads episodes out of Parquet files.

    Asked in the order in which episodes lie in a file, it decodes every row group once: those that the last episode was in
    are kept, because the next one begins there. A file may be a single row group.

    Parameters
    ----------
    columns
        Which columns to read, beside the episode's number.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        need_package("pyarrow")
        self._columns = [EPISODE, *(name for name in columns if name != EPISODE)]
        self._path: Path | None = None
        self._file: Any = None
        self._numbers: list[Int64[np.ndarray, " row"]] = []  # of every row group: which episode a row belongs to
        self._groups: dict[int, Any] = {}

    def read(self, path: Path, episode: int, where: str) -> Any:
        """Return the rows of one episode as a ``pyarrow.Table``.

        Raises
        ------
        DataError
            The file is damaged, or lacks a column.
        BudgetError
            A row group does not fit into memory.
        """
        import pyarrow

        try:
            self._open(path, where)
            parts = {group: np.flatnonzero(numbers == episode) for group, numbers in enumerate(self._numbers)}
            parts = {group: rows for group, rows in parts.items() if len(rows)}
            kept = {group: table for group, table in self._groups.items() if group in parts}
            self._groups = {group: kept.get(group) or self._decode(group, where) for group in parts or [0]}
            found = [_rows(self._groups[group], rows) for group, rows in parts.items()]
            return pyarrow.concat_tables(found or [self._groups[0].slice(0, 0)]).combine_chunks()
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            self._path = None
            raise DataError(f"{where} cannot be read: {error}", hint=tables.AGAIN) from None

    def close(self) -> None:
        """Forget the file and its decoded row groups, so that their memory is free."""
        self._path, self._file, self._groups, self._numbers = None, None, {}, []

    def _open(self, path: Path, where: str) -> None:
        import pyarrow.parquet

        if path == self._path:
            return
        self.close()
        self._file = pyarrow.parquet.ParquetFile(path)
        groups = range(self._file.num_row_groups)
        self._numbers = [tables.whole_numbers(self._file.read_row_group(group, [EPISODE]), EPISODE, where) for group in groups]
        self._path = path

    def _decode(self, group: int, where: str) -> Any:
        require_memory(2 * self._file.metadata.row_group(group).total_byte_size, f"{where}: a row group")
        lacking = [name for name in self._columns if name not in self._file.schema_arrow.names]
        if lacking:
            raise DataError(f"{where} misses the column '{lacking[0]}'", hint=tables.AGAIN)
        table = self._file.read_row_group(group, self._columns)
        table.validate(full=True)  # offsets in a damaged file may lead anywhere in memory
        return table


def _rows(table: Any, rows: Int64[np.ndarray, " row"]) -> Any:
    together = rows[-1] - rows[0] + 1 == len(rows)
    return table.slice(int(rows[0]), len(rows)) if together else table.take(rows)


def last_values(paths: Sequence[Path], columns: Sequence[str], where: str) -> dict[int, dict[str, Shaped[np.ndarray, "..."]]]:
    """Return episode → column → its value in the episode's last row, reading these columns alone.

    Raises
    ------
    DataError
        A file is damaged, or lacks a column.
    """
    found: dict[int, dict[str, Shaped[np.ndarray, "..."]]] = {}
    for path in paths:
        table = tables.read_table([path], where, [EPISODE, *columns])
        numbers = tables.whole_numbers(table, EPISODE, where)
        read = {name: tables.column_values(table, [name], None, where, tables.AGAIN) for name in columns}
        for row in np.flatnonzero(np.append(np.diff(numbers), 1))[: len(numbers)]:
            found[int(numbers[row])] = {name: column[row] for name, column in read.items()}
    return found
