"""Episode lengths in, episode groups and folds out: an episode is never cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from layerscout.errors import DataError


@dataclass(frozen=True)
class Split:
    """Which group each episode belongs to, and which fold each group.

    Folds are for fitting and testing; the finer groups are for the jackknife, whose intervals need more than five parts.
    """

    group_of_episode: Int[np.ndarray, " episode"]
    fold_of_group: Int[np.ndarray, " group"]

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.fold_of_group)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold_of_group.max()) + 1


def split_episodes(lengths: Int[np.ndarray, " episode"], groups: int, folds: int) -> Split:
    """Deal whole episodes into groups of nearly equal rows, and groups into folds.

    Episodes are dealt in order, each to the group with the fewest rows so far: no randomness, and episodes appended
    later move no earlier one. Groups never differ by more than the longest episode.

    Parameters
    ----------
    lengths
        Transitions of each episode, at least 1.
    groups
        Wanted number of groups; there are never more than episodes.
    folds
        Number of folds, at most ``groups``.

    Raises
    ------
    DataError
        There are fewer episodes than folds.
    """
    if len(lengths) < folds:
        have = "1 episode" if len(lengths) == 1 else f"{len(lengths)} episodes"
        fewer = f" or set probe.folds={len(lengths)}" if len(lengths) >= 3 else ""
        raise DataError(f"{have} with transitions; {folds} folds need at least {folds} episodes", hint=f"collect more episodes{fewer}")
    count = min(groups, len(lengths))
    rows = np.zeros(count, dtype=np.int64)
    group_of_episode = np.empty(len(lengths), dtype=np.int64)
    for episode, length in enumerate(lengths):
        group_of_episode[episode] = smallest = int(np.argmin(rows))
        rows[smallest] += length
    return Split(group_of_episode, np.arange(count) % folds)
