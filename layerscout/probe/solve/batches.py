"""A batch of rows in; its counts, sums and products about a shift, exact to the precision of the products, out.

Every block of rows is multiplied about its own mean, and what it gives is moved to the common shift in float64. So products
in float32 keep their digits however far the rows drift, from the shift or inside a block, and whatever their scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import DTypeLike

from layerscout.probe.moments.moments import MomentSums

BLOCK_ROWS = 2048  # rows multiplied at once: float32 sums stay short, and a block stays in the processor's cache
GROUPS, NEIGHBOURS = 32, 4  # of rows that are looked at for a drift; rows in each
DRIFT = {"float32": 8.0, "float64": 1e4}  # standard deviations that a block may drift: its square times the precision is lost

SomeRows = Shaped[np.ndarray, "row feature"]


def no_sums(features: int, targets: int) -> MomentSums:
    """Return sums of no rows, all zeros, for so many features and targets."""
    shapes = (features,), (targets,), (features, features), (features, targets), (targets,)
    return MomentSums(0, *(np.zeros(shape) for shape in shapes))


def batch_sums(
    x: SomeRows, y: Float[np.ndarray, "row target"], shift: Sequence[Float[np.ndarray, " column"]], precision: str
) -> MomentSums:
    """Sums of a batch of rows less ``shift``, which has a part for the features and one for the targets.

    With x = x̃ + d for the rows of a block, d the block's mean less the shift, and s = Σ x̃, which is all but 0,

        Σ x x' = Σ x̃ x̃' + s d' + d s' + n d d'
    """
    total = no_sums(x.shape[1], y.shape[1])
    counts: list[float] = []
    rests: tuple[list[Any], list[Any]] = ([], [])  # s of every block, of features and of targets
    apart: tuple[list[Any], list[Any]] = ([], [])  # and d
    for block in _blocks(x, y, precision):
        centres = [centre_of(rows, precision) for rows in block]
        inside = _block_sums(block, centres, precision)
        for whole, part in zip((total.xx, total.xy, total.yy), (inside.xx, inside.xy, inside.yy), strict=True):
            whole += part
        counts.append(float(inside.count))
        for side, rest in enumerate((inside.x, inside.y)):
            rests[side].append(rest)
            apart[side].append(centres[side].astype(np.float64) - shift[side])
    n, (s, t), (d, e) = np.array(counts)[:, None], *((np.array(side) for side in both) for both in (rests, apart))
    half = (s + 0.5 * n * d).T @ d
    return MomentSums(
        len(x),
        (s + n * d).sum(axis=0),
        (t + n * e).sum(axis=0),
        total.xx + half + half.T,
        total.xy + s.T @ e + d.T @ (t + n * e),
        total.yy + ((2 * t + n * e) * e).sum(axis=0),
    )


def _blocks(x: SomeRows, y: Float[np.ndarray, "row target"], precision: str) -> Iterator[tuple[SomeRows, SomeRows]]:
    """Cut a batch into blocks in which no column drifts far; they are halved until it does not."""
    waiting = [slice(start, min(start + BLOCK_ROWS, len(x))) for start in range(0, len(x), BLOCK_ROWS)][::-1]
    while waiting:
        rows = waiting.pop()
        if rows.stop - rows.start > 1 and (_drifts(x[rows], precision) or _drifts(y[rows], precision)):
            middle = (rows.start + rows.stop) // 2
            waiting += [slice(middle, rows.stop), slice(rows.start, middle)]
        else:
            yield x[rows], y[rows]


def _drifts(rows: SomeRows, precision: str) -> bool:
    """Whether a column of a block drifts by many of the standard deviations that it has among neighbours.

    Looked at are some groups of neighbouring rows. Their means must differ by more than the rows inside the steadier half of
    them do, and must do so from the block's beginning to its end: where one group differs from the next one as much as from
    any other, as with rare or two-valued features, cutting the block would not help.
    """
    groups = min(GROUPS, len(rows) // NEIGHBOURS)
    if groups < 2:
        return False
    starts = np.linspace(0, len(rows) - NEIGHBOURS, groups).astype(int)
    some = rows[starts[:, None] + np.arange(NEIGHBOURS)].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        means, inside = some.mean(axis=1), np.sort(some.var(axis=1), axis=0)[: -(-groups // 2)].mean(axis=0)
        apart, jumps = means.var(axis=0), np.mean(np.diff(means, axis=0) ** 2, axis=0) / 2
        limit = DRIFT[precision] ** 2 * (inside + (np.finfo(rows.dtype).eps * means[0]) ** 2)
        return bool(((apart > limit) & (jumps < 0.6 * apart)).any())


def centre_of(rows: SomeRows, precision: str) -> Float[np.ndarray, " column"]:
    """Mean of some rows, in the larger of their precision and that of the products: taking it off then loses no digit."""
    return rows.mean(axis=0, dtype=np.float64).astype(np.result_type(rows.dtype, precision))


def less(rows: SomeRows, centre: Float[np.ndarray, " column"], dtype: DTypeLike) -> Float[np.ndarray, "row column"]:
    """Return ``rows - centre`` in some precision; rows with more digits are rounded after the subtraction, not before."""
    return np.subtract(rows, centre, out=np.empty(rows.shape, dtype), casting="same_kind", dtype=np.result_type(rows.dtype, dtype))


def _block_sums(block: tuple[SomeRows, SomeRows], centres: Sequence[Any], precision: str) -> MomentSums:
    """Sums of one block about its own mean; of rows scaled by powers of two where squares leave the range of ``precision``."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        x, y = (less(rows, centre, precision) for rows, centre in zip(block, centres, strict=True))
        found = _plain_sums(x, y)
    if _in_range(found, x, y):
        return found
    x, y = (rows.astype(np.float64) - centre for rows, centre in zip(block, centres, strict=True))
    a, b = (np.frexp(np.abs(part).max(axis=0, initial=0.0))[1] for part in (x, y))
    found = _plain_sums(np.ldexp(x, -a).astype(precision), np.ldexp(y, -b).astype(precision))
    with np.errstate(over="ignore"):  # of float64 too: found by whoever adds it up
        return MomentSums(
            found.count,
            np.ldexp(found.x, a),
            np.ldexp(found.y, b),
            np.ldexp(found.xx, a + a[:, None]),
            np.ldexp(found.xy, b + a[:, None]),
            np.ldexp(found.yy, 2 * b),
        )


