"""Episode lengths in; episode groups, folds and a confirmation set out: an episode is never cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from layerscout.errors import DataError
from layerscout.showing import counted

CONFIRMATION = -1  # the fold of groups that have no part in the ranking
FEWEST_CONFIRMATION = 3  # episodes; an interval from two would be 6 times their standard error to either side
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Split:
    """Which group each episode belongs to, and which fold each group.

    Folds are for fitting and testing; the finer groups are for the jackknife, whose intervals need more than five parts.
    The groups that rank come first; those of fold -1 are the confirmation set.
    """

    group_of_episode: Int[np.ndarray, " episode"]
    fold_of_group: Int[np.ndarray, " group"]
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> int:
        """Number of groups, those of the confirmation set included."""
        return len(self.fold_of_group)

    @property
    def folds(self) -> int:
        """Number of folds of cross-validation, each of several groups."""
        return int(self.fold_of_group.max()) + 1

    @property
    def ranking(self) -> Int[np.ndarray, " ranking_group"]:
        """Numbers of the groups of episodes that have a part in the ranking; the others confirm it."""
        return np.flatnonzero(self.fold_of_group != CONFIRMATION)

    @property
    def confirmation(self) -> Int[np.ndarray, " confirmation_group"]:
        """Numbers of the groups that take no part in ranking; none where nothing was held back."""
        return np.flatnonzero(self.fold_of_group == CONFIRMATION)

    @property
    def confirmation_episodes(self) -> int:
        """Number of episodes that have no part in the ranking."""
        return int(np.isin(self.group_of_episode, self.confirmation).sum())


def held_out(episodes: int, share: float, folds: int) -> Bool[np.ndarray, " episode"]:
    """Choose the episodes of the confirmation set: one of every 1 / share in a row, at places without a period.

    No randomness, and episodes appended later move no earlier one, except that a set of fewer than three, or one that
    leaves fewer episodes than folds, is none.

    Parameters
    ----------
    share
        Share of the episodes, in [0, 0.5].
    """
    found = np.zeros(episodes, dtype=bool)
    if share == 0:
        return found
    turn = np.arange(int(episodes * share) + 1)
    places = ((turn + (turn + 1) * GOLDEN % 1) / share).astype(np.int64)
    found[places[places < episodes]] = True
    enough = found.sum() >= FEWEST_CONFIRMATION and (~found).sum() >= folds
    return found if enough else np.zeros(episodes, dtype=bool)


def split_episodes(lengths: Int[np.ndarray, " episode"], groups: int, folds: int, confirmation: float = 0.0) -> Split:
    """Deal whole episodes into groups of nearly equal rows, and groups into folds.

    Episodes are dealt in order, each to the group with the fewest rows so far: no randomness, and episodes appended
    later move no earlier one. Groups never differ by more than the longest episode.

    Parameters
    ----------
    lengths
        Transitions of each episode, at least 1.
    groups
        Wanted number of groups that rank; there are never more than episodes. The confirmation set has half as many.
    folds
        Number of folds, at most ``groups``.
    confirmation
        Share of the episodes that have no part in the ranking; see ``held_out``.

    Raises
    ------
    DataError
        There are fewer episodes than folds.
    """
    if len(lengths) < folds:
        fewer = f" or set probe.folds={len(lengths)}" if len(lengths) >= 3 else ""
        raise DataError(
            f"{counted(len(lengths), 'episode')} with transitions; {folds} folds need at least {folds} episodes",
            hint=f"collect more episodes{fewer}",
        )
    held = held_out(len(lengths), confirmation, folds)
    group_of_episode = np.empty(len(lengths), dtype=np.int64)
    ranking = _deal(lengths[~held], groups)
    group_of_episode[~held] = ranking
    count = int(ranking.max()) + 1
    fold_of_group = np.arange(count) % folds
    if held.any():
        dealt = _deal(lengths[held], max(FEWEST_CONFIRMATION, groups // 2))
        group_of_episode[held] = count + dealt
        fold_of_group = np.append(fold_of_group, np.full(dealt.max() + 1, CONFIRMATION))
    missing = confirmation > 0 and not held.any()
    return Split(group_of_episode, fold_of_group, (_too_few(len(lengths), confirmation, folds),) if missing else ())


def _deal(lengths: Int[np.ndarray, " episode"], groups: int) -> Int[np.ndarray, " episode"]:
    rows = np.zeros(min(groups, len(lengths)), dtype=np.int64)
    found = np.empty(len(lengths), dtype=np.int64)
    for episode, length in enumerate(lengths):
        found[episode] = smallest = int(np.argmin(rows))
        rows[smallest] += length
    return found


def _too_few(episodes: int, share: float, folds: int) -> str:
    needed = next(count for count in range(episodes, 1000 * folds) if held_out(count, share, folds).any())
    return f"no confirmation set: {episodes} episodes, and a share of {share:g} needs at least {needed}"
