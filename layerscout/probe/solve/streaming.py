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
from layerscout.probe.solve.batches import BLOCK_ROWS, batch_sums, centre_of, less, no_sums, shift_sums

PILOT_ROWS = 2000
FAR = 100.0  # standard deviations from the shift to the mean: more would cost float64 four digits
INPUT_TYPES = (np.float64, np.float32, np.float16)

Solution = tuple[Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]]


class StreamingRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression that learns from batches, and whose parts can be added up.

        minimise ||y - X w - b||² + alpha ||w||²

    Equal to ``sklearn.linear_model.Ridge`` on all rows at once. It keeps the count, the sums and the products of the rows
    less a shift: (features + targets) · features numbers, whatever the number of rows. Every block of rows is multiplied
    about its own mean, and the shift follows the rows when they move away from it, so neither a large mean nor a drift, of
    features or of targets, costs digits. ``alpha`` and ``fit_intercept`` may be changed at any time with ``set_params``:
    ``coef_`` is then solved again from the same sums, without the data.

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
            Rows are not finite, of another shape than the batches before, or so large that squares overflow float64; or
            ``precision`` is unknown. What was learned before stays.
        """
        first = not hasattr(self, "_sums")
        if self.precision not in ("float32", "float64"):
            raise ValueError(f"precision is {self.precision!r}; it must be 'float32' or 'float64'")
        X, y = validate_data(self, X, y, reset=first, multi_output=True, y_numeric=True, dtype=INPUT_TYPES)
        y = check_array(y, dtype=np.float64, ensure_2d=False)
        targets = y.reshape(len(y), -1)
        if first:
            self._one_target, self.n_samples_seen_ = y.ndim == 1, 0
            self._shift = tuple(part[:PILOT_ROWS].mean(axis=0, dtype=np.float64) for part in (X, targets))
            self._sums = no_sums(X.shape[1], targets.shape[1])
        if (y.ndim == 1) != self._one_target or targets.shape[1] != len(self._shift[1]):
            before = "[row]" if self._one_target else f"[row, {len(self._shift[1])}]"
            raise ValueError(f"y has shape {y.shape}; in the batches before it was {before}")
        with np.errstate(over="ignore", invalid="ignore"):
            added = self._sums + batch_sums(X, targets, self._shift, self.precision)
        if not all(np.isfinite(part).all() for part in (added.xx, added.xy, added.yy)):
            if first:
                del self._sums
            raise ValueError("squares of X or y exceed the range of float64: divide the features or targets that are so large")
        self._sums = added
        self.n_samples_seen_ += len(X)
        self._follow()
        return self

    def _follow(self) -> None:
        """Move the shift to the mean of all rows where that is far from it. The sums stay those of the same rows."""
        sums, count = self._sums, max(self._sums.count, 1)
        apart = sums.x / count, sums.y / count
        spread = np.diagonal(sums.xx) / count - apart[0] ** 2, sums.yy / count - apart[1] ** 2
        limits = [FAR * np.sqrt(np.maximum(own, 0.0)) + 1e-10 * np.abs(at) for own, at in zip(spread, self._shift, strict=True)]
        # the last part of the limit: a column that does not vary lies at rounding from its shift
        if any((np.abs(one) > limit).any() for one, limit in zip(apart, limits, strict=True)):
            self._sums = shift_sums(sums, -apart[0], -apart[1])
            self._shift = self._shift[0] + apart[0], self._shift[1] + apart[1]

    def empty_copy(self) -> StreamingRidge:
        """Return an estimator with the same settings and shift that has seen nothing: what to hand to a worker."""
        check_is_fitted(self)
        other = StreamingRidge(**self.get_params())
        other.__dict__ |= {name: value for name, value in self.__dict__.items() if name not in ("_sums", "_solved")}
        other._sums, other.n_samples_seen_ = no_sums(*self._sums.xy.shape), 0
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
        apart = [there - here for here, there in zip(self._shift, other._shift, strict=True)]
        self._sums = self._sums + (shift_sums(other._sums, *apart) if any(part.any() for part in apart) else other._sums)
        self.n_samples_seen_ += other.n_samples_seen_
        self._follow()
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "row ..."]:
        """Return X w + b, [row] or [row, target], in float64: a target's mean may have more digits than float32 holds.

        Products are float32 when both X and ``precision`` are less than float64.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=INPUT_TYPES)
        weights, level = self._solve()
        dtype = np.result_type(X.dtype, self.precision)
        found, rounded = np.empty((len(X), weights.shape[1])), weights.astype(dtype)
        for start in range(0, len(X), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            centre = centre_of(X[rows], dtype.name)
            found[rows] = less(X[rows], centre, dtype) @ rounded
            found[rows] += level + centre.astype(np.float64) @ weights
        return found[:, 0] if self._one_target else found

    @property
    def coef_(self) -> Float[np.ndarray, "..."]:
        """The weights; solved when they are first asked for."""
        weights = self._solve()[0]
        return weights[:, 0] if self._one_target else weights.T

    @property
    def intercept_(self) -> float | Float[np.ndarray, " target"]:
        """The constant b of y = X w + b, one a target, as scikit-learn names it."""
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
        x_shift, y_shift = self._shift
        if self.fit_intercept:
            sums, count = self._sums, max(self._sums.count, 1)
        else:
            sums, count = shift_sums(self._sums, x_shift, y_shift), np.inf  # about 0, and no mean is taken off
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
