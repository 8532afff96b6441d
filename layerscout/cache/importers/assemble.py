"""The arrays of one foreign episode in, an episode of ours out: lengths, types and names brought into line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from layerscout.cache.arrays import NAME
from layerscout.cache.dataset.episodes import RESERVED, Episode
from layerscout.cache.importers.base import Array
from layerscout.errors import DataError


@dataclass
class Fields:
    """The numbers of one foreign episode as they lie in the file: N rows each, beside N or N + 1 frames.

    ``steps`` tells N. ``numbers`` are taken whatever they are called; names that the format keeps for itself are changed.
    """

    steps: int
    actions: Array | None = None
    rewards: Array | None = None
    terminated: Array | None = None
    truncated: Array | None = None
    state: Array | None = None
    numbers: Mapping[str, Array] = field(default_factory=dict)


def assemble(frames: Shaped[np.ndarray, "frame height width channel"], fields: Fields, where: str) -> Episode:
    """Make an episode of what a foreign one has.

    With as many frames as actions, nobody saw what the last action led to: it is dropped with its reward, and what is
    left is cut off (truncated) at its end. Fields with N rows then have one row a frame.

    Raises
    ------
    DataError
        The lengths do not go together.
    """
    steps = len(frames) - 1
    if fields.steps not in (steps, steps + 1):
        message = f"{where} has {len(frames)} frames and {fields.steps} steps, expected {fields.steps} or {fields.steps + 1} frames"
        raise DataError(message, hint="the source is incomplete; fetch or record it again")

    def of_steps(values: Array | None, name: str) -> Array | None:
        if values is not None and len(values) != fields.steps:
            raise DataError(f"{where}: '{name}' has {len(values)} rows, expected {fields.steps}", hint="the source is incomplete")
        return None if values is None else values[:steps]

    def flags(values: Array | None, name: str) -> Array:
        kept = of_steps(values, name)
        return np.zeros(steps, dtype=bool) if kept is None else as_flags(kept)

    terminated, truncated = flags(fields.terminated, "terminated"), flags(fields.truncated, "truncated")
    truncated[-1:] |= ~terminated[-1:]  # whatever ends without the task's end was cut off
    extra = dict(fields.numbers)
    state = fields.state
    if state is not None and len(state) != len(frames):  # known for every step, not for the last frame
        extra["state"], state = state, None
    rewards, actions = of_steps(fields.rewards, "rewards"), of_steps(fields.actions, "actions")
    return Episode(
        frames=frames,
        actions=None if actions is None else as_actions(actions),
        rewards=None if rewards is None else np.asarray(rewards, dtype=np.float32).reshape(steps),
        terminated=terminated,
        truncated=truncated,
        state=None if state is None else as_columns(state),
        extra={column_name(name): as_columns(values) for name, values in extra.items()},
    )


def as_actions(values: Array) -> Array:
    """Return whole-numbered single actions as int64 [step], all others as float32 [step, dimension]."""
    columns = values.reshape(len(values), -1)
    return columns[:, 0].astype(np.int64) if values.dtype.kind in "iub" and columns.shape[1] == 1 else as_columns(values)


def as_flags(values: Array) -> Bool[np.ndarray, " row"]:
    """Return what is not zero."""
    return (values.reshape(len(values), -1) != 0).any(axis=-1)


def as_columns(values: Array) -> Array:
    """Return numbers as float32 [row, value]."""
    return np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float32)


def is_numeric(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Tell whether a field is one number or one row of numbers a step: no images, no text."""
    return dtype.kind in "fiub" and len(shape) in (1, 2) and 0 not in shape


def column_name(name: str) -> str:
    """Return a foreign field's name as a column of a store can bear it.

    Raises
    ------
    DataError
        Nothing readable is left of it.
    """
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "." for letter in name)
    plain = f"observation.{plain}" if plain in RESERVED else plain.lstrip("._-")
    if not NAME.fullmatch(plain):
        raise DataError(f"the field '{name}' cannot be named in a store", hint=f"--leave-out '{name}'")
    return plain
