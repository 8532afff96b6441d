"""What agents earned on every cell, and what policies that learn nothing earn, in; whether the task was learned at all out.

A correlation over agents that did not learn ranks the ways in which they failed. So a task counts only when its best cell

- beats the better of random actions and the best constant action on at least 80 % of its seeds, and
- earns at least half of what the data's own policy earns above random actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import ReferenceReturn, RunRecord

Learned = Literal["learned", "not learned", "cannot be judged"]
SEED_SHARE = 0.8  # of the best cell's seeds that must beat the trivial policies
DATA_SHARE = 0.5  # of what the data's own policy earns above random actions
REFERENCE_WORDS = {"random": "random actions", "constant": "best constant action", "data": "the data's own policy", "optimal": "optimal"}


@dataclass(frozen=True)
class Gate:
    """Whether a task was learned. ``why`` holds the figures, ``advice`` what to try; ``share`` is of seeds above the trivial policies."""

    learned: Learned
    why: str
    advice: str = ""
    best: str | None = None
    share: float | None = None


def references_of(record: RunRecord) -> tuple[ReferenceReturn, ...]:
    """Return what policies that learn nothing earn; older records tell at most that of random actions and of an optimal policy."""
    known = {one.name: one for one in record.references}
    if "random" not in known and record.random_policy_return is not None:
        known["random"] = ReferenceReturn(name="random", mean=record.random_policy_return)
    if "optimal" not in known and record.best_possible is not None:
        known["optimal"] = ReferenceReturn(name="optimal", mean=record.best_possible)
    return tuple(known[name] for name in ("random", "constant", "data", "optimal") if name in known)


def judge_learning(
    names: Sequence[str],
    returns: Sequence[Float[np.ndarray, " seed"]],
    references: Sequence[ReferenceReturn],
    algorithm: str | None = None,
    mode: str = "offline",
) -> Gate:
    """Judge whether a task was learned.

    Parameters
    ----------
    names, returns
        Every cell with the returns of its finished seeds.
    references
        What policies that learn nothing earn.
    algorithm
        The learner, for the advice.
    mode
        Of the training, for the advice.
    """
    level: dict[str, float] = {one.name: one.mean for one in references}
    missing = [REFERENCE_WORDS[name] for name in ("random", "constant", "data") if name not in level]
    finished = [(name, values) for name, values in zip(names, returns, strict=True) if len(values)]
    if missing or not finished:
        what = f"the return of {', '.join(missing)} is not in the records" if missing else "no run finished"
        return Gate("cannot be judged", f"cannot be judged: {what}", "train again: layerscout train measures them" if missing else "")
    best, values = max(finished, key=lambda pair: float(pair[1].mean()))
    trivial = max(level["random"], level["constant"])
    half = level["random"] + DATA_SHARE * (level["data"] - level["random"])
    share, mean = float((values > trivial).mean()), float(values.mean())
    figures = (
        f"the best cell {best} returns {mean:.3f}; {100 * share:.0f} % of its {len(values)} seeds beat the better of random ({level['random']:.3f}) and "
        f"constant actions ({level['constant']:.3f}), and half of the data's own return ({level['data']:.3f}) above random is {half:.3f}"
    )
    if share >= SEED_SHARE and mean >= half:
        return Gate("learned", f"learned: {figures}", "", best, share)
    advice = _advice(level, trivial, algorithm) if mode == "offline" else "Try more environment steps, or more updates a step."
    return Gate("not learned", f"not learned: {figures}", advice, best, share)


def _advice(level: dict[str, float], trivial: float, algorithm: str | None) -> str:
    """Return what to try, from what the data are."""
    skilled = level["data"] > trivial + 0.1 * abs(trivial)
    if skilled:
        learner = (
            "another learner (the data hold a policy better than chance: iql)"
            if algorithm != "iql"
            else "a larger iql expectile and temperature"
        )
    else:
        learner = (
            "longer returns (n_step 8) with dqn" if algorithm in (None, "dqn") else "dqn with n_step 8 (the data are no better than chance)"
        )
    better = "" if skilled else ", and data that earn more (an expert mixed with random actions: epsilon:0.5)"
    return f"Try {learner}, more updates{better}."
