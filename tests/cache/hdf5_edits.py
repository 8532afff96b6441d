"""A trajectory file changed as a forger would: the checksum around it is made to fit, so that what is inside must give it away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from layerscout.cache.dataset.hdf5_seal import seal_file


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    with h5py.File(path, "r+") as file:
        yield file
    resealed(path)


def resealed(path: Path) -> None:
    with path.open("r+b") as file:
        seal_file(file)
