"""Transitions of all runs in, batches [run, batch, ...] out; every run draws from its own generator.

What a run draws depends on its own generator and on its own transitions only, never on its neighbours. Only *terminated*
is an end of the task: after a truncated transition the next features count (Pardo et al. 2018, arXiv 1712.00378).

With ``steps`` > 1 a sample looks further ahead: its reward is Σ_{i<k} γⁱ r_{t+i}, what follows are the features at t + k, and its
discount is γᵏ (Sutton 1988; Hessel et al. 2018, arXiv 1710.02298, eq. for the multi-step target). k is ``steps``, or less where the
episode terminated or was truncated earlier, or where the run has not played further yet; a truncated one still bootstraps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Real, Shaped

from layerscout.errors import DataError, UsageError
from layerscout.rl.memory.sampling import aligned, draw_indices, gather, look_ahead, take

COLUMNS = ("states", "action", "reward", "terminated", "stopped")  # what a transition is


class Batch(NamedTuple):
    """Transitions for one update: ``z`` is what the network sees (features, or frames of a clip)."""

    states: Shaped[np.ndarray, "run twice_batch *feature"]  # first every z, then every next z: one array, so one pass through a network
    action: Shaped[np.ndarray, "run batch *dimension"]  # int64, or float32 with a dimension axis
    reward: Float32[np.ndarray, "run batch"]
    terminated: Bool[np.ndarray, "run batch"]
    discount: Float32[np.ndarray, "run batch"] | None = None  # of what follows, where several rewards were summed; None: one reward, one γ
    weight: Float32[np.ndarray, "run batch"] | None = None  # of each transition in the critics' loss of SAC; None: 1

    @property
    def z(self) -> Shaped[np.ndarray, "run batch *feature"]:
        """The first half of ``states``, a view: what was seen before the action."""
        return self.states[:, : self.action.shape[1]]

    @property
    def next_z(self) -> Shaped[np.ndarray, "run batch *feature"]:
        """The second half of ``states``, a view: what was seen after it."""
        return self.states[:, self.action.shape[1] :]


class Replay:
    """The last ``capacity`` transitions of every run.

    Parameters
    ----------
    shape, dtype
        Of one ``z``; memory is 2 × runs × capacity × bytes of one ``z``, used only as it fills.
    action_dimensions
        Numbers of a continuous action; 0 = discrete actions.
    steps, gamma
        How many rewards a sample sums, and what each further one is discounted by.
    """

    def __init__(
        self,
        runs: int,
        capacity: int,
        shape: tuple[int, ...],
        dtype: type | np.dtype = np.float32,
        *,
        action_dimensions: int = 0,
        steps: int = 1,
        gamma: float = 1.0,
    ) -> None:
        self.runs, self.capacity, self.steps, self.gamma = runs, capacity, steps, gamma
        self.states = np.zeros((runs, capacity, 2, *shape), dtype)  # z and next z side by side
        self.action = (
            np.zeros((runs, capacity, action_dimensions), np.float32) if action_dimensions else np.zeros((runs, capacity), np.int64)
        )
        self.reward = np.zeros((runs, capacity), np.float32)
        self.terminated = np.zeros((runs, capacity), np.bool_)
        self.stopped = np.zeros((runs, capacity), np.bool_)  # terminated or truncated: the next slot is another episode
        self.added = np.zeros(runs, np.int64)  # transitions of every run, those that made room among them

    @property
    def size(self) -> Int64[np.ndarray, " run"]:
        """Transitions that every run holds."""
        return np.minimum(self.added, self.capacity)

    def add(
        self,
        z: Shaped[np.ndarray, " run *feature"],
        action: Shaped[np.ndarray, " run *dimension"],
        reward: Real[np.ndarray, " run"],
        next_z: Shaped[np.ndarray, " run *feature"],
        terminated: Bool[np.ndarray, " run"],
        mask: Bool[np.ndarray, " run"] | None = None,
        truncated: Bool[np.ndarray, " run"] | None = None,
    ) -> None:
        """Store one transition of every run, or of the runs in ``mask``; the oldest one makes room.

        ``truncated`` (default: none) matters where several rewards are summed. A run's transitions come in the order in which it played.
        """
        runs = np.arange(self.runs) if mask is None else np.flatnonzero(mask)
        slots = self.added[runs] % self.capacity
        self.states[runs, slots, 0], self.states[runs, slots, 1] = z[runs], next_z[runs]
        self.action[runs, slots], self.reward[runs, slots], self.terminated[runs, slots] = action[runs], reward[runs], terminated[runs]
        self.stopped[runs, slots] = terminated[runs] if truncated is None else (terminated | truncated)[runs]
        self.added[runs] += 1

    def sample(self, batch: int, generators: Sequence[np.random.Generator]) -> Batch:
        """Draw ``batch`` transitions of every run uniformly, with replacement.

        Raises
        ------
        UsageError
            A run has no transition yet.
        """
        size = self.size
        if not size.all():
            raise UsageError(
                f"replay of run {int(np.argmin(size))} is empty", hint="collect transitions (warm_up >= 1) before the first update"
            )
        first = np.arange(self.runs)[:, None] * self.capacity
        slots = draw_indices(size, batch, generators) + first
        last, reward, discount = slots, self.reward.take(slots), None
        if self.steps > 1:
            newest = (self.added - 1)[:, None] % self.capacity + first
            stopped = self.stopped.reshape(-1)
            last, reward, discount = look_ahead(
                slots,
                self.reward.reshape(-1),
                lambda at: stopped[at] | (at == newest),
                lambda at: (at - first + 1) % self.capacity + first,
                self.steps,
                self.gamma,
            )
        states = gather(self.states.reshape(-1, *self.states.shape[3:]), np.concatenate([2 * slots, 2 * last + 1], axis=1))
        return Batch(states, take(self.action, 2, slots), reward, self.terminated.take(last), discount)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the filled part as plain arrays, which share the replay's memory: it may be all that there is."""
        filled = int(self.size.max(initial=0))
        arrays = {name: getattr(self, name)[:, :filled] for name in COLUMNS}
        return arrays | {"added": self.added.copy(), "capacity": np.array(self.capacity)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Put a saved state back; one in which nothing has made room yet fits into any memory that holds it.

        Raises
        ------
        DataError
            The state is of another shape, or of another capacity at which transitions made room.
        """
        saved, filled = state["states"].shape, state["states"].shape[1]
        fits = (saved[0], *saved[2:]) == (self.runs, *self.states.shape[2:]) and state["action"].shape[2:] == self.action.shape[2:]
        all_there = int(state["added"].max(initial=0)) <= min(int(state["capacity"]), self.capacity)
        if not fits or (int(state["capacity"]) != self.capacity and not all_there):
            raise DataError(
                f"saved replay holds {saved} of capacity {int(state['capacity'])}, expected {self.states.shape}",
                hint="continue with the same arms, seeds and replay capacity",
            )
        for name in COLUMNS:
            getattr(self, name)[:, :filled] = state[name]
        self.added[:] = state["added"]


class ReplayRows:
    """A dataset of rows as an endless replay: one shared table an arm, nothing copied per run.

    A transition is a pair of rows of one episode, one after the other, of one step and the next; its action, reward and end stand
    in the first. Probes pair rows by the same rule.

    Parameters
    ----------
    tables
        One array [row, ...] an arm; two-dimensional tables may differ in width and are padded with zeros to the widest.
        Floating tables are given out as float32, others (frames) in their own type.
    arms
        For every run, which table it reads.
    episode, step, action, reward, terminated
        Index columns [row]; ``action`` is -1 in the last row of an episode, or NaN where it is continuous, [row, dimension].
    steps, gamma
        How many rewards a sample sums, and what each further one is discounted by.

    Raises
    ------
    DataError
        Tables and columns differ in length, there is no transition, or a transition has no reward.
    """

    def __init__(
        self,
        tables: Sequence[Shaped[np.ndarray, " row *feature"]],
        arms: Sequence[int],
        episode: Shaped[np.ndarray, " row"],
        step: Shaped[np.ndarray, " row"],
        action: Shaped[np.ndarray, " row *dimension"],
        reward: Real[np.ndarray, " row"],
        terminated: Bool[np.ndarray, " row"],
        *,
        steps: int = 1,
        gamma: float = 1.0,
    ) -> None:
        rows = {len(table) for table in (*tables, episode, step, action, reward, terminated)}
        if len(rows) > 1:
            raise DataError(
                f"tables and index columns have different numbers of rows: {sorted(rows)}", hint="use stores of the same dataset"
            )
        self.tables, self.arms = list(tables), np.asarray(arms, dtype=np.int64)
        known = np.isfinite(action).all(axis=1) if action.ndim == 2 else action >= 0
        follows = (episode[1:] == episode[:-1]) & (step[1:] == step[:-1] + 1)
        begins = np.append(follows & known[:-1], False)  # rows that begin a transition
        self.transitions = np.flatnonzero(begins)
        if not len(self.transitions):
            raise DataError(
                f"the {len(begins)} rows hold no transition: no step of an episode with an action is followed by its next step",
                hint="collect episodes of at least one step, with actions",
            )
        if not np.isfinite(reward[self.transitions]).all():
            raise DataError("the dataset has transitions without a reward", hint="collect with rewards, or train online")
        self.action, self.terminated = action.astype(np.float32 if action.ndim == 2 else np.int64), terminated
        self.reward = reward.astype(np.float32)
        self.discount: Float32[np.ndarray, " row"] | None = None
        self.last = np.arange(len(begins))  # where the last summed reward of the sample that begins in this row stands
        if steps > 1:
            final = terminated | ~np.append(begins[1:], False)
            self.last, self.reward, self.discount = look_ahead(
                self.last, self.reward, lambda at: final[at], lambda at: at + 1, steps, gamma
            )
        self.shape = max((table.shape[1:] for table in tables), key=np.prod)
        floating = all(np.issubdtype(table.dtype, np.floating) for table in tables)
        self.dtype = np.dtype(np.float32) if floating else tables[0].dtype

    @property
    def live_widths(self) -> list[int]:
        """Each run's own number of features, for networks of the common width."""
        return [int(self.tables[arm].shape[-1]) for arm in self.arms]

    def sample(self, batch: int, generators: Sequence[np.random.Generator], runs: slice = slice(None)) -> Batch:
        """Draw ``batch`` transitions for every run, or for those of ``runs``, uniformly, with replacement."""
        arms = self.arms[runs]
        rows = self.transitions[draw_indices(np.full(len(arms), len(self.transitions)), batch, generators[runs])]
        last = self.last.take(rows)
        states = self._features(arms, np.concatenate([rows, last + 1], axis=1))
        discount = None if self.discount is None else self.discount.take(rows)
        return Batch(states, take(self.action, 1, rows), self.reward.take(rows), self.terminated.take(last), discount)

    def _features(self, arms: Int64[np.ndarray, " run"], rows: Int64[np.ndarray, "run batch"]) -> Shaped[np.ndarray, "run batch *feature"]:
        out = aligned((*rows.shape, *self.shape), self.dtype)
        for run, arm in enumerate(arms.tolist()):
            table = self.tables[arm]
            if table.shape[1:] == self.shape and table.dtype == self.dtype:
                np.take(table, rows[run], axis=0, out=out[run], mode="clip")  # "raise" would buffer the output; the rows are in range
                continue
            width = table.shape[1]
            out[run, :, :width] = table[rows[run]]
            out[run, :, width:] = 0
        return out
