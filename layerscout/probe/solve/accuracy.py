"""Losses of one fit, at each penalty and a little above it, in; how much the rounding of products may have moved an R² out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from layerscout.probe.moments.moments import MomentSums

LARGEST_ROUNDING_EFFECT = 1e-6  # of R²


class RoundingExceeded(Exception):
    """Float32 products may have moved an R² by ``amount``, more than was allowed: measure again in float64."""

    def __init__(self, amount: float) -> None:
        super().__init__(amount)  # alone, so that it travels between processes
        self.amount = amount

    def __str__(self) -> str:
        return f"float32 products may have moved an R² by {self.amount:.1e}"


def rounding_effect(
    transition: Float[np.ndarray, " penalty_twice"],
    scalars: Float[np.ndarray, "penalty_twice scalar"],
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
        As ``penalties.validation_losses`` gives them, for all penalties and then for all of them with ρ once more.
    valid
        Moments of the rows that the losses are of.
    mean
        Of each target over all rows.
    """
    found = [_moved(transition[:, None] / valid.count)]
    if scalars.shape[1]:
        width = len(mean) - scalars.shape[1]
        about = (valid.yy - 2 * mean * valid.y + valid.count * mean**2)[width]
        # the first column is the reward, if there is one; shuffled copies and other targets meet the same directions
        found.append(_moved(scalars[:, :1] / max(about, np.finfo(np.float64).tiny)))
    return max(found)


def _moved(losses: Float[np.ndarray, "penalty_twice target"]) -> float:
    count = len(losses) // 2
    best = int(losses[:count].sum(axis=1).argmin())
    return float(np.max(np.abs(losses[count + best] - losses[best])))
