"""The oracle: from the same weights, on the same batches, our run is stable-baselines3's DQN, step by step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from layerscout.rl.agents.configs import DQNConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import Head

pytestmark = pytest.mark.numeric  # figures that must hold on every instruction set

stable_baselines3 = pytest.importorskip("stable_baselines3", reason="extra 'sb3' is not installed; runs in CI")

WIDTH, ACTIONS, HIDDEN, SIZE = 10, 4, (16, 8), 32


class Nothing(gymnasium.Env):
    """An environment that only tells its spaces."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (WIDTH,), np.float32)
    action_space = gymnasium.spaces.Discrete(ACTIONS)


def random_batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((1, 2 * SIZE, WIDTH), np.float32)
    reward = 3.0 * rng.standard_normal((1, SIZE), np.float32)
    return Batch(states, rng.integers(0, ACTIONS, (1, SIZE)), reward, rng.random((1, SIZE)) < 0.2)


def oracle(clip: float, seed: int) -> Any:
    from stable_baselines3.common.logger import Logger

    network = {"net_arch": list(HIDDEN)}
    options = {"gamma": 0.97, "learning_rate": 3e-3, "max_grad_norm": clip, "buffer_size": 10, "device": "cpu"}
    model = stable_baselines3.DQN("MlpPolicy", Nothing(), policy_kwargs=network, seed=seed, **options)
    model.set_logger(Logger(None, []))
    return model


def give(model: Any, batch: Batch) -> None:
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    tensors = [torch.from_numpy(array[0]) for array in (batch.z, batch.action, batch.next_z, batch.terminated, batch.reward)]
    z, action, next_z, ended, reward = tensors
    samples = ReplayBufferSamples(z, action[:, None], next_z, ended[:, None].float(), reward[:, None])
    model.replay_buffer.sample = lambda *arguments, **options: samples


def linears(network: Any) -> list[torch.nn.Linear]:
    return [module for module in network.modules() if isinstance(module, torch.nn.Linear)]


def assert_same_weights(head: Any, network: Any) -> None:
    for mine, theirs in zip(head.layers, linears(network), strict=True):
        torch.testing.assert_close(mine.weight[0], theirs.weight.T, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(mine.bias[0, 0], theirs.bias, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clip", [10.0, 0.05])
def test_loss_and_weights_follow_stable_baselines3(clip: float) -> None:
    model = oracle(clip, seed=1)
    config = DQNConfig(gamma=0.97, lr=3e-3, gradient_clip=clip, double=False, batch=SIZE, hidden=HIDDEN, target_interval=5)
    dqn = DQN(config, lambda runs: Head(WIDTH, ACTIONS, runs, hidden=HIDDEN), [0])
    with torch.no_grad():
        for mine, theirs in zip(dqn.online.layers, linears(model.q_net), strict=True):  # type: ignore[arg-type]
            mine.weight[0], mine.bias[0, 0] = theirs.weight.T, theirs.bias
    dqn.target_values.copy_(dqn.optimiser.values)
    for update in range(12):
        batch = random_batch(update)
        give(model, batch)
        model.train(gradient_steps=1, batch_size=SIZE)
        loss = dqn.update(batch)
        assert loss[0] == pytest.approx(model.logger.name_to_value["train/loss"], rel=1e-4)
        if (update + 1) % 5 == 0:  # stable-baselines3 moves its target outside ``train``
            model.q_net_target.load_state_dict(model.q_net.state_dict())
        assert_same_weights(dqn.online, model.q_net)
    assert_same_weights(dqn.target, model.q_net_target)
