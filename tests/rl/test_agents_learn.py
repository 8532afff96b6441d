"""Whole learning, on state vectors, through the loop that trains on pixels: known tasks are solved, and a kill changes nothing."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from state_worlds import StateObserver, StateWorld

from layerscout.errors import BudgetError, DataError
from layerscout.progress import SILENT
from layerscout.rl.agents.base import Agent
from layerscout.rl.agents.configs import DQNConfig, IQLConfig, SACConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.agents.iql import iql_on_features
from layerscout.rl.agents.sac import sac_on_features
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops import checkpoint, learning
from layerscout.rl.loops.learning import GroupCheckpoint, LearningHistory, learn_from_games
from layerscout.rl.loops.log import Log
from layerscout.rl.memory.replay import Replay
from layerscout.rl.networks.layers import Head
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.rollouts import Stage

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"


def play(agent: Agent, environment: str, steps: int, folder: Path, **settings: Any) -> tuple[LearningHistory, Replay]:
    """Train on an environment's own state and evaluate at the end."""
    runs, world = len(agent.seeds), StateWorld(environment, len(agent.seeds))
    stage = Stage(runs, lambda copies: StateWorld(environment, copies), lambda copy_run: StateObserver(len(copy_run), world.width))  # type: ignore[arg-type]
    chosen = {"mode": "online", "steps": steps, "evaluations": 1, "final_episodes": 10, "checkpoint_updates": 10**6} | settings
    config = TrainConfig(environment=environment, selection=Path("none"), **chosen)
    ahead = {"steps": agent.config.n_step, "gamma": agent.config.gamma} if isinstance(agent, DQN) else {}
    replay = Replay(runs, min(steps, agent.config.capacity), (world.width,), action_dimensions=world.action_dimensions, **ahead)
    games = Games(world, StateObserver(runs, world.width), agent.seeds)  # type: ignore[arg-type]
    log = Log([(environment, seed) for seed in agent.seeds], folder)
    with SILENT.task("learn", steps) as task:
        return learn_from_games(agent, games, replay, stage, config, GroupCheckpoint(folder / "checkpoint.npz", "key"), log, task), replay


def dqn(seeds: list[int], **settings: Any) -> DQN:
    config = DQNConfig(**({"gamma": 0.99, "target_interval": 100, "hidden": (64, 64), "epsilon_steps": 2000, "warm_up": 200} | settings))
    return DQN(config, lambda runs: Head(4, 2, runs, hidden=config.hidden, dueling=config.dueling), seeds)


def sac(seeds: list[int], **settings: Any) -> Agent:
    defaults = {"gamma": 0.95, "lr": 2e-3, "batch": 64, "hidden": (64, 64), "warm_up": 200, "tau": 0.01}
    return sac_on_features(SACConfig(**(defaults | settings)), 3, seeds, dimensions=1)


def test_double_dueling_q_learning_balances_the_pole(tmp_path: Path) -> None:
    agent = dqn([0, 1], dueling=True, n_step=3, lr=2e-3, epsilon_steps=1500, train_interval=2)
    history, _ = play(agent, CARTPOLE, 4000, tmp_path)
    assert np.mean(history.evaluations[-1][1]) > 150  # a random policy: 22; 500 is the most


def test_soft_actor_critic_swings_the_pendulum_up(tmp_path: Path) -> None:
    history, _ = play(sac([0, 1], lr=3e-3, batch=32, hidden=(32, 32)), PENDULUM, 3500, tmp_path)
    assert np.mean(history.evaluations[-1][1]) > -300  # a random policy: -1200; an optimal one about -140


class Killed(BaseException):
    """Stands for the end of the process."""


AGENTS = {
    "dqn": (lambda seeds: dqn(seeds, n_step=3, dueling=True, warm_up=40, batch=16, capacity=120), CARTPOLE),
    "sac": (lambda seeds: sac(seeds, warm_up=40, batch=16, capacity=120), PENDULUM),
    "iql": (lambda seeds: iql_on_features(IQLConfig(hidden=(16,), warm_up=40, batch=16, capacity=120), 3, seeds, dimensions=1), PENDULUM),
}


@pytest.mark.parametrize("name", AGENTS)
def test_killed_and_continued_is_bit_equal_with_its_replay_and_its_games(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, environment = AGENTS[name]
    short = {"checkpoint_updates": 75, "final_episodes": 1}
    monkeypatch.setattr(learning, "SPARING", 0)
    whole = make([3, 4])
    history, replay = play(whole, environment, 260, tmp_path / "whole", **short)
    killed, updates = make([3, 4]), []
    with monkeypatch.context() as patch:
        learn = killed.update

        def update(batch: Any) -> Any:
            updates.append(1)
            if len(updates) == 180:
                raise Killed
            return learn(batch)

        patch.setattr(killed, "update", update)
        with pytest.raises(Killed):
            play(killed, environment, 260, tmp_path / "broken", **short)
    again = make([8, 9])
    again.seeds = (3, 4)
    history_again, replay_again = play(again, environment, 260, tmp_path / "broken", **short)
    assert same(again.state_dict(), whole.state_dict())
    assert same(replay_again.state_dict(), replay.state_dict())
    assert history_again == history
    assert sum(map(len, history.returns)) > 0


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_a_run_that_breaks_while_playing_is_the_only_one_that_stops(tmp_path: Path) -> None:
    sick, healthy = sac([0, 1], warm_up=40, batch=16), sac([0, 1], warm_up=40, batch=16)
    learn, seen = sick.update, []

    def update(batch: Any) -> Any:
        seen.append(1)
        batch.reward[0] = np.nan if len(seen) == 20 else batch.reward[0]
        return learn(batch)

    sick.update = update  # type: ignore[method-assign]
    history, _ = play(sick, PENDULUM, 120, tmp_path / "sick", final_episodes=2)
    expected, _ = play(healthy, PENDULUM, 120, tmp_path / "healthy", final_episodes=2)
    assert sick.reasons.keys() == {0}
    assert "update 20" in sick.reasons[0]
    assert history.evaluations[-1][1][1] == expected.evaluations[-1][1][1]


def test_a_full_disk_is_told_with_the_next_step_and_spares_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    checkpoint.save_checkpoint(path, "key", {"step": 1, "values": np.arange(10)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # no file of this process may grow past this
    try:
        with pytest.raises(BudgetError, match=r"a checkpoint of 8\.0 MB cannot be written") as caught:
            checkpoint.save_checkpoint(path, "key", {"step": 2, "values": np.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "continues from the checkpoint before" in caught.value.hint
    assert list(tmp_path.iterdir()) == [path]
    state = checkpoint.load_checkpoint(path, "key")
    assert state is not None
    assert state["step"] == 1


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        checkpoint.save_checkpoint(tmp_path / "file" / "checkpoint.npz", "key", {"step": 1})
