"""One environment in, a world of several copies out: the copies step one after the other, and frames are drawn when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from layerscout.errors import DataError, LayerscoutError, shortage
from layerscout.worlds.action_spaces import ActionAdapter, check_vectors
from layerscout.worlds.core import StepOutcome, WorldActions


class Single(Protocol):
    """One environment with pixels: what a simulator's file provides."""

    name: str  # as the user wrote it
    actions: ActionAdapter
    settings: Mapping[str, Any]

    def reset(self, seed: int) -> None:
        """Start the episode of this seed, whatever was played before."""

    def step(self, action: Any) -> tuple[float, bool, bool]:
        """Take one of the environment's own actions; return reward, terminated, truncated."""

    def frame(self) -> NDArray[np.uint8]:
        """Draw what is to be seen now, ``[height, width, channel]``; drawing changes nothing."""

    def state(self) -> NDArray[np.float32] | None:
        """The true state now, or None when the environment does not tell."""

    def expert(self) -> NDArray[np.float32] | None:
        """What a scripted expert does now, in [-1, 1], or None when there is none."""

    def trial_command(self, seed: int, steps: int) -> str:
        """Return the command that plays so many steps after a reset with this seed, without layerscout."""

    def another(self) -> Single:
        """Make one more of the same; it may share what costs time or memory and no episode changes."""

    def close(self) -> None:
        """Release the simulator and the renderer that it holds."""


class Copies:
    """A world of ``copies`` environments of one kind.

    Parameters
    ----------
    first
        The environment; it becomes copy 0 and is asked for the others.
    copies
        How many there are. More of them cost memory and bring no speed: they step one after the other.

    Raises
    ------
    DataError
        The environment fails in whatever it is asked, or gives what it did not promise: the message names it.
    """

    def __init__(self, first: Single, copies: int) -> None:
        self.copies = copies
        self.settings = first.settings
        self.action_count, self.action_dimensions = first.actions.count, first.actions.dimensions
        self._singles = [first]
        self._seeds, self._steps = [0] * copies, [0] * copies  # of each copy's episode
        try:
            self._guard("reset", 0, first.reset, 0)  # only to learn shapes; episodes are seeded by the caller
            self.frame_shape = self._draw(0, expected=None).shape
            state = self._guard("telling its state", 0, first.state)
            self._has_expert = self._guard("its scripted expert", 0, first.expert) is not None
            if getattr(first, "goal", lambda: None)() is not None:
                self.goals = self._goals  # only worlds that show goals have this
            self._state = None if state is None else np.zeros((copies, state.size), dtype=np.float32)
            self._singles += [self._guard("making another copy", 0, first.another) for _ in range(copies - 1)]
        except BaseException:
            self.close()
            raise
        self._ended = np.ones(copies, dtype=bool)
        self._drawn: list[NDArray[np.uint8] | None] = [np.zeros(self.frame_shape, dtype=np.uint8)] * copies  # before the first episode

    def reset(self, which: NDArray[np.intp], seeds: NDArray[np.int64]) -> None:
        """Begin new episodes in the copies ``which``, one after the other."""
        for copy, seed in zip(which.tolist(), seeds.tolist(), strict=True):
            self._seeds[copy], self._steps[copy] = seed, 0
            self._guard("reset", copy, self._singles[copy].reset, seed)
            self._moved(copy)
        self._ended[which] = False

    def step(self, actions: WorldActions) -> StepOutcome:
        """Step the copies that have not ended; the others get reward 0.

        Raises
        ------
        DataError
            Vectors have another shape than ``[copy, dimension]`` or leave [-1, 1], or an environment fails or gives a reward that
            is not finite.
        """
        if self.action_dimensions:
            actions = check_vectors(self._singles[0].name, actions, self.copies, self.action_dimensions, ~self._ended)
        reward = np.zeros(self.copies, dtype=np.float32)
        terminated, truncated = np.zeros((2, self.copies), dtype=bool)
        for copy in np.flatnonzero(~self._ended).tolist():
            single = self._singles[copy]
            self._steps[copy] += 1
            value, terminated[copy], truncated[copy] = self._guard("step", copy, single.step, single.actions.native(actions[copy]))
            if not np.isfinite(value):
                raise DataError(f"{single.name} gave the reward {value}", hint="rewards must be finite numbers")
            reward[copy] = value
            self._moved(copy)
        self._ended |= terminated | truncated
        return StepOutcome(reward, terminated, truncated)

    def frames(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        """Frames of the copies ``which`` (None: of all), uint8 ``[copy, *frame_shape]``; each is drawn once a step at most."""
        chosen = range(self.copies) if which is None else [int(copy) for copy in which]
        return np.stack([self._frame(copy) for copy in chosen]) if len(chosen) else np.zeros((0, *self.frame_shape), np.uint8)

    def _goals(self, which: NDArray[np.intp] | None = None) -> NDArray[np.uint8]:
        chosen = range(self.copies) if which is None else [int(copy) for copy in which]
        return np.stack([self._singles[copy].goal() for copy in chosen])  # type: ignore[attr-defined]

    def state(self) -> NDArray[np.float32] | None:
        """The states after the last step, float32 ``[copy, feature]``; None where the environment tells none."""
        return None if self._state is None else self._state.copy()

    def expert(self) -> WorldActions | None:
        """The expert's vectors for copies that have not ended, and zeros for those that have; None where there is no expert."""
        if not self._has_expert:
            return None
        advice = np.zeros((self.copies, self.action_dimensions), dtype=np.float32)
        for copy in np.flatnonzero(~self._ended):
            advice[copy] = self._guard("its scripted expert", int(copy), self._singles[copy].expert)
        return advice

    def close(self) -> None:
        """Close every environment in turn."""
        for single in self._singles:
            single.close()

    def _guard(self, what: str, copy: int, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except LayerscoutError:
            raise
        except Exception as error:
            if shortage(error) is not None:
                raise
            raise DataError(f"{self._singles[0].name} failed in {what}: {type(error).__name__}: {error}", hint=self._trial(copy)) from error

    def _trial(self, copy: int) -> str:
        return f"try it alone: {self._singles[0].trial_command(self._seeds[copy], self._steps[copy])}"

    def _moved(self, copy: int) -> None:
        self._drawn[copy] = None
        if self._state is not None:
            value = self._guard("telling its state", copy, self._singles[copy].state)
            if value is None or value.size != self._state.shape[1]:
                raise DataError(
                    f"{self._singles[0].name} gave a state of {self._state.shape[1]} numbers at first and of {np.size(value)} now",
                    hint="give the state in the info of every reset and step, always of the same size",
                )
            self._state[copy] = value

    def _frame(self, copy: int) -> NDArray[np.uint8]:
        drawn = self._drawn[copy]
        if drawn is None:
            drawn = self._drawn[copy] = self._draw(copy, self.frame_shape)
        return drawn

    def _draw(self, copy: int, expected: tuple[int, ...] | None) -> NDArray[np.uint8]:
        frame = np.asarray(self._guard("drawing", copy, self._singles[copy].frame))
        if frame.ndim != 3 or frame.dtype != np.uint8 or (expected is not None and frame.shape != expected):
            wanted = f"uint8 {expected}" if expected else "uint8 [height, width, channel]"
            message = f"{self._singles[0].name} gave a frame of {frame.dtype} {frame.shape}, expected {wanted}"
            raise DataError(message, hint=self._trial(copy))
        return frame
