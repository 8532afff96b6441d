"""Scores and returns of one task's cells in; the p of their correlation under a null that lets layers be smooth in depth, out.

Whole series change places, never single layers: which series of returns (a backbone with its weights and pooling, by depth) stands
beside which series of scores. The order inside a series stays, so that the test is exact however smooth a series is.

References
----------
Good 2005, "Permutation, parametric and bootstrap tests of hypotheses", §3.7 (permuting blocks of dependent observations).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from layerscout.report.numbers.association import spearman

LEVEL = 0.05
MOST_ORDERS = 20_000  # above this, random ones


@dataclass(frozen=True)
class BlockTest:
    """The two-sided p of a correlation, and the smallest |ρ| that these series could have shown at 5 % (None: none)."""

    p: float
    needed: float | None


def arrangements(series: Int[np.ndarray, " cell"]) -> int:
    """Return in how many ways whole series of equal length can change places."""
    sizes = np.unique(series, return_counts=True)[1]
    return math.prod(math.factorial(int(count)) for count in np.unique(sizes, return_counts=True)[1])


def block_test(
    scores: Float[np.ndarray, " cell"], means: Float[np.ndarray, " cell"], series: Int[np.ndarray, " cell"], *, seed: int = 0
) -> BlockTest | None:
    """Return how rare the correlation of scores and returns is among all ways to exchange whole series.

    Parameters
    ----------
    scores, means
        A figure, and the mean return, of every cell; the cells of a series by depth.
    series
        The number of each cell's series.

    Returns
    -------
    None when so few series can change places that no arrangement is rarer than 5 % (at least four of one length are needed), or when
    scores or returns do not differ.
    """
    if arrangements(series) * LEVEL < 1 or np.ptp(scores) == 0 or np.ptp(means) == 0:
        return None
    orders = _orders(series, seed)
    null = np.abs(spearman(np.broadcast_to(scores, orders.shape), means[orders])).round(9)
    values, counts = np.unique(null, return_counts=True)
    p_values = counts[::-1].cumsum()[::-1] / len(null)
    reached = values[p_values < LEVEL]
    return BlockTest(float((null >= null[0]).mean()), float(reached[0]) if len(reached) else None)


def _orders(series: Int[np.ndarray, " cell"], seed: int) -> Int[np.ndarray, "order cell"]:
    """Return which cell's return stands at every cell, for each arrangement; the first is as it is."""
    places = [np.flatnonzero(series == one) for one in np.unique(series)]
    lengths: dict[int, list[int]] = {}
    for number, place in enumerate(places):
        lengths.setdefault(len(place), []).append(number)
    classes = list(lengths.values())
    if arrangements(series) <= MOST_ORDERS:
        chosen = [list(itertools.chain(*one)) for one in itertools.product(*(itertools.permutations(members) for members in classes))]
    else:
        generator = np.random.default_rng(seed)
        drawn = ([generator.permutation(members).tolist() for members in classes] for _ in range(MOST_ORDERS))
        chosen = [list(itertools.chain(*classes)), *(list(itertools.chain(*one)) for one in drawn)]
    into = list(itertools.chain(*classes))
    orders = np.tile(np.arange(len(series)), (len(chosen), 1))
    for row, sources in zip(orders, chosen, strict=True):
        for number, source in zip(into, sources, strict=True):
            row[places[number]] = places[source]
    return orders
