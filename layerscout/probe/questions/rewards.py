"""Rewards in; the reward and its shifted copies as targets, and the return that follows each step, out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from layerscout.errors import DataError


def reward_columns(
    reward: Float[np.ndarray, " transition"], ranking: Bool[np.ndarray, " transition"], longest: int, shifts: int, seed: int
) -> tuple[Float[np.ndarray, "transition reward"], Int[np.ndarray, " shift"], tuple[str, ...]]:
    """Return the reward as a column, how far its copies are shifted, and notes; no column when it is absent or constant.

    Raises
    ------
    DataError
        Some transitions have a reward and others do not.
    """
    none, unshifted = np.zeros((len(reward), 0)), np.zeros(0, dtype=np.int64)
    missing = ~np.isfinite(reward)
    if missing.all():
        return none, unshifted, ("the dataset has no rewards: reward R² is n/a",)
    if missing.any():
        first = int(np.argmax(missing))
        raise DataError(f"transition {first} has reward {reward[first]} while others have one", hint="collect the data again")
    scaled = standardise_varying(reward[:, None], ranking)
    if not scaled.shape[1]:
        whose = "" if reward.min() == reward.max() else " of the episodes that rank"
        return none, unshifted, (f"all rewards{whose} equal {reward[ranking][0]:g}: reward R² is n/a",)
    by = shift_amounts(int(ranking.sum()), longest, shifts, seed)
    few = f"only {len(by)} of {shifts} reward shifts move every reward out of its episode"
    return scaled, by, (few,) if len(by) < shifts else ()


def standardise_varying(
    values: Float[np.ndarray, "transition k"], ranking: Bool[np.ndarray, " transition"]
) -> Float[np.ndarray, "transition live"]:
    """Columns that vary over the episodes that rank, with mean 0 and variance 1 there."""
    seen = values[ranking]
    values, seen = values[:, live := seen.min(axis=0) < seen.max(axis=0)], seen[:, live]
    return (values - seen.mean(axis=0)) / seen.std(axis=0)


def shift_amounts(count: int, longest: int, shifts: int, seed: int) -> Int[np.ndarray, " shift"]:
    """Draw distinct circular shifts that keep the reward's autocorrelation and break its tie to the rows.

    A shift lies strictly between the longest episode and ``count`` minus it, so that no reward stays in its episode.
    Fewer than ``shifts`` come back when not that many exist.
    """
    possible = np.arange(longest + 1, count - longest)
    wanted = min(shifts, len(possible))
    return np.sort(np.random.default_rng(seed).choice(possible, size=wanted, replace=False)) if wanted else possible[:0]


def return_to_go(
    reward: Float[np.ndarray, " transition"], episode: Int[np.ndarray, " transition"], discount: float
) -> Float[np.ndarray, " transition"]:
    """G_t = r_t + discount G_{t+1}, to the end of each recorded episode; of a cut-off episode, what was recorded."""
    found, following, ahead = reward.tolist(), -1, 0.0
    numbers = episode.tolist()
    for transition in range(len(found) - 1, -1, -1):
        ahead = found[transition] + (discount * ahead if numbers[transition] == following else 0.0)
        found[transition], following = ahead, numbers[transition]
    return np.array(found)
