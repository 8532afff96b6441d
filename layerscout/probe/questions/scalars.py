"""Columns of targets in; rows of them, with the shuffled rewards made as they are asked for, out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import DTypeLike

from layerscout.probe.questions.outcomes import Outcomes
from layerscout.probe.questions.shuffling import RewardCopies


@dataclass(frozen=True)
class Scalars:
    """A matrix [transition, scalar] of which the shuffled copies of the reward are not kept.

    A slice of rows is another such matrix; any other choice of rows or columns, and ``numpy.asarray``, give numbers.

    Attributes
    ----------
    kept
        The reward, if there is one, and the columns of every target that was asked for.
    copies
        The shuffled rewards; they come right behind the reward. None without a reward.
    place
        Of each transition among those that rank; -1 for others, whose shuffled rewards are 0.
    ahead
        Rewards of the next steps, behind those; None without.
    outcomes
        What followed each action, in the last columns; None where that says nothing.
    """

    kept: Float[np.ndarray, "transition column"]
    copies: RewardCopies | None
    place: Int[np.ndarray, " transition"]
    ahead: Float[np.ndarray, "transition column"] | None = None
    outcomes: Outcomes | None = None

    @property
    def searched(self) -> int:
        """Number of columns but for those of ``outcomes``: the penalty of these is chosen, that of the others fixed."""
        return self._first + (0 if self.ahead is None else self.ahead.shape[1])

    @property
    def _first(self) -> int:
        return self.kept.shape[1] + (self.copies.count if self.copies else 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix of all scalar targets: transitions x columns."""
        return len(self.kept), self.searched + (0 if self.outcomes is None else self.outcomes.count)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type in which the scalar targets are kept."""
        return self.kept.dtype

    def astype(self, dtype: DTypeLike) -> Scalars:
        """Return the same matrix in another precision."""
        return replace(self, kept=self.kept.astype(dtype), copies=self.copies and self.copies.astype(dtype))

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, tuple):
            rows, columns = at
            return np.asarray(self[rows])[..., columns]
        if isinstance(at, slice):
            ahead = None if self.ahead is None else self.ahead[at]
            outcomes = None if self.outcomes is None else self.outcomes[at]
            return Scalars(self.kept[at], self.copies, self.place[at], ahead, outcomes)
        rows = np.atleast_1d(np.arange(len(self))[at])
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        self.write(rows, found)
        return found[0] if np.ndim(at) == 0 else found

    def write(self, rows: Int[np.ndarray, " row"], out: Float[np.ndarray, "row scalar"]) -> None:
        """Write all scalar targets of some transitions to ``out``, those made on the way among them."""
        if self.outcomes is not None:
            out[:, self.searched :] = self.outcomes.values(rows, out.dtype)
        if self.ahead is not None:
            out[:, self._first : self.searched] = self.ahead[rows]
        out = out[:, : self._first]
        if self.copies is None or not self.copies.count:
            out[:] = self.kept[rows]
            return
        last, place = 1 + self.copies.count, self.place[rows]
        out[:, 0], out[:, last:] = self.kept[rows, 0], self.kept[rows, 1:]
        out[:, 1:last] = self.copies.values(np.maximum(place, 0))
        if (nobody := place < 0).any():
            out[nobody, 1:last] = 0.0

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Float[np.ndarray, "transition scalar"]:
        return np.asarray(self[np.arange(len(self))], dtype=dtype)
