"""Dueling heads and several rewards ahead: literal formulas by autograd, closed forms, and what does not fit is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from layerscout.errors import UsageError
from layerscout.rl.agents.configs import DQNConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Batch, Replay
from layerscout.rl.networks.layers import Head

WIDTH, ACTIONS = 6, 3


def learner(**settings: Any) -> DQN:
    config = DQNConfig(**({"hidden": (16,), "target_interval": 7} | settings))
    return DQN(config, lambda runs: Head(WIDTH, ACTIONS, runs, config.head, config.hidden, dueling=config.dueling), [0, 1])


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_dueling_values_are_value_plus_centred_advantage(kind: Any) -> None:
    head = Head(WIDTH, ACTIONS, [4, 5], kind, (7, 8), dueling=True)
    x = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    inner = x
    for layer in list(head.layers)[:-1]:
        inner = layer(inner).relu()
    last = head.layers[-1](inner)
    value, advantage = last[..., :1], last[..., 1:]
    torch.testing.assert_close(head(x), value + advantage - advantage.mean(-1, keepdim=True))
    torch.testing.assert_close(head(x).mean(-1, keepdim=True), value)
    sizes = [WIDTH, *((7, 8) if kind == "mlp" else ()), ACTIONS + 1]
    assert head.trainable_parameters().tolist() == [sum((a + 1) * b for a, b in itertools.pairwise(sizes))] * 2


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_gradients_by_hand_are_those_of_autograd(kind: Any, dueling: bool) -> None:
    head = Head(WIDTH, ACTIONS, [4, 5], kind, (7, 20), dueling=dueling)
    x = torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    slope = torch.randn(2, 5, ACTIONS, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad((head(x)[:, :5] * slope).sum(), [*head.parameters(), x])
    values, tape = head.record(x.detach(), learned=5)
    torch.testing.assert_close(values, head(x).detach())
    out = [torch.empty_like(parameter) for parameter in head.parameters()]
    head.pull_back(tape, slope, out)
    for mine, theirs in zip(out, expected, strict=False):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(head.input_slope(tape, slope, slice(1, 4)), expected[-1][:, :5, 1:4])


def test_several_rewards_discount_what_follows_by_their_number() -> None:
    """One state that gives 1 for ever: summed three at a time, the value is still 1 / (1 - gamma)."""
    config = DQNConfig(gamma=0.5, lr=0.05, head="linear", target_interval=1, batch=4, loss="mse", n_step=3)
    dqn = DQN(config, lambda runs: Head(1, 1, runs, "linear"), [0, 0])
    replay, one = Replay(2, 10, (1,), steps=3, gamma=0.5), np.ones((2, 1), np.float32)
    for step in range(6):  # the second run's episodes end after the sixth step, the first one's are only cut off
        end = np.full(2, step == 5)
        replay.add(one, np.zeros(2, int), np.ones(2, np.float32), one, end & [False, True], truncated=end)
    generators = run_generators([0, 0], 0)
    for _ in range(600):
        dqn.update(replay.sample(4, generators))
    endless, ending = dqn.q(one[:, None]).ravel()
    assert endless == pytest.approx(2.0, abs=0.02)
    assert 1.0 < ending < 1.98


def test_values_travel_faster_with_more_rewards_ahead() -> None:
    """A corridor whose reward lies at its end: after as many copies of the target, three steps ahead see three times as far."""
    length, reach = 9, {}
    for ahead in (1, 3):
        config = DQNConfig(gamma=1.0, lr=0.05, batch=32, target_interval=100, head="linear", n_step=ahead, loss="mse")
        dqn = DQN(config, lambda runs: Head(length + 1, 1, runs, "linear"), [0])
        with torch.no_grad():
            dqn.optimiser.values.zero_()
            dqn.target_values.zero_()
        replay, eye = Replay(1, length, (length + 1,), steps=ahead), np.eye(length + 1, dtype=np.float32)
        for place in range(length):
            end = np.array([place == length - 1])
            replay.add(eye[[place]], np.zeros(1, int), end.astype(np.float32), eye[[place + 1]], end)
        generators = run_generators([0], 0)
        for _ in range(200):
            dqn.update(replay.sample(config.batch, generators))
        values = dqn.q(eye[None, :length])[0, :, 0]
        reach[ahead] = int((values > 0.5).sum())
    assert reach == {1: 2, 3: 6}


def test_a_head_and_a_replay_that_do_not_fit_the_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="dueling is True"):
        DQN(DQNConfig(dueling=True), lambda runs: Head(WIDTH, ACTIONS, runs), [0])
    blank = np.zeros((2, 4))
    batch = Batch(np.zeros((2, 8, WIDTH), np.float32), blank.astype(int), blank.astype(np.float32), blank.astype(bool))
    with pytest.raises(UsageError, match="n_step is 3"):
        learner(n_step=3).update(batch)
    with pytest.raises(UsageError, match="n_step is 1"):
        learner().update(batch._replace(discount=blank.astype(np.float32)))


def test_a_dueling_learner_continues_and_keeps_to_itself() -> None:
    rng = np.random.default_rng(0)

    def batches(number: int, runs: slice = slice(None)) -> Batch:
        draw = np.random.default_rng(number)
        states, action = draw.standard_normal((2, 16, WIDTH), np.float32), draw.integers(0, ACTIONS, (2, 8))
        reward, ended = draw.standard_normal((2, 8), np.float32), draw.random((2, 8)) < 0.3
        factor = np.full((2, 8), 0.9, np.float32)
        return Batch(*(column[runs] for column in (states, action, reward, ended, factor)))

    unbroken, first, second = (learner(dueling=True, n_step=3) for _ in range(3))
    alone = DQN(unbroken.config, lambda runs: Head(WIDTH, ACTIONS, runs, hidden=(16,), dueling=True), [1])
    for number in range(20):
        unbroken.update(batches(number))
        alone.update(batches(number, slice(1, 2)))
        (first if number < 9 else second).update(batches(number))
        if number == 8:
            second.load_state_dict(first.state_dict())
    assert torch.equal(second.optimiser.values, unbroken.optimiser.values)
    torch.testing.assert_close(alone.optimiser.values[0], unbroken.optimiser.values[1])
    z = rng.standard_normal((2, 4, WIDTH), np.float32)
    np.testing.assert_array_equal(unbroken.explore(z, 10**6, run_generators([0, 1], 0)), unbroken.act(z, 0.05, run_generators([0, 1], 0)))
