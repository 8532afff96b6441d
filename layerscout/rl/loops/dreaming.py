"""An agent with a world model, its games and its memory in, what it has been through out: play, remember, learn, each killable at any step."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerscout.progress import Task
from layerscout.rl.agents.dreamer import Dreamer
from layerscout.rl.config import TrainConfig
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.loops.learning import EXPLORING, SAMPLING, Evaluations, GroupCheckpoint, LearningHistory
from layerscout.rl.loops.log import Log
from layerscout.rl.memory.sequences import SequenceReplay
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.recurrent import RecurrentObserver
from layerscout.rl.seeing.rollouts import Stage
from layerscout.worlds.core import World

LOOKING = 8  # purpose of the random streams that draw latents while playing


def learn_dreaming(
    agent: Dreamer, world: World, replay: SequenceReplay, stage: Stage, config: TrainConfig, saved: GroupCheckpoint, log: Log, task: Task
) -> LearningHistory:
    """Learn while playing: act, remember the frame that came of it, update in the rhythm of the settings; one game a run, all in lock step."""
    sampling, exploring, looking = (run_generators(agent.seeds, purpose) for purpose in (SAMPLING, EXPLORING, LOOKING))
    everyone = np.arange(len(agent.seeds))
    observer = RecurrentObserver(agent, everyone, looking)
    games = Games(world, observer, agent.seeds)
    evaluations, step = Evaluations(agent, stage, config, config.steps, log, task), 0  # type: ignore[arg-type]
    state = saved.begun(config.steps)
    if state:
        agent.load_state_dict(state["agent"])
        replay.load_state_dict(state["replay"])
        games.load_state_dict(state["games"])  # which plays the games again; what the agents know of them was saved
        observer.load_state_dict(state["observer"])
        for generators, name in ((sampling, "sampling"), (exploring, "exploring"), (looking, "looking")):
            restore_generators(generators, state[name])
        step = state["step"]
    else:
        replay.begin(everyone, observer.frames)
    task.resume(step * len(agent.seeds))
    evaluations.begin(state["evaluations"] if state else [], step)
    streams = {"sampling": sampling, "exploring": exploring, "looking": looking}

    def known() -> dict[str, Any]:
        return {
            "agent": agent.state_dict(),
            "replay": replay.state_dict(),
            "games": games.state_dict(),
            "observer": observer.state_dict(),
            **{name: generator_states(generators) for name, generators in streams.items()},
            "evaluations": evaluations.made,
            "step": step,
        }

    while step < config.steps:
        actions = agent.explore(games.seen[:, None], step, exploring)[:, 0]
        vectors = agent.action_vectors(actions)
        observer.acted(vectors)
        outcome, _ = games.step(actions)
        replay.add(observer.arrived, vectors, outcome.reward, outcome.terminated)
        if len(ended := np.flatnonzero(outcome.terminated | outcome.truncated)):
            replay.begin(ended, observer.frames[ended])
        step += 1
        if step >= agent.config.warm_up and step % agent.config.train_interval == 0:
            evaluations.count(agent.learn(replay, sampling))
        evaluations.look(step)
        if saved.due(step, config, config.steps):
            saved.save(known())
        task.advance(len(agent.seeds))
    saved.keep(known(), step)
    return LearningHistory(evaluations.made, games.returns, config.steps, 0)
