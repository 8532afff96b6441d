"""The sums that a span of rows leaves behind, as named arrays that add up over spans."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int


class SumParts:
    """A set of arrays that belong together and add up over spans of rows."""

    def arrays(self) -> list[Any]:
        """The sums themselves, not copies, in the order of the class's fields: what is added, saved and loaded."""
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]

    def clear(self) -> None:
        """Set every array to zero, so that the sums are those of no rows."""
        for array in self.arrays():
            array[:] = 0


@dataclass(frozen=True)
class LatentSums(SumParts):
    """What the latents alone give: the expensive part, which no action and no target changes.

    z is a row less the shift, n the next one. Of ``latent_latent`` and ``next_minus_latent`` only what lies on and above the diagonal counts.
    """

    count: Int[np.ndarray, " group"]
    latent: Float[np.ndarray, "group feature"]
    next: Float[np.ndarray, "group feature"]
    latent_latent: Float[np.ndarray, "group feature feature"]
    latent_next: Float[np.ndarray, "group feature feature"]
    next_squares: Float[np.ndarray, "group feature"]  # squares only
    next_minus_latent: Float[np.ndarray, "feature feature"]  # sum of n n' minus sum of z z', over the groups that rank


@dataclass(frozen=True)
class ColumnSums(SumParts):
    """What actions a and targets s give: a small part of the work, done again when either changes."""

    action: Float[np.ndarray, "group action"]
    scalar: Float[np.ndarray, "group scalar"]
    latent_action: Float[np.ndarray, "group feature action"]
    latent_scalar: Float[np.ndarray, "group feature scalar"]
    action_next: Float[np.ndarray, "group action feature"]
    action_action: Float[np.ndarray, "group action action"]
    action_scalar: Float[np.ndarray, "group action scalar"]
    scalar_squares: Float[np.ndarray, "group scalar"]  # squares only


SumsOfSpan = tuple[LatentSums, ColumnSums]