def _in_range(sums: MomentSums, x: SomeRows, y: SomeRows) -> bool:
    squares, limits = np.append(np.diagonal(sums.xx), sums.yy), np.finfo(x.dtype)
    if not np.isfinite(squares).all():
        return False
    small = squares < sums.count * limits.tiny / limits.eps  # on average; then single ones are below the normal numbers
    return not small.any() or not (small & np.append(x.any(axis=0), y.any(axis=0))).any()


def _plain_sums(x: SomeRows, y: SomeRows) -> MomentSums:
    x_sum, y_sum = (part.sum(axis=0, dtype=np.float64) for part in (x, y))
    xx, xy = ((x.T @ part).astype(np.float64, copy=False) for part in (x, y))
    return MomentSums(len(x), x_sum, y_sum, xx, xy, np.einsum("ij,ij->j", y, y, dtype=np.float64))


def shift_sums(sums: MomentSums, x: Float[np.ndarray, " feature"], y: Float[np.ndarray, " target"]) -> MomentSums:
    """Sums of the same rows with ``x`` added to each row's features and ``y`` to its targets."""
    return MomentSums(
        sums.count,
        sums.x + sums.count * x,
        sums.y + sums.count * y,
        sums.xx + np.outer(sums.x, x) + np.outer(x, sums.x) + sums.count * np.outer(x, x),
        sums.xy + np.outer(sums.x, y) + np.outer(x, sums.y) + sums.count * np.outer(x, y),
        sums.yy + 2 * y * sums.y + sums.count * y**2,
    )
