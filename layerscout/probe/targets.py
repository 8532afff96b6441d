"""A store's index columns in, its transitions with actions, rewards and shuffled rewards out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from layerscout.errors import DataError


@dataclass(frozen=True)
class Transitions:
    """Pairs of consecutive rows of one episode, in row order.

    Attributes
    ----------
    row
        Row of z_t; z_{t+1} lies in ``row + 1``.
    episode
        Episode of each transition, renumbered 0, 1, ... in row order.
    action
        Column of each action in the one-hot code, in ``[0, actions)``; all zero when ``actions`` is 0.
    actions
        Number of distinct actions; 0 when the data has none or only one, which can explain nothing.
    scalars
        Reward in column 0, then the same rewards circularly shifted; all with mean 0 and variance 1. No column when the
        reward is undefined (absent, or equal everywhere).
    notes
        What a reader of the ranking must know about the targets.
    """

    row: Int[np.ndarray, " transition"]
    episode: Int[np.ndarray, " transition"]
    action: Int[np.ndarray, " transition"]
    actions: int
    scalars: Float[np.ndarray, "transition scalar"]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.row)

    @property
    def lengths(self) -> Int[np.ndarray, " episode"]:
        """Transitions of each episode."""
        return np.bincount(self.episode)

    @property
    def begins(self) -> Bool[np.ndarray, " transition"]:
        """Where z_t is no other transition's successor."""
        return np.diff(self.row, prepend=-2) != 1

    @property
    def ends(self) -> Bool[np.ndarray, " transition"]:
        """Where z_{t+1} begins no other transition."""
        return np.append(self.begins[1:], True)


def find_transitions(
    episode: Int[np.ndarray, " row"],
    step: Int[np.ndarray, " row"],
    action: Int[np.ndarray, " row"],
    reward: Float[np.ndarray, " row"],
    shifts: int,
    seed: int,
) -> Transitions:
    """Pair the rows of each episode and prepare every target but the activations themselves.

    Raises
    ------
    DataError
        No episode has two rows, or some transitions have an action or a reward and others do not.
    """
    row = np.flatnonzero((episode[1:] == episode[:-1]) & (step[1:] == step[:-1] + 1))
    if not len(row):
        raise DataError(f"the store's {len(episode)} rows hold no transition", hint="collect episodes of at least one step")
    number = np.unique(episode[row], return_inverse=True)[1]
    codes, actions, action_notes = _encode(action[row])
    scalars, reward_notes = _reward_columns(reward[row].astype(np.float64), int(np.bincount(number).max()), shifts, seed)
    return Transitions(row, number, codes, actions, scalars, action_notes + reward_notes)


def _encode(action: Int[np.ndarray, " transition"]) -> tuple[Int[np.ndarray, " transition"], int, tuple[str, ...]]:
    values, codes = np.unique(action, return_inverse=True)
    if len(values) == 1:
        return np.zeros(len(action), dtype=np.int64), 0, ("no actions to tell apart: transition R² is without action, bits_action is n/a",)
    if values[0] < 0:
        missing = int(np.argmax(action < 0))
        raise DataError(
            f"transition {missing} has no action (column 'action' is {action[missing]}) while others have one",
            hint="collect the data again",
        )
    return codes, len(values), ()


def _reward_columns(
    reward: Float[np.ndarray, " transition"], longest: int, shifts: int, seed: int
) -> tuple[Shaped[np.ndarray, "t s"], tuple[str, ...]]:
    none = np.zeros((len(reward), 0))
    missing = ~np.isfinite(reward)
    if missing.all():
        return none, ("the dataset has no rewards: reward R² is n/a",)
    if missing.any():
        first = int(np.argmax(missing))
        raise DataError(f"transition {first} has reward {reward[first]} while others have one", hint="collect the data again")
    if reward.min() == reward.max():
        return none, (f"all rewards equal {reward[0]:g}: reward R² is n/a",)
    reward = (reward - reward.mean()) / reward.std()
    by = shift_amounts(len(reward), longest, shifts, seed)
    few = f"only {len(by)} of {shifts} reward shifts move every reward out of its episode"
    notes = (few,) if len(by) < shifts else ()
    return np.stack([reward, *(np.roll(reward, int(amount)) for amount in by)], axis=1), notes


def shift_amounts(count: int, longest: int, shifts: int, seed: int) -> Int[np.ndarray, " shift"]:
    """Draw distinct circular shifts that keep the reward's autocorrelation and break its tie to the rows.

    A shift lies strictly between the longest episode and ``count`` minus it, so that no reward stays in its episode.
    Fewer than ``shifts`` come back when not that many exist.
    """
    possible = np.arange(longest + 1, count - longest)
    wanted = min(shifts, len(possible))
    return np.sort(np.random.default_rng(seed).choice(possible, size=wanted, replace=False)) if wanted else possible[:0]
