"""Which learner takes which actions in which mode, and what every learner owes to the loops around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from layerscout.errors import DataError, UsageError
from layerscout.rl.agents.configs import DQNConfig, IQLConfig, SACConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.agents.iql import IQL
from layerscout.rl.agents.learner import Learner
from layerscout.rl.agents.ppo import PPO
from layerscout.rl.agents.sac import SAC
from layerscout.rl.comparison.learners import ActionSpace, algorithm_of, head_learner, network_learner, settings_of
from layerscout.rl.config import TrainConfig
from layerscout.rl.generators import run_generators
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import Head, RunLinear, RunNetwork, weight_generators

WIDTH, SIZE, SEEDS = 5, 16, (3, 8, 3)
CHOICES, VECTORS = ActionSpace(3, 0), ActionSpace(0, 2)
SMALL = {"dqn": {"hidden": (6,)}, "sac": {"hidden": (6,)}, "iql": {"hidden": (6,)}, "ppo": {"hidden": (6,)}}
KINDS = {
    "dqn": ("online", CHOICES),
    "sac": ("online", VECTORS),
    "iql of choices": ("offline", CHOICES),
    "iql of vectors": ("offline", VECTORS),
    "ppo of choices": ("online", CHOICES),
    "ppo of vectors": ("in-loop", VECTORS),
}


def config(mode: str = "offline", algorithm: str = "auto", **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"environment": "e", "selection": "s", "mode": mode, "algorithm": algorithm} | SMALL | changes)


def learner(kind: str, seeds: Sequence[int] = SEEDS) -> Any:
    mode, actions = KINDS[kind]
    return head_learner(config(mode, kind.split()[0]), actions, seeds, WIDTH, [WIDTH] * len(seeds), "mlp", (6,))


def batch_of(kind: str, seeds: Sequence[int], number: int = 0) -> Batch:
    """Each run's transitions depend on its own seed and the number alone."""
    draws = [np.random.default_rng([seed, number]) for seed in seeds]
    vectors = KINDS[kind][1].continuous
    action = [draw.uniform(-1, 1, (SIZE, 2)).astype(np.float32) if vectors else draw.integers(0, 3, SIZE) for draw in draws]
    return Batch(
        np.stack([draw.standard_normal((2 * SIZE, WIDTH), np.float32) for draw in draws]),
        np.stack(action),
        np.stack([draw.standard_normal(SIZE, np.float32) for draw in draws]),
        np.stack([draw.random(SIZE) < 0.3 for draw in draws]),
    )


def arrays(state: Any, path: str = "") -> dict[str, np.ndarray]:
    if isinstance(state, dict):
        return {name: array for key, value in state.items() for name, array in arrays(value, f"{path}/{key}").items()}
    return {path: state} if isinstance(state, np.ndarray) else {}


# --- which learner


@pytest.mark.parametrize(
    ("mode", "actions", "expected"),
    [
        ("offline", CHOICES, "dqn"),
        ("online", CHOICES, "dqn"),
        ("in-loop", CHOICES, "dqn"),
        ("offline", VECTORS, "iql"),
        ("online", VECTORS, "sac"),
        ("in-loop", VECTORS, "sac"),
    ],
)
def test_auto_takes_the_learner_that_can(mode, actions, expected) -> None:
    assert algorithm_of(config(mode), actions) == expected
    assert algorithm_of(config(mode, expected), actions) == expected
    assert settings_of(config(mode), expected) == getattr(config(mode), expected)


@pytest.mark.parametrize(
    ("algorithm", "mode", "actions", "why"),
    [
        ("dqn", "online", VECTORS, "dqn chooses among discrete ones"),
        ("sac", "online", CHOICES, "sac needs continuous ones"),
        ("sac", "offline", VECTORS, "sac learns while it plays"),
        ("iql", "online", VECTORS, "iql learns from a fixed dataset"),
        ("iql", "in-loop", CHOICES, "iql learns from a fixed dataset"),
        ("ppo", "offline", CHOICES, "ppo learns from what it plays itself"),
    ],
)
def test_a_learner_that_cannot_is_refused_with_the_way_out(algorithm, mode, actions, why) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        algorithm_of(config(mode, algorithm), actions)
    assert "--" in caught.value.hint or "train.algorithm" in caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_learners_on_features_and_around_networks_are_of_the_kind_asked_for(kind) -> None:
    mode, actions = KINDS[kind]
    expected = {"dqn": DQN, "sac": SAC, "iql": IQL, "ppo": PPO}[kind.split()[0]]

    def network(runs: Sequence[int], outputs: int, dueling: bool) -> RunNetwork:
        return Head(WIDTH, outputs, runs, hidden=(7,), dueling=dueling)

    on_features, around = learner(kind), network_learner(config(mode, kind.split()[0]), actions, SEEDS, network)
    for agent in (on_features, around):
        assert isinstance(agent, expected)
        assert np.isfinite(agent.update(batch_of(kind, SEEDS))).all()
        acted = agent.act(batch_of(kind, SEEDS).z)
        assert acted.shape == ((3, SIZE, 2) if actions.continuous else (3, SIZE))


# --- what every learner owes


