"""The cells of several tasks in; how well the order of their returns would repeat with new seeds out.

References
----------
Spearman 1910 and Brown 1910 (reliability of a mean from that of its halves), British Journal of Psychology 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerscout.report.numbers.association import spearman
from layerscout.report.numbers.within import TaskCells

SPLITS = 200  # of the seeds into halves


def half_means(returns: Float[np.ndarray, "cell seed"], generator: np.random.Generator) -> Float[np.ndarray, "half split cell"]:
    """Return the mean returns of both halves of each cell's finished seeds in 200 random splits; all cells are split at the same seeds."""
    keys = generator.random((SPLITS, returns.shape[1]))
    halves = []
    for row in returns:
        finished = np.flatnonzero(np.isfinite(row))
        values = row[finished][np.argsort(keys[:, finished], axis=1)]
        halves.append((values[:, ::2].mean(axis=1), values[:, 1::2].mean(axis=1)))
    return np.stack([np.stack(half, axis=-1) for half in zip(*halves, strict=True)])


def reliability(tasks: Sequence[TaskCells], *, seed: int = 0) -> float | None:
    """Return how well the order of mean returns would repeat with as many new seeds: their split-half ρ, stepped up to all seeds.

    r = 2 ρ½ / (1 + ρ½) (Spearman–Brown), 0 where the halves do not agree at all; ρ½ is the mean over splits and tasks. No score can
    correlate with returns by more than √r on average, however good it is: that is the noise ceiling. It is honest only when every seed
    was evaluated on episodes of its own; where all seeds played the same ones, luck with those counts as signal, and the ceiling is an upper bound.

    Returns
    -------
    In [0, 1]; None when no task has two finished seeds for every cell, or returns never differ.
    """
    generator, found = np.random.default_rng(seed), []
    for task in tasks:
        if np.isfinite(task.returns).sum(axis=1).min() > 1:
            halves = spearman(*half_means(task.returns, generator))
            found += [float(np.nanmean(halves))] if np.isfinite(halves).any() else []
    if not found:
        return None
    agreement = max(float(np.mean(found)), 0.0)
    return 2 * agreement / (1 + agreement)
