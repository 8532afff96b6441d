"""A dataset in, what kind of play it holds out: actions that know nothing, or some of an expert; that decides which learner can learn from it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from layerscout.cache.provenance import provenance_of
from layerscout.cache.store import Store
from layerscout.errors import UsageError
from layerscout.worlds.exploring import parse_policy

MOST_ROWS = 8_000  # that are looked at, where no policy is recorded
PROJECTED = 128  # directions of the pixels that are looked at
PENALTY = 0.1  # of that ridge, times its rows
CLEARLY = 3.0  # standard errors by which a look must help


class Coverage(NamedTuple):
    """What a dataset covers, and the sentence that says how that is known."""

    kind: Literal["random play", "expert-mixed"]
    sentence: str


RANDOM_PLAY = Coverage("random play", "nothing is known of how it was played")


def coverage_of(store: Store) -> Coverage:
    """Return what the dataset of a store covers: by the policy that it names, else by whether its actions can be foreseen from pictures.

    Raises
    ------
    DataError
        The store's provenance makes no sense.
    """
    policy = provenance_of(store).dataset_attributes.policy
    named = None if policy is None else coverage_of_policy(policy)
    return named or _coverage_of_actions(store)


def coverage_of_policy(policy: str) -> Coverage | None:
    """Return what a policy of ``layerscout collect`` covers, or None when the word is not one of its policies."""
    try:
        read = parse_policy(policy)
    except UsageError:
        return None
    if not read.needs_expert:
        return Coverage("random play", f"the dataset was played by {policy}, at random")
    return Coverage("expert-mixed", f"the dataset was played by {policy}, an expert in {1 - read.randomness:.0%} of the steps")


def _coverage_of_actions(store: Store) -> Coverage:
    """Look whether pictures help to foresee actions; continuous actions are taken for an expert's, because IQL stays near what was done."""
    action, episode = store.index("action"), store.index("episode")
    if action.ndim > 1:
        return Coverage("expert-mixed", "the dataset names no policy, and its actions are vectors")
    pixels = np.concatenate([chunk for _, chunk in store.layer("pixels").chunks()])[:MOST_ROWS].astype(np.float32)
    gain, error = foreseen_by_looking(pixels, action[:MOST_ROWS], episode[:MOST_ROWS])
    how = f"the dataset names no policy, and the last picture names {gain:+.1%} of the new actions beside what the last action names"
    return Coverage("expert-mixed" if gain > CLEARLY * error else "random play", how)


def foreseen_by_looking(
    features: Float[np.ndarray, "row feature"], action: Int64[np.ndarray, " row"], episode: Int64[np.ndarray, " row"]
) -> tuple[float, float]:
    """Return how many more actions are foreseen from features than from the action before alone, as a share, and its standard error.

    Only steps at which the action changes are asked: a random action that is held can be read from moving pictures, and no expert is in
    that. One ridge from 128 random directions and the last action to the next one is fitted on the even episodes and judged on the odd ones.

    Parameters
    ----------
    features
        What is seen at each row.
    action
        What is done there; -1 where nothing is.
    episode
        Whose rows they are; rows of an episode follow one another.
    """
    new = np.append(False, (episode[1:] == episode[:-1]) & (action[1:] != action[:-1]) & (action[1:] >= 0) & (action[:-1] >= 0))
    rows = np.flatnonzero(new)
    even = episode[rows] % 2 == 0
    if even.sum() < 2 or (~even).sum() < 2:
        return 0.0, 0.0
    choices = np.eye(int(action.max()) + 1)
    generator = np.random.Generator(np.random.Philox(0))
    directions = generator.standard_normal((features.shape[1], PROJECTED)) / features.shape[1] ** 0.5
    looked = features[rows].astype(np.float64) @ directions
    looked = (looked - looked.mean(0)) / np.maximum(looked.std(0), 1e-9)
    before, target = choices[action[rows - 1]], choices[action[rows]]
    hits = []
    for known in (before, np.concatenate([before, looked], axis=1)):
        weights = np.linalg.solve(known[even].T @ known[even] + PENALTY * even.sum() * np.eye(known.shape[1]), known[even].T @ target[even])
        hits.append((known[~even] @ weights).argmax(1) == action[rows[~even]])
    difference = hits[1].astype(float) - hits[0]
    return float(difference.mean()), float(difference.std() / len(difference) ** 0.5)
