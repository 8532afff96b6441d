"""Laws of the learner: literal formulas, runs that do not touch each other, exact continuation, and that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from layerscout.errors import DataError, UsageError
from layerscout.rl.agents.configs import DQNConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Batch, Replay
from layerscout.rl.networks.in_loop_network import InLoopNetwork, InputAdapter, OutputAdapter
from layerscout.rl.networks.layers import Head
from layerscout.settings import build

WIDTH, ACTIONS = 6, 3
RNG = np.random.default_rng


def learner(seeds: Sequence[int] = (0, 1, 2), **settings: Any) -> DQN:
    config = build(DQNConfig, {"hidden": (16,), "target_interval": 7} | settings, "dqn")
    return DQN(config, lambda runs: Head(WIDTH, ACTIONS, runs, config.head, config.hidden), seeds)


def batch_of(seeds: Sequence[int], size: int = 8, scale: float = 1.0) -> Batch:
    """Random transitions; each run's own depend on its seed alone."""
    draws = [RNG(seed) for seed in seeds]
    return Batch(
        np.stack([draw.standard_normal((2 * size, WIDTH), np.float32) for draw in draws]),
        np.stack([draw.integers(0, ACTIONS, size) for draw in draws]),
        np.stack([scale * draw.standard_normal(size, np.float32) for draw in draws]).astype(np.float32),
        np.stack([draw.random(size) < 0.3 for draw in draws]),
    )


def train(dqn: DQN, updates: int, start: int = 0, **options: Any) -> np.ndarray:
    return np.stack(
        [dqn.update(batch_of([seed * 1000 + update for seed in dqn.seeds], **options)) for update in range(start, start + updates)]
    )


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("loss", ["huber", "mse"])
@pytest.mark.parametrize("conservative", [0.0, 0.7])
def test_loss_and_gradient_are_the_literal_formula(double: bool, loss: str, conservative: float) -> None:
    dqn = learner(double=double, loss=loss, conservative=conservative, gradient_clip=0.0)
    noise = torch.randn(dqn.target_values.shape, generator=torch.Generator().manual_seed(0))
    dqn.target_values.add_(0.3 * noise)  # now the two networks prefer different actions
    batch = batch_of([7, 8, 9], scale=3.0)
    assert (dqn.online(torch.from_numpy(batch.next_z)).argmax(-1) != dqn.target(torch.from_numpy(batch.next_z)).argmax(-1)).any()
    z, next_z, action = torch.from_numpy(batch.z), torch.from_numpy(batch.next_z), torch.from_numpy(batch.action)[..., None]
    with torch.no_grad():
        values = dqn.target(next_z)
        value = values.gather(-1, dqn.online(next_z).argmax(-1, keepdim=True)) if double else values.max(-1, keepdim=True).values
        goal = torch.from_numpy(batch.reward)[..., None] + 0.98 * torch.from_numpy(~batch.terminated)[..., None] * value
    q = dqn.online(z)
    taken = q.gather(-1, action)
    distance = F.huber_loss if loss == "huber" else F.mse_loss
    expected = distance(taken, goal, reduction="none").mean((1, 2)) + conservative * (q.logsumexp(-1, keepdim=True) - taken).mean((1, 2))
    gradients = torch.autograd.grad(expected.sum(), list(dqn.online.parameters()))
    np.testing.assert_allclose(dqn.update(batch), expected.detach().numpy(), rtol=1e-5)
    for gradient, reference in zip(dqn.optimiser.gradient_views, gradients, strict=True):
        torch.testing.assert_close(gradient, reference)


