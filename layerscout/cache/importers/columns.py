"""Arrays of numbers of a foreign episode in, the types that our episodes have out; what they cannot hold is refused by name."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from layerscout.cache.arrays import NAME
from layerscout.cache.dataset.episodes import RESERVED
from layerscout.cache.importers.base import Array, reward_column
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError

EXACT_IN = {"float32": 2**24, "float64": 2**53, "int64": 2**63 - 1}  # whole numbers up to these are all numbers of the type


def as_actions(parts: Sequence[tuple[str, Array]], where: str, config: ImportConfig) -> Array:
    """Return whole-numbered single actions as int64 [step], all others as float32 [step, dimension], joined in order.

    Raises
    ------
    DataError
        A part is no array of numbers, has another length, or numbers that the type cannot hold.
    """
    names = " + ".join(name for name, _ in parts)
    way_out = config.again("--leave-out", "actions")
    if len({len(values) for _, values in parts}) > 1:
        lengths = ", ".join(f"'{name}' {len(values)}" for name, values in parts)
        raise DataError(f"{where}: the parts of the actions have different lengths: {lengths}", hint=way_out)
    first = parts[0][1]
    if len(parts) == 1 and first.dtype.kind in "iub" and first.size == len(first):
        whole = first.reshape(len(first))
        if whole.dtype == np.uint64 and whole.size and whole.max() > np.iinfo(np.int64).max:
            raise DataError(f"{where}: '{names}' reaches {whole.max()}", hint=way_out)
        if whole.size and whole.min() < 0:
            row = int(np.argmin(whole))
            message = f"{where}: '{names}' has {whole[row]} at row {row}; a whole number a step is a discrete action, counted from 0"
            raise DataError(message, hint=way_out)
        return whole.astype(np.int64)
    return np.concatenate([as_columns(values, name, where, way_out) for name, values in parts], axis=1)


def as_rewards(values: Array, name: str, where: str, config: ImportConfig) -> Float32[np.ndarray, " row"]:
    """Return one number a step, of the column that ``--reward`` names when there are several.

    Raises
    ------
    DataError
        There are several columns and none was chosen, or a number that float32 cannot hold.
    """
    columns = as_columns(values, name, where, config.again("--leave-out", "rewards"))
    chosen = reward_column(config.reward)[1] if config.reward is not None and config.reward != name else None
    if chosen is None and columns.shape[1] == 1:
        chosen = 0
    if chosen is None or chosen >= columns.shape[1]:
        message = (
            f"{where}: the rewards '{name}' have {columns.shape[1]} columns, a step has one reward: choose one of them, or leave them out"
        )
        raise DataError(message, hint=config.again("--reward", f"{name}:0"))
    return np.ascontiguousarray(columns[:, chosen])


def as_flags(values: Array) -> Bool[np.ndarray, " row"]:
    """Return what is not zero; of several columns, where any is not.

    Raises
    ------
    DataError
        They are no numbers, or one is missing.
    """
    if values.dtype.kind not in "fiub" or not values.ndim:
        raise DataError(f"flags that end an episode are {values.dtype} {values.shape}, expected numbers", hint="--leave-out ends")
    if values.dtype.kind == "f" and np.isnan(values).any():
        row = int(np.argwhere(np.isnan(values))[0][0])
        raise DataError(f"flags that end an episode have no value at row {row}", hint="--leave-out ends, or name another field with --end")
    return (_rows(values) != 0).any(axis=-1)


def as_columns(values: Array, name: str, where: str, way_out: str, kind: str = "float32") -> Shaped[np.ndarray, "row value"]:
    """Return finite numbers as [row, value] of the type ``kind``: float32, float64 or int64.

    Raises
    ------
    DataError
        They are no numbers or not finite, or the type cannot hold them: whole numbers beyond 2²⁴ in float32 would become others.
    """
    if values.dtype.kind not in "fiub" or not values.ndim:
        raise DataError(f"{where}: '{name}' is {values.dtype} {values.shape}, expected numbers", hint=way_out)
    columns = _rows(values)
    if values.dtype.kind == "f" and not np.isfinite(columns).all():
        row = int(np.argwhere(~np.isfinite(columns))[0][0])
        raise DataError(f"{where}: '{name}' is {columns[row][~np.isfinite(columns[row])][0]} at row {row}", hint=way_out)
    reach = magnitude(columns)
    if values.dtype.kind in "iu" and reach > EXACT_IN[kind]:
        message = f"{where}: '{name}' reaches {reach:g}, and {kind} holds whole numbers exactly up to {EXACT_IN[kind]:,}"
        raise DataError(message, hint=way_out)
    if values.dtype.kind == "f" and reach > float(np.finfo("float32" if kind == "float32" else "float64").max):
        raise DataError(f"{where}: '{name}' reaches {reach:g}, more than {kind} holds", hint=way_out)
    return np.ascontiguousarray(columns, dtype=kind)


def magnitude(values: Array) -> float:
    """Return the largest magnitude of finite numbers, 0 when there are none; whole numbers do not overflow."""
    kind = float if values.dtype.kind == "f" else int
    return max(kind(values.max()), -kind(values.min())) if values.size else 0.0


def exact_type(values: Array, reach: float | None = None) -> str:
    """Return the type that a field of numbers keeps its values in: float32, or a wider one when it goes beyond 2²⁴.

    Parameters
    ----------
    reach
        Largest magnitude in the whole dataset; None looks at ``values`` alone.
    """
    if values.dtype.kind not in "iuf":
        return "float32"
    with np.errstate(invalid="ignore"):
        reach = magnitude(values[np.isfinite(values)] if values.dtype.kind == "f" else values) if reach is None else reach
    wide = reach > EXACT_IN["float32"] and values.dtype.itemsize > 2 and values.dtype != np.float32
    return "float32" if not wide else "float64" if values.dtype.kind == "f" else "int64"


def is_numeric(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Tell whether a field is one number or one row of numbers a step: no images, no text."""
    return dtype.kind in "fiub" and len(shape) in (1, 2) and 0 not in shape


def column_names(names: Iterable[str], config: ImportConfig, where: str) -> dict[str, str]:
    """Return foreign field → name of its column, each of which is another one.

    Raises
    ------
    DataError
        Two fields would have one name, so that one of them would be lost; or nothing readable is left of a name.
    """
    columns: dict[str, str] = {}
    for name in names:
        column = column_name(name)
        twin = next((other for other, taken in columns.items() if taken == column), None)
        if twin is not None:
            message = f"{where}: the fields '{twin}' and '{name}' would both become the column '{column}'"
            raise DataError(message, hint=config.again("--leave-out", name))
        columns[name] = column
    return columns


def column_name(name: str) -> str:
    """Return a foreign field's name as a column of a store can bear it.

    Raises
    ------
    DataError
        Nothing readable is left of it.
    """
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "." for letter in name)
    plain = f"observation.{plain}" if plain in RESERVED else plain.lstrip("._-")
    if not NAME.fullmatch(plain) or plain in RESERVED:
        raise DataError(f"the field '{name}' cannot be named in a store", hint=f"--leave-out {shlex.quote(name)}")
    return plain


def _rows(values: Array) -> Array:
    """Flatten all axes but the first; also of an array without rows."""
    return values.reshape(len(values), math.prod(values.shape[1:]))
