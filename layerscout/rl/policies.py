"""A policy's name and a generator in, one action after the other out: how exploratory episodes are played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from layerscout.errors import UsageError

EXPERT = -1  # stands for "what the scripted expert does here"
FORMS = "random | random:K | epsilon:E | epsilon:E:K"


@dataclass(frozen=True)
class Policy:
    """A mixture of a scripted expert and random actions that are held for a while.

    ``randomness`` is the long-run share of steps with a random action, in [0, 1]; 1 needs no expert. ``hold`` is the
    mean number of steps for which one random action is kept (geometrically distributed), at least 1.
    """

    randomness: float
    hold: float

    @property
    def needs_expert(self) -> bool:
        """Whether some step may ask the expert."""
        return self.randomness < 1.0

    def choices(self, action_count: int, generator: np.random.Generator) -> Iterator[int]:
        """Yield one choice a step, without end: an action in [0, action_count) or ``EXPERT``.

        A random spell begins at a free step with probability p = E / (E + K (1 - E)): spells of mean length K then
        alternate with expert spells of mean length (1 - p) / p, which makes the share of random steps E.
        """
        begin = self.randomness / (self.randomness + self.hold * (1.0 - self.randomness))
        while True:
            if begin < 1.0 and generator.random() >= begin:
                yield EXPERT
                continue
            action = int(generator.integers(action_count))
            for _ in range(1 if self.hold == 1.0 else int(generator.geometric(1.0 / self.hold))):
                yield action


def parse(text: str) -> Policy:
    """Read a policy's name.

    ``random``: every action is drawn anew. ``random:K``: each drawn action is held for K steps on average.
    ``epsilon:E``: the scripted expert, but a share E of the steps is random. ``epsilon:E:K``: these held K steps on average.

    Raises
    ------
    UsageError
        The text has none of these forms, E is outside [0, 1] or K is below 1.
    """
    kind, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise _wrong(text, "E and K are numbers") from None
    if kind == "random" and len(values) <= 1:
        randomness, hold = 1.0, values[0] if values else 1.0
    elif kind == "epsilon" and 1 <= len(values) <= 2:
        randomness, hold = values[0], values[1] if len(values) == 2 else 1.0
    else:
        raise _wrong(text, "unknown form")
    if not 0.0 <= randomness <= 1.0:
        raise _wrong(text, f"E = {randomness} is outside [0, 1]")
    if not 1.0 <= hold < float("inf"):
        raise _wrong(text, f"K = {hold} is below 1 or not finite")
    return Policy(randomness, hold)


def _wrong(text: str, why: str) -> UsageError:
    hint = "example: --policy epsilon:0.3:4 (the expert, but 30 % of the steps random, each held 4 steps on average)"
    return UsageError(f"policy '{text}': {why}; expected {FORMS}", hint=hint)
