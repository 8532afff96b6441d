"""One layer's moments in; the squared errors of forecasts that need no probe, out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.scaling import DEAD


@dataclass(frozen=True)
class Diagonals:
    """Moments of each feature of z_t with itself and its own next value: all that a forecast feature by feature needs."""

    count: Float[np.ndarray, "group 1"]
    x: Float[np.ndarray, "group feature"]
    y: Float[np.ndarray, "group feature"]
    xx: Float[np.ndarray, "group feature"]
    xy: Float[np.ndarray, "group feature"]
    yy: Float[np.ndarray, "group feature"]


def diagonals(groups: MomentSums, width: int) -> Diagonals:
    """Take the diagonals of several groups' moments."""
    count = np.asarray(groups.count, dtype=np.float64)[:, None]
    xx, xy = (np.diagonal(matrix, axis1=1, axis2=2)[:, :width] for matrix in (groups.xx, groups.xy))
    return Diagonals(count, groups.x[:, :width], groups.y[:, :width], xx, xy, groups.yy[:, :width])


def persistence_error(groups: Diagonals) -> Float[np.ndarray, "group feature"]:
    """Squared error of z_{t+1} = z_t."""
    return np.maximum(groups.yy - 2 * groups.xy + groups.xx, 0.0)


def autoregression_error(train: Diagonals, groups: Diagonals, unit: float = DEAD) -> Float[np.ndarray, "group feature"]:
    """Squared error of z_{t+1} = a + b z_t on some groups, fitted for each feature by itself on all rows of ``train``.

    A variance below ``unit`` times the mean square is rounding: the feature does not vary there, and its mean is forecast.
    """
    count, x, y, xx, xy = (part.sum(axis=0) for part in (train.count, train.x, train.y, train.xx, train.xy))
    variance, covariance = xx - x**2 / count, xy - x * y / count
    varies = variance > unit * xx
    slope = np.where(varies, covariance / np.where(varies, variance, 1.0), 0.0)
    offset = (y - slope * x) / count
    error = groups.yy + groups.count * offset**2 + slope**2 * groups.xx
    error += 2 * (slope * offset * groups.x - offset * groups.y - slope * groups.xy)
    return np.maximum(error, 0.0)


def autoregression_out_of_fold(
    groups: Diagonals, fold_of_group: Int[np.ndarray, " group"], unit: float = DEAD
) -> Float[np.ndarray, "group feature"]:
    """The same, each group forecast by a fit on the other folds."""

    def chosen(which: np.ndarray) -> Diagonals:
        return Diagonals(*(getattr(groups, name)[which] for name in groups.__dataclass_fields__))

    error = np.empty_like(groups.x)
    for fold in np.unique(fold_of_group):
        tested = fold_of_group == fold
        error[tested] = autoregression_error(chosen(~tested), chosen(tested), unit)
    return error
