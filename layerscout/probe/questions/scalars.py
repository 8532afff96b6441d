"""Columns of targets in; rows of them, with the shifted rewards made as they are asked for, out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Scalars:
    """A matrix [transition, scalar] of which shifted copies of the reward are not kept: fifty would take 400 bytes a row.

    A slice of rows is another such matrix; any other choice of rows or columns, and ``numpy.asarray``, give numbers.

    Attributes
    ----------
    kept
        The reward, if there is one, and the columns of every other target.
    by
        How far each copy of the reward is shifted, in transitions that rank; the copies come right behind the reward.
    place
        Of each transition among those that rank; -1 for others, whose shifted rewards are 0.
    cycle
        The rewards of the transitions that rank.
    """

    kept: Float[np.ndarray, "transition column"]
    by: Int[np.ndarray, " shift"]
    place: Int[np.ndarray, " transition"]
    cycle: Float[np.ndarray, " ranking"]

    @property
    def shape(self) -> tuple[int, int]:
        """Transitions and columns."""
        return len(self.kept), self.kept.shape[1] + len(self.by)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the columns."""
        return self.kept.dtype

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, tuple):
            rows, columns = at
            return np.asarray(self[rows])[..., columns]
        if isinstance(at, slice):
            return Scalars(self.kept[at], self.by, self.place[at], self.cycle)
        kept, place = self.kept[at], np.asarray(self.place[at])
        if not len(self.by):
            return kept
        found, last = np.empty((self.shape[1], *place.shape)), 1 + len(self.by)  # column by column: neighbours lie side by side
        found[0], found[last:] = kept[..., 0], np.moveaxis(kept[..., 1:], -1, 0)
        # a place less a shift is counted from the end where it is negative: that is the circle
        np.take(self.cycle, place - self.by.reshape(-1, *[1] * place.ndim), out=found[1:last], mode="wrap")
        found[1:last, place < 0] = 0.0
        return np.moveaxis(found, 0, -1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Float[np.ndarray, "transition scalar"]:
        return np.asarray(self[np.arange(len(self))], dtype=dtype)
