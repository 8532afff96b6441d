"""One figure a task in; its mean over tasks with Student's interval, and two tests that it is not zero, out.

The unit of every test of a study is the task. Layers of one backbone are smooth in depth, so layers that change places do not make
a fair null: with scores and returns that have nothing to do with each other, permuting layers calls 8 to 24 of 100 studies significant
at 5 %. Tasks are independent of each other, however smooth the layers inside them are.

References
----------
Student 1908, "The probable error of a mean", Biometrika 6.
Fisher 1935, "The design of experiments", §21 (sign flips of paired differences).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from layerscout.cache.records import Estimate
from layerscout.report.numbers.statistics import mean_interval, seeds_needed, sign_flip_p

FEWEST_TASKS = seeds_needed()  # with fewer no pattern of signs is rarer than 5 %


@dataclass(frozen=True)
class OverTasks:
    """The mean of a figure over tasks. ``p`` is of the t test, ``p_flip`` of all sign flips; both two-sided, of the mean being 0.

    ``needed`` is the smallest absolute mean that the t test would have called significant at 5 % with the tasks' own spread.
    All three are None with a single task.
    """

    tasks: int
    mean: Estimate
    p: float | None
    p_flip: float | None
    needed: float | None


def over_tasks(values: Iterable[float]) -> OverTasks | None:
    """Return the mean over tasks with its tests; tasks whose figure is NaN are left out.

    Where the figure is the same in every task, the t test's p is its limit: 0, or 1 where the figure is 0. The sign flips keep it honest.

    Returns
    -------
    None when no task has the figure.

    Examples
    --------
    >>> found = over_tasks([0.5, 0.7, 0.6, 0.9, 0.4, 0.8, 0.3, 0.6])
    >>> round(found.mean.value, 2), found.p_flip
    (0.6, 0.0078125)
    """
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    mean = mean_interval(known)
    if mean is None:
        return None
    if len(known) < 2:
        return OverTasks(len(known), mean, None, None, None)
    flip = sign_flip_p(known)
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    if error <= 1e-12 * max(1.0, abs(mean.value)):
        return OverTasks(len(known), mean, 0.0 if mean.value else 1.0, flip, 0.0)
    p = 2 * float(stats.t.sf(abs(mean.value) / error, len(known) - 1))
    return OverTasks(len(known), mean, p, flip, float(stats.t.ppf(0.975, len(known) - 1)) * error)
