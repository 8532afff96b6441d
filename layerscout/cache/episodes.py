"""One episode in, one checked HDF5 group out, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8

from layerscout.errors import DataError

REQUIRED = ("frames", "actions", "terminated", "truncated")
DTYPES = {"frames": "uint8", "actions": "int64", "rewards": "float32", "terminated": "bool", "truncated": "bool", "state": "float32"}
DIMENSIONS = {"frames": 4, "actions": 1, "rewards": 1, "terminated": 1, "truncated": 1, "state": 2}
PER_FRAME = ("frames", "state")  # one more than the steps: the last frame has no action
DIGEST = "sha256"
AGAIN = "collect or import the dataset again"


@dataclass(frozen=True)
class Episode:
    """One run of T steps: T + 1 frames, T actions, and what the environment said.

    ``state`` is the true state behind every frame, where the environment tells it; ``rewards`` is None where there are none.
    """

    frames: UInt8[np.ndarray, "frame height width channel"]
    actions: Int64[np.ndarray, " step"]
    rewards: Float32[np.ndarray, " step"] | None
    terminated: Bool[np.ndarray, " step"]
    truncated: Bool[np.ndarray, " step"]
    state: Float32[np.ndarray, "frame feature"] | None

    @property
    def steps(self) -> int:
        """T, the number of actions."""
        return len(self.actions)

    def arrays(self) -> Iterator[tuple[str, Shaped[np.ndarray, "*axes"]]]:
        """Yield the present arrays with their names, in the fixed order of the format."""
        for name in DTYPES:
            values = getattr(self, name)
            if values is not None:
                yield name, values

    def digest(self) -> bytes:
        """Return the sha256 over every array's name, type, shape and bytes."""
        total = hashlib.sha256()
        for name, values in self.arrays():
            total.update(json.dumps([name, DTYPES[name], list(values.shape)]).encode())
            total.update(np.ascontiguousarray(values, dtype=np.dtype(DTYPES[name]).newbyteorder("<")).data)
        return total.digest()


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn whatever the HDF5 library throws at a damaged file into a DataError that names ``what``."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
        raise DataError(f"{what} is damaged: {error}", hint=AGAIN) from None


def check_episode(episode: Episode, where: str) -> None:
    """Refuse an episode that breaks the format.

    Raises
    ------
    DataError
        It has no steps, a field has a wrong type or length, or a reward or state is not finite; ``where`` names the episode.
    """
    for name, values in episode.arrays():
        check_field(where, name, values.dtype, values.shape, episode.steps)
        if np.dtype(DTYPES[name]).kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DataError(f"{where}: '{name}' is not finite at index {row}", hint="leave the field out where there is no value")


def check_field(where: str, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], steps: int) -> None:
    """Refuse a field whose type, number of dimensions or length is not what an episode of ``steps`` steps has."""
    if steps < 1:
        raise DataError(f"{where} has no steps", hint="an episode needs at least one action; leave empty episodes out")
    if dtype != np.dtype(DTYPES[name]):
        raise DataError(f"{where}: '{name}' is {dtype}, expected {DTYPES[name]}", hint="see docs/reference/formats.md")
    length = steps + 1 if name in PER_FRAME else steps
    if len(shape) != DIMENSIONS[name] or shape[0] != length or 0 in shape:
        message = f"{where}: '{name}' has shape {shape}, expected {DIMENSIONS[name]} dimensions, the first of length {length}"
        raise DataError(message, hint="T actions go with T + 1 frames; see docs/reference/formats.md")


def write_episode(parent: h5py.Group, name: str, episode: Episode) -> None:
    """Store a checked episode as the group ``name``; frames one chunk each, so that a clip is read without its neighbours."""
    group = parent.create_group(name)
    for field, values in episode.arrays():
        if field == "frames":
            chunks = (1, *values.shape[1:])
            group.create_dataset(field, data=values, chunks=chunks, compression="gzip", compression_opts=1, shuffle=True)
        else:
            group.create_dataset(field, data=values)
    group.attrs[DIGEST] = episode.digest().hex()


def check_group(group: h5py.Group, where: str) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    """Check the fields of a stored episode without reading them.

    Returns
    -------
    steps, frame shape ``(height, width, channel)``, names of the present fields

    Raises
    ------
    DataError
        A field is missing, unknown, or of a wrong type or shape.
    """
    fields = {name: group[name] for name in DTYPES if name in group}
    for name in REQUIRED:
        if name not in fields:
            raise DataError(f"{where} misses the field '{name}'", hint=AGAIN)
    for name, field in fields.items():
        if not isinstance(field, h5py.Dataset):
            raise DataError(f"{where}: '{name}' is not an array", hint=AGAIN)
    steps = fields["actions"].shape[0] if fields["actions"].shape else 0
    for name, field in fields.items():
        check_field(where, name, field.dtype, field.shape, steps)
    if DIGEST not in group.attrs:
        raise DataError(f"{where} misses its attribute '{DIGEST}'", hint=AGAIN)
    return steps, fields["frames"].shape[1:], tuple(fields)


def read_episode(group: h5py.Group, where: str) -> Episode:
    """Read a stored episode whole and compare it with its digest.

    Raises
    ------
    DataError
        A field cannot be read, or the bytes are not those that were written.
    """
    values: dict[str, Any] = dict.fromkeys(DTYPES)
    for name in DTYPES:
        if name in group:
            values[name] = read_field(group, name, where, slice(None))
    episode = Episode(**values)
    check_episode(episode, where)
    if episode.digest().hex() != group.attrs[DIGEST]:
        raise DataError(f"{where} is damaged: its arrays do not have the sha256 it states", hint=AGAIN)
    return episode


def read_field(group: h5py.Group, name: str, where: str, rows: slice) -> Shaped[np.ndarray, "row ..."]:
    """Read some rows of one field; a chunk that cannot be decompressed is a DataError that names it."""
    with reading(f"{where}: '{name}'"):
        return group[name][rows]
