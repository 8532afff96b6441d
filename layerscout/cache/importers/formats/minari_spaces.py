"""The spaces in a Minari dataset's metadata in, their leaves out: what one array of an episode holds a frame or a step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.errors import DataError

NUMBERS = {np.dtype(code).name for code in "?bBhHiIlLefd"}
VECTORS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")  # kinds of spaces whose members are rows of numbers
AGAIN = "fetch the dataset again, or make it again with a current Minari"


@dataclass(frozen=True)
class SpaceLeaf:
    """A space without parts.

    Attributes
    ----------
    path
        Names of the groups down to its array; an integer is a place in a Tuple.
    shape
        Of one member; None when only the array tells.
    count, start
        Of single whole numbers: how many there are and the smallest of them, for actions; 0 and 0 otherwise.
    bound
        Largest magnitude that a whole number can have, None when the space does not limit it.
    """

    kind: str
    path: tuple[str | int, ...] = ()
    dtype: str = ""
    shape: tuple[int, ...] | None = ()
    count: int = 0
    start: int = 0
    bound: float | None = None

    def __str__(self) -> str:
        return f"{self.dtype or self.kind} {self.shape}"


def read_spaces(metadata: dict[str, Any], name: str, root: str, folder: Path) -> dict[str, SpaceLeaf]:
    """Return the leaves of a space by their path in it; a space without parts is named ``root``.

    Raises
    ------
    DataError
        The metadata do not describe it, or two leaves have the same path.
    """
    try:
        space = json.loads(metadata[name])
    except (KeyError, TypeError, ValueError, RecursionError):
        space = None
    if not isinstance(space, dict):
        raise DataError(f"{folder / 'metadata.json'} does not describe its {name.replace('_', ' ')}", hint=AGAIN)
    leaves: dict[str, SpaceLeaf] = {}
    for leaf in _leaves(space, (root,)):
        path = "/".join(map(str, leaf.path[1:])) or root
        if path in leaves:
            message = f"{folder / 'metadata.json'}: two parts of the {name.replace('_', ' ')} have the path '{path}'"
            raise DataError(message, hint="give the parts names without '/', and make the dataset again")
        leaves[path] = leaf
    return leaves


def _leaves(space: Any, path: tuple[str | int, ...]) -> Iterator[SpaceLeaf]:
    if not isinstance(space, dict):
        raise DataError(f"the space '{'/'.join(map(str, path))}' is described by {space!r}", hint=AGAIN)
    parts = space.get("subspaces")
    if isinstance(parts, dict):
        for name, part in parts.items():
            yield from _leaves(part, (*path, name))
    elif isinstance(parts, list):
        for place, part in enumerate(parts):
            yield from _leaves(part, (*path, place))
    else:
        try:
            yield _leaf(space, path)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise DataError(f"the space '{'/'.join(map(str, path))}' is not described as spaces are: {error!r}", hint=AGAIN) from None


def _leaf(space: dict[str, Any], path: tuple[str | int, ...]) -> SpaceLeaf:
    kind = str(space.get("type"))
    sizes = {"Box": space.get("shape"), "MultiBinary": space.get("n"), "MultiDiscrete": np.shape(space.get("nvec", ()))}.get(kind, ())
    shape = tuple(sizes) if isinstance(sizes, list | tuple) else (sizes,)
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise DataError(f"a {kind} space has shape {sizes!r}", hint=AGAIN)
    dtype = str(space.get("dtype", ""))
    if kind == "Discrete":
        count, start = int(space.get("n", 0)), int(space.get("start", 0))
        return SpaceLeaf(kind, path, dtype, shape, count, start, float(max(abs(start), abs(start + count - 1))))
    if kind != "Box" or not dtype.startswith(("int", "uint")):
        known = float(np.max(space["nvec"], initial=0)) if kind == "MultiDiscrete" and "nvec" in space else None
        return SpaceLeaf(kind, path, dtype, shape, bound=known)
    low, high = (np.asarray(space.get(end, ()), dtype=np.float64).ravel() for end in ("low", "high"))
    limits = np.concatenate([low, high]) if low.size and high.size else np.array([np.inf])
    bound = float(np.abs(limits).max())
    single = int(np.prod(shape)) == 1 and low.size and high.size and low.min() < 0 and bound < 2**15
    count, start = (int(high.max() - low.min()) + 1, int(low.min())) if single else (0, 0)
    wide = bound >= np.iinfo(dtype).max if dtype in ("int32", "int64", "uint32", "uint64") else False
    return SpaceLeaf(kind, path, dtype, shape, count, start, None if wide else bound)
