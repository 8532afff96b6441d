"""Minutes of work in, batches whose reward is today's out: a replay that keeps profit and errors apart and multiplies by the λ of the moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, Shaped

from layerscout.errors import DataError, UsageError
from layerscout.rl.economics.lagrangian import Penalty, hinged_violation, penalise, violation
from layerscout.rl.memory.replay import Batch
from layerscout.rl.memory.sampling import draw_indices
from layerscout.rl.memory.sum_tree import SumTree

LEAST, MOST = 0.5, 2.0  # bounds of a novelty as a weight of the critics' loss
COLUMNS = (
    "states",
    "action",
    "profit",
    "errors",
    "attempts",
    "errors_before",
    "attempts_before",
    "novelty",
    "terminated",
)  # what a step is
Weighting = Literal["none", "novelty", "importance"]


class Terms(NamedTuple):
    """What makes a reward of profit and errors today, one number a run where it may differ."""

    multiplier: Float[np.ndarray, " run"]  # λ, dollars an hour and unit of error rate
    target: float  # e*
    usual_attempts: Float[np.ndarray, " run"]  # a step, of the last hour
    penalty: Penalty = "linear"
    to_date: bool = False  # violations of the hour's rate until the step, in place of the step's own share
    scale: float = 0.1  # of the reward, for the learner
    centre: Float[np.ndarray, " run"] | None = None  # dollars an hour that are taken off every reward; None: nothing


class WorkLedger:
    """The last ``capacity`` steps of every run, in dollars and counts.

    Parameters
    ----------
    runs, capacity, shape, dimensions
        How many runs, steps a run, the shape of what is observed of a step, and numbers of an action.
    weighted
        Draw in proportion to priority = |temporal-difference error| · novelty, in place of uniformly.
    dtype
        Of what is observed.
    features
        Width of features that are kept beside it; 0: none.
    """

    def __init__(
        self,
        runs: int,
        capacity: int,
        shape: tuple[int, ...],
        dimensions: int,
        *,
        weighted: bool = False,
        dtype: type = np.float32,
        features: int = 0,
    ) -> None:
        self.runs, self.capacity, self.size, self.position = runs, capacity, 0, 0
        self.states: Shaped[np.ndarray, "run step two *feature"] = np.zeros((runs, capacity, 2, *shape), dtype)
        self.features = np.zeros((runs, capacity, 2, features), np.float32) if features else None
        self.action = np.zeros((runs, capacity, dimensions), np.float32)
        self.profit, self.novelty = (np.zeros((runs, capacity), np.float32) for _ in range(2))
        self.errors, self.attempts, self.errors_before, self.attempts_before = (np.zeros((runs, capacity), np.float32) for _ in range(4))
        self.terminated = np.zeros((runs, capacity), np.bool_)
        self.tree = SumTree(runs, capacity) if weighted else None
        self._largest = np.ones(runs)

    def add(
        self,
        z: Shaped[np.ndarray, "run *feature"],
        action: Float32[np.ndarray, "run dimension"],
        next_z: Shaped[np.ndarray, "run *feature"],
        terminated: Bool[np.ndarray, " run"],
        *,
        profit: Float[np.ndarray, " run"],
        errors: Int64[np.ndarray, " run"],
        attempts: Int64[np.ndarray, " run"],
        errors_before: Int64[np.ndarray, " run"],
        attempts_before: Int64[np.ndarray, " run"],
        novelty: Float[np.ndarray, " run"],
        features: Float32[np.ndarray, "run two width"] | None = None,
    ) -> None:
        """Store a step of every run: profit in dollars an hour, the step's counts, and those of its hour before it.

        ``features`` are those of z and of what followed, where they are kept.
        """
        slot = self.position
        self.states[:, slot, 0], self.states[:, slot, 1] = z, next_z
        if self.features is not None and features is not None:
            self.features[:, slot] = features
        self.action[:, slot], self.terminated[:, slot] = action, terminated
        self.profit[:, slot], self.novelty[:, slot] = profit, novelty
        self.errors[:, slot], self.attempts[:, slot] = errors, attempts
        self.errors_before[:, slot], self.attempts_before[:, slot] = errors_before, attempts_before
        if self.tree is not None:  # what was never looked at comes first
            self.tree.change(np.full((self.runs, 1), slot), (self._largest * novelty)[:, None])
        self.position, self.size = (slot + 1) % self.capacity, min(self.size + 1, self.capacity)

    def sample(
        self,
        batch: int,
        generators: Sequence[np.random.Generator],
        terms: Terms,
        weighting: Weighting = "none",
        beta: float = 0.4,
        *,
        of_features: bool = False,
    ) -> tuple[Batch, Int64[np.ndarray, "run batch"]]:
        """Draw steps of every run with replacement, priced by today's terms; return the batch and the places, for `reweigh`.

        ``of_features`` gives the features that are kept in place of what was observed. ``weighting`` gives the critics' weights: clip(novelty, 0.5, 2) over its mean, or importance (N P)^−beta over its largest.

        Raises
        ------
        UsageError
            Nothing is stored yet.
        """
        if not self.size:
            raise UsageError("the ledger is empty", hint="work at least one step before the first update")
        if self.tree is None:
            places = draw_indices(np.full(self.runs, self.size), batch, generators)
        else:
            places = self.tree.draw(batch, generators)
        rows = np.arange(self.runs)[:, None]
        kept = self.features if of_features else self.states
        assert kept is not None, "features are drawn only where they are kept"
        states = np.concatenate([kept[rows, places, 0], kept[rows, places, 1]], axis=1)
        reward = self.reward(rows, places, terms)
        return Batch(
            states, self.action[rows, places], reward, self.terminated[rows, places], weight=self._weights(rows, places, weighting, beta)
        ), places

    def reward(self, rows: np.ndarray, places: np.ndarray, terms: Terms) -> Float32[np.ndarray, "run batch"]:
        """Return scale · (profit − λ v) of stored steps, with v the step's share of the hour's violation, or the hour's until it."""
        errors, attempts, errors_before, attempts_before = (
            column[rows, places] for column in (self.errors, self.attempts, self.errors_before, self.attempts_before)
        )
        usual, penalty = terms.usual_attempts[:, None], terms.penalty
        if terms.to_date:
            excess = (errors_before + errors) / (attempts_before + attempts) - terms.target
        elif penalty == "hinge":
            excess, penalty = hinged_violation(errors, attempts, errors_before, attempts_before, terms.target, usual), "linear"
        else:
            excess = violation(errors, attempts, terms.target, usual)
        penalised = penalise(self.profit[rows, places], excess, terms.multiplier[:, None], penalty)
        return (terms.scale * (penalised if terms.centre is None else penalised - terms.centre[:, None])).astype(np.float32)

    def mean(self, terms: Terms) -> Float[np.ndarray, " run"]:
        """Return the mean over all stored steps of profit − λ v, in dollars an hour; 0 of an empty ledger."""
        if not self.size:
            return np.zeros(self.runs)
        places = np.broadcast_to(np.arange(self.size), (self.runs, self.size))
        plain = terms._replace(scale=1.0, centre=None)
        return self.reward(np.arange(self.runs)[:, None], places, plain).mean(1, dtype=np.float64)

    def reweigh(self, places: Int64[np.ndarray, "run batch"], error: Float[np.ndarray, "run batch"]) -> None:
        """Give drawn steps their priority |error| · novelty; without priorities nothing happens."""
        if self.tree is None:
            return
        size = np.abs(error) + 1e-6
        self._largest = np.maximum(self._largest, size.max(1))
        self.tree.change(places, size * self.novelty[np.arange(self.runs)[:, None], places])

    def state_dict(self) -> dict[str, Any]:
        """Return the filled part as plain arrays, with the priorities that it is drawn by."""
        filled, places = self.size, np.broadcast_to(np.arange(self.size), (self.runs, self.size))
        columns = {name: getattr(self, name)[:, :filled].copy() for name in COLUMNS}
        features = None if self.features is None else self.features[:, :filled].copy()
        priorities = None if self.tree is None else self.tree.at(places)
        at = {"position": self.position, "size": filled, "capacity": self.capacity, "largest": self._largest.copy()}
        return columns | at | {"features": features, "priorities": priorities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back.

        Raises
        ------
        DataError
            The state is of another capacity or shape.
        """
        filled, saved = int(state["size"]), state["states"].shape
        if int(state["capacity"]) != self.capacity or saved != (self.runs, filled, *self.states.shape[2:]):
            raise DataError(
                f"saved replay holds {saved} of capacity {state['capacity']}, expected {self.states.shape}",
                hint="continue with the same seeds, encoder and replay capacity",
            )
        for name in COLUMNS if self.features is None else (*COLUMNS, "features"):
            getattr(self, name)[:, :filled] = state[name]
        self.position, self.size, self._largest = int(state["position"]), filled, state["largest"]
        if self.tree is not None:
            self.tree.change(np.broadcast_to(np.arange(filled), (self.runs, filled)), state["priorities"])

    def _weights(self, rows: np.ndarray, places: np.ndarray, weighting: Weighting, beta: float) -> Float32[np.ndarray, "run batch"] | None:
        if weighting == "none":
            return None
        if weighting == "novelty":
            clamped = np.clip(self.novelty[rows, places], LEAST, MOST)
            return (clamped / clamped.mean(1, keepdims=True)).astype(np.float32)
        if self.tree is None:
            return np.ones(places.shape, np.float32)
        share = self.tree.at(places) / self.tree.total()[:, None]
        weights = (self.size * share) ** -beta
        return (weights / weights.max(1, keepdims=True)).astype(np.float32)
