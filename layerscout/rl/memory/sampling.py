"""Columns of transitions in, samples [run, batch, ...] of them out: which places are drawn, what lies ahead of them, what stands there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped


def draw_indices(size: Int64[np.ndarray, " run"], batch: int, generators: Sequence[np.random.Generator]) -> Int64[np.ndarray, "run batch"]:
    """Draw indices below ``size``, each run from its own generator (``batch`` doubles each, so that streams stay in step)."""
    uniform = np.empty((len(size), batch))
    for generator, row in zip(generators, uniform, strict=True):
        generator.random(out=row)
    return (uniform * size[:, None]).astype(np.int64)


def look_ahead(
    first: Int64[np.ndarray, "*sample"],
    reward: Float32[np.ndarray, " place"],
    is_last: Callable[[Int64[np.ndarray, "*sample"]], Bool[np.ndarray, "*sample"]],
    following: Callable[[Int64[np.ndarray, "*sample"]], Int64[np.ndarray, "*sample"]],
    steps: int,
    gamma: float,
) -> tuple[Int64[np.ndarray, "*sample"], Float32[np.ndarray, "*sample"], Float32[np.ndarray, "*sample"]]:
    """Sum up to ``steps`` rewards from the places ``first`` on; return the last place, the sums and the discount γᵏ of what follows."""
    last, total, factor = first, reward[first], np.full(first.shape, gamma, np.float32)
    going = np.ones(first.shape, np.bool_)
    for _ in range(steps - 1):
        going = going & ~is_last(last)
        last = np.where(going, following(last), last)
        total = np.where(going, total + factor * reward[last], total)
        factor = np.where(going, factor * np.float32(gamma), factor)
    return last, total, factor


def take(
    column: Shaped[np.ndarray, "*place dimension"] | Shaped[np.ndarray, "*place"], axes: int, places: Int64[np.ndarray, "run batch"]
) -> Shaped[np.ndarray, "run batch *dimension"]:
    """Take single numbers or vectors by their place, counted through the first ``axes`` axes."""
    return column.take(places) if column.ndim == axes else gather(column.reshape(-1, column.shape[-1]), places)


def gather(column: Shaped[np.ndarray, " row *feature"], rows: Int64[np.ndarray, "run batch"]) -> Shaped[np.ndarray, "run batch *feature"]:
    """Copy the rows at these places into fresh aligned memory; places must lie in range, an index beyond it is clipped."""
    out = aligned((*rows.shape, *column.shape[1:]), column.dtype)
    return np.take(column, rows, axis=0, out=out, mode="clip")  # "raise" would buffer the output; the rows are in range


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Allocate on a 64-byte boundary: matrix products may round differently elsewhere, and continuing must be bit-exact."""
    return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype).numpy()
