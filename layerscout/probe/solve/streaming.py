"""Rows of features and targets in, batch by batch; a ridge regression out that has kept none of them."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from layerscout.probe.moments.moments import MomentSums

PILOT_ROWS = 2000
BLOCK_ROWS = 2048  # rows multiplied at once: float32 sums stay short, and a block stays in the processor's cache
INPUT_TYPES = (np.float64, np.float32, np.float16)

Solution = tuple[Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]]


class StreamingRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression that learns from batches, and whose parts can be added up.

        minimise ||y - X w - b||² + alpha ||w||²

    Equal to ``sklearn.linear_model.Ridge`` on all rows at once. It keeps the count, the sums and the products of the rows
    less a shift, the mean of the first ones: (features + targets) · features numbers, whatever the number of rows, and a
    mean of a thousand standard deviations costs no digits. ``alpha`` and ``fit_intercept`` may be changed at any time with
    ``set_params``: ``coef_`` is then solved again from the same sums, without the data.

    Errors are of scikit-learn's own kinds (ValueError, NotFittedError), as its other tools expect.

    Parameters
    ----------
    alpha
        Penalty, at least 0, in the units of ``Ridge``: the squared error is a sum over rows, not a mean.
    fit_intercept
        Whether b is fitted; else it is 0.
    precision
        Of the products of a block of rows, ``float64`` or ``float32``. Sums over blocks, and the solution, are always
        float64. float32 takes half the time, and cannot tell features apart that depend on each other to six digits.

    Attributes
    ----------
    coef_
        w, [feature], or [target, feature] when y is 2-D.
    intercept_
        b, a number, or [target] when y is 2-D.
    n_samples_seen_
        Rows seen, over all batches and all that was merged.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    References
    ----------
    Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance: the shift, and sums that are merged.
    """

    def __init__(self, alpha: float = 1.0, *, fit_intercept: bool = True, precision: str = "float64") -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.precision = precision

    def fit(self, X: Any, y: Any) -> StreamingRidge:
        """Forget everything, and learn from these rows alone. See ``partial_fit``."""
        for name in ("_sums", "_shift", "_one_target", "_solved", "n_samples_seen_"):
            self.__dict__.pop(name, None)
        self.partial_fit(X, y)
        self._solve()  # so that a mistaken setting is reported at once
        return self

    def partial_fit(self, X: Any, y: Any) -> StreamingRidge:
        """Add a batch of rows.

        Parameters
        ----------
        X
            Features, [row, feature], float16 to float64, finite.
        y
            Targets, [row] or [row, target], finite.

        Raises
        ------
        ValueError
            Rows are not finite or of another shape than the batches before, or ``precision`` is unknown.
        """
        first = not hasattr(self, "_sums")
        if self.precision not in ("float32", "float64"):
            raise ValueError(f"precision is {self.precision!r}; it must be 'float32' or 'float64'")
        X, y = validate_data(self, X, y, reset=first, multi_output=True, y_numeric=True, dtype=INPUT_TYPES)
        y = check_array(y, dtype=np.float64, ensure_2d=False)
        targets = y.reshape(len(y), -1)
        if first:
            pilots = (part[:PILOT_ROWS].mean(axis=0, dtype=np.float64).astype(self.precision) for part in (X, targets))
            self._one_target, self._shift, self.n_samples_seen_ = y.ndim == 1, tuple(pilots), 0
            self._sums = _nothing(X.shape[1], targets.shape[1])
        if (y.ndim == 1) != self._one_target or targets.shape[1] != len(self._shift[1]):
            before = "[row]" if self._one_target else f"[row, {len(self._shift[1])}]"
            raise ValueError(f"y has shape {y.shape}; in the batches before it was {before}")
        for start in range(0, len(X), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            x, t = (np.subtract(part[rows], shift, dtype=self.precision) for part, shift in zip((X, targets), self._shift, strict=True))
            x_sum, t_sum = (part.sum(axis=0, dtype=np.float64) for part in (x, t))
            self._sums = self._sums + MomentSums(len(x), x_sum, t_sum, x.T @ x, x.T @ t, np.einsum("ij,ij->j", t, t, dtype=np.float64))
        self.n_samples_seen_ += len(X)
        return self

    def empty_copy(self) -> StreamingRidge:
        """Return an estimator with the same settings and shift that has seen nothing: what to hand to a worker."""
        check_is_fitted(self)
        other = StreamingRidge(**self.get_params())
        other.__dict__ |= {name: value for name, value in self.__dict__.items() if name not in ("_sums", "_solved")}
        other._sums, other.n_samples_seen_ = _nothing(*self._sums.xy.shape), 0
        return other

    def merge(self, other: StreamingRidge) -> StreamingRidge:
        """Add what another estimator has seen; ``other`` stays as it is.

        Estimators made by ``empty_copy`` share their shift, and merging them is plain addition. Otherwise the other's sums
        are first moved to this one's shift, by a formula that is exact, in float64.

        Raises
        ------
        ValueError
            The two differ in features, targets or precision.
        """
        check_is_fitted(self)
        check_is_fitted(other)
        for name in ("precision", "n_features_in_", "feature_names_in_", "_one_target"):
            mine, theirs = getattr(self, name, None), getattr(other, name, None)
            if not np.array_equal(np.asarray(mine), np.asarray(theirs)):
                raise ValueError(f"cannot merge: {name.strip('_')} is {mine} here and {theirs} there")
        if self._sums.xy.shape != other._sums.xy.shape:
            raise ValueError(f"cannot merge: {self._sums.xy.shape[1]} targets here and {other._sums.xy.shape[1]} there")
        apart = [there.astype(np.float64) - here for here, there in zip(self._shift, other._shift, strict=True)]
        self._sums = self._sums + (moved(other._sums, *apart) if any(part.any() for part in apart) else other._sums)
        self.n_samples_seen_ += other.n_samples_seen_
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "row ..."]:
        """Return X w + b, [row] or [row, target]: float64, or float32 when both X and ``precision`` are less than that."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=INPUT_TYPES)
        weights, level = self._solve()
        shift = self._shift[0]
        dtype = np.result_type(X.dtype, self.precision)
        level = (level + shift.astype(np.float64) @ weights).astype(dtype)
        weights = weights.astype(dtype)
        found = np.empty((len(X), weights.shape[1]), dtype=dtype)
        for start in range(0, len(X), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            found[rows] = np.subtract(X[rows], shift, dtype=dtype) @ weights + level
        return found[:, 0] if self._one_target else found

    @property
    def coef_(self) -> Float[np.ndarray, "..."]:
        """The weights; solved when they are first asked for."""
        weights = self._solve()[0]
        return weights[:, 0] if self._one_target else weights.T

    @property
    def intercept_(self) -> float | Float[np.ndarray, " target"]:
        """The constant."""
        level = self._solve()[1]
        return float(level[0]) if self._one_target else level

    def _solve(self) -> Solution:
        check_is_fitted(self)
        settings = (self.alpha, self.fit_intercept)
        kept: tuple[Any, MomentSums, Solution] | None = self.__dict__.get("_solved")
        if kept is not None and kept[0] == settings and kept[1] is self._sums:
            return kept[2]
        if not isinstance(self.alpha, Real) or not 0 <= self.alpha < np.inf:
            raise ValueError(f"alpha is {self.alpha!r}; it must be a number of at least 0")
        x_shift, y_shift = (part.astype(np.float64) for part in self._shift)
        if self.fit_intercept:
            sums, count = self._sums, max(self._sums.count, 1)
        else:
            sums, count = moved(self._sums, x_shift, y_shift), np.inf  # about 0, and no mean is taken off
        matrix = sums.xx - np.outer(sums.x, sums.x / count)
        matrix.flat[:: len(matrix) + 1] += self.alpha
        try:
            factor = scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)  # symmetric: .T spares a copy
        except scipy.linalg.LinAlgError:
            message = f"features depend on each other, and alpha={self.alpha} is too small to choose between them: raise it"
            raise ValueError(message) from None
        weights = scipy.linalg.cho_solve(factor, sums.xy - np.outer(sums.x, sums.y / count), check_finite=False)
        level = np.zeros_like(y_shift)
        if self.fit_intercept:
            level = y_shift + sums.y / count - (x_shift + sums.x / count) @ weights
        self._solved = settings, self._sums, (weights, level)
        return weights, level


def moved(sums: MomentSums, x: Float[np.ndarray, " feature"], y: Float[np.ndarray, " target"]) -> MomentSums:
    """Sums of the same rows with ``x`` added to each row's features and ``y`` to its targets."""
    return MomentSums(
        sums.count,
        sums.x + sums.count * x,
        sums.y + sums.count * y,
        sums.xx + np.outer(sums.x, x) + np.outer(x, sums.x) + sums.count * np.outer(x, x),
        sums.xy + np.outer(sums.x, y) + np.outer(x, sums.y) + sums.count * np.outer(x, y),
        sums.yy + 2 * y * sums.y + sums.count * y**2,
    )


def _nothing(features: int, targets: int) -> MomentSums:
    shapes = (features,), (targets,), (features, features), (features, targets), (targets,)
    return MomentSums(0, *(np.zeros(shape) for shape in shapes))
