"""A store's index columns in; its transitions with actions, rewards, shuffled rewards and every other target out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.questions.actions import ActionInputs, action_columns
from layerscout.probe.questions.outcomes import Outcomes, find_outcomes, standardised_rewards_ahead
from layerscout.probe.questions.rewards import return_to_go, reward_column
from layerscout.probe.questions.scalars import Scalars
from layerscout.probe.questions.shuffling import RewardCopies, shuffle_rewards
from layerscout.probe.questions.splits import held_out

REWARD, SHIFTED, RETURN, OUTCOME = "reward", "reward shifted", "return_to_go", "outcome"
AHEAD = 4  # steps
REWARD_AHEAD = f"reward, {AHEAD} steps"
NO_TARGETS = (REWARD, SHIFTED, REWARD_AHEAD, OUTCOME)  # names of columns that are none of the targets that are asked for
STATE, EXPERT = "state", "expert_action"
KNOWN_TARGETS = (STATE, RETURN, EXPERT)
ALWAYS_READ = ("episode", "step", "action", "reward")


@dataclass(frozen=True)
class Transitions:
    """Pairs of consecutive rows of one episode, in row order.

    Attributes
    ----------
    row
        Row of z_t; z_{t+1} lies in ``row + 1``.
    episode
        Episode of each transition, renumbered 0, 1, ... in row order.
    inputs
        The actions as numbers: a one-hot code of discrete ones, else the columns that vary, with mean 0 and variance 1. No
        column when the data has no actions or only one, which can explain nothing.
    levels
        Number of distinct discrete actions; 0 when they are continuous or there is no column.
    scalars
        Reward and its shuffled copies (none when the reward is absent, or equal everywhere), then the columns of
        every other target. Each has mean 0 and variance 1 over the episodes that rank; shuffled copies are 0 elsewhere.
    target_names
        Target of each column of ``scalars``: "reward", "reward shifted", the target's own name, once a column, "reward, 4 steps" or
        "outcome".
    undefined
        Other targets that the data cannot give.
    notes
        What a reader of the ranking must know about the targets.
    """

    row: Int[np.ndarray, " transition"]
    episode: Int[np.ndarray, " transition"]
    inputs: ActionInputs
    levels: int
    scalars: Scalars
    target_names: tuple[str, ...]
    undefined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.row)

    @property
    def lengths(self) -> Int[np.ndarray, " episode"]:
        """Transitions of each episode, which may be 0."""
        return np.bincount(self.episode)


def searched_only(transitions: Transitions) -> Transitions:
    """Leave out the scalars that are fitted at a fixed penalty."""
    scalars = replace(transitions.scalars, outcomes=None)
    return replace(transitions, scalars=scalars, target_names=transitions.target_names[: scalars.searched])


def needed_columns(there: Collection[str], config: ProbeConfig) -> tuple[str, ...]:
    """Name the index columns to read of those that a store has."""
    wanted = KNOWN_TARGETS if config.targets is None else config.targets
    return (*ALWAYS_READ, *(name for name in wanted if name in there and name not in ALWAYS_READ))


def find_transitions(columns: Mapping[str, Shaped[np.ndarray, "row ..."]], config: ProbeConfig) -> Transitions:
    """Pair the rows of each episode and prepare every target but the activations themselves.

    Parameters
    ----------
    columns
        Index columns by name, those of ``needed_columns``: ``episode``, ``step``, ``action`` (integers, negative for none;
        or real numbers [row, dimension], NaN for none), ``reward`` (NaN for none), and arrays [row] or [row, k] as targets.

    Raises
    ------
    DataError
        No episode has two rows, or some transitions have an action or a reward and others do not.
    """
    episode, step = columns["episode"], columns["step"]
    row = np.flatnonzero((episode[1:] == episode[:-1]) & (step[1:] == step[:-1] + 1)).astype(np.int32 if len(episode) < 2**31 else np.int64)
    if not len(row):
        raise DataError(f"the store's {len(episode)} rows hold no transition", hint="collect episodes of at least one step")
    number = _renumbered(episode[row])
    ranking = ~held_out(int(number.max()) + 1, config.confirmation, config.folds)[number]
    inputs, levels, action_notes = action_columns(columns["action"][row], ranking)
    reward = columns["reward"][row].astype(np.float64)
    # what is not asked for but stands beside the score; first, so that nothing else waits in memory
    measured = config.measures and bool(np.isfinite(reward).all()) and reward[ranking].min() < reward[ranking].max()
    wanted = KNOWN_TARGETS if config.targets is None else config.targets
    returns = return_to_go(reward, number, config.discount) if measured or RETURN in wanted else np.zeros(0)
    ahead: Float[np.ndarray, "transition column"] | None = None
    outcomes: Outcomes | None = None
    if measured:
        ahead = standardised_rewards_ahead(reward, number, ranking, AHEAD, config.discount)
        outcomes = find_outcomes(reward, returns, number, step[row], inputs, ranking, config.discount)
    scaled, reward_notes = reward_column(reward, ranking)
    del reward
    has_reward, names, undefined = scaled.shape[1] > 0, [], []
    kept = np.empty((len(row), has_reward + sum(_target_width(name, columns, bool(levels)) for name in wanted)))
    kept[:, :has_reward], filled = scaled, int(has_reward)
    del scaled
    for name in wanted:
        found = returns[:, None] if name == RETURN else _target_columns(name, columns, row, bool(levels))
        first, filled = filled, _standardise_into(kept, filled, found, ranking)
        names += [name] * (filled - first)
        undefined += [] if filled > first else [name]
        del found
    del returns
    kept = kept if filled == kept.shape[1] else kept[:, :filled].copy()
    copies: RewardCopies | None = None
    shuffling_notes: tuple[str, ...] = ()
    if has_reward:
        lengths = _run_lengths(number[ranking])  # before more memory is taken
        copies, shuffling_notes = shuffle_rewards(kept[:, 0][ranking], lengths, config.shifts, config.seed)
        names = [REWARD, *[SHIFTED] * copies.count, *names]
    names += [REWARD_AHEAD] * (0 if ahead is None else ahead.shape[1]) + [OUTCOME] * (0 if outcomes is None else outcomes.count)
    notes = (*action_notes, *reward_notes, *shuffling_notes, *_undefined_notes(undefined, columns, config.targets or ()))
    place = np.cumsum(ranking, dtype=np.int32)
    place -= 1
    place[~ranking] = -1  # the shuffled rewards of the confirmation episodes would be nobody's
    scalars = Scalars(kept, copies, place, ahead, outcomes)
    return Transitions(row, number, inputs, levels, scalars, tuple(names), tuple(undefined), notes)


def _renumbered(episode: Int[np.ndarray, " transition"]) -> Int[np.ndarray, " transition"]:
    """Number the episodes 0, 1, ... as they come; those whose rows lie apart keep one number."""
    change = np.diff(episode, prepend=episode[0])
    if (change < 0).any():
        return np.unique(episode, return_inverse=True)[1].reshape(-1).astype(np.int32)
    return np.cumsum(change > 0, dtype=np.int32)


def _run_lengths(number: Int[np.ndarray, " transition"]) -> Int[np.ndarray, " episode"]:
    """Transitions of each episode, in row order."""
    return np.diff(np.flatnonzero(np.diff(number, prepend=-1, append=-1)))


def _standardise_into(
    kept: Float[np.ndarray, "transition column"],
    at: int,
    values: Float[np.ndarray, "transition k"],
    ranking: Bool[np.ndarray, " transition"],
) -> int:
    """Write the columns that vary over the episodes that rank, with mean 0 and variance 1 there; none where a value is missing."""
    if not np.isfinite(values).all():
        return at
    for column in values.T:
        seen = column[ranking]
        if seen.min() < seen.max():
            mean = seen.mean()
            seen -= mean  # numpy's own standard deviation would make one more array of that size
            seen *= seen
            np.subtract(column, mean, out=kept[:, at])
            kept[:, at] /= np.sqrt(seen.sum() / len(seen))
            at += 1
    return at


def _target_width(name: str, columns: Mapping[str, Shaped[np.ndarray, "row ..."]], discrete: bool) -> int:
    """Columns of a target at most."""
    if name == RETURN:
        return 1
    if name not in columns:
        return 0
    values = columns[name]
    width = values.size // max(len(values), 1)
    return len(np.unique(values)) if name == EXPERT and discrete and width == 1 else width


def _target_columns(
    name: str, columns: Mapping[str, Shaped[np.ndarray, "row ..."]], row: Int[np.ndarray, " transition"], discrete: bool
) -> Float[np.ndarray, "transition k"]:
    if name not in columns:
        return np.zeros((len(row), 0))
    values = columns[name][row].astype(np.float64).reshape(len(row), -1)
    if name == EXPERT and discrete and values.shape[1] == 1 and np.isfinite(values).all():
        codes = np.unique(values, return_inverse=True)[1].reshape(-1)  # the order of action codes means nothing
        return np.eye(int(codes.max()) + 1)[codes]
    return values


def _undefined_notes(undefined: list[str], columns: Mapping[str, Shaped[np.ndarray, "row ..."]], asked: Sequence[str]) -> tuple[str, ...]:
    """One note on targets that were asked for and have no column, one on those whose column says nothing."""
    missing = [name for name in undefined if name not in columns and name != RETURN]
    absent = [name for name in missing if name in asked]
    silent = [name for name in undefined if name not in missing]
    notes = [f"the dataset has no {', '.join(absent)}: R² is n/a"] if absent else []
    return tuple([*notes, f"{', '.join(silent)} is missing in some transitions or the same in all: R² is n/a"] if silent else notes)
