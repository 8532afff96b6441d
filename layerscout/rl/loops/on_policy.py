"""A group of runs that learn from their own policy's rollouts in, their learning histories out; killable at any step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from layerscout.progress import Task
from layerscout.rl.agents.ppo import PPO, playable
from layerscout.rl.config import TrainConfig
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.loops.learning import EXPLORING, Evaluations, GroupCheckpoint, LearningHistory
from layerscout.rl.loops.log import Log
from layerscout.rl.memory.rollout import RolloutBuffer
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.rollouts import Stage

ENVIRONMENT = 32  # the bit from which a game's seed tells which of its run's environments it is


def game_seeds(seeds: Sequence[int], environments: int) -> list[int]:
    """Return the seeds of the games that runs play side by side, run by run; the first one's is the run's own."""
    return [seed + (number << ENVIRONMENT) for seed in seeds for number in range(environments)]


def play_step(agent: PPO, games: Games, buffer: RolloutBuffer, generators: Sequence[np.random.Generator]) -> None:
    """Play one step of every environment of every run, and store it."""
    before = _by_run(games.seen, len(agent.seeds))
    actions = agent.draw(before, generators)
    outcome, after = games.step(playable(actions).reshape(-1, *actions.shape[2:]))
    reward, terminated, truncated = (_by_run(column, len(agent.seeds)) for column in outcome)
    buffer.add(before, actions, reward, terminated, truncated, value_ahead(agent, after, truncated))


def value_ahead(
    agent: PPO, after: Shaped[np.ndarray, "copy *feature"], truncated: Shaped[np.ndarray, "run environment"]
) -> Float32[np.ndarray, "run environment"]:
    """Return the value of what is seen last where an episode is truncated, and 0 elsewhere."""
    if not truncated.any():
        return np.zeros(truncated.shape, np.float32)
    return np.where(truncated, agent.values(_by_run(after, len(agent.seeds))), np.float32(0.0))


def learn_on_policy(
    agent: PPO, games: Games, buffer: RolloutBuffer, stage: Stage, config: TrainConfig, saved: GroupCheckpoint, log: Log, task: Task
) -> LearningHistory:
    """Play a rollout, learn from it, forget it; the environments of all runs in lock step.

    The last rollout is as long as the budget lets it be. ``config.steps`` counts the steps of all environments of one run.
    """
    exploring = run_generators(agent.seeds, EXPLORING)
    evaluations = Evaluations(agent, stage, config, config.steps, log, task)
    environments, step = agent.config.environments, 0
    state = saved.begun(config.steps)
    if state:
        agent.load_state_dict(state["agent"])
        buffer.load_state_dict(state["rollout"])
        games.load_state_dict(state["games"])
        restore_generators(exploring, state["exploring"])
        step = state["step"]
    task.resume(step * len(agent.seeds))
    evaluations.begin(state["evaluations"] if state else [], step)

    def known() -> dict[str, Any]:
        return {
            "agent": agent.state_dict(),
            "rollout": buffer.state_dict(),
            "games": games.state_dict(),
            "exploring": generator_states(exploring),
            "evaluations": evaluations.made,
            "step": step,
        }

    while step < config.steps:
        before = step
        play_step(agent, games, buffer, exploring)
        step += environments
        if buffer.full or step >= config.steps:
            for losses in agent.learn(buffer.take(_by_run(games.seen, len(agent.seeds)))):
                evaluations.count(losses)
        while before < config.steps and (due := evaluations.next_due(before)) <= step:
            evaluations.look(due)
            before = due
        if saved.due(step // environments, config, -(-config.steps // environments)):
            saved.save(known())
        task.advance(environments * len(agent.seeds))
    saved.keep(known(), config.steps)
    return LearningHistory(evaluations.made, returns_of_runs(games.returns, environments), step, games.frames_seen // len(agent.seeds))


def returns_of_runs(returns: Sequence[Sequence[float]], environments: int) -> list[list[float]]:
    """Put the training returns of a run's environments into one list: first episodes first."""
    runs = [returns[first : first + environments] for first in range(0, len(returns), environments)]
    return [[value for episode in itertools.zip_longest(*run) for value in episode if value is not None] for run in runs]


def _by_run(array: Shaped[np.ndarray, "copy *feature"], runs: int) -> Shaped[np.ndarray, "run environment *feature"]:
    return array.reshape(runs, -1, *array.shape[1:])
