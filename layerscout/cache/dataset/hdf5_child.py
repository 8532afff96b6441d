"""The path of an HDF5 file in, nothing out: it is looked through in a process of its own, which dies of what would kill ours.

Zeroed blocks in the structure of a file can make the HDF5 library loop without end or crash, and nothing inside the process can stop
that. Run as a program with a path and a number of CPU seconds, this module opens everything that a reader may open; a step that
takes longer than that is ended by the system. An error that Python sees is none here: the reader will see it too, and tell it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import h5py

LARGEST_TEXTS = 2**20  # strings of one array that are read: they lie in heaps, whose structure may lead in circles too


def look_through(path: str, seconds: float) -> None:
    """Open a file and ask for all its groups, arrays, attributes and chunk indices; no numbers are read."""
    arm(seconds)
    with h5py.File(path, "r") as file:
        waiting, seen = [file["/"]], set()
        while waiting:
            found = waiting.pop()
            arm(seconds)
            place = h5py.h5o.get_info(found.id)
            if place.addr in seen:  # hard links may lead in circles
                continue
            seen.add(place.addr)
            for name in found.attrs:
                arm(seconds)
                with contextlib.suppress(Exception):
                    found.attrs[name]
            if isinstance(found, h5py.Group):
                waiting += inside(found, seconds)
            elif isinstance(found, h5py.Dataset):
                arm(seconds)
                with contextlib.suppress(Exception):
                    index_of(found)


def inside(group: h5py.Group, seconds: float) -> list[h5py.Group | h5py.Dataset]:
    """Return what lies in a group itself; links to elsewhere are not followed."""
    found = []
    for name in group:
        arm(seconds)
        with contextlib.suppress(Exception):
            if isinstance(group.get(name, getlink=True), h5py.HardLink):
                found.append(group[name])
    return found


def index_of(array: h5py.Dataset) -> None:
    """Walk the index of an array's chunks, and read it where it holds strings."""
    if array.chunks:
        array.id.get_num_chunks()
    array.id.get_storage_size()
    if array.dtype.kind == "O" and array.size <= LARGEST_TEXTS and not (array.external or array.is_virtual):
        array[()]


def arm(seconds: float) -> None:
    """Let the system end this process when the next step takes so many seconds of CPU time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    with contextlib.suppress(Exception):
        look_through(sys.argv[1], float(sys.argv[2]))
    os._exit(0)  # without the library's own clean-up, which a damaged file may hold up
