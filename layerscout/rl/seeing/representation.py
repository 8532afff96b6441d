"""A layer's stored rows in, rows as a head sees them out: random frozen layers, and one scale for all features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Shaped

from layerscout.cache.store import LayerReader
from layerscout.rl.arms import ArmSpec

FLOOR = 0.003  # of the variance of a direction, features having variance 1


@dataclass(frozen=True)
class Scaler:
    """Brings each feature to mean 0 and standard deviation 1 over the dataset; a constant feature becomes 0."""

    mean: Float32[np.ndarray, " feature"]
    inverse: Float32[np.ndarray, " feature"]

    @staticmethod
    def measure(chunks: Iterable[Shaped[np.ndarray, "row feature"]]) -> Scaler:
        """Measure over all rows, chunk by chunk, in float64 around the first row."""
        rows, shift, total, squares = 0, np.zeros(0), np.zeros(0), np.zeros(0)
        for chunk in chunks:
            if not rows:
                shift = chunk[0].astype(np.float64)
                total, squares = np.zeros_like(shift), np.zeros_like(shift)
            centred = chunk.astype(np.float64) - shift
            total += centred.sum(axis=0)
            squares += np.square(centred).sum(axis=0)
            rows += len(chunk)
        mean = total / rows
        deviation = np.sqrt(np.maximum(squares / rows - np.square(mean), 0.0))
        live = deviation > 1e-6 * np.maximum(np.abs(mean + shift), 1.0)
        inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=live)
        return Scaler((mean + shift).astype(np.float32), inverse.astype(np.float32))

    @staticmethod
    def unchanged(width: int) -> Scaler:
        """The scaler with mean 0 and deviation 1, for features that go as they are."""
        return Scaler(np.zeros(width, np.float32), np.ones(width, np.float32))

    def __call__(self, rows: np.ndarray) -> Float32[np.ndarray, "row feature"]:
        return (rows.astype(np.float32) - self.mean) * self.inverse


@dataclass(frozen=True)
class RandomLayer:
    """The control "any frozen layer would do": z = tanh(W x) of the scaled pixels, W normal with variance 1 / pixels, never trained.

    Its width is that of the layer it stands beside, so that both heads have the same number of weights.
    """

    inside: Scaler
    weight: Float32[np.ndarray, "pixel feature"]

    @staticmethod
    def drawn(pixels: Scaler, width: int, seed: int) -> RandomLayer:
        """Draw one layer of the bank; ``seed`` is its number."""
        generator = np.random.Generator(np.random.Philox(seed))
        count = len(pixels.mean)
        return RandomLayer(pixels, generator.standard_normal((count, width), dtype=np.float32) / np.float32(count**0.5))

    def __call__(self, rows: np.ndarray) -> Float32[np.ndarray, "row feature"]:
        return np.tanh(self.inside(rows) @ self.weight)


def whitening(chunks: Iterable[Float32[np.ndarray, "row feature"]]) -> Float32[np.ndarray, "feature feature"]:
    """Return (C + f I)^(-1/2) of standardised rows: multiplied with it, features are uncorrelated, with variance 1 where C has any.

    Of all ways to decorrelate, this symmetric one keeps features nearest to themselves, and does not depend on the signs and the order
    in which eigenvectors come. Directions with less variance than f = 0.003, that is mostly rounding, stay small.

    References
    ----------
    Kessy, Lewin and Strimmer 2018, "Optimal whitening and decorrelation", arXiv 1512.00809, ZCA.
    """
    rows, products = 0, np.zeros((0, 0))
    for chunk in chunks:
        products = products if rows else np.zeros((chunk.shape[1],) * 2)
        products += chunk.T @ chunk
        rows += len(chunk)
    values, vectors = np.linalg.eigh(products / rows)
    return ((vectors / np.sqrt(np.maximum(values, 0.0) + FLOOR)) @ vectors.T).astype(np.float32)


@dataclass(frozen=True)
class Representation:
    """What one arm's head sees of a stored (or freshly computed) row of its layer."""

    before: RandomLayer | None
    scaler: Scaler
    white: Float32[np.ndarray, "feature feature"] | None = None

    @staticmethod
    def measure(arm: ArmSpec, standardise: bool, whiten: bool = False) -> Representation:
        """Measure what the arm needs over the rows of its layer."""
        reader = arm.store.layer(arm.layer)
        before = None
        if arm.random_width is not None:
            before = RandomLayer.drawn(Scaler.measure(_chunks(reader)), arm.random_width, arm.random_seed)
        if not standardise:
            return Representation(before, Scaler.unchanged(arm.width))
        scaled = Representation(before, Scaler.measure(chunk if before is None else before(chunk) for chunk in _chunks(reader)))
        return replace(scaled, white=whitening(scaled(chunk) for chunk in _chunks(reader))) if whiten else scaled

    def __call__(self, rows: np.ndarray) -> Float32[np.ndarray, "row feature"]:
        scaled = self.scaler(rows if self.before is None else self.before(rows))
        return scaled if self.white is None else scaled @ self.white

    def all_rows(self, reader: LayerReader) -> Float32[np.ndarray, "row feature"]:
        """Return all rows of a layer, filled chunk by chunk."""
        table = np.empty((reader.shape[0], len(self.scaler.mean)), dtype=np.float32)
        for start, chunk in reader.chunks():
            table[start : start + len(chunk)] = self(chunk)
        return table


def _chunks(reader: LayerReader) -> Iterable[Shaped[np.ndarray, "row feature"]]:
    return (chunk for _, chunk in reader.chunks())
