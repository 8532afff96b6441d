"""Moments of training and other rows in; means, scales and standardised second moments, out.

A ridge regression on standardised features is a function of these alone. ``StandardScaler`` of scikit-learn is the model: a
feature that does not vary over the training rows has scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from layerscout.probe.moments.moments import MomentSums

DEAD = 1e-12  # a variance below this share of the squared mean is rounding, not signal
UNIT_ROUNDING = {"float32": 1e-7, "float64": 2e-16}


@dataclass(frozen=True)
class FeatureScaling:
    """Means and variances of the training rows; a feature that does not vary has scale 1, as in ``StandardScaler``."""

    x_mean: Float[np.ndarray, " feature"]
    x_scale: Float[np.ndarray, " feature"]
    y_mean: Float[np.ndarray, " target"]
    y_variance: Float[np.ndarray, " target"]


def rounding(precision: str, width: int) -> float:
    """Return the largest eigenvalue that rounding of the products makes up in a correlation matrix of some width.

    Every penalty is raised by it, or the smallest ones would fit rounding in layers of low rank. Seen in float32: at most
    0.6 of it, for widths of 64 to 1024, ranks of 8 to 512, 2,500 to 20,000 rows.
    """
    return float(UNIT_ROUNDING[precision] * np.sqrt(width))


def rounding_unit(dtype: Any) -> float:
    """Share of a mean square below which a variance is rounding of the products."""
    return max(10 * float(np.finfo(dtype).eps), DEAD)


def feature_scaling(train: MomentSums, pilot: Float[np.ndarray, " feature"], scaled: bool = True) -> FeatureScaling:
    """Measure the means and variances of the training rows.

    Parameters
    ----------
    pilot
        The shift that the latents' moments are about; it is needed to tell a constant feature from rounding.
    scaled
        Whether latents are divided by their standard deviation. They keep their own units where they are coordinates of
        features that were scaled before.
    """
    x_mean, y_mean = train.x / train.count, train.y / train.count
    x_variance = _variances(x_mean, np.diagonal(train.xx) / train.count, pilot)
    return FeatureScaling(x_mean, _scales(x_variance, pilot, scaled), y_mean, _variances(y_mean, train.yy / train.count, pilot))


def varying(sums: MomentSums, pilot: Float[np.ndarray, " feature"]) -> Bool[np.ndarray, " feature"]:
    """Tell which latents vary over some rows by more than the products' rounding."""
    width = len(pilot)
    return _variances(sums.x[:width] / sums.count, np.diagonal(sums.xx)[:width] / sums.count, pilot) > 0


def scalar_scaling(train: MomentSums, pilot: Float[np.ndarray, " feature"], scaled: bool = True) -> FeatureScaling:
    """The same of sums whose targets are scalars only, and whose variances nobody asks for."""
    x_mean = train.x / train.count
    x_variance = _variances(x_mean, np.diagonal(train.xx) / train.count, pilot)
    return FeatureScaling(x_mean, _scales(x_variance, pilot, scaled), train.y / train.count, np.zeros(0))


def _variances(
    mean: Float[np.ndarray, " column"], square: Float[np.ndarray, " column"], pilot: Float[np.ndarray, " feature"]
) -> Float[np.ndarray, " column"]:
    """Variances of columns, of which the first are latents: theirs are 0 where they could be rounding."""
    width, unit = len(pilot), rounding_unit(pilot.dtype)
    variance = np.maximum(square - mean**2, 0.0)
    noise = np.maximum(DEAD * (mean[:width] + pilot) ** 2, unit * square[:width])
    variance[:width][variance[:width] <= noise] = 0.0
    return variance


def _scales(variance: Float[np.ndarray, " feature"], pilot: Float[np.ndarray, " feature"], scaled: bool) -> Float[np.ndarray, " feature"]:
    found = np.sqrt(np.where(variance > 0, variance, 1.0))
    if not scaled:
        found[: len(pilot)] = 1.0
    return found


def standardise(
    sums: MomentSums, by: FeatureScaling, factor: float = 1.0, dtype: Any = np.float64
) -> tuple[Float[np.ndarray, "feature feature"], Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]]:
    """Move second moments to the training means, with features in training standard deviations.

    Returns
    -------
    Σ x x' and Σ x y' times ``factor``, in ``dtype``; and Σ y², a sum over rows in float64. Targets keep their own units.
    """
    means = np.stack([by.x_mean, sums.x - sums.count * by.x_mean], axis=1)
    xx, xy = means @ np.stack([sums.x, by.x_mean]), means @ np.stack([sums.y, by.y_mean])
    np.subtract(sums.xx, xx, out=xx)
    np.subtract(sums.xy, xy, out=xy)
    root = np.sqrt(factor) / by.x_scale
    xx *= root
    xx *= root[:, None]
    xy *= (factor / by.x_scale)[:, None]
    yy = sums.yy - 2 * by.y_mean * sums.y + sums.count * by.y_mean**2
    return xx.astype(dtype, copy=False), xy.astype(dtype, copy=False), yy


def correlations(train: MomentSums, by: FeatureScaling) -> tuple[Float[np.ndarray, "feature feature"], Float[np.ndarray, "feature target"]]:
    """Return the training rows' normal equations divided by the number of rows."""
    return standardise(train, by, 1 / train.count)[:2]


def target_weights(
    spread: Float[np.ndarray, " feature"], live: Float[np.ndarray, " feature"], scaled: bool = True
) -> Float[np.ndarray, " feature"]:
    """Weights of the targets' squared errors in a loss that is 1 for forecasting the mean.

    Parameters
    ----------
    spread
        Variance or sum of squares of each target.
    live
        1 for a target that counts, else 0; or any weights, when targets are not scaled.
    scaled
        Each target counts alike; otherwise, the sum of all errors is divided by the sum of all spreads.
    """
    if not scaled:
        return live / max(float(live @ spread), np.finfo(np.float64).tiny)
    return np.where(spread > 0, live, 0.0) / np.where(spread > 0, spread, 1.0) / max(live.sum(), 1.0)
