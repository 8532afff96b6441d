"""Names and shapes from a stranger's files in, paths and arrays that do no harm out."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import h5py

from layerscout.cache.dataset.hdf5 import require_numbers
from layerscout.cache.importers.base import Array, require_memory
from layerscout.errors import DataError

PLACE = re.compile(r"\{(\w+)(?::0?(\d{1,2})d?)?\}")
LARGEST_JSON = 2**26  # bytes; the metadata of real datasets has kilobytes
STRANGE = "the source does not look like it was written by its format's own tools; do not trust it"


def inside(root: Path, relative: str) -> Path:
    """Return ``root / relative``, which must exist and lie inside ``root``.

    Symbolic links may lead elsewhere inside ``root``, or to the blobs of the Hugging Face cache that ``root`` is a snapshot of.

    Raises
    ------
    DataError
        It is absolute, climbs out, leads out through a link, or does not exist.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise DataError(f"{root} names the file '{relative}', which is not inside it", hint=STRANGE)
    target, home = (root / path).resolve(), root.resolve()
    allowed = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    if not any(target.is_relative_to(folder) for folder in allowed):
        raise DataError(f"{root / path} is a link to {target}, outside the dataset", hint=STRANGE)
    if not target.exists():
        raise DataError(f"{root} has no file '{relative}'", hint="the source is incomplete; fetch it again")
    return root / path


def fill_in(template: str, values: dict[str, int | str]) -> str:
    """Fill the places ``{name}`` and ``{name:03d}`` of a path; nothing else of Python's formatting is understood.

    Raises
    ------
    DataError
        The template has other places, braces, or a name that is not known.
    """

    def replace(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if value is None:
            raise DataError(f"the path '{template}' asks for '{match[1]}', known are {', '.join(values)}", hint=STRANGE)
        return str(value).zfill(int(match[2])) if match[2] and isinstance(value, int) else str(value)

    filled = PLACE.sub(replace, template)
    if "{" in filled or "}" in filled:
        raise DataError(f"the path '{template}' has places other than {{name}} and {{name:03d}}", hint=STRANGE)
    return filled


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    DataError
        It is too large, or not a JSON object.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, expected at most {LARGEST_JSON:,}", hint=STRANGE)
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", hint="the source is incomplete; fetch it again") from None
    if not isinstance(document, dict):
        raise DataError(f"{path} holds a {type(document).__name__}, expected an object", hint=STRANGE)
    return document


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises
    ------
    DataError
        It is truncated or not an HDF5 file.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is truncated or not an HDF5 file: {error}", hint="fetch or record it again") from None


def member(group: h5py.Group, name: str, where: str) -> h5py.Group | h5py.Dataset | None:
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


def array(group: h5py.Group, name: str, where: str) -> h5py.Dataset | None:
    """Return a member that is an array, or None when there is no such array."""
    found = member(group, name, where)
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
    start, stop, _ = rows.indices(dataset.shape[0])
    require_memory((stop - start) * math.prod(dataset.shape[1:]) * dataset.dtype.itemsize, f"{where}: '{dataset.name}'")
    try:
        return dataset[rows]
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{where}: '{dataset.name}' is damaged: {error}", hint="fetch or record the source again") from None
