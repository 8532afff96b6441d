"""The probe's solver written down on rows, without moments, eigenvectors or tricks: the oracle of the fast one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscout.probe.moments.moments import MomentSums


@dataclass(frozen=True)
class Rows:
    """Rows of one made-up layer: z_t, actions, z_{t+1} and scalar targets."""

    z: np.ndarray
    actions: np.ndarray
    following: np.ndarray
    scalars: np.ndarray

    @property
    def x(self) -> np.ndarray:
        return np.hstack([self.z, self.actions])

    @property
    def y(self) -> np.ndarray:
        return np.hstack([self.following, self.scalars])

    def __getitem__(self, rows: slice | np.ndarray) -> Rows:
        return Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def made_up(count: int, width: int, actions: int = 2, scalars: int = 3, seed: int = 0, offset: float = 0.0) -> Rows:
    """Features with one massive direction and one that does not vary, next features that the action moves, and scalars of them."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, width)) @ (np.eye(width) + 0.3 * rng.standard_normal((width, width))) + offset
    z[:, 0] *= 30
    z[:, -1] = offset + 1
    acted = rng.standard_normal((count, actions))
    following = 0.8 * z + acted @ rng.standard_normal((actions, width)) + rng.standard_normal((count, width))
    following[:, -1] = offset + 1
    targets = z[:, :scalars] * 0.3 + rng.standard_normal((count, scalars))
    return Rows(z, acted, following, targets)


def sums_of(rows: Rows, shift: np.ndarray | None = None) -> MomentSums:
    """Raw moments by their definition, with latents less ``shift``."""
    shift = np.zeros(rows.z.shape[1]) if shift is None else shift.astype(np.float64)
    x = np.hstack([rows.z - shift, rows.actions])
    y = np.hstack([rows.following - shift, rows.scalars])
    return MomentSums(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, np.sum(y**2, axis=0))


def stacked(parts: list[MomentSums]) -> MomentSums:
    """Sums of several groups side by side."""
    return MomentSums(*(np.array([getattr(part, name) for part in parts]) for name in MomentSums.__dataclass_fields__))


def ridge(x: np.ndarray, y: np.ndarray, penalty: float, scaled: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercept of ``Ridge(alpha=penalty * rows)`` on standardised features, in the features' own units."""
    mean, scale = x.mean(axis=0), np.where(x.std(axis=0) > 1e-9 * np.abs(x).max(), x.std(axis=0), 1.0)
    scale = scale if scaled else np.ones_like(scale)
    standard = (x - mean) / scale
    weights = np.linalg.solve(standard.T @ standard / len(x) + penalty * np.eye(x.shape[1]), standard.T @ (y - y.mean(axis=0)) / len(x))
    weights /= scale[:, None]
    return weights, y.mean(axis=0) - mean @ weights


def errors(train: Rows, tested: Rows, penalty: float, what: str) -> np.ndarray:
    """Squared error of each target, summed over the tested rows: of z_{t+1} with or without the action, or of the scalars."""
    x, y = {"both": ("x", "following"), "alone": ("z", "following"), "scalars": ("z", "scalars")}[what]
    weights, level = ridge(getattr(train, x), getattr(train, y), penalty)
    return np.sum((getattr(tested, y) - level - getattr(tested, x) @ weights) ** 2, axis=0)
