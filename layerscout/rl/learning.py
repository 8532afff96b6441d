"""A group of runs in, their learning histories out: the offline loop and the loop with games, each killable at any step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.progress import Task
from layerscout.rl import checkpoint
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.config import TrainConfig
from layerscout.rl.games import Games
from layerscout.rl.replay import Replay, RowTable, generator_states, restore_generators, run_generators
from layerscout.rl.rollouts import Stage

SAMPLING, EXPLORING = 1, 2  # purposes of a run's random streams
SPARING = 20  # a checkpoint waits until this many times its own cost has passed


@dataclass
class History:
    """What a group has been through: evaluations as (updates, returns [run][episode]), training returns [run][episode]."""

    evaluations: list[list[Any]]
    returns: list[list[float]]
    environment_steps: int
    backbone_clips: int


@dataclass
class Clock:
    """Seconds spent on a group by all processes that worked on it, as far as they saved what they did."""

    wall_before: float = 0.0
    cpu_before: float = 0.0
    _wall_start: float = field(default_factory=time.monotonic)
    _cpu_start: float = field(default_factory=time.process_time)
    saved_at: float = field(default_factory=time.monotonic)
    save_seconds: float = 0.0  # what the last checkpoint took

    def read(self) -> tuple[float, float]:
        """Return wall-clock and CPU seconds up to now."""
        return self.wall_before + time.monotonic() - self._wall_start, self.cpu_before + time.process_time() - self._cpu_start


@dataclass(frozen=True)
class Saved:
    """Where a group's state lies between two processes, under which settings, and the time it took."""

    path: Path
    key: str
    clock: Clock = field(default_factory=Clock)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None, and count the seconds that led to it."""
        state = checkpoint.load(self.path, self.key)
        if state is not None:
            self.clock.wall_before, self.clock.cpu_before = state["seconds"]
        return state

    def due(self, at: int, config: TrainConfig, total: int) -> bool:
        """Say whether to save now: in the rhythm of the settings, but not so often that a large replay costs more than 5 % of the time."""
        waited = time.monotonic() - self.clock.saved_at
        return at % config.checkpoint_updates == 0 and at < total and waited >= SPARING * self.clock.save_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Save the state with the seconds spent on it."""
        began = time.monotonic()
        checkpoint.save(self.path, self.key, state | {"seconds": list(self.clock.read())})
        self.clock.saved_at = time.monotonic()
        self.clock.save_seconds = self.clock.saved_at - began


def learn_offline(dqn: DQN, table: RowTable, stage: Stage, config: TrainConfig, saved: Saved, task: Task) -> History:
    """Learn from the dataset alone: draw, update, look in by greedy rollouts now and then."""
    generators = run_generators(dqn.seeds, SAMPLING)
    evaluations: list[list[Any]] = []
    if state := saved.load():
        dqn.load_state_dict(state["dqn"])
        restore_generators(generators, state["generators"])
        evaluations = state["evaluations"]
    task.resume(dqn.updates * len(dqn.seeds))
    while dqn.updates < config.updates:
        dqn.update(table.sample(config.dqn.batch, generators))
        _evaluate_when_due(dqn, stage, config, dqn.updates, config.updates, evaluations, task)
        if saved.due(dqn.updates, config, config.updates):
            saved.save({"dqn": dqn.state_dict(), "generators": generator_states(generators), "evaluations": evaluations})
        task.advance(len(dqn.seeds))
    return History(evaluations, [list(returns) for returns in evaluations[-1][1]], len(table.transitions), 0)


def learn_from_games(dqn: DQN, games: Games, replay: Replay, stage: Stage, config: TrainConfig, saved: Saved, task: Task) -> History:
    """Learn while playing: act, store, update; one game a run, all in lock step."""
    sampling, exploring = run_generators(dqn.seeds, SAMPLING), run_generators(dqn.seeds, EXPLORING)
    evaluations: list[list[Any]] = []
    step = 0
    if state := saved.load():
        dqn.load_state_dict(state["dqn"])
        replay.load_state_dict(state["replay"])
        games.load_state_dict(state["games"])
        restore_generators(sampling, state["sampling"])
        restore_generators(exploring, state["exploring"])
        evaluations, step = state["evaluations"], state["step"]
    task.resume(step * len(dqn.seeds))
    while step < config.steps:
        before = games.seen
        actions = dqn.act(before[:, None], config.dqn.epsilon(step), exploring)[:, 0]
        outcome, after = games.step(actions)
        replay.add(before, actions, outcome.reward, after, outcome.terminated)
        step += 1
        if step >= config.dqn.warm_up and step % config.dqn.train_interval == 0:
            dqn.update(replay.sample(config.dqn.batch, sampling))
        _evaluate_when_due(dqn, stage, config, step, config.steps, evaluations, task)
        if saved.due(step, config, config.steps):
            saved.save(
                {
                    "dqn": dqn.state_dict(),
                    "replay": replay.state_dict(),
                    "games": games.state_dict(),
                    "sampling": generator_states(sampling),
                    "exploring": generator_states(exploring),
                    "evaluations": evaluations,
                    "step": step,
                }
            )
        task.advance(len(dqn.seeds))
    return History(evaluations, games.returns, config.steps, games.frames_seen // len(dqn.seeds))


def _evaluate_when_due(dqn: DQN, stage: Stage, config: TrainConfig, at: int, total: int, evaluations: list[list[Any]], task: Task) -> None:
    if at not in {total * (number + 1) // config.evaluations for number in range(config.evaluations)}:
        return
    episodes = config.final_episodes if at == total else config.evaluation_episodes
    returns = stage.evaluate(dqn.act, episodes)
    evaluations.append([at, returns.tolist()])
    best = [float(np.mean(run)) for run in returns]
    task.advance(0, returns=f"{np.mean(best):+.2f} (best {max(best):+.2f})")


def final_mean(returns: Sequence[float]) -> float | None:
    """Mean of the last 50 returns, or of all if there are fewer; None when there is none."""
    return float(np.mean(returns[-50:])) if len(returns) else None
