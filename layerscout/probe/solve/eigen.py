"""A symmetric matrix in; its eigenvalues, eigenvectors, and matrices made of them, out.

LAPACK's steps are called one by one, because what takes the longest, applying the reflectors of the tridiagonal form, may
then be done in the precision in which the eigenvectors are wanted, and nothing is copied that need not be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    return _decompose(matrix / largest, largest, dtype)[:2]


def eigenvectors_and_raised(
    matrix: SquareMatrix, added: Float[np.ndarray, " size"], dtype: Any = np.float64
) -> tuple[Float[np.ndarray, " size"], SquareMatrix, Float[np.ndarray, " size"]]:
    """Decompose a symmetric matrix, all of which is looked at, as ``eigenvectors`` does; and give the eigenvalues of matrix + added added' too.

    A reflection turns ``added`` onto the first axis. LAPACK's own reflectors leave that axis where it is, so that both matrices have one
    tridiagonal form but for its first number.
    """
    size, largest, length = len(matrix), float(np.abs(matrix).max(initial=0.0)), float(np.linalg.norm(added))
    if size <= SMALL or not largest or not length or not np.isfinite([largest, length]).all():
        return *eigenvectors(matrix, dtype), eigenvalues(matrix + np.outer(added, added))
    mirrored = added / length
    mirrored[0] += math.copysign(1.0, mirrored[0])
    mirrored /= np.linalg.norm(mirrored)
    turned = matrix / largest
    across = turned @ mirrored
    across -= (mirrored @ across) * mirrored
    half = np.outer(2 * mirrored, across)
    turned -= half
    turned -= half.T
    values, vectors, (diagonal, beside) = _decompose(turned, largest, dtype)
    diagonal[0] += length**2 / largest
    raised, failed = lapack.dsterf(diagonal, beside)
    reflected = mirrored.astype(dtype, copy=False)
    vectors -= np.outer(2 * reflected, reflected @ vectors)
    return values, vectors, eigenvalues(matrix + np.outer(added, added)) if failed else raised * largest


def _decompose(
    matrix: SquareMatrix, unit: float, dtype: Any
) -> tuple[Float[np.ndarray, " size"], SquareMatrix, tuple[Float[np.ndarray, " size"], Float[np.ndarray, " size"]]]:
    """Eigenvalues times ``unit``, eigenvectors, and the tridiagonal form of what lies on and above the diagonal; the matrix is used up."""
    size = len(matrix)
    # C order is the transpose of LAPACK's: what lies above the diagonal here lies below it there
    work = int(lapack.dsytrd_lwork(size, lower=1)[0])
    reflectors, diagonal, beside, scales, _ = lapack.dsytrd(matrix.T, lower=1, lwork=work, overwrite_a=1)
    values, inner, failed = lapack.dstevd(diagonal, beside, compute_v=1)
    if failed:
        values, inner = scipy.linalg.eigh_tridiagonal(diagonal, beside, check_finite=False, lapack_driver="stemr")
    apply = lapack.dormqr if np.dtype(dtype) == np.float64 else lapack.sormqr
    parts = (part.astype(dtype, order="F", copy=False) for part in (reflectors[1:, :-1], scales, inner[1:]))
    found, _, failed = apply("L", "N", *parts, lwork=64 * size)
    assert failed == 0, "reflectors can be applied to any matrix"
    vectors = np.empty((size, size), dtype, order="F")
    vectors[0], vectors[1:] = inner[0], found
    return values * unit, vectors, (diagonal, beside)


@dataclass(frozen=True)
class Tridiagonal:
    """A symmetric matrix as Q T Q' with T tridiagonal: systems with a penalty on the diagonal are solved as they are asked for.

    Finding T takes a third of what eigenvectors take, and a penalty then costs O(size) a right side.
    """

    reflectors: SquareMatrix
    scales: Float[np.ndarray, " size"]
    diagonal: Float[np.ndarray, " size"]
    beside: Float[np.ndarray, " size"]

    def solve(self, penalties: Sequence[float], right: Float[np.ndarray, "size target"], dtype: Any) -> Any:
        """Return (matrix + penalty)⁻¹ right for every penalty, [penalty, target, size], in ``dtype``; the systems are solved in float64.

        None where rounding left an eigenvalue so far below 0 that a penalty does not make up for it.
        """
        size, targets = right.shape
        turned = self._turn(np.asfortranarray(right, dtype=np.float64), b"T")
        found = np.empty((len(penalties) * targets, size), dtype)
        for place, penalty in enumerate(penalties):
            diagonal, beside, failed = lapack.dpttrf(self.diagonal + penalty, self.beside)
            if failed:
                return None
            solved, failed = lapack.dpttrs(diagonal, beside, turned)
            found[place * targets : (place + 1) * targets] = solved.T
        return self._turn(found.T, b"N").T.reshape(len(penalties), targets, size)

    def _turn(self, columns: Float[np.ndarray, "size target"], trans: bytes) -> Float[np.ndarray, "size target"]:
        """Return Q or Q' times ``columns``, in their precision; their memory may be used."""
        apply = lapack.dormqr if columns.dtype == np.float64 else lapack.sormqr
        parts = (part.astype(columns.dtype, order="F", copy=False) for part in (self.reflectors, self.scales, columns[1:]))
        found, _, failed = apply("L", trans, *parts, lwork=64 * max(columns.shape))
        assert failed == 0, "reflectors can be applied to any matrix"
        columns[1:] = found
        return columns


def tridiagonal(matrix: SquareMatrix) -> Tridiagonal | None:
    """Reduce a symmetric matrix, of which only what lies on and above the diagonal is looked at; None for a small one."""
    size = len(matrix)
    if size <= SMALL or not np.isfinite(matrix).all():
        return None
    work = int(lapack.dsytrd_lwork(size, lower=1)[0])
    reflectors, diagonal, beside, scales, _ = lapack.dsytrd(matrix.T, lower=1, lwork=work)
    return Tridiagonal(reflectors[1:, :-1], scales, diagonal, beside)


def eigenvalues(matrix: SquareMatrix) -> Float[np.ndarray, " size"]:
    """Return the eigenvalues of a symmetric matrix in rising order."""
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
