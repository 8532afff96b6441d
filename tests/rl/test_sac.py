"""Laws of soft actor-critic: densities and gradients against torch's own, runs that do not touch each other, exact continuation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.utils.flop_counter import FlopCounterMode

from layerscout.errors import DataError, UsageError
from layerscout.rl.agents import sac as module
from layerscout.rl.agents.base import normal_noise
from layerscout.rl.agents.configs import SACConfig
from layerscout.rl.agents.critic import Critic
from layerscout.rl.agents.sac import SAC, sac_on_features
from layerscout.rl.agents.squashed import squash
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Batch, Replay
from layerscout.rl.networks.layers import Head
from layerscout.rl.networks.optimiser import RunAdam
from layerscout.settings import build

WIDTH, DIMENSIONS, SIZE = 6, 2, 8


def learner(seeds: Sequence[int] = (0, 1, 2), live: Sequence[int] | None = None, width: int = WIDTH, **settings: Any) -> SAC:
    config = build(SACConfig, {"hidden": (16, 8), "lr": 1e-3, "tau": 0.1} | settings, "sac")
    return sac_on_features(config, width, seeds, dimensions=DIMENSIONS, live_widths=live)


def batch_of(seeds: Sequence[int], size: int = SIZE) -> Batch:
    """Random transitions; each run's own depend on its seed alone."""
    draws = [np.random.default_rng(seed) for seed in seeds]
    return Batch(
        np.stack([draw.standard_normal((2 * size, WIDTH), np.float32) for draw in draws]),
        np.stack([draw.uniform(-1, 1, (size, DIMENSIONS)).astype(np.float32) for draw in draws]),
        np.stack([3 * draw.standard_normal(size, np.float32) for draw in draws]),
        np.stack([draw.random(size) < 0.3 for draw in draws]),
    )


def train(agent: SAC, updates: int, start: int = 0) -> np.ndarray:
    return np.stack([agent.update(batch_of([seed * 1000 + update for seed in agent.seeds])) for update in range(start, start + updates)])


def values_of(agent: SAC) -> list[torch.Tensor]:
    return [one.values for one in (agent.optimisers["actor"], agent.optimisers["critic"], agent.optimisers["temperature"])] + [
        agent.target_values
    ]


# --- the squashed Gaussian


def test_density_of_a_squashed_action_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    output, noise = 0.5 * torch.randn(3, 50, 4, generator=generator).double(), torch.randn(3, 50, 2, generator=generator).double()
    drawn = squash(output, noise)
    mean, logarithm = output.chunk(2, dim=-1)
    expected = TransformedDistribution(Independent(Normal(mean, logarithm.exp()), 1), TanhTransform(cache_size=1))
    torch.testing.assert_close(drawn.action, torch.tanh(mean + logarithm.exp() * noise))
    torch.testing.assert_close(drawn.log_probability, expected.log_prob(drawn.action), rtol=1e-6, atol=1e-6)


