"""Clipped PPO: advantages by hand, the clipped objective's slope, and whole learning that a kill does not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from state_worlds import StateObserver, StateWorld

from layerscout.errors import DataError
from layerscout.progress import SILENT
from layerscout.rl.agents.configs import PPOConfig
from layerscout.rl.agents.densities import cross_entropy, entropy, log_probability
from layerscout.rl.agents.ppo import PPO, clipped, ppo_on_features
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops import learning
from layerscout.rl.loops.learning import GroupCheckpoint, LearningHistory
from layerscout.rl.loops.log import Log
from layerscout.rl.loops.on_policy import game_seeds, learn_on_policy, returns_of_runs
from layerscout.rl.memory.rollout import RolloutBuffer, advantages
from layerscout.rl.networks.layers import Head
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.rollouts import Stage

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
SHORT = {"length": 16, "environments": 3, "batch": 16, "epochs": 2, "hidden": (8,)}


def learner(environment: str, seeds: list[int], **settings: Any) -> PPO:
    config = PPOConfig.model_validate(settings)
    if environment == CARTPOLE:
        return ppo_on_features(config, 4, seeds, actions=2)
    return ppo_on_features(config, 3, seeds, dimensions=1)


def play(agent: PPO, environment: str, steps: int, folder: Path, **settings: Any) -> LearningHistory:
    """Train on an environment's own state and evaluate at the end."""
    runs, count = len(agent.seeds), agent.config.environments
    world = StateWorld(environment, runs * count)
    stage = Stage(runs, lambda copies: StateWorld(environment, copies), lambda copy_run: StateObserver(len(copy_run), world.width))  # type: ignore[arg-type]
    chosen = {"mode": "online", "steps": steps, "evaluations": 1, "final_episodes": 2, "checkpoint_updates": 10**6} | settings
    config = TrainConfig(environment=environment, selection=Path("none"), **chosen)
    games = Games(world, StateObserver(runs * count, world.width), game_seeds(agent.seeds, count))  # type: ignore[arg-type]
    buffer = RolloutBuffer(runs, count, agent.config.length, (world.width,), action_dimensions=world.action_dimensions)
    log = Log([(environment, seed) for seed in agent.seeds], folder)
    with SILENT.task("learn", steps) as task:
        return learn_on_policy(agent, games, buffer, stage, config, GroupCheckpoint(folder / "checkpoint.npz", "key"), log, task)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(one == other)


# --- advantages


def test_a_terminated_step_has_nothing_ahead_and_a_truncated_one_has_the_value_of_what_was_seen_last() -> None:
    reward, value = np.array([[[1.0], [2.0], [4.0]]], np.float32), np.array([[[0.5], [0.25], [0.125]]], np.float32)
    last, ahead, no = np.array([[8.0]], np.float32), np.array([[[0.0], [6.0], [0.0]]], np.float32), np.zeros((1, 3, 1), bool)
    second = np.array([[[False], [True], [False]]])
    gamma, gae = 0.5, 0.5
    third = 4.0 + gamma * 8.0 - 0.125
    for terminated, truncated, after in ((no, no, 0.125), (second, no, 0.0), (no, second, 6.0)):
        goes_on = not (terminated | truncated)[0, 1, 0]
        middle = 2.0 + gamma * after - 0.25 + goes_on * gamma * gae * third
        first = 1.0 + gamma * 0.25 - 0.5 + gamma * gae * middle
        found = advantages(reward, value, last, terminated, truncated, ahead, gamma, gae)
        np.testing.assert_allclose(found[0, :, 0], [first, middle, third], rtol=1e-6)


def test_with_lambda_one_an_advantage_is_the_discounted_return_less_the_value() -> None:
    rng = np.random.default_rng(0)
    reward, value = rng.standard_normal((2, 2, 7, 3)).astype(np.float32)
    ends = np.zeros((2, 7, 3), bool)
    ends[:, -1] = True
    found = advantages(reward, value, np.zeros((2, 3), np.float32), ends, ~ends & False, 0 * reward, 0.9, 1.0)
    returns = np.array([sum(0.9**late * reward[:, late + first] for late in range(7 - first)) for first in range(7)]).swapaxes(0, 1)
    np.testing.assert_allclose(found, returns - value, atol=1e-5)


def test_a_truncated_step_counts_what_was_seen_before_the_game_began_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, seen = learner(PENDULUM, [0], length=201, batch=64, epochs=1, hidden=(4,)), []
    monkeypatch.setattr(agent, "learn", lambda rollout: seen.append(rollout) or np.zeros((1, 1), np.float32))
    play(agent, PENDULUM, 201, tmp_path)
    (rollout,) = seen
    assert np.flatnonzero(rollout.truncated).tolist() == [199]
    assert np.flatnonzero(rollout.ahead).tolist() == [199]
    angle = np.arctan2(rollout.z[0, 198:201, 0, 1], rollout.z[0, 198:201, 0, 0])
    assert abs(np.sin(angle[2] - angle[1])) > 1e-3, "the game began again elsewhere"


# --- densities