def test_step_is_adam_of_torch_run_by_run() -> None:
    dqn = learner(gradient_clip=0.05)
    reference = [Head(WIDTH, ACTIONS, [seed], hidden=(16,)) for seed in dqn.seeds]
    optimisers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in reference]
    for update in range(5):
        train(dqn, 1, start=update, scale=5.0)
        for run, (network, optimiser) in enumerate(zip(reference, optimisers, strict=True)):
            for parameter, gradient in zip(network.parameters(), dqn.optimiser.gradient_views, strict=True):
                parameter.grad = gradient[run : run + 1].clone()
            optimiser.step()
    for run, network in enumerate(reference):
        for mine, theirs in zip(dqn.online.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(mine[run], theirs[0])


def test_gradient_is_clipped_run_by_run() -> None:
    free, clipped = learner(gradient_clip=0.0), learner(gradient_clip=0.5)
    batch = batch_of([1, 2, 3])
    batch.reward[1] *= 100.0
    batch.reward[0] = 0.0
    free.update(batch)
    clipped.update(batch)
    norms = free.optimiser.gradient.norm(dim=1)
    assert norms[0] < 0.5 < norms[1]
    torch.testing.assert_close(clipped.optimiser.gradient[0], free.optimiser.gradient[0])
    torch.testing.assert_close(clipped.optimiser.gradient[1], free.optimiser.gradient[1] * 0.5 / norms[1])


def test_target_follows_every_interval() -> None:
    hard, soft = learner(target_interval=3), learner(target_interval=1, tau=0.25)
    first = hard.optimiser.values.clone()
    train(hard, 2)
    assert torch.equal(hard.target_values, first)
    train(hard, 1, start=2)
    assert torch.equal(hard.target_values, hard.optimiser.values)
    train(soft, 1)
    torch.testing.assert_close(soft.target_values, 0.75 * first + 0.25 * soft.optimiser.values)


def test_truncated_transition_bootstraps_and_terminated_does_not() -> None:
    """One state that gives 1 for ever: Q = 1 / (1 - gamma) if episodes are only cut off, Q = 1 if they really end."""
    config = DQNConfig(gamma=0.5, lr=0.05, head="linear", target_interval=1, batch=4, loss="mse")
    dqn = DQN(config, lambda runs: Head(1, 1, runs, "linear"), [0, 0])
    replay, one = Replay(2, 10, (1,)), np.ones((2, 1), np.float32)
    replay.add(one, np.zeros(2, int), np.ones(2, np.float32), one, np.array([False, True]))
    generators = run_generators([0, 0], 0)
    for _ in range(400):
        dqn.update(replay.sample(4, generators))
    np.testing.assert_allclose(dqn.q(one[:, None]).ravel(), [2.0, 1.0], atol=0.02)


def test_learns_the_optimal_values_of_a_chain() -> None:
    """Five cells in a row, +1 on reaching the last: Q* (s, right) = gamma^(3 - s), Q*(s, left) = gamma * Q*(s - 1, right)."""
    states, gamma = 4, 0.9
    config = DQNConfig(gamma=gamma, lr=0.02, batch=16, target_interval=25, hidden=(32,))
    replay, eye = Replay(2, 8, (states + 1,)), np.eye(states + 1, dtype=np.float32)
    for state in range(states):
        for action in (0, 1):
            after = max(state - 1, 0) if action == 0 else state + 1
            end = after == states
            replay.add(eye[[state] * 2], np.full(2, action), np.full(2, float(end), np.float32), eye[[after] * 2], np.full(2, end))
    for head in ("linear", "mlp"):
        dqn = DQN(config, lambda runs, head=head: Head(states + 1, 2, runs, head, config.hidden), [0, 1])  # type: ignore[misc]
        generators = run_generators([0, 1], 0)
        for _ in range(1000):
            dqn.update(replay.sample(config.batch, generators))
        right = gamma ** np.arange(states - 1, -1, -1.0)
        left = gamma * np.concatenate([right[:1], right[:-1]])
        np.testing.assert_allclose(dqn.q(np.stack([eye[:states]] * 2)), np.stack([np.stack([left, right], 1)] * 2), atol=0.03)
        assert (dqn.act(np.stack([eye[:states]] * 2)) == 1).all()


def test_learns_to_name_what_it_sees_while_exploring() -> None:
    config = DQNConfig(gamma=0.0, lr=5e-3, batch=32, epsilon_steps=200, hidden=(32,), warm_up=20)
    dqn = DQN(config, lambda runs: Head(4, 4, runs, hidden=config.hidden), [0, 1, 2])
    replay, eye = Replay(3, 500, (4,)), np.eye(4, dtype=np.float32)
    sampling, exploring = run_generators(dqn.seeds, 0), run_generators(dqn.seeds, 1)
    cards = RNG(0).integers(0, 4, (400, 3))
    for step, shown in enumerate(cards):
        action = dqn.act(eye[shown][:, None], config.epsilon(step), exploring)[:, 0]
        replay.add(eye[shown], action, (action == shown).astype(np.float32), eye[shown], np.ones(3, bool))
        if step >= config.warm_up:
            dqn.update(replay.sample(config.batch, sampling))
    np.testing.assert_array_equal(dqn.act(np.stack([eye] * 3)), np.stack([np.arange(4)] * 3))


def test_conservative_term_pushes_down_actions_the_data_never_took() -> None:
    plain, conservative = learner(gamma=0.0, lr=0.01), learner(gamma=0.0, lr=0.01, conservative=1.0)
    batch = batch_of([1, 2, 3], size=64)
    batch.action[:] = 0
    for dqn in (plain, conservative):
        for _ in range(200):
            dqn.update(batch)
    gap_plain, gap = (dqn.q(batch.z)[..., 1:].mean() - dqn.q(batch.z)[..., 0].mean() for dqn in (plain, conservative))
    assert gap < gap_plain - 1.0


def test_a_run_is_the_same_alone_and_beside_others() -> None:
    beside, alone = learner([3, 4, 5]), learner([4])
    losses = train(beside, 30)
    np.testing.assert_allclose(losses[:, 1], train(alone, 30)[:, 0], rtol=1e-4)
    torch.testing.assert_close(beside.optimiser.values[1], alone.optimiser.values[0])


def test_training_repeats_bit_by_bit() -> None:
    one, other = learner(), learner()
    np.testing.assert_array_equal(train(one, 30), train(other, 30))
    assert torch.equal(one.optimiser.values, other.optimiser.values)


def test_saved_and_continued_is_unbroken() -> None:
    unbroken, first, second = learner(tau=0.5), learner(tau=0.5), learner([8, 8, 8], tau=0.5)
    train(unbroken, 24)
    train(first, 11)
    second.load_state_dict(first.state_dict())
    second.seeds = first.seeds
    train(second, 13, start=11)
    for name in ("values", "first_moment", "second_moment", "count"):
        assert torch.equal(getattr(second.optimiser, name), getattr(unbroken.optimiser, name)), name
    assert torch.equal(second.target_values, unbroken.target_values)
    assert second.updates == 24


def test_a_state_saved_before_networks_had_names_is_read() -> None:
    first, second = learner(), learner([8, 8, 8])
    train(first, 3)
    state = first.state_dict()
    second.load_state_dict({"optimiser" if name == "online" else name: value for name, value in state.items()})
    assert torch.equal(second.optimiser.values, first.optimiser.values)
    with pytest.raises(DataError, match="lacks online"):
        second.load_state_dict({name: value for name, value in state.items() if name != "online"})


def test_saved_state_is_a_copy() -> None:
    dqn = learner()
    state = dqn.state_dict()
    before = state["online"]["values"].copy()
    train(dqn, 1)
    np.testing.assert_array_equal(state["online"]["values"], before)


def test_state_of_other_runs_is_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        learner([0, 1]).load_state_dict(learner().state_dict())


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_run_that_breaks_stops_alone_and_is_named(poison: float) -> None:
    sick, healthy = learner(gradient_clip=0.1), learner(gradient_clip=0.1)
    train(sick, 3)
    train(healthy, 3)
    kept = sick.optimiser.values[1].clone()
    for update in range(3, 8):
        batch = batch_of([seed * 1000 + update for seed in sick.seeds])
        healthy.update(batch)
        batch.reward[1, 2] = poison if update == 4 else batch.reward[1, 2]
        losses = sick.update(batch)
        kept = sick.optimiser.values[1].clone() if update == 3 else kept
        assert np.isnan(losses).tolist() == [False, update >= 4, False]
    assert sick.failed.tolist() == [False, True, False]
    assert sick.reasons.keys() == {1}
    assert "update 5" in sick.reasons[1]
    assert torch.equal(sick.optimiser.values[1], kept)
    assert torch.equal(sick.optimiser.values[[0, 2]], healthy.optimiser.values[[0, 2]])
    again = learner(gradient_clip=0.1)
    again.load_state_dict(sick.state_dict())
    assert (again.failed.tolist(), again.reasons) == (sick.failed.tolist(), sick.reasons)
    assert np.isfinite(sick.q(batch.z)).all()


def test_padded_arm_trains_like_the_narrow_network() -> None:
    config = DQNConfig(target_interval=7, hidden=(16,))
    padded = DQN(config, lambda runs: Head(WIDTH, ACTIONS, runs, hidden=(16,), live_widths=[WIDTH, 4]), [1, 1])
    narrow = DQN(config, lambda runs: Head(4, ACTIONS, runs, hidden=(16,)), [1])
    for update in range(30):
        batch = batch_of([update, update])
        batch.states[1, :, 4:] = 0.0
        loss = padded.update(batch)
        small = Batch(batch.states[1:, :, :4].copy(), batch.action[1:], batch.reward[1:], batch.terminated[1:])
        np.testing.assert_allclose(loss[1:], narrow.update(small), rtol=1e-4)
    weight = next(iter(padded.online.parameters()))
    torch.testing.assert_close(weight[1, :4], next(iter(narrow.online.parameters()))[0])
    assert not weight[1, 4:].any()


def test_learns_in_loop_through_one_shared_frozen_layer() -> None:
    frozen = torch.nn.Linear(6, 6).requires_grad_(False)
    before = frozen.weight.clone()
    frames = (1, 4, 4, 1)

    def network(runs: Sequence[int]) -> InLoopNetwork:
        g = InputAdapter(frames, 2, 6, runs)
        return InLoopNetwork(g, frozen, OutputAdapter(g.token_grid, 6, 2, runs, grid=2, hidden=(16,)))

    dqn = DQN(DQNConfig(gamma=0.0, lr=1e-2, hidden=(16,)), network, [0, 1])
    first = [parameter.clone() for parameter in dqn.online.g.parameters()]  # type: ignore[union-attr]
    rng = RNG(0)
    states = rng.integers(0, 256, (2, 64, *frames), dtype=np.uint8)
    bright = (states[:, :, 0, 0, 0, 0] > 127).astype(np.int64)
    for action in (0, 1) * 60:
        taken = np.full((2, 32), action)
        dqn.update(Batch(states, taken, (bright[:, :32] == taken).astype(np.float32), np.ones((2, 32), bool)))
    assert (dqn.act(states[:, :32]) == bright[:, :32]).mean() > 0.9
    assert all(not torch.equal(now, then) for now, then in zip(dqn.online.g.parameters(), first, strict=True))  # type: ignore[union-attr]
    assert torch.equal(frozen.weight, before)
    assert frozen.weight.grad is None


def test_exploration_is_the_runs_own_and_greedy_draws_nothing() -> None:
    dqn = learner([0, 1, 2])
    z = RNG(0).standard_normal((3, 200, WIDTH), np.float32)
    greedy = dqn.q(z).argmax(-1)
    np.testing.assert_array_equal(dqn.act(z), greedy)
    beside = dqn.act(z, 0.3, run_generators([5, 6, 7], 0))
    assert (beside != greedy).mean() == pytest.approx(0.3 * 2 / 3, abs=0.05)
    np.testing.assert_array_equal(beside[1], learner([0, 1, 2]).act(z, 0.3, run_generators([8, 6, 9], 0))[1])


def test_epsilon_falls_linearly_and_stays() -> None:
    config = DQNConfig(epsilon_start=1.0, epsilon_end=0.2, epsilon_steps=100)
    assert [config.epsilon(step) for step in (0, 50, 100, 1000)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_update_flops_count_every_pass() -> None:
    dqn, single = learner(batch=10), learner(batch=10, double=False)
    forward = 2 * (WIDTH * 16 + 16 * ACTIONS)
    assert dqn.update_flops().tolist() == [5 * 10 * forward] * 3
    assert single.update_flops().tolist() == [4 * 10 * forward] * 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU; runs in CI")
def test_missing_gpu_is_an_error_and_not_a_slow_run() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        DQN(DQNConfig(), lambda runs: Head(WIDTH, ACTIONS, runs), [0], device="cuda")


def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'gamma'"):
        build(DQNConfig, {"gama": 0.9}, "dqn")
