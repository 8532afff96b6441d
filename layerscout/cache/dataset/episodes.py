"""Arrays of one recorded episode in, a checked episode with its digest out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped, UInt8

from layerscout.cache.arrays import NAME
from layerscout.cache.layout import REQUIRED_COLUMNS
from layerscout.errors import DataError

FIELDS = {  # name → what it may be: dtype → number of dimensions. The order is that of the digest.
    "frames": {"uint8": 4},
    "actions": {"int64": 1, "float32": 2},
    "rewards": {"float32": 1},
    "terminated": {"bool": 1},
    "truncated": {"bool": 1},
    "state": {"float32": 2, "float64": 2},
}
EXTRA_TYPES = {"float32": 2, "int64": 2, "float64": 2}  # the wider ones for numbers that float32 would change
PER_FRAME = ("frames", "state")  # one more than the steps: the last frame has no action
EXTRA = "extra/"  # before the name of an array that the format has no field for
RESERVED = REQUIRED_COLUMNS | {"state", "zarr.json"}  # names that a store gives to other columns
FORMATS = "see docs/reference/formats.md"


@dataclass(frozen=True)
class Episode:
    """One run of T steps: T + 1 frames, what was done, and what the environment said.

    Attributes
    ----------
    frames
        What was seen; frame T is what the last action led to.
    actions
        int64 [step] for discrete actions, float32 [step, dimension] for continuous ones, None where nobody knows them.
    rewards
        None where there are none.
    terminated, truncated
        The task ended with this step; the recording was cut off after it.
    state
        The true state behind every frame, where the environment tells it; float64 where float32 would change its numbers.
    extra
        Any other numbers by name, one row a step or one row a frame: what an expert would have done, joint angles, ...
        float32, or int64 or float64 where float32 would change them: times in nanoseconds, say.
    """

    frames: UInt8[np.ndarray, "frame height width channel"]
    actions: Int64[np.ndarray, " step"] | Float32[np.ndarray, "step dimension"] | None
    rewards: Float32[np.ndarray, " step"] | None
    terminated: Bool[np.ndarray, " step"]
    truncated: Bool[np.ndarray, " step"]
    state: Float32[np.ndarray, "frame feature"] | Float64[np.ndarray, "frame feature"] | None
    extra: Mapping[str, Shaped[np.ndarray, "row value"]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """T, one less than the episode's frames."""
        return len(self.terminated)

    def arrays(self) -> Iterator[tuple[str, Shaped[np.ndarray, "*axes"]]]:
        """Yield the present arrays with their names, in the fixed order of the format."""
        for name in FIELDS:
            values = getattr(self, name)
            if values is not None:
                yield name, values
        for name in sorted(self.extra):
            yield EXTRA + name, self.extra[name]

    def fields(self) -> Fields:
        """Return what other episodes of the same file must have in common with this one."""
        arrays = dict(self.arrays())
        shapes, types = ({name: getattr(values, what) for name, values in arrays.items()} for what in ("shape", "dtype"))
        return Fields.of(shapes, self.steps, types)

    def digest(self) -> bytes:
        """Return the sha256 over every array's name, type, shape and bytes."""
        total = hashlib.sha256()
        for name, values in self.arrays():
            allowed = allowed_types(name)
            alike = (known for known in allowed if np.dtype(known).kind == values.dtype.kind)
            dtype = values.dtype.name if values.dtype.name in allowed else next(alike, next(iter(allowed)))
            total.update(json.dumps([name, dtype, list(values.shape)]).encode())
            total.update(np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).data)
        return total.digest()


