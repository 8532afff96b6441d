"""Rewards and discrete actions in; what followed each action, as targets of which each is one action's advantage, out.

    ψ_k(t) = (1[a_t = k] / b_k − 1) · (R_t − m_t),   k = 1 … actions

with b_k the share of action k, R_t the (discounted) sum of the rewards from step t on, and m_t its mean at that step of an
episode. Given what a layer knows, the mean of ψ_k is the advantage of action k, weighted by how often the data tried it
there: a probe for ψ asks whether the layer tells which action pays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt
from numpy.typing import DTypeLike

from layerscout.probe.questions.actions import ActionInputs, OneHot

HORIZON = 8  # steps of the shorter of the two sums; the longer one goes to the end of the episode
RAREST = 0.02  # share of the transitions: below, 1 / b_k makes ψ_k the luck of a few
LARGEST = 10.0  # of 1[a_t = k] / b_k − 1
PART = 8192  # rows worked on at once
SUMS = 2  # to the end of the episode, and over HORIZON steps


@dataclass(frozen=True)
class Outcomes:
    """A matrix [transition, column] that is made as it is asked for.

    Its columns are ψ of every action for R to the end of the episode, and the same for R of ``HORIZON`` steps. A slice of rows is
    another such matrix.

    Attributes
    ----------
    after
        R_t − m_t of both kinds, each over ``scale``.
    codes
        Action of each transition.
    weights
        1[a = k] / b_k − 1 for action taken a and column k, at most ``LARGEST``.
    scale
        Of each kind, in units of return: ψ then has variance 1, on average over actions.
    """

    after: Float[np.ndarray, "transition 2"]
    codes: UInt[np.ndarray, " transition"]
    weights: Float[np.ndarray, "level level"]
    scale: tuple[float, float]

    @property
    def actions(self) -> int:
        """Number of columns that one sum of later rewards has: one an action."""
        return len(self.weights)

    @property
    def count(self) -> int:
        """Number of columns of all sums together."""
        return self.actions * SUMS

    def columns_of(self, kind: int) -> range:
        """Places of ψ to the end of the episode (0), or over ``HORIZON`` steps (1)."""
        return range(self.actions * kind, self.actions * (kind + 1))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, at: slice) -> Outcomes:
        return replace(self, after=self.after[at], codes=self.codes[at])

    def values(self, rows: Int[np.ndarray, " row"], dtype: DTypeLike = np.float64) -> Float[np.ndarray, "row column"]:
        """Return some rows; what is kept is float32, and multiplied in ``dtype``."""
        weights, after = self.weights[self.codes[rows]].astype(dtype), self.after[rows].astype(dtype)
        return (after[:, :, None] * weights[:, None, :]).reshape(len(rows), self.count)


def find_outcomes(
    reward: Float[np.ndarray, " transition"],
    total: Float[np.ndarray, " transition"],
    episode: Int[np.ndarray, " transition"],
    step: Int[np.ndarray, " transition"],
    inputs: ActionInputs,
    ranking: Bool[np.ndarray, " transition"],
    discount: float,
) -> Outcomes | None:
    """Prepare ψ; None for actions that are not discrete or hardly ever one of them, and where all returns of a step are alike.

    Parameters
    ----------
    total
        Return-to-go of every transition.
    """
    if not isinstance(inputs, OneHot):
        return None
    rows = max(int(ranking.sum()), 1)
    share = np.bincount(inputs.codes[ranking], minlength=inputs.levels) / rows
    if share.min() < RAREST:
        return None
    weights = np.minimum(np.eye(inputs.levels) / share - 1, LARGEST)
    after, scale = np.empty((len(reward), SUMS), np.float32), []
    first = int(step.min())
    sources: tuple[_Ready | RewardsAhead, ...] = (_Ready(total), RewardsAhead(reward, episode, HORIZON, discount))
    for kind, source in enumerate(sources):
        sums, counts = np.zeros((2, int(step.max()) - first + 1))
        for part in _parts(len(reward)):
            at, ranks = step[part] - first, ranking[part]
            np.add.at(sums, at[ranks], source.values(part)[ranks])
            np.add.at(counts, at[ranks], 1.0)
        overall = sums.sum() / rows
        mean = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
        squares, largest = np.zeros(inputs.levels), 0.0
        for part in _parts(len(reward)):
            values = source.values(part)
            centred, ranks = values - mean[step[part] - first], ranking[part]
            after[part, kind] = centred
            largest = max(largest, float(np.abs(values).max()))
            squares += np.bincount(inputs.codes[part][ranks], centred[ranks] ** 2, inputs.levels)
        # the mean over actions of ψ's variance, from that of each action taken
        scale.append(float(np.sqrt((squares @ weights**2).mean() / rows)))
        if not 1e-12 * largest < scale[-1] < np.inf:
            return None
        after[:, kind] /= scale[-1]
    return Outcomes(after, inputs.codes, weights.astype(np.float32), (scale[0], scale[1]))


def _parts(rows: int) -> list[slice]:
    """Cut the rows, so that no array of all of them is made on the way."""
    return [slice(start, min(start + PART, rows)) for start in range(0, rows, PART)]


@dataclass(frozen=True)
class _Ready:
    """Values that are there."""

    all: Float[np.ndarray, " transition"]

    def values(self, part: slice) -> Float[np.ndarray, " row"]:
        """Return the sums of the next rewards for some transitions."""
        return self.all[part]


@dataclass(frozen=True)
class RewardsAhead:
    """Σ_{i < steps} discount^i r_{t+i}; at the end of a recorded episode, what was recorded."""

    reward: Float[np.ndarray, " transition"]
    episode: Int[np.ndarray, " transition"]
    steps: int
    discount: float

    def values(self, part: slice) -> Float[np.ndarray, " row"]:
        """Return the discounted sums of the next rewards for a part of the transitions."""
        found = np.array(self.reward[part], dtype=np.float64)
        for ahead in range(1, self.steps):
            later = slice(part.start + ahead, min(part.stop + ahead, len(self.reward)))
            count = max(later.stop - later.start, 0)
            same = self.episode[later] == self.episode[part.start : part.start + count]
            found[:count] += np.where(same, self.discount**ahead * self.reward[later], 0.0)
        return found


def standardised_rewards_ahead(
    reward: Float[np.ndarray, " transition"],
    episode: Int[np.ndarray, " transition"],
    ranking: Bool[np.ndarray, " transition"],
    steps: int,
    discount: float,
) -> Float[np.ndarray, "transition column"]:
    """Rewards of the next steps as one column with mean 0 and variance 1 over the transitions that rank; none where all are alike."""
    source, found = RewardsAhead(reward, episode, steps, discount), np.empty((len(reward), 1), np.float32)
    rows, sums, least, most = max(int(ranking.sum()), 1), 0.0, np.inf, -np.inf
    for part in _parts(len(reward)):
        if len(values := source.values(part)[ranking[part]]):
            sums, least, most = sums + float(values.sum()), min(least, float(values.min())), max(most, float(values.max()))
    mean, squares = sums / rows, 0.0
    if not least < most:
        return found[:, :0]
    for part in _parts(len(reward)):
        centred = source.values(part) - mean
        squares += float(np.sum(centred[ranking[part]] ** 2))
        found[part, 0] = centred / (most - least)
    found /= np.float32(np.sqrt(squares / rows) / (most - least))
    return found
