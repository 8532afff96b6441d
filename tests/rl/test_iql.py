"""Laws of implicit Q-learning: literal formulas by autograd, closed forms of expectiles and weights, and learning from bad data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal
from torch.utils.flop_counter import FlopCounterMode

from layerscout.errors import DataError
from layerscout.rl.agents.configs import IQLConfig
from layerscout.rl.agents.iql import IQL, iql_on_features
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Batch, ReplayRows
from layerscout.settings import build

WIDTH, DIMENSIONS, ACTIONS, SIZE = 6, 2, 4, 8
KINDS = ["continuous", "discrete"]


def learner(kind: str, seeds: Sequence[int] = (0, 1, 2), width: int = WIDTH, live: Sequence[int] | None = None, **settings: Any) -> IQL:
    config = build(IQLConfig, {"hidden": (16, 8), "lr": 1e-3, "tau": 0.1} | settings, "iql")
    actions = {"dimensions": DIMENSIONS} if kind == "continuous" else {"actions": ACTIONS}
    return iql_on_features(config, width, seeds, live_widths=live, **actions)


def batch_of(kind: str, seeds: Sequence[int], size: int = SIZE) -> Batch:
    draws = [np.random.default_rng(seed) for seed in seeds]
    action = [
        draw.uniform(-1, 1, (size, DIMENSIONS)).astype(np.float32) if kind == "continuous" else draw.integers(0, ACTIONS, size)
        for draw in draws
    ]
    return Batch(
        np.stack([draw.standard_normal((2 * size, WIDTH), np.float32) for draw in draws]),
        np.stack(action),
        np.stack([3 * draw.standard_normal(size, np.float32) for draw in draws]),
        np.stack([draw.random(size) < 0.3 for draw in draws]),
    )


def train(kind: str, agent: IQL, updates: int, start: int = 0) -> np.ndarray:
    numbers = range(start, start + updates)
    return np.stack([agent.update(batch_of(kind, [seed * 1000 + number for seed in agent.seeds])) for number in numbers])


def values_of(agent: IQL) -> list[torch.Tensor]:
    return [*(optimiser.values for optimiser in agent.optimisers.values()), agent.target_values]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_the_literal_formulas(kind: str) -> None:
    agent = learner(kind, expectile=0.8, inverse_temperature=2.0, largest_weight=3.0)
    for values in values_of(agent):
        values.add_(0.3 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0)))
    for optimiser in agent.optimisers.values():
        optimiser.lr = 0.0  # every loss sees the networks as they are
    batch = batch_of(kind, [7, 8, 9])
    states, action, ended = torch.from_numpy(batch.states), torch.from_numpy(batch.action), torch.from_numpy(batch.terminated)
    z = states[:, :SIZE]
    known, value = agent.target(z, action).min(-1).values.detach(), agent.value(states)[..., 0]
    gap = known - value[:, :SIZE]
    value_losses = ((0.8 - (gap < 0).float()).abs() * gap.square()).mean(1)
    weight = (2.0 * gap.detach()).exp().clamp(max=3.0)
    assert 0 < (weight == 3.0).sum() < weight.numel()
    output = agent.policy(z)
    policy = (
        Independent(Normal(output, agent.policy.deviation().expand_as(output)), 1) if kind == "continuous" else Categorical(logits=output)
    )
    policy_losses = -(weight * policy.log_prob(action)).mean(1)
    goal = torch.from_numpy(batch.reward) + 0.99 * ~ended * value[:, SIZE:].detach()
    critic_losses = (agent.critic(z, action) - goal[..., None]).square().mean(1).sum(-1)
    expected = {
        name: torch.autograd.grad(losses.sum(), list(network.parameters()))
        for name, losses, network in (
            ("value", value_losses, agent.value),
            ("policy", policy_losses, agent.policy),
            ("critic", critic_losses, agent.critic),
        )
    }
    np.testing.assert_allclose(agent.update(batch), critic_losses.detach().numpy(), rtol=1e-4)
    for name, gradients in expected.items():
        for mine, theirs in zip(agent.optimisers[name].gradient_views, gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_each_loss_sees_what_came_before_it_already_moved() -> None:
    """Value, then policy, then critics: with a learning value, the critics' loss is that of the new value."""
    still, moving = learner("discrete"), learner("discrete", lr=0.1)
    for name in ("policy", "critic"):
        moving.optimisers[name].lr = 0.0
    batch = batch_of("discrete", [1, 2, 3])
    first, second = still.update(batch), moving.update(batch)
    with torch.no_grad():
        after = moving.value(torch.from_numpy(batch.next_z))[..., 0]
        goal = torch.from_numpy(batch.reward) + 0.99 * torch.from_numpy(~batch.terminated) * after
        values = moving.critic(torch.from_numpy(batch.z), torch.from_numpy(batch.action))
    np.testing.assert_allclose(second, (values - goal[..., None]).square().mean(1).sum(-1), rtol=1e-4)
    assert not np.allclose(first, second)


