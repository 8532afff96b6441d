"""A stranger's HDF5 file in, its groups and arrays out: in this very file, all written, and never more than fits into memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from layerscout.cache.dataset.hdf5 import guarded_open, plain_cause, require_numbers
from layerscout.cache.importers.base import Array
from layerscout.cache.importers.columns import magnitude
from layerscout.cache.importers.needs import require_memory
from layerscout.cache.importers.safety import STRANGE
from layerscout.errors import DataError, raise_shortage

AGAIN = "fetch or record it again"


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, after another process has looked through it; what the library throws at it becomes an error.

    Raises
    ------
    DataError
        It is truncated, damaged or not an HDF5 file.
    """
    with guarded_open(path, AGAIN) as file:
        try:
            yield file
        except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
            if not _thrown_by_library(error):
                raise
            if isinstance(error, OSError):
                raise_shortage(error, path)
            raise DataError(f"{path} is damaged: {plain_cause(error)}", hint=AGAIN) from None


def _thrown_by_library(error: BaseException) -> bool:
    """Tell whether an error began inside h5py; one that began elsewhere is not the file's fault."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and (last.tb_frame.f_globals.get("__name__") or "").partition(".")[0] == "h5py"


def find_member(group: h5py.Group, name: str, where: str) -> h5py.Group | h5py.Dataset | None:
    """Return a member of a group by its path, or None; it must lie in this very file, and all of it must have been written.

    Raises
    ------
    DataError
        It is a link to another file, its numbers lie in another file, or chunks of it are missing (HDF5 reads those as zeros).
    """
    found: Any = group
    for part in name.split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(f"{where}: '{name}' is a link to the file '{link.filename}'", hint=STRANGE)
        found = found.get(part)
    if found is not None and found.file.filename != group.file.filename:  # by way of another link
        raise DataError(f"{where}: '{name}' is a link to the file '{found.file.filename}'", hint=STRANGE)
    if isinstance(found, h5py.Dataset):
        require_numbers(found, name, where, "the source is incomplete or strange; fetch or record it again")
    return found


def find_array(group: h5py.Group, name: str, where: str) -> h5py.Dataset | None:
    """Return a member that is an array, or None when there is no such array."""
    found = find_member(group, name, where)
    return found if isinstance(found, h5py.Dataset) else None


def rows_of(dataset: h5py.Dataset, rows: slice, where: str) -> Array:
    """Read rows of an array, if they fit into memory.

    Raises
    ------
    DataError
        They cannot be decompressed.
    BudgetError
        They would not fit.
    """
    if not dataset.ndim:
        raise DataError(f"{where}: '{dataset.name}' is a single value, expected rows", hint=AGAIN)
    start, stop, _ = rows.indices(dataset.shape[0])
    require_memory((stop - start) * math.prod(dataset.shape[1:]) * dataset.dtype.itemsize, f"{where}: '{dataset.name}'")
    try:
        return dataset[rows]
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{where}: '{dataset.name}' is damaged: {plain_cause(error)}", hint="fetch or record the source again") from None


def read_rows(group: h5py.Group, name: str, where: str, way_out: str, rows: slice = slice(None)) -> Array:
    """Read rows of an array that must be there, and have all of them.

    Raises
    ------
    DataError
        There is no such array, or it has fewer rows.
    """
    found = find_array(group, name, where)
    if found is None or not found.ndim or (rows.stop is not None and found.shape[0] < rows.stop):
        raise DataError(f"{where} has no '{name}' there", hint=way_out)
    return rows_of(found, rows, where)


def join_rows(rows: Array, last: Array, name: str, where: str, way_out: str) -> Array:
    """Return rows with the one that comes after them.

    Raises
    ------
    DataError
        It is of another shape or type.
    BudgetError
        They would not fit into memory together.
    """
    if rows.shape[1:] != last.shape[1:] or rows.dtype != last.dtype:
        message = f"{where}: '{name}' is {rows.dtype} {rows.shape[1:]}, and what comes after it {last.dtype} {last.shape[1:]}"
        raise DataError(message, hint=way_out)
    require_memory(rows.nbytes + last.nbytes, f"{where}: '{name}'")
    return np.concatenate([rows, last])


def largest_whole(group: h5py.Group, names: Iterable[str], where: str) -> float | None:
    """Return the largest magnitude in arrays of whole numbers, None when one of them is something else."""
    reach = 0.0
    for name in names:
        found = find_array(group, name, where)
        if found is None or found.dtype.kind not in "iu" or not found.ndim:
            return None
        reach = max(reach, magnitude(rows_of(found, slice(None), where)))
    return reach


def every_array(group: h5py.Group, where: str, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield every array in a group and the groups in it, by its path in it; links that lead back to a group are not followed again."""
    yield from _every_array(group, where, prefix, frozenset())


def _every_array(group: h5py.Group, where: str, prefix: str, above: frozenset[Any]) -> Iterator[tuple[str, h5py.Dataset]]:
    here = h5py.h5o.get_info(group.id)
    key = (here.fileno, here.addr)
    if key in above:
        return
    for name in group:
        found = find_member(group, name, where)
        if isinstance(found, h5py.Dataset):
            yield prefix + name, found
        elif found is not None:
            yield from _every_array(found, where, f"{prefix}{name}/", above | {key})