def test_density_integrates_to_one() -> None:
    action = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1]
    mean, logarithm = 0.7, -0.3
    noise = (action.atanh() - mean) / np.exp(logarithm)
    output = torch.tensor([mean, logarithm], dtype=torch.float64).expand(1, len(action), 2)
    density = squash(output, noise[None, :, None]).log_probability.exp()
    assert float(torch.trapezoid(density[0], action)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("mean", [-60.0, 60.0])
def test_density_stays_exact_where_the_action_rounds_to_one(mean: float) -> None:
    """ln(1 − tanh² u) → 2 ln 2 − 2 |u|; the plain formula gives −∞."""
    drawn = squash(torch.tensor([[[mean, 0.0]]]), torch.zeros(1, 1, 1))
    assert drawn.action.abs().item() == 1.0
    assert drawn.log_probability.item() == pytest.approx(-0.5 * np.log(2 * np.pi) - 2 * np.log(2) + 2 * abs(mean), rel=1e-6)


# --- one update


def test_losses_and_gradients_are_the_literal_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, temperature = learner(init_temperature=0.3), 0.3
    for values in (agent.optimisers["actor"].values, agent.target_values):
        values.add_(0.3 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():  # two deviations beyond their bounds
        agent.actor.layers[-1].bias[0, 0, 2], agent.actor.layers[-1].bias[1, 0, 3] = 2.0, -30.0  # type: ignore[union-attr, index]
    noise = torch.randn(3, 2 * SIZE, DIMENSIONS, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(module, "normal_noise", lambda generators, shape: noise.numpy().copy())
    batch = batch_of([7, 8, 9])
    states, taken, ended = torch.from_numpy(batch.states), torch.from_numpy(batch.action), torch.from_numpy(batch.terminated)
    mean, raw = agent.actor(states).double().chunk(2, dim=-1)
    assert (raw > 2).any()
    assert (raw < -20).any()
    deviation = raw.clamp(-20, 2).exp()
    before = mean + deviation * noise
    density = (Normal(mean, deviation).log_prob(before) - torch.log1p(-(before.tanh() ** 2))).sum(-1).float()
    action = before.tanh().float()
    with torch.no_grad():
        ahead = agent.target(states[:, SIZE:], action[:, SIZE:]).min(-1).values - temperature * density[:, SIZE:]
        goal = torch.from_numpy(batch.reward) + 0.99 * ~ended * ahead
    critic_losses = 0.5 * (agent.critic(states[:, :SIZE], taken) - goal[..., None]).square().mean(1).sum(-1)
    critic_gradients = torch.autograd.grad(critic_losses.sum(), list(agent.critic.parameters()))
    actor_losses = (temperature * density[:, :SIZE] - agent.critic(states[:, :SIZE], action[:, :SIZE]).min(-1).values).mean(1)
    actor_gradients = torch.autograd.grad(actor_losses.sum(), list(agent.actor.parameters()))
    surplus = density[:, :SIZE].mean(1, keepdim=True).detach() - DIMENSIONS

    agent.optimisers["critic"].lr = 0.0  # the actor is moved by the critics as they are after their step
    np.testing.assert_allclose(agent.update(batch), critic_losses.detach().numpy(), rtol=1e-4)
    for optimiser, gradients in ((agent.optimisers["critic"], critic_gradients), (agent.optimisers["actor"], actor_gradients)):
        for mine, theirs in zip(optimiser.gradient_views, gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(agent.optimisers["temperature"].gradient_views[0], -surplus, rtol=1e-4, atol=1e-4)


def test_targets_follow_by_tau_and_the_temperature_falls_while_entropy_is_above_its_goal() -> None:
    agent = learner(tau=0.25, init_temperature=0.5, target_entropy=-100.0)
    before = agent.target_values.clone()
    train(agent, 1)
    torch.testing.assert_close(agent.target_values, 0.75 * before + 0.25 * agent.optimisers["critic"].values)
    assert torch.allclose(agent.temperature.logarithm.exp(), torch.tensor(0.5 * np.exp(-1e-3)).float())
    rising = learner(init_temperature=0.5, target_entropy=100.0)
    train(rising, 1)
    assert torch.allclose(rising.temperature.logarithm.exp(), torch.tensor(0.5 * np.exp(1e-3)).float())


def test_a_trunk_before_the_critics_gets_the_gradient_of_both() -> None:
    def critic(runs: Sequence[int]) -> Critic:
        return Critic(5, runs, dimensions=DIMENSIONS, hidden=(16,), trunk=Head(WIDTH, 5, runs, hidden=(9,), part=9))

    mine = critic([3, 4])
    z, action = torch.randn(2, SIZE, WIDTH), torch.rand(2, SIZE, DIMENSIONS, requires_grad=True)
    slope = torch.randn(2, SIZE, 2)
    values, tape = mine.record_pair(z, action.detach())
    torch.testing.assert_close(values, mine(z, action).detach())
    expected = torch.autograd.grad((mine(z, action) * slope).sum(), [*mine.parameters(), action])
    out = [torch.empty_like(parameter) for parameter in mine.parameters()]
    mine.pull_back(tape, slope, out)
    for got, wanted in zip([*out, mine.action_slope(tape, slope)], expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_update_flops_are_what_torch_counts_within_the_layers_that_need_no_way_back() -> None:
    agent = learner([0, 1], hidden=(64, 64), batch=SIZE)
    batch = batch_of([0, 1])
    with FlopCounterMode(display=False) as counter:
        agent.update(batch)
    claimed = int(agent.update_flops().sum())
    assert 0.8 * claimed < counter.get_total_flops() <= claimed


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_the_step_that_asks_the_device_for_nothing_is_the_same_step(clip: float) -> None:
    one, other = learner(gradient_clip=clip), learner(gradient_clip=clip)
    for number in range(6):
        batch = batch_of([number, number + 10, number + 20])
        batch.reward[1] *= np.nan if number == 3 else 1.0
        noise = normal_noise(run_generators(one.seeds, module.NOISE + number), (2 * SIZE, DIMENSIONS))
        discount = np.where(batch.terminated, 0.0, 0.99).astype(np.float32)
        tensors = [torch.from_numpy(array) for array in (batch.states, batch.action, batch.reward, discount, noise)]
        losses = one.learn(RunAdam.step_on_device, *tensors)
        expected = other.learn(lambda optimiser, losses: optimiser.step(losses.numpy()), *tensors)
        assert torch.equal(losses, expected) or number >= 3
        mine, theirs = values_of(one), values_of(other)
        healthy = [0, 2] if number >= 3 else [0, 1, 2]  # the plain step remembers a run that failed, this one does not
        assert all(torch.equal(a[healthy], b[healthy]) for a, b in zip(mine, theirs, strict=True))
        assert all(torch.isfinite(values).all() for values in mine)


# --- runs, randomness, continuation


def test_a_run_is_the_same_alone_and_beside_others() -> None:
    beside, alone = learner([3, 4, 5]), learner([4])
    np.testing.assert_allclose(train(beside, 30)[:, 1], train(alone, 30)[:, 0], rtol=1e-3)
    for together, single in zip(values_of(beside), values_of(alone), strict=True):
        torch.testing.assert_close(together[1], single[0], rtol=1e-3, atol=1e-5)


def test_training_repeats_bit_by_bit() -> None:
    one, other = learner(), learner()
    np.testing.assert_array_equal(train(one, 30), train(other, 30))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(values_of(one), values_of(other), strict=True))


def test_saved_and_continued_is_unbroken() -> None:
    unbroken, first, second = learner(), learner(), learner([8, 8, 8])
    train(unbroken, 24)
    train(first, 11)
    second.load_state_dict(first.state_dict())
    second.seeds = first.seeds
    train(second, 13, start=11)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(values_of(second), values_of(unbroken), strict=True))
    assert second.updates == 24
    with pytest.raises(DataError, match="shape"):
        learner([0, 1]).load_state_dict(first.state_dict())


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_run_that_breaks_stops_alone_and_is_named(poison: float) -> None:
    sick, healthy = learner(gradient_clip=0.5), learner(gradient_clip=0.5)
    train(sick, 3)
    train(healthy, 3)
    kept = [values[1].clone() for values in values_of(sick)[:3]]
    for update in range(3, 7):
        batch = batch_of([seed * 1000 + update for seed in sick.seeds])
        healthy.update(batch)
        batch.reward[1, 2] = poison
        assert np.isnan(sick.update(batch)).tolist() == [False, True, False]
    assert sick.failed.tolist() == [False, True, False]
    assert sick.reasons.keys() == {1}
    assert "update 4" in sick.reasons[1]
    assert all(torch.equal(values[1], before) for values, before in zip(values_of(sick)[:3], kept, strict=True))
    assert all(torch.equal(mine[[0, 2]], theirs[[0, 2]]) for mine, theirs in zip(values_of(sick), values_of(healthy), strict=True))
    again = learner(gradient_clip=0.5)
    again.load_state_dict(sick.state_dict())
    assert (again.failed.tolist(), again.reasons) == (sick.failed.tolist(), sick.reasons)
    assert np.isfinite(sick.act(batch.z)).all()


def test_a_padded_arm_trains_like_the_narrow_networks() -> None:
    padded, narrow = learner([1, 1], live=[WIDTH, 4]), learner([1], width=4)
    assert padded.trainable_parameters()[1] == narrow.trainable_parameters()[0]
    assert padded.update_flops()[1] == narrow.update_flops()[0]
    for update in range(30):
        batch = batch_of([update, update])
        batch.states[1, :, 4:] = 0.0
        small = Batch(batch.states[1:, :, :4].copy(), *(column[1:] for column in batch[1:4]))
        np.testing.assert_allclose(padded.update(batch)[1:], narrow.update(small), rtol=1e-3)
    weight = next(iter(padded.critic.parameters()))
    assert not weight[1, DIMENSIONS + 4 :].any()
    torch.testing.assert_close(padded.act(batch.z)[1:], narrow.act(small.z), rtol=1e-3, atol=1e-4)


# --- acting


def test_exploration_is_uniform_until_the_warm_up_is_over_and_then_the_policy() -> None:
    agent = learner(warm_up=10)
    z = np.zeros((3, 20_000, WIDTH), np.float32)
    early = agent.explore(z, 9, run_generators([5, 6, 7], 0))
    assert early.dtype == np.float32
    np.testing.assert_allclose(np.quantile(early, [0.0, 0.25, 0.5, 0.75, 1.0], axis=(1, 2)).T, [[-1, -0.5, 0, 0.5, 1]] * 3, atol=0.02)
    late = agent.explore(z, 10, run_generators([5, 6, 7], 0))
    with torch.no_grad():
        mean, logarithm = agent.actor(torch.from_numpy(z[:, :1])).chunk(2, dim=-1)
    before = np.arctanh(late)
    np.testing.assert_allclose(before.mean(1), mean[:, 0], atol=0.05)
    np.testing.assert_allclose(before.std(1), logarithm[:, 0].exp(), rtol=0.05)
    np.testing.assert_allclose(agent.act(z)[:, 0], mean[:, 0].tanh(), rtol=1e-5)
    np.testing.assert_array_equal(late[1], learner().explore(z, 10**6, run_generators([8, 6, 9], 0))[1])


# --- learning


def test_truncated_transition_bootstraps_and_terminated_does_not() -> None:
    """One state that gives 1 for ever, without entropy: Q = 1 / (1 - gamma), or 1 where episodes really end."""
    config = SACConfig(gamma=0.5, lr=0.01, batch=16, tau=0.2, hidden=(16,), init_temperature=1e-6, target_entropy=-1e3)
    agent = sac_on_features(config, 1, [0, 0], dimensions=1)
    replay, one = Replay(2, 50, (1,), action_dimensions=1), np.ones((2, 1), np.float32)
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = np.tile(rng.uniform(-1, 1, (1, 1)).astype(np.float32), (2, 1))
        replay.add(one, action, np.ones(2, np.float32), one, np.array([False, True]))
    generators = run_generators([0, 0], 0)
    for _ in range(300):
        agent.update(replay.sample(config.batch, generators))
    with torch.no_grad():
        values = agent.critic(torch.ones(2, 5, 1), torch.linspace(-1, 1, 5)[None, :, None].expand(2, 5, 1))
    np.testing.assert_allclose(values.mean((1, 2)), [2.0, 1.0], atol=0.05)


def test_a_bandit_is_solved_and_its_entropy_kept() -> None:
    """Reward −(a − z)²: act gives z; the spread of exploration is what the entropy goal asks for."""
    config = SACConfig(gamma=0.0, lr=5e-3, batch=32, hidden=(32,), warm_up=20, tau=0.05, init_temperature=0.1)
    agent = sac_on_features(config, 1, [0, 1], dimensions=1)
    replay = Replay(2, 1200, (1,), action_dimensions=1)
    sampling, exploring = run_generators(agent.seeds, 1), run_generators(agent.seeds, 2)
    for step, shown in enumerate(np.random.default_rng(0).uniform(-0.8, 0.8, (1200, 2, 1)).astype(np.float32)):
        action = agent.explore(shown[:, None], step, exploring)[:, 0]
        replay.add(shown, action, -((action - shown) ** 2)[:, 0], shown, np.ones(2, bool))
        if step >= config.warm_up:
            agent.update(replay.sample(config.batch, sampling))
    cases = np.linspace(-0.7, 0.7, 8, dtype=np.float32)[None, :, None].repeat(2, 0)
    np.testing.assert_allclose(agent.act(cases), cases, atol=0.15)
    output = agent.actor(torch.from_numpy(cases.repeat(500, 1)))
    entropy = -squash(output, torch.randn(2, 4000, 1, generator=torch.Generator().manual_seed(0))).log_probability.mean(1)
    np.testing.assert_allclose(entropy.detach(), -1.0, atol=0.35)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU; runs in CI")
def test_missing_gpu_is_an_error_and_not_a_slow_run() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        sac_on_features(SACConfig(), WIDTH, [0], dimensions=1, device="cuda")


def test_a_critic_knows_one_kind_of_actions() -> None:
    for kinds in ({}, {"dimensions": 2, "actions": 3}):
        with pytest.raises(UsageError, match="a critic of"):
            Critic(WIDTH, [0], **kinds)


def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'gamma'"):
        build(SACConfig, {"gama": 0.9}, "sac")
