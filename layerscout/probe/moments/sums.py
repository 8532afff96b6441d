"""The sums that a span of rows leaves behind, as named arrays that add up over spans."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int


class Parts:
    """Arrays that add up over spans."""

    def arrays(self) -> list[Any]:
        """Return the arrays, in a fixed order."""
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]

    def clear(self) -> None:
        """Make them the sums of nothing."""
        for array in self.arrays():
            array[:] = 0


@dataclass(frozen=True)
class LatentSums(Parts):
    """What the latents alone give: the expensive part, which no action and no target changes.

    z is a row less the shift, n the next one. Of ``zz`` and ``edges`` only what lies on and above the diagonal counts.
    """

    count: Int[np.ndarray, " group"]
    z: Float[np.ndarray, "group feature"]
    n: Float[np.ndarray, "group feature"]
    zz: Float[np.ndarray, "group feature feature"]
    zn: Float[np.ndarray, "group feature feature"]
    nn: Float[np.ndarray, "group feature"]  # squares only
    edges: Float[np.ndarray, "feature feature"]  # sum of n n' minus sum of z z', over the groups that rank


@dataclass(frozen=True)
class ColumnSums(Parts):
    """What actions a and targets s give: a small part of the work, done again when either changes."""

    a: Float[np.ndarray, "group action"]
    s: Float[np.ndarray, "group scalar"]
    za: Float[np.ndarray, "group feature action"]
    zs: Float[np.ndarray, "group feature scalar"]
    an: Float[np.ndarray, "group action feature"]
    aa: Float[np.ndarray, "group action action"]
    as_: Float[np.ndarray, "group action scalar"]
    ss: Float[np.ndarray, "group scalar"]  # squares only


Sides = tuple[LatentSums, ColumnSums]
