"""A flat HDF5 file in, the rows at which its episodes end out."""

from __future__ import annotations

import h5py
import numpy as np
from jaxtyping import Bool

from layerscout.cache.importers.base import Array
from layerscout.cache.importers.columns import as_flags
from layerscout.cache.importers.hdf5 import read_rows

FLAGS = ("terminals", "timeouts")
INCOMPLETE = "the file is incomplete; fetch it again"


def rows_there(file: h5py.File, name: str, rows: slice, where: str) -> Array:
    """Read rows of an array that a flat file must have."""
    return read_rows(file, name, where, INCOMPLETE, rows)


def find_ends(file: h5py.File, terminal: str, count: int, where: str) -> tuple[Bool[np.ndarray, " row"], str]:
    """Return the rows that end an episode by the file's own flags, and what is to be feared of flags that are not there.

    ``terminal`` is the flag of the task's end.
    """
    names = (terminal, FLAGS[1])
    flags = {name: as_flags(rows_there(file, name, slice(0, count), where)) for name in names if name in file}
    ends = np.logical_or.reduce([*flags.values(), np.zeros(count, bool)])
    if not ends[:-1].any():
        return ends, "no row ends an episode, so all rows are one episode, and transitions run over resets if it was reset"
    if "timeouts" not in flags:
        return ends, "it has no 'timeouts': an episode that was cut off by time runs into the next one"
    return ends, ""


def cut_rows(ends: Bool[np.ndarray, " row"], count: int, longest: int | None) -> list[tuple[int, int]]:
    """Return the rows ``[start, stop)`` of every episode; what follows the last end is an episode that was cut off."""
    stops = (np.flatnonzero(ends) + 1).tolist()
    stops += [count] if not stops or stops[-1] != count else []
    pieces = list(zip([0, *stops[:-1]], stops, strict=True)) if count else []
    if longest is None:
        return pieces
    return [(cut, min(cut + longest, stop)) for start, stop in pieces for cut in range(start, stop, longest)]
