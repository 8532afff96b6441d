"""Novelty in, the gain in marginal product that it is expected to bring out: two ways to learn that line while working, behind one face."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float

from layerscout.errors import UsageError
from layerscout.rl.economics.wages import above_zero

FIRST = 10  # observations before anything is foretold
LARGEST = 50.0  # units an hour


class DataValue(Protocol):
    """Foretells ΔMP, in good units an hour, from an episode's novelty; learns from what came."""

    def predict(self, novelty: float) -> float | None:
        """Return the expected gain, cut to [−50, 50]; None before ten observations."""

    def update(self, novelty: float, gain: float) -> None:
        """Learn from one episode: its novelty, and MP − MP of the episode before."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and count of observations, as arrays and numbers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""


class _Line:
    """ΔMP ≈ w · [1, novelty], what both share: counting, refusing and cutting."""

    def __init__(self) -> None:
        self.weights: Float[np.ndarray, " 2"] = np.zeros(2)
        self.seen = 0

    def predict(self, novelty: float) -> float | None:
        if self.seen < FIRST:
            return None
        return float(np.clip(self.weights @ _features(novelty), -LARGEST, LARGEST))

    def update(self, novelty: float, gain: float) -> None:
        if not math.isfinite(gain):
            raise UsageError(f"gain is {gain}", hint="give a finite gain, in units an hour")
        self.learn(_features(novelty), gain)
        self.seen += 1

    def learn(self, x: Float[np.ndarray, " 2"], gain: float) -> None:
        raise AssertionError("both kinds say how they learn")

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.copy(), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights, self.seen = state["weights"].copy(), int(state["seen"])


class GradientLine(_Line):
    """Stochastic gradient descent on squared errors with a step that falls: η_t = η₀ / t^0.25, t from 1 on.

    Parameters
    ----------
    first_step
        η₀, above 0.
    power
        Of the fall, in (0, 1].
    """

    def __init__(self, first_step: float = 0.1, power: float = 0.25) -> None:
        super().__init__()
        self.first_step, self.power = above_zero("first_step", first_step), above_zero("power", power)
        if power > 1.0:
            raise UsageError(f"power is {power}", hint="power is a number in (0, 1]: steps that fall faster stop short of the line")

    def learn(self, x: Float[np.ndarray, " 2"], gain: float) -> None:
        """w ← w + η_t (ΔMP − w · x) x, with x = [1, novelty] and the gain ΔMP in good units an hour."""
        self.weights += self.first_step / (self.seen + 1) ** self.power * (gain - self.weights @ x) * x


class RecursiveLine(_Line):
    """Recursive least squares: after n episodes the weights are those of a ridge regression on all of them.

    K = P x / (f + xᵀ P x); w ← w + K (ΔMP − xᵀ w); P ← (P − K xᵀ P) / f.

    Parameters
    ----------
    penalty
        λ of the ridge at the start, P = 1 / λ, above 0.
    forgetting
        f in (0, 1]; 1 forgets nothing.
    """

    def __init__(self, penalty: float = 1e-3, forgetting: float = 1.0) -> None:
        super().__init__()
        if not 0.0 < forgetting <= 1.0:
            raise UsageError(f"forgetting is {forgetting}", hint="forgetting is a number in (0, 1]")
        self.inverse: Float[np.ndarray, "2 2"] = np.eye(2) / above_zero("penalty", penalty)
        self.forgetting = forgetting

    def learn(self, x: Float[np.ndarray, " 2"], gain: float) -> None:
        """Weigh one observation x = [1, novelty] by the inverse of what was seen before; costs the same at every step."""
        reach = self.inverse @ x
        step = reach / (self.forgetting + x @ reach)
        self.weights = self.weights + step * (gain - x @ self.weights)
        self.inverse = (self.inverse - np.outer(step, reach)) / self.forgetting

    def state_dict(self) -> dict[str, Any]:
        """Weights and count as of every line, and P."""
        return super().state_dict() | {"inverse": self.inverse.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the saved weights and P."""
        super().load_state_dict(state)
        self.inverse = state["inverse"]


def data_value(kind: Literal["gradient", "recursive"] = "recursive") -> DataValue:
    """Return one of the two kinds by its name.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    kinds = {"gradient": GradientLine, "recursive": RecursiveLine}
    if kind not in kinds:
        raise UsageError(f"unknown way to value data '{kind}'", hint=f"one of: {', '.join(kinds)}")
    return kinds[kind]()


def _features(novelty: float) -> Float[np.ndarray, " 2"]:
    if not math.isfinite(novelty):
        raise UsageError(f"novelty is {novelty}", hint="give a finite novelty")
    return np.array([1.0, novelty])
