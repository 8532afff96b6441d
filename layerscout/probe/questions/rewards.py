"""Rewards in; the reward as a target, and the return that follows each step, out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from layerscout.errors import DataError

LONG = 4096  # steps: longer episodes are added up one by one, shorter ones all at once


def reward_column(
    reward: Float[np.ndarray, " transition"], ranking: Bool[np.ndarray, " transition"]
) -> tuple[Float[np.ndarray, "transition reward"], tuple[str, ...]]:
    """Return the reward as a column with mean 0 and variance 1, and notes; no column when it is absent or constant.

    Raises
    ------
    DataError
        Some transitions have a reward and others do not.
    """
    none = np.zeros((len(reward), 0))
    missing = ~np.isfinite(reward)
    if missing.all():
        return none, ("the dataset has no rewards: reward R² is n/a",)
    if missing.any():
        first = int(np.argmax(missing))
        raise DataError(f"transition {first} has reward {reward[first]} while others have one", hint="collect the data again")
    scaled = standardise_varying(reward[:, None], ranking)
    if not scaled.shape[1]:
        whose = "" if reward.min() == reward.max() else " of the episodes that rank"
        return none, (f"all rewards{whose} equal {reward[ranking][0]:g}: reward R² is n/a",)
    return scaled, ()


def standardise_varying(
    values: Float[np.ndarray, "transition k"], ranking: Bool[np.ndarray, " transition"]
) -> Float[np.ndarray, "transition live"]:
    """Columns that vary over the episodes that rank, with mean 0 and variance 1 there."""
    seen = values[ranking]
    if not (live := seen.min(axis=0) < seen.max(axis=0)).all():
        values, seen = values[:, live], seen[:, live]
    mean, deviation = seen.mean(axis=0), seen.std(axis=0)
    del seen  # before more memory of that size is asked for
    found = values - mean
    found /= deviation
    return found


def return_to_go(
    reward: Float[np.ndarray, " transition"], episode: Int[np.ndarray, " transition"], discount: float
) -> Float[np.ndarray, " transition"]:
    """G_t = r_t + discount G_{t+1}, to the end of each recorded episode; of a cut-off episode, what was recorded."""
    found = np.array(reward, dtype=np.float64)
    if not len(found):
        return found
    begins = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    ends = np.append(begins[1:], len(found))
    lengths = ends - begins
    for end, length in zip(ends[lengths > LONG], lengths[lengths > LONG], strict=True):
        ahead = 0.0
        for stop in range(end, end - length, -LONG):  # a block at a time: Python's numbers take four times the space
            block = found[max(stop - LONG, end - length) : stop]
            values = block.tolist()
            for step in range(len(values) - 1, -1, -1):
                values[step] = ahead = values[step] + discount * ahead
            block[:] = values
    short = lengths <= LONG
    ends = ends[short][np.argsort(-lengths[short], kind="stable")]  # the longest first: those that go on stay in front
    going_on = np.cumsum(np.bincount(lengths[short], minlength=1)[::-1])[::-1]  # how many have at least so many steps
    for step in range(2, len(going_on)):
        at = ends[: going_on[step]] - step
        found[at] += discount * found[at + 1]
    return found
