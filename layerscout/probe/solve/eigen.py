"""A symmetric matrix in; its eigenvalues, eigenvectors, and matrices made of them, out.

LAPACK's steps are called one by one, because what takes the longest, applying the reflectors of the tridiagonal form, may
then be done in the precision in which the eigenvectors are wanted, and nothing is copied that need not be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.linalg import blas, lapack

from layerscout.probe.moments.symmetric import mirror

SMALL = 32  # up to this size a plain call is quicker
PANEL = 128  # columns of a symmetric product computed at once: only what lies on and above the diagonal

SquareMatrix = Float[np.ndarray, "size size"]


def eigenvectors(matrix: SquareMatrix, dtype: Any = np.float64) -> tuple[Float[np.ndarray, " size"], SquareMatrix]:
    """Decompose a symmetric matrix, V diag(values) V'.

    Parameters
    ----------
    matrix
        Only what lies on and above the diagonal is looked at.
    dtype
        Of the eigenvectors. The eigenvalues, and the tridiagonal form that both come from, are always float64.

    Returns
    -------
    Eigenvalues, rising, and eigenvectors, in columns.
    """
    size = len(matrix)
    largest = float(np.abs(matrix).max(initial=0.0))
    if size <= SMALL or not largest or not np.isfinite(largest):
        values, vectors = scipy.linalg.eigh(matrix, lower=False, driver="evd", check_finite=False)
        return values, vectors.astype(dtype, copy=False)
    # C order is the transpose of LAPACK's: what lies above the diagonal here lies below it there
    work = int(lapack.dsytrd_lwork(size, lower=1)[0])
    reflectors, diagonal, beside, scales, _ = lapack.dsytrd(matrix.T / largest, lower=1, lwork=work, overwrite_a=1)
    values, inner, failed = lapack.dstevd(diagonal, beside, compute_v=1)
    if failed:
        values, vectors = scipy.linalg.eigh(matrix, lower=False, driver="ev", check_finite=False)
        return values, vectors.astype(dtype, copy=False)
    apply = lapack.dormqr if np.dtype(dtype) == np.float64 else lapack.sormqr
    parts = (part.astype(dtype, order="F", copy=False) for part in (reflectors[1:, :-1], scales, inner[1:]))
    found, _, failed = apply("L", "N", *parts, lwork=64 * size)
    assert failed == 0, "reflectors can be applied to any matrix"
    vectors = np.empty((size, size), dtype, order="F")
    vectors[0], vectors[1:] = inner[0], found
    return values * largest, vectors


def eigenvalues(matrix: SquareMatrix) -> Float[np.ndarray, " size"]:
    """Eigenvalues of a symmetric matrix, rising."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if not largest or not np.isfinite(largest):
        return np.zeros(len(matrix)) if not largest else np.full(len(matrix), np.nan)
    return scipy.linalg.eigvalsh(matrix / largest, driver="evd", overwrite_a=True, check_finite=False) * largest


def recompose(values: Float[np.ndarray, " size"], vectors: SquareMatrix) -> Float[np.ndarray, "size size"]:
    """Return V diag(values) V' in float64, for values of any sign: half the work of two plain products."""
    single = vectors.dtype == np.float32
    square = np.zeros(vectors.shape, vectors.dtype, order="F")
    for sign in (1.0, -1.0):
        if (chosen := sign * values > 0).any():
            part = vectors[:, chosen] * np.sqrt(np.abs(values[chosen])).astype(vectors.dtype)
            square = (blas.ssyrk if single else blas.dsyrk)(sign, part, beta=1.0, c=square, lower=1, overwrite_c=1)
    found = square.T.astype(np.float64, copy=False)  # in C order: what was computed lies above the diagonal
    mirror(found)
    return found


def rotated(square: SquareMatrix, vectors: SquareMatrix) -> SquareMatrix:
    """Return V' A V of a symmetric A: the second product is taken on and above the diagonal only."""
    right = square @ vectors
    found = np.empty_like(right, order="C")
    for first in range(0, len(square), PANEL):
        np.matmul(vectors[:, first : first + PANEL].T, right[:, first:], out=found[first : first + PANEL, first:])
    mirror(found)
    return found
