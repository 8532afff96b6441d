"""The layers of several tasks in; how sure their pooled rank correlation is, and how high it could be at all, out.

References
----------
Davison & Hinkley 1997, "Bootstrap methods and their application", §3.8 (nested resampling).
Spearman 1910 and Brown 1910 (reliability of a mean from that of its halves), British Journal of Psychology 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Estimate
from layerscout.report.numbers.association import widened_to_value
from layerscout.report.numbers.pooled import RankSums, TaskLayers, add_task, centred_ranks, rank_sums, sign_sums
from layerscout.report.numbers.statistics import CONFIDENCE

DRAWS = 1000  # nested resamples: each one ranks every task's layers anew for every measure
SPLITS = 200  # of the seeds into halves
PERCENTILES = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def resampled_means(
    returns: Float[np.ndarray, "layer seed"], draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draw layer"]:
    """Draw each layer's finished seeds with replacement and average."""
    columns = []
    for row in returns:
        values = row[np.isfinite(row)]
        columns.append(values[generator.integers(len(values), size=(draws, len(values)))].mean(axis=-1))
    return np.stack(columns, axis=-1)


def nested_bootstrap(
    tasks: Sequence[TaskLayers], *, draws: int = DRAWS, seed: int = 0
) -> tuple[Float[np.ndarray, "measure draw"], Float[np.ndarray, "measure draw"]]:
    """Return ρ and τ_b in resamples of tasks, of layers inside each drawn task, and of seeds inside each drawn layer.

    All measures see the same resamples, so differences between them are paired. A layer that is drawn twice keeps one draw of
    seeds: it ties with itself in score and in return. With one task, tasks are not resampled, and nothing is said about others.
    """
    generator = np.random.default_rng(seed)
    count = len(tasks[0].measures)
    rho, tau = RankSums.zeros(count, draws), RankSums.zeros(count, draws)
    chosen = generator.integers(len(tasks), size=(draws, len(tasks)))
    for slot in range(len(tasks)):
        for number, task in enumerate(tasks):
            at = np.flatnonzero(chosen[:, slot] == number)
            if not len(at):
                continue
            layers = generator.integers(len(task.returns), size=(len(at), len(task.returns)))
            means = np.take_along_axis(resampled_means(task.returns, len(at), generator), layers, axis=1)
            drawn = task.measures[task.known][:, layers]
            add_task(rho, rank_sums(drawn, means), task.known, at)
            add_task(tau, sign_sums(drawn, means), task.known, at)
    return rho.correlation(), tau.correlation()


def correlation_intervals(values: Float[np.ndarray, " measure"], drawn: Float[np.ndarray, "measure draw"]) -> list[Estimate | None]:
    """Return each correlation with the percentiles of its resamples; a resample in which a side is constant is left out."""
    found: list[Estimate | None] = []
    for value, row in zip(values.tolist(), drawn, strict=True):
        finite = row[np.isfinite(row)]
        if not math.isfinite(value):
            found.append(None)
        elif not len(finite):
            found.append(Estimate(value=value))
        else:
            low, high = np.quantile(finite, PERCENTILES)
            found.append(widened_to_value(value, (float(low), float(high))))
    return found


def half_means(returns: Float[np.ndarray, "layer seed"], generator: np.random.Generator) -> Float[np.ndarray, "half split layer"]:
    """Return the mean returns of both halves of each layer's finished seeds in 200 random splits; all layers are split at the same seeds."""
    keys = generator.random((SPLITS, returns.shape[1]))
    halves = []
    for row in returns:
        finished = np.flatnonzero(np.isfinite(row))
        values = row[finished][np.argsort(keys[:, finished], axis=1)]
        halves.append((values[:, ::2].mean(axis=1), values[:, 1::2].mean(axis=1)))
    return np.stack([np.stack(half, axis=-1) for half in zip(*halves, strict=True)])


def reliability(tasks: Sequence[TaskLayers], *, seed: int = 0) -> float | None:
    """Return how well the order of mean returns would repeat with as many new seeds: their split-half ρ, stepped up to all seeds.

    r = 2 ρ½ / (1 + ρ½) (Spearman–Brown), 0 where the halves do not agree at all. No score can correlate with returns by more than
    √r on average, however good it is: that is the noise ceiling.

    Returns
    -------
    In [0, 1]; None when no task has two finished seeds for every layer, or returns never differ.
    """
    split = [task for task in tasks if np.isfinite(task.returns).sum(axis=1).min() > 1]
    if not split:
        return None
    generator, total = np.random.default_rng(seed), RankSums.zeros(SPLITS)
    for task in split:
        a, b = centred_ranks(half_means(task.returns, generator))
        add_task(total, ((a * b).sum(axis=-1), (a * a).sum(axis=-1), (b * b).sum(axis=-1)), np.ones(SPLITS, dtype=bool))
    halves = total.correlation()
    if not np.isfinite(halves).any():
        return None
    agreement = max(float(np.nanmean(halves)), 0.0)
    return 2 * agreement / (1 + agreement)
