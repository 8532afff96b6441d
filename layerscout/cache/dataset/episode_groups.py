"""One episode in, one checked HDF5 group out, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from jaxtyping import Shaped

from layerscout.cache.dataset.episodes import EXTRA, FIELDS, Episode, Fields, check_episode, check_field
from layerscout.cache.dataset.hdf5 import own_member, plain_cause, require_memory
from layerscout.errors import DataError, shortage

REQUIRED = ("frames", "terminated", "truncated")
DIGEST, SOURCE = "sha256", "source"
AGAIN = "collect or import the dataset again"


@contextmanager
def damage_named(what: str) -> Iterator[None]:
    """Turn whatever the HDF5 library throws at a damaged file into a DataError that names ``what``."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
        if shortage(error) is not None:
            raise
        raise DataError(f"{what} is damaged: {plain_cause(error)}", hint=AGAIN) from None


def write_episode(parent: h5py.Group, name: str, episode: Episode, source: str = "") -> None:
    """Store a checked episode as the group ``name``; frames one chunk each, so that a clip is read without its neighbours."""
    group = parent.create_group(name)
    for field, values in episode.arrays():
        if field == "frames":
            chunks = (1, *values.shape[1:])
            group.create_dataset(field, data=values, chunks=chunks, compression="gzip", compression_opts=1, shuffle=True)
        else:
            group.create_dataset(field, data=values)
    group.attrs[DIGEST] = episode.digest().hex()
    if source:
        group.attrs[SOURCE] = source


def source_of(group: h5py.Group) -> str:
    """Return where an imported episode came from, or an empty string."""
    return str(group.attrs.get(SOURCE, ""))


def digest_of_group(group: h5py.Group) -> bytes:
    """Return the digest that was written with an episode; ``read_episode`` tells whether its arrays still have it."""
    return bytes.fromhex(group.attrs[DIGEST])


def check_group(group: h5py.Group, where: str) -> tuple[int, Fields]:
    """Check the fields of a stored episode without reading them.

    Returns
    -------
    steps, and what the episodes of a file have in common

    Raises
    ------
    DataError
        A field is missing, unknown, or of a wrong type or shape.
    """
    fields = _present(group, where)
    for name in REQUIRED:
        if name not in fields:
            raise DataError(f"{where} misses the field '{name}'", hint=AGAIN)
    for name, field in fields.items():
        if not isinstance(field, h5py.Dataset):
            raise DataError(f"{where}: '{name}' is not an array", hint=AGAIN)
    steps = fields["terminated"].shape[0] if fields["terminated"].shape else 0
    for name, field in fields.items():
        check_field(where, name, field.dtype, field.shape, steps)
    if DIGEST not in group.attrs:
        raise DataError(f"{where} misses its attribute '{DIGEST}'", hint=AGAIN)
    shapes, types = ({name: getattr(field, what) for name, field in fields.items()} for what in ("shape", "dtype"))
    return steps, Fields.of(shapes, steps, types)


def read_episode(group: h5py.Group, where: str) -> Episode:
    """Read a stored episode whole and compare it with its digest.

    Raises
    ------
    DataError
        A field cannot be read, or the bytes are not those that were written.
    BudgetError
        Its arrays are larger than the memory that is free; nothing was read.
    """
    values: dict[str, Any] = dict.fromkeys(FIELDS)
    extra: dict[str, np.ndarray] = {}
    present = _present(group, where)
    require_memory(sum(field.nbytes for field in present.values()), where)
    for name in present:
        array = read_field(group, name, where, slice(None))
        if name in FIELDS:
            values[name] = array
        else:
            extra[name.removeprefix(EXTRA)] = array
    episode = Episode(**values, extra=extra)
    check_episode(episode, where)
    if episode.digest().hex() != group.attrs[DIGEST]:
        raise DataError(f"{where} is damaged: its arrays do not have the sha256 it states", hint=AGAIN)
    return episode


def read_field(group: h5py.Group, name: str, where: str, rows: slice) -> Shaped[np.ndarray, "row ..."]:
    """Read some rows of one field; a chunk that cannot be decompressed is a DataError that names it."""
    with damage_named(f"{where}: '{name}'"):
        array = group[name]
        wanted = len(range(*rows.indices(len(array)))) * (array.nbytes // max(len(array), 1))
        require_memory(wanted, f"{where}: '{name}'")
        return array[rows]


def _present(group: h5py.Group, where: str) -> dict[str, Any]:
    """Return the stored fields by the names that ``Episode.arrays`` gives them, in its order."""
    fields = {name: found for name in FIELDS if (found := own_member(group, name, where)) is not None}
    extra = own_member(group, EXTRA.rstrip("/"), where)
    return fields | ({EXTRA + name: own_member(extra, name, where) for name in sorted(extra)} if isinstance(extra, h5py.Group) else {})
