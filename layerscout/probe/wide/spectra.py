"""A wide layer's rows, or their sketch, in; spectral entropies, over all rows and without each episode group, out.

The same figures as ``rank`` gives, without a matrix of features by features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int, Shaped

from layerscout.probe.evidence.components import WholeAndLeft
from layerscout.probe.evidence.controls import Diagonals
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.rank import effective_rank, entropy_without_groups, scatter
from layerscout.probe.wide.dual import gram, panels


@dataclass(frozen=True)
class Spectrum:
    """Entropy over all rows and without each group; and the eigenvalues' shares, falling."""

    entropy: WholeAndLeft
    shares: Float[np.ndarray, " dimension"]


@dataclass(frozen=True)
class Spectra:
    """Spectra of the covariance and of the correlation matrix; RankMe uncentred and centred, None when they cannot be had."""

    covariance: Spectrum
    correlation: Spectrum
    rankme: tuple[float | None, float | None] = (None, None)


def membership(group: Int[np.ndarray, " row"], groups: int) -> Float[np.ndarray, "group row"]:
    """1 where a row is of a group: a product with it adds up each group's rows."""
    return (np.arange(groups)[:, None] == group).astype(np.float64)


def feature_sums(
    stored: Shaped[np.ndarray, "stored feature"],
    now: Int[np.ndarray, " row"],
    group: Int[np.ndarray, " row"],
    groups: int,
    shift: Float[np.ndarray, " feature"],
) -> Diagonals:
    """Moments of each feature of z_t with itself and its own next value, less a shift, group by group."""
    of = membership(group, groups)
    x, y, xx, xy, yy = np.zeros((5, groups, stored.shape[1]))
    for panel in panels(stored.shape[1]):
        z, n = (stored[rows, panel].astype(np.float64) - shift[panel] for rows in (now, now + 1))
        for total, values in ((x, z), (y, n), (xx, z * z), (xy, z * n), (yy, n * n)):
            total[:, panel] = of @ values
    return Diagonals(of.sum(axis=1, keepdims=True), x, y, xx, xy, yy)


def lost_squares(features: Diagonals) -> Float[np.ndarray, "group feature"]:
    """What each group adds to every feature's sum of squares about the mean of all groups."""
    count, total = features.count, features.count.sum()
    centre = features.x.sum(axis=0) / total
    apart = features.x / count - centre
    about = features.xx - 2 * centre * features.x + count * centre**2
    return about + count**2 / (total - count) * apart**2


def spectrum_of_rows(
    stored: Shaped[np.ndarray, "stored feature"],
    rows: Int[np.ndarray, " row"],
    group: Int[np.ndarray, " row"],
    mean: Float[np.ndarray, " feature"],
    by: Float[np.ndarray, " feature"],
    features: Diagonals | None = None,
) -> tuple[Spectrum, Float[np.ndarray, "row row"]]:
    """Spectrum of ``(stored - mean) * by`` over some rows, exact, with their products of rows with rows.

    Without a group it is taken to first order, as in ``rank.entropy_without_groups``; with V the eigenvectors of the features
    and X = U S V', a row's part is a sum over its row of U, so that V is never needed. With ``features``, ``by`` is taken to
    be 1 / standard deviation and to move with the rows.
    """
    products = gram(stored, rows, mean, by)
    squares, left = scipy.linalg.eigh(products, driver="evd", check_finite=False)
    squares = np.maximum(squares, 0.0)
    count, total = len(rows), squares.sum()
    entropy = float(np.log(effective_rank(squares)))
    share = squares / total if total > 0 else squares
    slope = np.where(share > 0, -(np.log(np.where(share > 0, share, 1.0)) + entropy), 0.0) / (total / count if total > 0 else 1.0)

    of = membership(group, int(group.max()) + 1)
    held = of.sum(axis=1)
    parts = slope * squares
    lost = of @ (left**2 @ parts) + held**2 / (count - held) * ((of @ left / held[:, None]) ** 2 @ parts)
    whole = parts.sum() / count
    if features is not None:
        moving = np.empty(stored.shape[1])
        for panel in panels(stored.shape[1]):
            values = (stored[rows, panel].astype(np.float64) - mean[panel]) * by[panel]
            moving[panel] = (values.T @ left) ** 2 @ slope / count
        lost -= lost_squares(features) @ (moving * by**2)
        whole = 0.0  # the diagonal of a correlation matrix does not move
    entropies = np.append(entropy, entropy + (held * whole - lost) / (count - held))
    return Spectrum(entropies, np.sort(share)[::-1] if total > 0 else np.eye(1, count)[0]), products


def spectrum_of_sketch(
    groups: MomentSums,
    width: int,
    metric: Float[np.ndarray, "coordinate coordinate"],
    by: Float[np.ndarray, " feature"],
    features: Diagonals,
) -> Spectrum:
    """Spectrum of ``features · by`` from moments of coordinates that hold its leading part.

    What the coordinates leave out is known as a sum only; it is taken to be spread evenly over the dimensions that are left,
    so entropies are the largest that fit. Scales are held fixed when a group is left out.

    Parameters
    ----------
    groups
        Moments of the coordinates, the first ``width`` of x.
    metric
        B'B, where B turns coordinates into features · by.
    """
    total = groups.pool(np.arange(len(groups.count)))
    count = float(total.count)
    lower = np.linalg.cholesky(metric + max(1e-12 * np.trace(metric) / width, 1e-300) * np.eye(width))
    values, vectors = scipy.linalg.eigh(lower.T @ (scatter(total, width) / count) @ lower, driver="evd", check_finite=False)
    values = np.maximum(values, 0.0)
    lost = lost_squares(features) @ by**2
    everything = float(_squares(features) @ by**2) / count
    others = max(min(int(count) - 1, int(np.sum(by > 0))) - width, 0)
    tail = max(everything - values.sum(), 0.0) if others else 0.0
    spread = np.append(values, np.full(others, tail / max(others, 1)))
    entropy, trace = float(np.log(effective_rank(spread))), max(spread.sum(), np.finfo(float).tiny)

    def slope_at(value: np.ndarray) -> np.ndarray:
        return np.where(value > 0, -(np.log(np.where(value > 0, value, trace) / trace) + entropy), 0.0) / trace

    beyond = float(slope_at(np.array(tail / max(others, 1))))
    rotated = lower @ vectors
    slope = (rotated * slope_at(values)) @ rotated.T - beyond * (lower @ lower.T)
    held = features.count[:, 0]
    left = entropy_without_groups([entropy], [slope], groups, total, width)[0] + beyond * (held * everything - lost) / (count - held)
    return Spectrum(np.append(entropy, left), np.sort(spread)[::-1] / trace)


def _squares(features: Diagonals) -> Float[np.ndarray, " feature"]:
    return np.maximum(features.xx.sum(axis=0) - features.x.sum(axis=0) ** 2 / features.count.sum(), 0.0)
