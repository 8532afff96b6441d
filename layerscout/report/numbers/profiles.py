"""The final returns of an arm in; the share of its runs above every level, with a band, and the gap to the best possible out.

References
----------
Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (arXiv 2108.13264), §4.2 and §4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Estimate
from layerscout.report.numbers.statistics import CONFIDENCE, DRAWS, bootstrap, resample_seeds

LEVELS = 201  # at which a profile is drawn


@dataclass(frozen=True)
class Profile:
    """Share of runs whose final return lies above each of ``levels``; the band is None with fewer than two runs."""

    levels: Float[np.ndarray, " level"]
    share: Float[np.ndarray, " level"]
    low: Float[np.ndarray, " level"] | None
    high: Float[np.ndarray, " level"] | None


def share_above(values: Float[np.ndarray, "*draw seed"], levels: Float[np.ndarray, " level"]) -> Float[np.ndarray, "*draw level"]:
    """Return the share of the last axis that is greater than each level (Agarwal et al. 2021, §4.2: the score distribution)."""
    return (values[..., :, None] > levels).mean(axis=-2)


def performance_profile(
    strata: Sequence[Float[np.ndarray, " seed"]], levels: Float[np.ndarray, " level"], *, draws: int = DRAWS // 2, seed: int = 0
) -> Profile | None:
    """Return the performance profile with a pointwise 95 % band from a bootstrap of seeds within each task; None without runs."""
    strata = [np.asarray(stratum, dtype=np.float64) for stratum in strata if len(stratum)]
    if not strata:
        return None
    share = share_above(np.concatenate(strata), levels)
    if min(len(stratum) for stratum in strata) < 2:
        return Profile(levels, share, None, None)
    drawn = share_above(resample_seeds(strata, draws, np.random.default_rng(seed)), levels)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Profile(levels, share, low, high)


def common_levels(arms: Sequence[Float[np.ndarray, " seed"]]) -> Float[np.ndarray, " level"]:
    """Return levels that span every arm's returns with a margin, so that each profile runs from 1 to 0."""
    values = np.concatenate([np.asarray(values, dtype=np.float64) for values in arms])
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or max(0.5, 1e-9 * abs(high))  # half a unit is nothing beside 1e30
    return np.linspace(low - margin, high + margin, LEVELS)


def optimality_gap(strata: Sequence[Float[np.ndarray, " seed"]], best: float | None) -> Estimate | None:
    """Return by how much runs fall short of the best possible return on average: best − mean(min(return, best)).

    A run above ``best`` counts as having no gap and cannot make up for another's (Agarwal et al. 2021, §4.3).

    Returns
    -------
    In units of return, 0 or more, with its stratified bootstrap interval; None when nobody knows the best possible return.
    """
    if best is None:
        return None
    return bootstrap(strata, lambda values: best - np.minimum(values, best).mean(axis=-1))