@pytest.mark.parametrize("expectile", [0.5, 0.9])
def test_value_is_the_expectile_of_the_returns_of_the_datasets_actions(expectile: float) -> None:
    """Four actions that give 0, 1, 2 and 5: V solves Σ |τ − 1(q < V)| (q − V) = 0."""
    gains = np.array([0.0, 1.0, 2.0, 5.0], np.float32)
    agent = iql_on_features(IQLConfig(hidden=(), lr=0.05, tau=0.5, gamma=0.0, expectile=expectile), 1, [0], actions=4)
    action = np.tile(np.arange(4), 4)[None]
    batch = Batch(np.ones((1, 32, 1), np.float32), action, gains[action], np.ones((1, 16), bool))
    for _ in range(800):
        agent.update(batch)
    grid = np.linspace(0, 5, 50_001)
    slope = (np.abs(expectile - (gains < grid[:, None])) * (gains - grid[:, None])).sum(1)
    with torch.no_grad():
        value = agent.value(torch.ones(1, 1, 1)).item()
    assert value == pytest.approx(grid[np.abs(slope).argmin()], abs=0.05)
    with torch.no_grad():
        probability = agent.policy(torch.ones(1, 1, 1)).softmax(-1)[0, 0]
    weights = np.minimum(np.exp(3.0 * (gains - value)), 100.0)
    np.testing.assert_allclose(probability, weights / weights.sum(), atol=0.02)


def corridor(kind: str, episodes: int = 200) -> ReplayRows:
    """Random walks on nine cells, +1 at the right end, from actions that know nothing; an episode is cut off after 12 steps."""
    rng, columns = np.random.default_rng(0), []
    for number in range(episodes):
        place, ended = int(rng.integers(0, 8)), False
        for step in range(12):
            move = rng.uniform(-1, 1)
            right = move > 0
            after = min(max(place + (1 if right else -1), 0), 8)
            ended = after == 8
            columns.append((number, step, place, move if kind == "continuous" else float(right), float(ended), ended))
            place = after
            if ended:
                break
        columns.append((number, step + 1, place, np.nan, np.nan, False))
    episode, steps, cell, action, reward, terminated = (np.array(column) for column in zip(*columns, strict=True))
    table = np.eye(9, dtype=np.float32)[cell.astype(int)]
    taken = action[:, None].astype(np.float32) if kind == "continuous" else np.where(np.isnan(action), -1, action).astype(np.int64)
    return ReplayRows([table], [0, 0], episode, steps, taken, reward, terminated.astype(bool))


@pytest.mark.parametrize("kind", KINDS)
def test_from_aimless_data_it_learns_to_walk_to_the_reward(kind: str) -> None:
    actions = {"dimensions": 1} if kind == "continuous" else {"actions": 2}
    config = IQLConfig(hidden=(32,), lr=3e-3, tau=0.05, gamma=0.9, batch=64, expectile=0.9, inverse_temperature=20.0)
    agent, table, generators = iql_on_features(config, 9, [0, 1], **actions), corridor(kind), run_generators([0, 1], 1)
    for _ in range(700):
        agent.update(table.sample(config.batch, generators))
    cells = np.stack([np.eye(9, dtype=np.float32)[:8]] * 2)
    chosen = agent.act(cells)
    assert ((chosen[..., 0] > 0.1) if kind == "continuous" else chosen == 1).all()
    with torch.no_grad():
        values = agent.value(torch.from_numpy(cells))[..., 0].numpy()
    np.testing.assert_allclose(values, np.tile(0.9 ** np.arange(7, -1, -1), (2, 1)), atol=0.15)


