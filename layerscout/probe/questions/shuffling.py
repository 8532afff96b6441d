"""Rewards of the episodes that rank in; copies of them that no layer can know about, the null of reward R², out.

A copy keeps what makes a reward easy to forecast by chance, its values and how slowly they change, and breaks its tie to the
rows. A circular shift of all rewards does so while episodes differ in length. In episodes of one length it moves every
reward to one other step, and a layer that knows the step foretells the copy as well as the reward itself; there, episodes
are given the rewards of other episodes, each rolled by its own random number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import DTypeLike

TIED = 0.5  # share of the rewards that one shift may leave at one distance, in steps, before it counts as no null


class RewardCopies(Protocol):
    """Copies of the rewards, made as they are asked for: fifty of them would take 400 bytes a row."""

    @property
    def count(self) -> int:
        """Copies of the reward that are made, one null score each."""
        ...

    def values(self, place: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row copy"]:
        """Every copy at some places among the transitions that rank, each at least 0."""
        ...

    def astype(self, dtype: DTypeLike) -> RewardCopies:
        """The same copies with their numbers in another precision."""
        ...


@dataclass(frozen=True)
class ShiftedRewards:
    """Circular shifts of the rewards of all transitions that rank, one after the other.

    Attributes
    ----------
    cycle
        The rewards of the transitions that rank.
    by
        How far each copy is shifted, in transitions.
    """

    cycle: Float[np.ndarray, " ranking"]
    by: Int[np.ndarray, " copy"]

    @property
    def count(self) -> int:
        """One for each shift in ``by``."""
        return len(self.by)

    def values(self, place: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row copy"]:
        """Every copy at some places: the rewards that lie so far before them, on a circle."""
        return np.take(self.cycle, place[:, None] - self.by, mode="wrap")

    def astype(self, dtype: DTypeLike) -> ShiftedRewards:
        """Return the same copies in another precision."""
        return replace(self, cycle=self.cycle.astype(dtype))


@dataclass(frozen=True)
class ExchangedRewards:
    """Rewards of other episodes, each rolled by its own random number of steps.

    Attributes
    ----------
    cycle
        The rewards of the transitions that rank.
    begins
        Place of the first transition of each episode that ranks, and the number of all transitions.
    by
        How many episodes further on each copy takes its rewards.
    seed
        Of the random numbers of steps. They are hashes of copy and episode, so that none of them is kept.
    """

    cycle: Float[np.ndarray, " ranking"]
    begins: Int[np.ndarray, " episode_and_end"]
    by: Int[np.ndarray, " copy"]
    seed: int

    @property
    def count(self) -> int:
        """One for each exchange in ``by``."""
        return len(self.by)

    def values(self, place: Int[np.ndarray, " row"]) -> Float[np.ndarray, "row copy"]:
        """Every copy at some places: step t of an episode gets step (t + roll) of the other one, on a circle."""
        episodes, of = np.unique(np.searchsorted(self.begins, place, side="right") - 1, return_inverse=True)
        other = (episodes[:, None] + self.by) % (len(self.begins) - 1)
        begin, length = self.begins[other], self.begins[other + 1] - self.begins[other]
        roll = (_hashed(self.seed, np.arange(len(self.by)), episodes[:, None]) % length.astype(np.uint64)).astype(np.int64)
        length, step = length[of], (place - self.begins[episodes][of])[:, None]
        at = step + roll[of]
        if (step < length).all():
            at -= np.where(at >= length, length, 0)  # quicker than a remainder
        else:
            at %= length
        return self.cycle[begin[of] + at]

    def astype(self, dtype: DTypeLike) -> ExchangedRewards:
        """Return the same copies in another precision."""
        return replace(self, cycle=self.cycle.astype(dtype))


def _hashed(seed: int, copy: Any, episode: Any) -> Any:
    """64 random bits for each copy and episode.

    References
    ----------
    Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators, Figure 17 (the mixing function).
    """
    found = (episode.astype(np.uint64) << np.uint64(20)) + copy.astype(np.uint64) + (np.uint64(seed) << np.uint64(32))
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found ^ (found >> np.uint64(33))


def shuffle_rewards(
    cycle: Float[np.ndarray, " ranking"], lengths: Int[np.ndarray, " episode"], copies: int, seed: int
) -> tuple[RewardCopies, tuple[str, ...]]:
    """Choose how the rewards are shuffled, and return the copies with what a reader must know about them.

    Parameters
    ----------
    cycle
        Rewards of the transitions that rank, in row order.
    lengths
        Transitions of each episode that ranks, in the same order.
    copies
        How many are wanted; there are fewer where not so many exist.
    """
    by = shift_amounts(len(cycle), int(lengths.max()), copies, seed)
    if len(by) and keeps_steps(lengths, by):
        exchanged = ExchangedRewards(cycle, np.append(0, np.cumsum(lengths)), _episode_shifts(lengths, copies, seed), seed)
        kind = "shuffled rewards are those of other episodes, each rolled by a random number of steps"
        why = "most episodes are equally long, and a shift of all rewards would leave each at one step of its episode"
        return exchanged, (f"{kind}: {why}", *_few(exchanged.count, copies))
    return ShiftedRewards(cycle, by), _few(len(by), copies)


def _few(count: int, wanted: int) -> tuple[str, ...]:
    return (f"only {count} of {wanted} reward shifts move every reward out of its episode",) if count < wanted else ()


def shift_amounts(count: int, longest: int, shifts: int, seed: int) -> Int[np.ndarray, " shift"]:
    """Draw distinct circular shifts that keep the reward's autocorrelation and break its tie to the rows.

    A shift lies strictly between the longest episode and ``count`` minus it, so that no reward stays in its episode.
    Fewer than ``shifts`` come back when not that many exist.
    """
    possible = np.arange(longest + 1, count - longest)
    wanted = min(shifts, len(possible))
    return np.sort(np.random.default_rng(seed).choice(possible, size=wanted, replace=False)) if wanted else possible[:0]


def _episode_shifts(lengths: Int[np.ndarray, " episode"], copies: int, seed: int) -> Int[np.ndarray, " copy"]:
    """Draw shifts by whole episodes. The same one serves several copies where episodes can also be rolled in several ways."""
    drawn = np.random.default_rng(seed).permutation(len(lengths) - 1) + 1
    return np.resize(drawn, copies) if lengths.min() > 1 else drawn[:copies]


def keeps_steps(lengths: Int[np.ndarray, " episode"], by: Int[np.ndarray, " shift"]) -> bool:
    """Whether a circular shift leaves most rewards at one and the same distance, in steps of their episodes.

    So it does where most transitions are of episodes of one length, and hardly any episode of another length lies between:
    more than half of the rewards are moved alike, in the median over the shifts. Judged at the first step of each episode,
    weighted by its length.
    """
    begins, count = np.append(0, np.cumsum(lengths)), int(lengths.sum())
    if lengths.max() == 1 or np.bincount(lengths, lengths).max() <= TIED * count:
        return False
    shares = []
    for shift in by:
        source = (begins[:-1] - shift) % count
        moved = source - begins[np.searchsorted(begins, source, side="right") - 1]
        shares.append(np.bincount(moved, lengths).max() / count)
    return float(np.median(shares)) > TIED