def test_densities_are_those_of_torch() -> None:
    rng = torch.Generator().manual_seed(0)
    mean, other, action = (torch.randn(2, 5, 3, generator=rng) for _ in range(3))
    logarithm, wider = torch.randn(2, 1, 3, generator=rng), torch.randn(2, 1, 3, generator=rng)
    normal, student = torch.distributions.Normal(mean, logarithm.exp()), torch.distributions.Normal(other, wider.exp())
    torch.testing.assert_close(log_probability(mean, logarithm, action), normal.log_prob(action).sum(-1))
    torch.testing.assert_close(entropy(mean, logarithm).expand(2, 5), normal.entropy().sum(-1))
    expected = torch.distributions.kl_divergence(normal, student).sum(-1) + normal.entropy().sum(-1)
    torch.testing.assert_close(cross_entropy(mean, logarithm, other, wider), expected)
    choice, chooser = torch.tensor([[0, 1, 2, 0, 1]] * 2), torch.distributions.Categorical(logits=mean)
    torch.testing.assert_close(log_probability(mean, None, choice), chooser.log_prob(choice))
    torch.testing.assert_close(entropy(mean, None), chooser.entropy())
    relative = torch.distributions.kl_divergence(chooser, torch.distributions.Categorical(logits=other))
    torch.testing.assert_close(cross_entropy(mean, None, other, None), relative + chooser.entropy())


def test_a_ratio_beyond_the_clip_has_no_slope_where_it_would_be_rewarded() -> None:
    ratio = torch.tensor([[0.5, 1.0, 1.5, 0.5, 1.0, 1.5]], requires_grad=True)
    advantage = torch.tensor([[1.0, 1.0, 1.0, -1.0, -1.0, -1.0]])
    clipped(ratio, advantage, 0.2).sum().backward()
    assert ratio.grad is not None
    assert ratio.grad.tolist() == [[1.0, 1.0, 0.0, 0.0, -1.0, -1.0]]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_by_hand_are_those_of_autograd(activation: Any) -> None:
    head = Head(5, 3, [1, 2], hidden=(6, 20), activation=activation)
    x, slope = torch.randn(2, 7, 5), torch.randn(2, 7, 3)
    output, tape = head.record(x, learned=7)
    found = [torch.empty_like(parameter) for parameter in head.parameters()]
    head.pull_back(tape, slope, found)
    torch.testing.assert_close(output, head(x))
    expected = torch.autograd.grad((head(x) * slope).sum(), list(head.parameters()))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


# --- whole learning


def test_ppo_balances_the_pole(tmp_path: Path) -> None:
    agent = learner(CARTPOLE, [0, 1], lr=2e-3, length=64, environments=8, batch=128, epochs=6, hidden=(32,))
    history = play(agent, CARTPOLE, 12_288, tmp_path, final_episodes=10)
    assert np.mean(history.evaluations[-1][1]) > 200  # a random policy: 22; 500 is the most
    assert history.environment_steps == 12_288


@pytest.mark.parametrize("environment", [CARTPOLE, PENDULUM])
def test_killed_and_continued_is_bit_equal_with_its_rollout_and_its_games(
    environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "SPARING", 0)
    whole, killed = learner(environment, [3, 4], **SHORT), learner(environment, [3, 4], **SHORT)
    history = play(whole, environment, 200, tmp_path / "whole")
    rounds, learn = [], killed.learn

    def die(rollout: Any) -> Any:
        rounds.append(1)
        if len(rounds) == 4:
            raise KeyboardInterrupt
        return learn(rollout)

    with monkeypatch.context() as patch:
        patch.setattr(killed, "learn", die)
        with pytest.raises(KeyboardInterrupt):
            play(killed, environment, 200, tmp_path / "broken", checkpoint_updates=23)
    again = learner(environment, [8, 9], **SHORT)
    again.seeds = (3, 4)
    assert play(again, environment, 200, tmp_path / "broken", checkpoint_updates=23) == history
    assert same(again.state_dict(), whole.state_dict())
    assert whole.updates == 5 * 2 * 3 - 2 * 2, "the last rollout is as long as the budget lets it be: 9 steps of 3 games"


def test_a_run_alone_is_the_run_beside_others(tmp_path: Path) -> None:
    together, alone = learner(PENDULUM, [7, 3, 5], **SHORT), learner(PENDULUM, [3], **SHORT)
    beside, own = play(together, PENDULUM, 150, tmp_path), play(alone, PENDULUM, 150, tmp_path)
    assert own.returns == beside.returns[1:2]
    assert own.evaluations[-1][1] == beside.evaluations[-1][1][1:2]
    mine, theirs = alone.state_dict()["network"]["values"], together.state_dict()["network"]["values"]
    np.testing.assert_array_equal(mine[0], theirs[1])


def test_a_run_that_breaks_stops_and_the_others_go_on() -> None:
    agent = learner(PENDULUM, [0, 1], **SHORT)
    buffer, rng = RolloutBuffer(2, 3, 16, (3,), action_dimensions=1), np.random.default_rng(0)
    no = np.zeros((2, 3), bool)
    for step in range(16):
        reward = np.full((2, 3), 1.0 if step else [[1.0], [np.nan]], np.float32)
        buffer.add(rng.standard_normal((2, 3, 3)), rng.standard_normal((2, 3, 1)), reward, no, no, np.zeros((2, 3), np.float32))
    losses = agent.learn(buffer.take(np.zeros((2, 3, 3), np.float32)))
    assert np.isfinite(losses[:, 0]).all()
    assert np.isnan(losses[:, 1]).all()
    assert list(agent.reasons) == [1]


def test_a_rollout_of_other_runs_is_refused() -> None:
    state = RolloutBuffer(2, 3, 4, (5,)).state_dict()
    with pytest.raises(DataError, match="the saved rollout holds"):
        RolloutBuffer(3, 3, 4, (5,)).load_state_dict(state)


def test_environments_of_a_run_play_games_of_their_own() -> None:
    assert len(set(game_seeds([0, 1, 2], 4))) == 12
    assert game_seeds([5, 6], 1) == [5, 6]
    assert returns_of_runs([[1.0, 3.0], [2.0], [7.0], []], 2) == [[1.0, 2.0, 3.0], [7.0]]
