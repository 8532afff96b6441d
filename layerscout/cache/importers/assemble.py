"""The arrays of one foreign episode in, an episode of ours out: lengths, types and names brought into line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Shaped

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers.base import Array
from layerscout.cache.importers.columns import as_actions, as_columns, as_flags, as_rewards, column_names, exact_type
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError
from layerscout.showing import counted

STATE = "state"


@dataclass
class ForeignFields:
    """The numbers of one foreign episode as they lie in the file: N rows each, beside N or N + 1 frames.

    ``steps`` tells N. Actions, rewards and state come with the name that the source has for them; ``numbers`` are taken
    whatever they are called, and may have a row a step or a row a frame.
    """

    steps: int
    actions: Sequence[tuple[str, Array]] = ()
    rewards: tuple[str, Array] | None = None
    terminated: Array | None = None
    truncated: Array | None = None
    state: tuple[str, Array] | None = None
    numbers: Mapping[str, Array] = field(default_factory=dict)


def ending_of(frames: int, steps: int, terminated: bool) -> tuple[int, Literal["whole", "dropped", "repeated"]]:
    """Return the steps T of an episode with so many frames and recorded steps, and what becomes of its last step.

    With as many frames as steps nobody recorded what the last action led to. When the task ended with it, that frame is never
    needed for a value, and the step carries the reward that the task is about: it is kept, with the last frame twice.
    """
    if frames != steps:
        return steps, "whole"
    return (steps, "repeated") if terminated else (steps - 1, "dropped")


def assemble_episode(
    frames: Shaped[np.ndarray, "frame height width channel"],
    fields: ForeignFields,
    where: str,
    config: ImportConfig,
    exact: dict[str, str] | None = None,
) -> Episode:
    """Make an episode of what a foreign one has.

    With as many frames as steps the last step is dropped with its reward, and what is left is cut off (truncated) at its
    end; or kept, see ``ending_of``. Fields with N rows then have one row a frame.

    Parameters
    ----------
    exact
        Field → type that keeps its values: float32, or a wider one beyond 2²⁴. A field that is not there yet is added, so
        that the episodes after the first have its types.

    Raises
    ------
    DataError
        The lengths do not go together, or a field is not what its place can hold; the message names the way out.
    """
    count, recorded = len(frames), fields.steps
    if recorded not in (count - 1, count):
        message = f"{where} has {counted(count, 'frame')} and {counted(recorded, 'step')}, expected {recorded} or {recorded + 1} frames"
        raise DataError(message, hint="the source is incomplete; fetch or record it again")
    flags = None if fields.terminated is None else as_flags(fields.terminated)
    steps, ending = ending_of(count, recorded, flags is not None and bool(flags[-1:].any()))
    lines = _Lines(where, config, count, recorded, steps, ending == "repeated", {} if exact is None else exact)
    terminated, truncated = lines.flags(fields.terminated), lines.flags(fields.truncated)
    truncated[-1:] |= ~terminated[-1:]  # whatever ends without the task's end was cut off
    actions = [(name, lines.of_steps(values, name, "actions")) for name, values in fields.actions]
    rewards = None if fields.rewards is None else lines.of_steps(fields.rewards[1], fields.rewards[0], "rewards")
    return Episode(
        frames=np.concatenate([frames, frames[-1:]]) if lines.repeats else frames,
        actions=as_actions(actions, where, config) if actions else None,
        rewards=None if fields.rewards is None or rewards is None else as_rewards(rewards, fields.rewards[0], where, config),
        terminated=terminated,
        truncated=truncated,
        **lines.state_and_extra(fields),
    )


@dataclass(frozen=True)
class _Lines:
    """How the rows of one episode's fields go together."""

    where: str
    config: ImportConfig
    frames: int
    recorded: int  # steps in the source
    steps: int  # of them, those that are kept
    repeats: bool  # the last frame stands for the one after it too
    exact: dict[str, str]

    def of_steps(self, values: Array, name: str, role: str) -> Array:
        """Values of the steps that are kept; another length may mean another row for every step, so it is not guessed."""
        rows = len(values) if values.ndim else 0
        if rows != self.recorded:
            hint = self.config.again("--leave-out", role)
            raise DataError(f"{self.where}: '{name}' has {counted(rows, 'row')}, expected {self.recorded}", hint=hint)
        return values[: self.steps]

    def flags(self, values: Array | None) -> Bool[np.ndarray, " row"]:
        """Flags of the steps that are kept; none is set where the source has none."""
        return np.zeros(self.steps, dtype=bool) if values is None else as_flags(self.of_steps(values, "ends", "ends"))

    def aligned(self, values: Array, name: str) -> Array:
        """Values of every frame or of every step. One row more than frames tells what came after the last one, and is cut."""
        rows = len(values) if values.ndim else 0
        if rows in (self.frames, self.frames + 1):
            values = values[: self.frames]
            return np.concatenate([values, values[-1:]]) if self.repeats else values
        if rows != self.steps:
            message = f"{self.where}: '{name}' has {counted(rows, 'row')}, expected {self.steps} or {self.frames}"
            raise DataError(message, hint=self.config.again("--leave-out", name))
        return values

    def state_and_extra(self, fields: ForeignFields) -> dict[str, Any]:
        """The state of every frame, and every other field by the name of its column; a state of every step is such a field."""
        extra = [(name, self.aligned(values, name)) for name, values in fields.numbers.items()]
        state = None
        if fields.state is not None:
            name, values = fields.state[0], self.aligned(fields.state[1], fields.state[0])
            if len(values) == self.frames + self.repeats:
                # a state is real numbers: whole ones beyond float32 are exact in float64 up to 2⁵³
                wide = self.exact.setdefault(name, exact_type(values)) != "float32"
                state = self.columns(name, values, "float64" if wide else "float32")
            else:
                extra.append((STATE, values))
        names = column_names([name for name, _ in extra], self.config, self.where)
        kinds = [self.exact.setdefault(name, exact_type(values)) for name, values in extra]
        return {
            "state": state,
            "extra": {names[name]: self.columns(name, values, kind) for (name, values), kind in zip(extra, kinds, strict=True)},
        }

    def columns(self, name: str, values: Array, kind: str) -> Array:
        """Numbers as rows of the type ``kind``; real numbers that were said to be whole ones keep their values as float64."""
        kind = "float64" if kind == "int64" and values.dtype.kind == "f" else kind
        return as_columns(values, name, self.where, self.config.again("--leave-out", name), kind)
