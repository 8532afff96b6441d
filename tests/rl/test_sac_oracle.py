"""The oracle: from the same weights, on the same batches and noise, our run is stable-baselines3's SAC, step by step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from layerscout.rl.agents import sac as module
from layerscout.rl.agents.configs import SACConfig
from layerscout.rl.agents.sac import sac_on_features
from layerscout.rl.memory.replay import Batch

stable_baselines3 = pytest.importorskip("stable_baselines3", reason="extra 'sb3' is not installed; runs in CI")

WIDTH, DIMENSIONS, HIDDEN, SIZE, UPDATES = 10, 3, (16, 8), 32, 12


class Nothing(gymnasium.Env):
    """An environment that only tells its spaces."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (WIDTH,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (DIMENSIONS,), np.float32)


def random_batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((1, 2 * SIZE, WIDTH), np.float32)
    action = rng.uniform(-1, 1, (1, SIZE, DIMENSIONS)).astype(np.float32)
    return Batch(states, action, 3.0 * rng.standard_normal((1, SIZE), np.float32), rng.random((1, SIZE)) < 0.2)


def oracle() -> Any:
    from stable_baselines3.common.logger import Logger

    options = {"gamma": 0.97, "learning_rate": 3e-3, "tau": 0.05, "ent_coef": "auto_0.4", "buffer_size": 10, "device": "cpu"}
    model = stable_baselines3.SAC("MlpPolicy", Nothing(), policy_kwargs={"net_arch": list(HIDDEN)}, seed=1, **options)
    model.set_logger(Logger(None, []))
    return model


def give(model: Any, batch: Batch) -> None:
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    tensors = [torch.from_numpy(array[0]) for array in (batch.z, batch.action, batch.next_z, batch.terminated, batch.reward)]
    z, action, next_z, ended, reward = tensors
    samples = ReplayBufferSamples(z, action, next_z, ended[:, None].float(), reward[:, None])
    model.replay_buffer.sample = lambda *arguments, **options: samples


def linears(network: Any) -> list[torch.nn.Linear]:
    return [module for module in network.modules() if isinstance(module, torch.nn.Linear)]


def pairs(agent: Any, model: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Every parameter of ours beside theirs, in our layout: our critics see the action first, theirs last; their heads are two layers."""
    found = []
    *inner, mean, deviation = linears(model.actor)
    for mine, theirs in zip(agent.actor.layers, inner, strict=False):
        found += [(mine.weight[0], theirs.weight.T), (mine.bias[0, 0], theirs.bias)]
    last = agent.actor.layers[-1]
    found += [(last.weight[0], torch.cat([mean.weight, deviation.weight]).T), (last.bias[0, 0], torch.cat([mean.bias, deviation.bias]))]
    for critic, theirs_of in ((agent.critic, model.critic), (agent.target, model.critic_target)):
        for head, network in zip((critic.first, critic.second), theirs_of.q_networks, strict=True):
            for depth, (mine, theirs) in enumerate(zip(head.layers, linears(network), strict=True)):
                weight = theirs.weight.T.roll(DIMENSIONS, 0) if depth == 0 else theirs.weight.T
                found += [(mine.weight[0], weight), (mine.bias[0, 0], theirs.bias)]
    return [*found, (agent.temperature.logarithm[0], model.log_ent_coef)]


def test_losses_and_weights_follow_stable_baselines3(monkeypatch: pytest.MonkeyPatch) -> None:
    model = oracle()
    config = SACConfig(gamma=0.97, lr=3e-3, tau=0.05, init_temperature=0.4, batch=SIZE, hidden=HIDDEN)
    agent = sac_on_features(config, WIDTH, [0], dimensions=DIMENSIONS)
    with torch.no_grad():
        for mine, theirs in pairs(agent, model):
            mine.copy_(theirs)
    for update in range(UPDATES):
        batch = random_batch(update)
        give(model, batch)
        noise = np.random.default_rng(1000 + update).standard_normal((1, 2 * SIZE, DIMENSIONS), np.float32)
        drawn = iter(torch.from_numpy(noise[0]).split(SIZE))
        monkeypatch.setattr(torch.distributions.Normal, "rsample", lambda self, drawn=drawn: self.loc + self.scale * next(drawn))
        monkeypatch.setattr(module, "normal_noise", lambda generators, shape, noise=noise: noise.copy())
        model.train(gradient_steps=1, batch_size=SIZE)
        loss = agent.update(batch)
        assert loss[0] == pytest.approx(model.logger.name_to_value["train/critic_loss"], rel=1e-3)
        for mine, theirs in pairs(agent, model):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)
    z = batch.z
    np.testing.assert_allclose(agent.act(z)[0], model.predict(z[0], deterministic=True)[0], rtol=1e-3, atol=1e-4)