@dataclass(frozen=True)
class Fields:
    """Which arrays an episode has, and of which widths; it is the same for all episodes of a file."""

    frame_shape: tuple[int, ...]
    has_actions: bool
    action_dimensions: int | None  # None when actions are discrete or absent
    has_rewards: bool
    state_width: int | None
    extra: tuple[tuple[str, int, bool, str], ...]  # name, width, one row a frame (else a step), type
    state_type: str = "float32"

    @staticmethod
    def of(shapes: Mapping[str, tuple[int, ...]], steps: int, types: Mapping[str, np.dtype[Any]]) -> Fields:
        """Read them off the shapes and types of a checked episode's arrays."""
        actions = shapes.get("actions")
        return Fields(
            frame_shape=tuple(shapes["frames"][1:]),
            has_actions=actions is not None,
            action_dimensions=actions[1] if actions is not None and len(actions) == 2 else None,
            has_rewards="rewards" in shapes,
            state_width=shapes["state"][1] if "state" in shapes else None,
            extra=tuple(
                (name.removeprefix(EXTRA), shape[1], shape[0] != steps, types[name].name)
                for name, shape in sorted(shapes.items())
                if name.startswith(EXTRA)
            ),
            state_type=types["state"].name if "state" in shapes else "float32",
        )

    def __str__(self) -> str:
        present = [
            "actions" * self.has_actions + (f"[{self.action_dimensions}]" if self.action_dimensions else ""),
            "rewards" * self.has_rewards,
            f"state[{self.state_width}]" + _unusual(self.state_type) if self.state_width else "",
            *(
                f"{EXTRA}{name}[{width}]{_unusual(kind)} a {'frame' if per_frame else 'step'}"
                for name, width, per_frame, kind in self.extra
            ),
        ]
        return f"frames {self.frame_shape} and fields {', '.join(filter(None, present)) or 'none'}"


def allowed_types(name: str) -> dict[str, int]:
    """Return which types an array may have, each with its number of dimensions."""
    return EXTRA_TYPES if name.startswith(EXTRA) else FIELDS[name]


def _unusual(kind: str) -> str:
    return "" if kind == "float32" else f" {kind}"


def check_episode(episode: Episode, where: str) -> None:
    """Refuse an episode that breaks the format.

    Raises
    ------
    DataError
        It has no steps, a field has a wrong name, type or length, or a number is not finite; ``where`` names the episode.
    """
    for name, values in episode.arrays():
        check_field(where, name, values.dtype, values.shape, episode.steps)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DataError(f"{where}: '{name}' is not finite at index {row}", hint="leave the field out where there is no value")
        if name == "actions" and values.dtype.kind == "i" and values.min() < 0:  # -1 is how a store says that there is none
            row = int(np.argmax(values < 0))
            raise DataError(f"{where}: 'actions' has {values[row]} at index {row}, expected whole numbers from 0", hint=FORMATS)


def check_field(where: str, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], steps: int) -> None:
    """Refuse a field whose name, type, number of dimensions or length is not what an episode of ``steps`` steps has."""
    if steps < 1:
        raise DataError(f"{where} has no steps", hint="an episode needs at least one step; leave empty episodes out")
    own = name.removeprefix(EXTRA)
    if own is not name and (not NAME.fullmatch(own) or own in RESERVED):
        hint = f"letters, digits, '.', '_' and '-', beginning with a letter or digit; not {', '.join(sorted(RESERVED))}"
        raise DataError(f"{where}: '{own}' cannot name an extra field", hint=hint)
    dimensions = allowed_types(name).get(dtype.name)
    if dimensions is None or not dtype.isnative:
        raise DataError(f"{where}: '{name}' is {dtype}, expected {' or '.join(allowed_types(name))}", hint=FORMATS)
    lengths = (steps, steps + 1) if own is not name else (steps + 1,) if name in PER_FRAME else (steps,)
    if len(shape) != dimensions or shape[0] not in lengths or 0 in shape:
        expected = f"{dimensions} dimensions, the first of length {' or '.join(map(str, lengths))}"
        raise DataError(f"{where}: '{name}' has shape {shape}, expected {expected}", hint=f"T steps go with T + 1 frames; {FORMATS}")
