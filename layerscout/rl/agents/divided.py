"""A learner's runs in, the same runs on several cores out: each part of them learns by itself, in a thread of its own.

Products of one small network after another leave most cores waiting for each other at every step. Runs do not touch each
other, so parts of them can go through many updates without meeting. What a run learns does not depend on the parts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from layerscout.errors import DataError
from layerscout.extract.device import batches_in_threads
from layerscout.rl.agents.base import ActionArray, Agent, AgentConfig
from layerscout.rl.memory.replay import Batch

VECTOR = 16  # numbers that a processor computes at once, at most
MOST_PARTS = 4  # more threads than this wait for one another: between two products each needs the interpreter


def divided(make: Callable[[slice], Agent], runs: int, cores: int, batch: int) -> Agent:
    """Return ``make(all runs)``, or on several cores a `DividedLearner` of equal parts of them.

    Runs whose ``batch`` does not fill whole vectors of the processor stay together: some functions are rounded otherwise at the
    end of an array than within it, and what a run learns must not depend on how many cores there are.
    """
    parts = min(runs, cores, MOST_PARTS) if batch % VECTOR == 0 else 1
    if parts == 1:
        return make(slice(0, runs))
    borders = [runs * part // parts for part in range(parts + 1)]
    return DividedLearner(make, [slice(first, last) for first, last in itertools.pairwise(borders)])


class DividedLearner:
    """Several learners that are used as one. Its saved state is that of one learner of all runs, however they are divided.

    Parameters
    ----------
    make
        Which runs → a learner of them.
    places
        Which runs each part has, in order.
    """

    def __init__(self, make: Callable[[slice], Agent], places: Sequence[slice]) -> None:
        self._parts = [(place, make(place)) for place in places]
        self._runs = places[-1].stop
        self.seeds: tuple[int, ...] = tuple(seed for _, part in self._parts for seed in part.seeds)

    @property
    def config(self) -> AgentConfig:
        """The first part's settings, which all parts share."""
        return self._parts[0][1].config

    @property
    def updates(self) -> int:
        """Gradient steps of the first part; all parts take as many."""
        return self._parts[0][1].updates

    @property
    def failed(self) -> Bool[np.ndarray, " run"]:
        """True for each run, in the order of all runs, that stopped learning in its part."""
        return np.concatenate([part.failed for _, part in self._parts])

    @property
    def reasons(self) -> dict[int, str]:
        """Run, counted over all parts → why it stopped learning."""
        return {place.start + run: reason for place, part in self._parts for run, reason in part.reasons.items()}

    def act(self, z: Shaped[np.ndarray, "run batch *feature"]) -> ActionArray:
        """Ask one part after the other: choosing is too short to be worth a thread."""
        return np.concatenate([part.act(z[place]) for place, part in self._parts])

    def explore(self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]) -> ActionArray:
        """Ask one part after the other, each with its own runs' generators, so that division changes no draw."""
        return np.concatenate([part.explore(z[place], step, generators[place]) for place, part in self._parts])

    def update(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Update all parts at once and join their losses, NaN for a run that has failed."""

        def update(place: slice, part: Agent) -> Float32[np.ndarray, " run"]:
            columns: Any = (None if column is None else column[place] for column in batch)
            return part.update(Batch(*columns))

        return np.concatenate(self._at_once(update))

    def update_from(self, draw: Callable[[slice], Batch], updates: int) -> Float32[np.ndarray, "update run"]:
        """Update all parts at once; each draws its batches by the places of its runs among all."""

        def update(place: slice, part: Agent) -> Float32[np.ndarray, "update run"]:
            return part.update_from(lambda own: draw(slice(place.start + own.start, place.start + own.stop)), updates)

        return np.concatenate(self._at_once(update), axis=1)

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Trainable numbers of every run, in the order of all runs."""
        return np.concatenate([part.trainable_parameters() for _, part in self._parts])

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update of every run, in the order of all runs."""
        return np.concatenate([part.update_flops() for _, part in self._parts])

    def state_dict(self) -> dict[str, Any]:
        """The parts' states joined along the run axis, with reasons counted over all runs."""
        joined: dict[str, Any] = _joined([part.state_dict() | {"reasons": {}} for _, part in self._parts])
        return joined | {"reasons": {str(run): reason for run, reason in self.reasons.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back, however the runs that saved it were divided.

        Raises
        ------
        DataError
            The state is of other runs or of other networks.
        """
        reasons = {int(run): reason for run, reason in state["reasons"].items()}
        for place, part in self._parts:
            own = {str(run - place.start): reason for run, reason in reasons.items() if place.start <= run < place.stop}
            part.load_state_dict(_cut(state | {"reasons": {}}, place, self._runs) | {"reasons": own})

    def _at_once(self, work: Callable[[slice, Agent], np.ndarray]) -> list[np.ndarray]:
        return list(batches_in_threads(lambda part: work(*part), self._parts, len(self._parts)))


def _joined(states: Sequence[Any]) -> Any:
    """Lay the states of all parts side by side: arrays and lists have one place a run first, everything else is equal."""
    first = states[0]
    if isinstance(first, dict):
        return {key: _joined([state[key] for state in states]) for key in first}
    if isinstance(first, np.ndarray):
        return np.concatenate(states)
    return [item for state in states for item in state] if isinstance(first, list) else first


def _cut(state: Any, place: slice, runs: int) -> Any:
    """Undo `_joined` for one part of ``runs`` runs."""
    if isinstance(state, dict):
        return {key: _cut(value, place, runs) for key, value in state.items()}
    if not isinstance(state, np.ndarray | list):
        return state
    if len(state) != runs:
        raise DataError(f"the saved state is of {len(state)} runs, expected {runs}", hint="continue with the same arms and seeds")
    return state[place]
