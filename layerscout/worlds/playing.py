"""A world, a policy and a seed in, complete episodes in order of their number out.

Episode e is a function of (seed, e) alone, so neither the number of copies nor an interruption changes the data:
whoever holds episodes 0..e-1 continues with e.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from layerscout.cache.dataset.trajectories import Episode
from layerscout.errors import DataError
from layerscout.worlds.core import StepOutcome, World
from layerscout.worlds.exploring import ExploratoryPolicy, ExploratoryStep

WAITING = 4  # times copies: how many episodes may be begun or held in memory while an earlier one still runs
LONGEST = 10_000  # steps: an episode longer than this and than all the steps asked for is taken for endless


def episode_seed(seed: int, episode: int) -> int:
    """Return the world's seed of an episode, in [0, 2^31): some simulators take no larger one."""
    return int(np.random.SeedSequence((seed, episode, 0)).generate_state(1)[0] >> 1)


def action_generator(seed: int, episode: int) -> np.random.Generator:
    """Return the generator of an episode's random actions, independent of the world's seed."""
    return np.random.default_rng(np.random.SeedSequence((seed, episode, 1)))


@dataclass
class _Recording:
    """An episode while it is being played."""

    number: int
    choices: Iterator[ExploratoryStep]
    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    states: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[int | NDArray[np.float32]] = field(default_factory=list)
    outcomes: list[tuple[float, bool, bool]] = field(default_factory=list)

    def see(self, frame: NDArray[np.uint8], state: NDArray[np.float32] | None) -> None:
        self.frames.append(frame.copy())  # a view would keep the frames of all copies alive
        if state is not None:
            self.states.append(state.copy())

    def episode(self) -> Episode:
        rewards, terminated, truncated = (np.array(column) for column in zip(*self.outcomes, strict=True))
        return Episode(
            frames=np.stack(self.frames),
            actions=np.array(self.actions, dtype=np.float32 if np.ndim(self.actions[0]) else np.int64),
            rewards=rewards.astype(np.float32),
            terminated=terminated.astype(bool),
            truncated=truncated.astype(bool),
            state=np.stack(self.states) if self.states else None,
        )


def play(world: World, policy: ExploratoryPolicy, seed: int, steps: int, first: int = 0, already: int = 0) -> Iterator[Episode]:
    """Yield episodes ``first``, ``first`` + 1, … until all of them have ``steps`` steps together.

    Parameters
    ----------
    world
        Its copies are used as they become free.
    policy
        Draws the actions; it may ask the world's expert.
    seed
        Of the whole dataset, in [0, 2^32).
    steps
        The episodes end with the first one that brings the sum to this many.
    first, already
        How many episodes, with how many steps, exist from an earlier call.

    Raises
    ------
    DataError
        An episode does not end.
    """
    running: dict[int, _Recording] = {}  # by copy
    finished: dict[int, Episode] = {}  # by number: waiting for an earlier one
    begun, due, done = first, first, already
    while done < steps:
        known = done + sum(episode.steps for episode in finished.values()) + sum(len(one.actions) for one in running.values())
        free = [copy for copy in range(world.copies) if copy not in running]
        # an episode is begun only while the steps known of all earlier ones do not suffice
        starting = free[: max(0, due + WAITING * world.copies - begun)] if known < steps else []
        for copy in starting:
            choices = policy.draw_steps(world.action_count, action_generator(seed, begun), world.action_dimensions)
            running[copy] = _Recording(begun, choices)
            begun += 1
        if starting:
            which = np.array(starting, dtype=np.intp)
            world.reset(which, np.array([episode_seed(seed, running[copy].number) for copy in starting], dtype=np.int64))
            _show(world, running, which)
        for copy in _advance(world, running):
            recording = running.pop(copy)
            finished[recording.number] = recording.episode()
        while due in finished and done < steps:
            episode = finished.pop(due)
            due, done = due + 1, done + episode.steps
            yield episode
        _refuse_endless(running, due, max(steps, LONGEST))


def _advance(world: World, running: dict[int, _Recording]) -> list[int]:
    """Step every copy once and record it; return the copies whose episodes ended."""
    chosen = {copy: next(recording.choices) for copy, recording in running.items()}
    advice = world.expert() if any(choice.asks_expert for choice in chosen.values()) else None
    dimensions = world.action_dimensions
    actions = np.zeros((world.copies, dimensions), dtype=np.float32) if dimensions else np.zeros(world.copies, dtype=np.int64)
    for copy, choice in chosen.items():
        actions[copy] = choice.action(None if advice is None else advice[copy])
    outcome: StepOutcome = world.step(actions)
    for copy, recording in running.items():
        recording.actions.append(actions[copy].copy() if dimensions else int(actions[copy]))
        recording.outcomes.append((float(outcome.reward[copy]), bool(outcome.terminated[copy]), bool(outcome.truncated[copy])))
    _show(world, running, np.array(list(running), dtype=np.intp))
    return [copy for copy in running if outcome.terminated[copy] or outcome.truncated[copy]]


def _show(world: World, running: dict[int, _Recording], which: NDArray[np.intp]) -> None:
    frames, state = world.frames(which), world.state()
    for copy, frame in zip(which, frames, strict=True):
        running[int(copy)].see(frame, None if state is None else state[copy])


def _refuse_endless(running: dict[int, _Recording], due: int, limit: int) -> None:
    for recording in running.values():  # only the episode that is surely needed: the others depend on the number of copies
        if recording.number == due and len(recording.actions) >= limit:
            raise DataError(
                f"episode {due} has not ended after {len(recording.actions):,} steps",
                hint="give the environment a time limit, e.g. --set collect.options.max_episode_steps=500",
            )
