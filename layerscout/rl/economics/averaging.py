"""Weights that move in, their running mean out: the policy that is judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Weights = Sequence[Float[Tensor, "run parameter"]]


class WeightMean:
    """A mean over updates in which update t weighs as t to a power; until it begins, the newest weights.

    Parameters
    ----------
    weights
        What is averaged, a tensor a network; later calls take the same ones as they are then, or with further ones behind.
    power
        p, at least 0: 0 is the plain mean, larger is younger.

    References
    ----------
    Shamir and Zhang 2013, "Stochastic gradient descent for non-smooth optimization", eq. 5.
    """

    def __init__(self, weights: Weights, power: float) -> None:
        self._power, self._count = power, 0
        self._means = [values.clone() for values in weights]

    def follow(self, weights: Weights) -> None:
        """Begin to average what came behind the others."""
        self._means += [values.clone() for values in weights[len(self._means) :]]

    def take(self, weights: Weights, begun: bool) -> None:
        """Take the weights of one update; before the mean has begun, they are the mean."""
        self._count = self._count + 1 if begun else 1
        share = (self._power + 1.0) / (self._count + self._power)
        for mean, values in zip(self._means, weights, strict=True):
            mean.lerp_(values, share)

    @contextmanager
    def in_place(self, weights: Weights) -> Iterator[None]:
        """Let the mean stand in the place of the weights for a while."""
        playing = [values.clone() for values in weights]
        _put(weights, self._means)
        try:
            yield
        finally:
            _put(weights, playing)

    def state_dict(self) -> dict[str, Any]:
        """Return the means, and how many updates are in them."""
        return {"count": self._count, "means": [values.numpy().copy() for values in self._means]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""
        self._count, self._means = int(state["count"]), [torch.tensor(values) for values in state["means"]]


def _put(weights: Weights, wanted: Weights) -> None:
    for values, found in zip(weights, wanted, strict=True):
        values.copy_(found)