@pytest.mark.parametrize("kind", KINDS)
def test_everything_saved_has_one_place_a_run_and_passes_through_a_file(kind, tmp_path) -> None:
    agent, other = learner(kind), learner(kind, (1, 1, 1))
    for number in range(3):
        agent.update(batch_of(kind, SEEDS, number))
    state = agent.state_dict()
    assert {name: len(array) for name, array in arrays(state).items() if len(array) != 3} == {}
    assert all(len(value) == 3 for value in state.values() if isinstance(value, list))
    save_checkpoint(tmp_path / "c.npz", "key", state)
    read = load_checkpoint(tmp_path / "c.npz", "key")
    assert read is not None
    other.load_state_dict(read)
    other.seeds = agent.seeds
    again = arrays(other.state_dict())
    for name, array in arrays(state).items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    batch = batch_of(kind, SEEDS, 3)
    np.testing.assert_array_equal(other.update(batch), agent.update(batch))
    json.dumps({name: value for name, value in state.items() if name in {"updates", "reasons"}})


@pytest.mark.parametrize(("kind", "stranger"), [("dqn", "sac"), ("sac", "iql of vectors"), ("iql of choices", "dqn")])
def test_a_state_of_another_algorithm_is_refused_before_anything_changes(kind, stranger) -> None:
    agent = learner(kind)
    before = arrays(agent.state_dict())
    with pytest.raises(DataError, match="the saved state lacks") as caught:
        agent.load_state_dict(learner(stranger).state_dict())
    assert "delete the checkpoint" in caught.value.hint
    after = arrays(agent.state_dict())
    assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_is_a_copy(kind) -> None:
    agent = learner(kind)
    state = agent.state_dict()
    kept = {name: array.copy() for name, array in arrays(state).items()}
    agent.update(batch_of(kind, SEEDS))
    assert all(np.array_equal(array, kept[name]) for name, array in arrays(state).items())
    assert any(not np.array_equal(array, kept[name]) for name, array in arrays(agent.state_dict()).items())


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_one_seed_and_one_batch_are_one(kind) -> None:
    agent = learner(kind, (3, 8, 3))
    for number in range(4):
        losses = agent.update(batch_of(kind, (3, 8, 3), number))
        assert losses[0] == losses[2] != losses[1]
    for name, array in arrays(agent.state_dict()).items():
        np.testing.assert_array_equal(array[0], array[2], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_run_is_named_once_keeps_its_weights_and_can_be_saved(kind) -> None:
    agent = learner(kind)
    agent.update(batch_of(kind, SEEDS, 0))
    poisoned = batch_of(kind, SEEDS, 1)
    poisoned.reward[1, 0] = np.nan
    agent.update(poisoned)
    kept = {name: value["values"][1].copy() for name, value in agent.state_dict().items() if isinstance(value, dict) and "values" in value}
    for number in (2, 3):
        losses = agent.update(batch_of(kind, SEEDS, number))
        assert np.isnan(losses).tolist() == [False, True, False]
    assert list(agent.reasons) == [1]
    assert "update 2 " in agent.reasons[1]
    for name, values in kept.items():
        np.testing.assert_array_equal(agent.state_dict()[name]["values"][1], values)
    again = learner(kind)
    again.load_state_dict(agent.state_dict())
    assert (again.failed.tolist(), again.reasons) == ([False, True, False], agent.reasons)


@pytest.mark.parametrize("kind", KINDS)
def test_several_updates_are_updates_one_after_the_other(kind) -> None:
    one, several = learner(kind), learner(kind)
    numbers = iter(range(4))
    losses = several.update_from(lambda runs: batch_of(kind, SEEDS[runs], next(numbers)), 4)
    np.testing.assert_array_equal(losses, [one.update(batch_of(kind, SEEDS, number)) for number in range(4)])
    assert several.updates == one.updates == 4


@pytest.mark.parametrize("kind", KINDS)
def test_acting_draws_nothing_and_learning_is_not_disturbed_by_it(kind) -> None:
    quiet, looked_at = learner(kind), learner(kind)
    z, state = batch_of(kind, SEEDS).z, torch.get_rng_state()
    np.testing.assert_array_equal(looked_at.act(z), looked_at.act(z))
    looked_at.explore(z, 10**6, run_generators(SEEDS, 2))
    assert torch.equal(torch.get_rng_state(), state), "nothing draws from the process's own generator"
    np.testing.assert_array_equal(quiet.update(batch_of(kind, SEEDS)), looked_at.update(batch_of(kind, SEEDS)))


@pytest.mark.parametrize("kind", KINDS)
def test_trainable_parameters_are_those_that_an_optimiser_moves(kind) -> None:
    agent = learner(kind)
    counted = sum(parameter[0].numel() for network in agent.networks.values() for parameter in network.parameters())
    assert agent.trainable_parameters().tolist() == [counted] * 3


def test_a_target_begins_equal_and_moves_its_share() -> None:
    agent = Learner(DQNConfig(), (0, 1))
    network = agent.train_network("any", RunLinear(2, 3, weight_generators((0, 1), 0)), lr=0.1)
    followed = agent.follow_network("any", RunLinear(2, 3, weight_generators((5, 6), 0)))
    for mine, theirs in zip(followed.parameters(), network.parameters(), strict=True):
        assert torch.equal(mine, theirs.detach())
        assert not mine.requires_grad
    before = agent.target_values.clone()
    agent.optimisers["any"].values.add_(1.0)
    agent.move_target(0.25)
    torch.testing.assert_close(agent.target_values, before + 0.25)


def test_streams_of_updates_are_the_runs_own_and_continue() -> None:
    first, second = Learner(SACConfig(), (4, 5)), Learner(SACConfig(), (9, 9))
    streams, others = first.random_streams("noise", 7), second.random_streams("noise", 7)
    streams[0].random(3)
    second.load_state_dict(first.state_dict())
    assert [one.random() for one in others] == [one.random() for one in streams]
    assert Learner(IQLConfig(), (4, 5)).random_streams("noise", 7)[1].random() != streams[1].random()
