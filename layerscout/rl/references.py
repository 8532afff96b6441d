"""A world and a dataset in, the returns of policies that learn nothing here out: the lines that agents' returns are read against."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from layerscout.cache.provenance import provenance_of
from layerscout.cache.records import ReferenceReturn
from layerscout.cache.store import Store
from layerscout.rl.seeing.rollouts import blind_returns, evaluation_seeds
from layerscout.worlds.core import World, WorldActions, random_actions

EPISODES = 200  # at least, over all blocks together
TRIED_ON = 1 << 20  # the block on which constant actions are compared: no run plays it, so the best one is not flattered
TRIES, LIGHT_TRIES = 4, 64  # episodes a constant action, in a world that is stepped copy by copy and in one that is arrays
LONGEST_TRY = 1_000  # steps of such an episode
MOST_CORNERS = 4  # dimensions of an action up to which all its corners are tried
NORMAL_95 = 1.959964  # half width of a 95 % interval in standard errors

MakeWorld = Callable[[int], World]


def reference_returns(
    make_world: MakeWorld,
    store: Store | None,
    seeds: int,
    episodes: int,
    *,
    side_by_side: int,
    light: bool = False,
    best_possible: float | None = None,
) -> tuple[ReferenceReturn, ...]:
    """Return what random play, the best constant action, the dataset's own policy and an optimal one earn, as far as it is known.

    What is played is played on the evaluation episodes of the agents: blocks 0 … ``seeds``-1, at least 200 episodes together.
    No picture is drawn.

    Parameters
    ----------
    make_world
        Copies → a world.
    store
        Whose rows hold the dataset's own episodes; None: there is no such dataset.
    seeds, episodes
        How many blocks agents play, and how many episodes of each in the final evaluation.
    side_by_side
        Games held at once.
    light
        Whether a copy costs next to nothing; then more episodes decide which constant action is the best.
    best_possible
        The return of an optimal policy, where the settings state it.
    """
    numbers = np.arange(max(episodes, -(-EPISODES // seeds)))
    played = np.concatenate([evaluation_seeds(block, numbers) for block in range(seeds)])
    play = partial(blind_returns, make_world, together=side_by_side)
    generator = np.random.default_rng(0)
    found: list[ReferenceReturn | None] = [_reference("random", play(lambda world, _: random_actions(world, generator), played))]
    found.append(_best_constant(make_world, play, played, LIGHT_TRIES if light else TRIES))
    found.append(None if store is None else data_return(store))
    if best_possible is not None:
        found.append(ReferenceReturn(name="optimal", mean=best_possible, note="train.best_possible"))
    elif _expert_is_optimal(make_world):
        found.append(_reference("optimal", play(_advice, played), "the scripted expert, which no policy beats"))
    return tuple(one for one in found if one is not None)


def data_return(store: Store) -> ReferenceReturn | None:
    """Return what the policy that collected a store's dataset earned, or None where no episode is whole or rewards are missing."""
    columns = (store.index(name) for name in ("episode", "step", "reward", "terminated", "truncated"))
    returns = whole_episode_returns(*columns)
    if not len(returns):
        return None
    policy = provenance_of(store).dataset_attributes.policy
    return _reference("data", returns, f"policy {policy}" if policy else "the episodes of the dataset")


def whole_episode_returns(
    episode: Int64[np.ndarray, " row"],
    step: Int64[np.ndarray, " row"],
    reward: Float32[np.ndarray, " row"],
    terminated: Bool[np.ndarray, " row"],
    truncated: Bool[np.ndarray, " row"],
) -> Float[np.ndarray, " episode"]:
    """Return the sums of rewards of the episodes that are there from their first step to their end; rewards of their last rows are not read."""
    starts = np.flatnonzero(np.diff(episode, prepend=-1))
    lengths = np.diff(np.append(starts, len(episode)))
    starts, lengths = starts[lengths > 1], lengths[lengths > 1]
    ends = starts + lengths - 1  # the row of the last frame, in which nothing is done any more
    within = np.ones(len(episode), dtype=bool)
    within[ends] = False
    known = np.isfinite(reward)
    sums = np.append(0.0, np.cumsum(np.where(within & known, reward, 0.0), dtype=np.float64))
    unknown = np.append(0, np.cumsum(within & ~known))
    whole = (step[starts] == 0) & (step[ends] == lengths - 1) & (terminated | truncated)[ends - 1] & (unknown[ends] == unknown[starts])
    return (sums[ends] - sums[starts])[whole]


def constant_actions(count: int, dimensions: int) -> list[tuple[str, int | Float32[np.ndarray, " dimension"]]]:
    """Return what a policy that always does the same can do, with names: every discrete action; of vectors zero, ends of axes and corners.

    All corners of [-1, 1]ⁿ are tried up to n = 4.
    """
    if not dimensions:
        return [(f"action {action} of 0 … {count - 1}", action) for action in range(count)]
    vectors = [np.zeros(dimensions)]
    vectors += [sign * axis for axis in np.eye(dimensions) for sign in (1.0, -1.0)]
    if 1 < dimensions <= MOST_CORNERS:
        vectors += [np.array(corner) for corner in itertools.product((1.0, -1.0), repeat=dimensions)]
    named = [("(" + ", ".join(f"{value:g}" for value in vector) + ")", vector.astype(np.float32)) for vector in vectors]
    return [(f"{name}, the best of {len(named)} vectors: zero, ends of axes and corners", vector) for name, vector in named]


def _best_constant(
    make_world: MakeWorld, play: Callable[..., Float[np.ndarray, " episode"]], played: Int64[np.ndarray, " episode"], tries: int
) -> ReferenceReturn:
    world = make_world(1)
    candidates = constant_actions(world.action_count, world.action_dimensions)
    world.close()
    actions = np.repeat(np.array([action for _, action in candidates]), tries, axis=0)  # side by side: making worlds can be slow
    tried = np.tile(evaluation_seeds(TRIED_ON, np.arange(tries)), len(candidates))
    returns = play(lambda world, which: actions[which], tried, most_steps=LONGEST_TRY)
    name, action = candidates[int(returns.reshape(len(candidates), tries).mean(axis=1).argmax())]
    return _reference("constant", play(lambda world, which: np.stack([action] * world.copies), played), name)


def _advice(world: World, which: slice) -> WorldActions:
    advice = world.expert()
    assert advice is not None, "a world whose expert is optimal has one"
    return advice


def _expert_is_optimal(make_world: MakeWorld) -> bool:
    world = make_world(1)
    world.close()
    return bool(getattr(world, "optimal_expert", False))


def _reference(
    name: Literal["random", "constant", "data", "optimal"], returns: Float[np.ndarray, " episode"], note: str = ""
) -> ReferenceReturn:
    """Return the mean over episodes with its 95 % interval, mean ± 1.96 standard errors."""
    mean, low, high = float(returns.mean()), None, None
    if len(returns) > 1:
        half = NORMAL_95 * float(returns.std(ddof=1)) / len(returns) ** 0.5
        low, high = mean - half, mean + half
    return ReferenceReturn(name=name, mean=mean, low=low, high=high, episodes=len(returns), note=note)
