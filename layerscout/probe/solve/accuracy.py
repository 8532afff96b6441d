"""Losses of one fit in; how much the rounding of products may have moved an R², seen from losses at a little more penalty, out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.penalties import Validation

LARGEST_ROUNDING_EFFECT = 1e-6  # of R²


class RoundingExceeded(Exception):
    """Float32 products may have moved an R² by ``amount``, more than was allowed: measure again in float64."""

    def __init__(self, amount: float) -> None:
        super().__init__(amount)  # alone, so that it travels between processes
        self.amount = amount

    def __str__(self) -> str:
        return f"float32 products may have moved an R² by {self.amount:.1e}"


def rounding_effect(
    validation: Validation,
    penalties: Sequence[float],
    transition: Float[np.ndarray, " penalty"],
    scalars: Float[np.ndarray, "penalty scalar"],
    rounding: float,
    checked: int,
    valid: MomentSums,
    mean: Float[np.ndarray, " target"],
) -> float:
    """Estimate by how much rounded products change R², from one fit.

    Rounding changes a correlation matrix by a matrix whose eigenvalues are at most some small ρ, and every penalty is raised by
    ρ already. So the fit is validated at the best penalty with ρ once more: where that moves R², rounding of another sign
    could have moved it as far. The estimate is of the right order and no bound: a test holds it, on layers with signal in
    directions of 10⁻¹ to 10⁻⁸ of the variance, to a twentieth of the difference between float32 and float64 where that exceeds 10⁻⁵.

    Parameters
    ----------
    transition, scalars
        Losses that ``validation`` gave at the ``penalties``.
    rounding
        ρ.
    checked
        1 to look at the first scalar too, the reward, if there is one: shuffled copies and other targets meet the same directions. Else 0.
    valid
        Moments of the rows that the losses are of.
    mean
        Of each target over all rows.
    """
    best = int(transition.argmin())
    moved = [abs(validation.transition([penalties[best] + rounding])[0] - transition[best]) / valid.count]
    if checked:
        width, best = len(mean) - scalars.shape[1], int(scalars[:, 0].argmin())
        about = (valid.yy - 2 * mean * valid.y + valid.count * mean**2)[width]
        again = validation.scalars([penalties[best] + rounding], 1)[0, 0]
        moved.append(abs(again - scalars[best, 0]) / max(about, np.finfo(np.float64).tiny))
    return float(max(moved))
