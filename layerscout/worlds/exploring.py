"""A policy's name and a generator in, one action after the other out: how exploratory episodes are played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from layerscout.errors import UsageError

FORMS = "random | random:K | epsilon:E | epsilon:E:K | noise:S"


class ExploratoryStep(NamedTuple):
    """What a policy wants at one step: an action, or the scripted expert's action with something added to it."""

    asks_expert: bool
    value: int | Float32[np.ndarray, " dimension"]  # the action, or what is added to the expert's

    def action(self, advice: NDArray[np.int64] | NDArray[np.float32] | None) -> int | Float32[np.ndarray, " dimension"]:
        """Return the action to take, given what the expert advises in this copy; vectors are clipped to [-1, 1]."""
        if not self.asks_expert:
            return self.value
        assert advice is not None, "a policy that asks the expert is refused for a world without one"
        return int(advice) if advice.ndim == 0 else np.clip(advice + self.value, -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class ExploratoryPolicy:
    """A mixture of a scripted expert and random actions that are held for a while.

    ``randomness`` is the long-run share of steps with a random action, in [0, 1]; 1 needs no expert. ``hold`` is the
    mean number of steps for which one random action is kept (geometrically distributed), at least 1. ``noise`` is the
    standard deviation of what is added to every component of the expert's vector, in units of our actions.
    """

    randomness: float
    hold: float
    noise: float = 0.0

    @property
    def needs_expert(self) -> bool:
        """Whether some step may ask the expert."""
        return self.randomness < 1.0

    def draw_steps(self, action_count: int, generator: np.random.Generator, dimensions: int = 0) -> Iterator[ExploratoryStep]:
        """Yield one choice a step, without end.

        Random actions are uniform: one of ``action_count``, or a vector of ``dimensions`` numbers in [-1, 1].
        A random spell begins at a free step with probability p = E / (E + K (1 - E)): spells of mean length K then
        alternate with expert spells of mean length (1 - p) / p, which makes the share of random steps E.
        """
        begin = self.randomness / (self.randomness + self.hold * (1.0 - self.randomness))
        while True:
            if begin < 1.0 and generator.random() >= begin:
                yield ExploratoryStep(True, generator.normal(0.0, self.noise, dimensions).astype(np.float32) if self.noise else 0)
                continue
            action = generator.uniform(-1.0, 1.0, dimensions).astype(np.float32) if dimensions else int(generator.integers(action_count))
            for _ in range(1 if self.hold == 1.0 else int(generator.geometric(1.0 / self.hold))):
                yield ExploratoryStep(False, action)


def parse_policy(text: str) -> ExploratoryPolicy:
    """Make the exploratory policy that a setting describes in a word.

    ``random``: every action is drawn anew. ``random:K``: each drawn action is held for K steps on average.
    ``epsilon:E``: the scripted expert, but a share E of the steps is random. ``epsilon:E:K``: these held K steps on average.
    ``noise:S``: the scripted expert's vector plus Gaussian noise of standard deviation S in every component, clipped to [-1, 1].

    Raises
    ------
    UsageError
        The text has none of these forms, E is outside [0, 1], K is below 1 or S is not above 0.
    """
    kind, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise _wrong(text, "E, K and S are numbers") from None
    noise = 0.0
    if kind == "random" and len(values) <= 1:
        randomness, hold = 1.0, values[0] if values else 1.0
    elif kind == "epsilon" and 1 <= len(values) <= 2:
        randomness, hold = values[0], values[1] if len(values) == 2 else 1.0
    elif kind == "noise" and len(values) == 1:
        randomness, hold, noise = 0.0, 1.0, values[0]
        if not 0.0 < noise < float("inf"):
            raise _wrong(text, f"S = {noise} is not above 0 or not finite")
    else:
        raise _wrong(text, "unknown form")
    if not 0.0 <= randomness <= 1.0:
        raise _wrong(text, f"E = {randomness} is outside [0, 1]")
    if not 1.0 <= hold < float("inf"):
        raise _wrong(text, f"K = {hold} is below 1 or not finite")
    return ExploratoryPolicy(randomness, hold, noise)


def _wrong(text: str, why: str) -> UsageError:
    hint = "example: --policy epsilon:0.3:4 (the expert, but 30 % of the steps random, each held 4 steps on average)"
    return UsageError(f"policy '{text}': {why}; expected {FORMS}", hint=hint)