# --- runs, randomness, continuation


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_the_same_alone_and_beside_others_and_repeats(kind: str) -> None:
    beside, again, alone = learner(kind, [3, 4, 5]), learner(kind, [3, 4, 5]), learner(kind, [4])
    losses = train(kind, beside, 25)
    np.testing.assert_array_equal(losses, train(kind, again, 25))
    np.testing.assert_allclose(losses[:, 1], train(kind, alone, 25)[:, 0], rtol=1e-3)
    for together, single in zip(values_of(beside), values_of(alone), strict=True):
        torch.testing.assert_close(together[1], single[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_continued_is_unbroken(kind: str) -> None:
    unbroken, first, second = learner(kind), learner(kind), learner(kind, [8, 8, 8])
    train(kind, unbroken, 20)
    train(kind, first, 11)
    second.load_state_dict(first.state_dict())
    second.seeds = first.seeds
    train(kind, second, 9, start=11)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(values_of(second), values_of(unbroken), strict=True))
    assert second.updates == 20
    with pytest.raises(DataError, match="shape"):
        learner(kind, [0, 1]).load_state_dict(first.state_dict())


def test_a_run_that_breaks_stops_alone_and_is_named() -> None:
    sick, healthy = learner("continuous"), learner("continuous")
    for update in range(4):
        batch = batch_of("continuous", [seed * 1000 + update for seed in sick.seeds])
        healthy.update(batch)
        batch.reward[1, 2] = np.nan if update == 2 else batch.reward[1, 2]
        assert np.isnan(sick.update(batch)).tolist() == [False, update >= 2, False]
    assert sick.failed.tolist() == [False, True, False]
    assert "update 3" in sick.reasons[1]
    assert all(torch.equal(mine[[0, 2]], theirs[[0, 2]]) for mine, theirs in zip(values_of(sick), values_of(healthy), strict=True))
    assert all(torch.isfinite(values).all() for values in values_of(sick))


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_arm_trains_like_the_narrow_networks(kind: str) -> None:
    padded, narrow = learner(kind, [1, 1], live=[WIDTH, 4]), learner(kind, [1], width=4)
    assert padded.trainable_parameters()[1] == narrow.trainable_parameters()[0]
    for update in range(20):
        batch = batch_of(kind, [update, update])
        batch.states[1, :, 4:] = 0.0
        small = Batch(batch.states[1:, :, :4].copy(), *(column[1:] for column in batch[1:4]))
        np.testing.assert_allclose(padded.update(batch)[1:], narrow.update(small), rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_exploration_draws_from_the_policy_by_the_runs_own_generator(kind: str) -> None:
    agent, z = learner(kind), np.zeros((3, 20_000, WIDTH), np.float32)
    drawn = agent.explore(z, 0, run_generators([5, 6, 7], 0))
    np.testing.assert_array_equal(drawn[1], learner(kind).explore(z, 5, run_generators([8, 6, 9], 0))[1])
    with torch.no_grad():
        output = agent.policy(torch.from_numpy(z[:, :1]))[:, 0]
    if kind == "continuous":
        assert np.abs(drawn).max() == 1.0
        inside = np.median(drawn, axis=1)  # what is cut off at ±1 does not move the median
        np.testing.assert_allclose(inside, output, atol=0.05)
    else:
        shares = np.stack([np.bincount(row, minlength=ACTIONS) for row in drawn]) / drawn.shape[1]
        np.testing.assert_allclose(shares, output.softmax(-1), atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_update_flops_are_what_torch_counts_within_the_layers_that_need_no_way_back(kind: str) -> None:
    agent = learner(kind, [0, 1], hidden=(64, 64), batch=SIZE)
    batch = batch_of(kind, [0, 1])
    with FlopCounterMode(display=False) as counter:
        agent.update(batch)
    claimed = int(agent.update_flops().sum())
    assert 0.8 * claimed < counter.get_total_flops() <= claimed
