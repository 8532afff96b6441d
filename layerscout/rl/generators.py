"""Seeds of runs in, one random generator a run out, and what is kept of it, so that a killed run draws what would have followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def run_generators(seeds: Sequence[int], purpose: int) -> list[np.random.Generator]:
    """Return one generator a run; the same seed with another ``purpose`` gives an independent stream."""
    return [np.random.default_rng([int(seed), purpose]) for seed in seeds]


def generator_states(generators: Sequence[np.random.Generator]) -> list[dict[str, Any]]:
    """Return the states of the generators as plain data that JSON can hold."""
    return [dict(generator.bit_generator.state) for generator in generators]


def restore_generators(generators: Sequence[np.random.Generator], states: Sequence[dict[str, Any]]) -> None:
    """Put saved states back, so that the next draw is the one that would have followed."""
    for generator, state in zip(generators, states, strict=True):
        generator.bit_generator.state = state
