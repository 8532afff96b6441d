"""The actions of transitions in; the numbers that a probe takes them as, out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt

from layerscout.errors import DataError
from layerscout.probe.questions.rewards import standardise_varying

TABLE = 2**20  # of action values: so wide a range is looked up, a wider one is sorted


@dataclass(frozen=True)
class OneHot:
    """A matrix [transition, level] of discrete actions that is made as it is asked for: one code is kept a row.

    A slice of rows is another such matrix; any other choice of rows, and ``numpy.asarray``, give numbers.
    """

    codes: UInt[np.ndarray, " transition"]
    levels: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the one-hot matrix: transitions x levels of the action."""
        return len(self.codes), self.levels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the one-hot matrix's numbers."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return OneHot(self.codes[at], self.levels)
        codes = self.codes[at]
        found = np.zeros((*np.shape(codes), self.levels), self.dtype)
        np.put_along_axis(found, np.asarray(codes, dtype=np.int64)[..., None], 1, axis=-1)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Float[np.ndarray, "transition level"]:
        return np.asarray(self[np.arange(len(self))], dtype=dtype)


ActionInputs = Float[np.ndarray, "transition action_feature"] | OneHot


def action_columns(
    action: Shaped[np.ndarray, "transition ..."], ranking: Bool[np.ndarray, " transition"]
) -> tuple[ActionInputs, int, tuple[str, ...]]:
    """Turn actions into columns: one a level of discrete ones, else those that vary, with mean 0 and variance 1.

    Parameters
    ----------
    action
        Integers, negative for none; or real numbers [transition, dimension], NaN for none.
    ranking
        The transitions of episodes that rank, over which columns are standardised.

    Returns
    -------
    The columns, none where there is nothing to tell apart; the number of levels, 0 for continuous actions; and notes.

    Raises
    ------
    DataError
        Some transitions have an action and others do not.
    """
    action = action.reshape(len(action), -1)
    discrete = action.dtype.kind in "iu"
    missing = (action < 0 if discrete else ~np.isfinite(action)).any(axis=1)
    none = np.zeros((len(action), 0), dtype=np.float32)
    if missing.all():
        return none, 0, ("the dataset has no actions: transition R² is without action, bits_action is n/a",)
    if missing.any():
        first = int(np.argmax(missing))
        message = f"transition {first} has no action (column 'action' is {', '.join(map(str, action[first]))}) while others have one"
        raise DataError(message, hint="collect the data again")
    inputs: ActionInputs
    if discrete:
        codes, levels = action_codes(action[:, 0])
        inputs = OneHot(codes, levels)
    else:
        inputs, levels = standardise_varying(action.astype(np.float64), ranking).astype(np.float32), 0
    if levels == 1 or not inputs.shape[1]:
        return none, 0, ("no actions to tell apart: transition R² is without action, bits_action is n/a",)
    return inputs, levels, ()


def action_codes(action: Int[np.ndarray, " transition"]) -> tuple[UInt[np.ndarray, " transition"], int]:
    """Number the distinct values 0, 1, ... by size, in the smallest type that holds them."""
    least, most = int(action.min()), int(action.max())
    if most - least < TABLE:
        seen = np.zeros(most - least + 1, dtype=bool)
        seen[action - least] = True
        levels = int(seen.sum())
        return (np.cumsum(seen) - 1).astype(np.min_scalar_type(levels))[action - least], levels
    values, codes = np.unique(action, return_inverse=True)
    return codes.reshape(-1).astype(np.min_scalar_type(len(values))), len(values)
