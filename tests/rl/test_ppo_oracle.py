"""The oracle: from the same weights and the same rollout, our run is stable-baselines3's PPO, update by update."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from layerscout.rl.agents.configs import PPOConfig
from layerscout.rl.agents.ppo import ppo_on_features
from layerscout.rl.memory.rollout import Rollout

stable_baselines3 = pytest.importorskip("stable_baselines3", reason="extra 'sb3' is not installed; runs in CI")

WIDTH, HIDDEN, LENGTH, COPIES, GAMMA, GAE = 6, (16, 8), 12, 4, 0.97, 0.9
SPACES: dict[str, Any] = {"vectors": gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32), "choices": gymnasium.spaces.Discrete(3)}


class Nothing(gymnasium.Env):
    """An environment that only tells its spaces."""

    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (WIDTH,), np.float32)

    def __init__(self, actions: Any) -> None:
        self.action_space = actions


def oracle(actions: Any) -> Any:
    from stable_baselines3.common.logger import Logger

    model = stable_baselines3.PPO(
        "MlpPolicy",
        stable_baselines3.common.vec_env.DummyVecEnv([lambda: Nothing(actions)] * COPIES),
        n_steps=LENGTH,
        batch_size=LENGTH * COPIES,
        n_epochs=3,
        gamma=GAMMA,
        gae_lambda=GAE,
        learning_rate=3e-3,
        ent_coef=0.01,
        seed=1,
        device="cpu",
        policy_kwargs={"net_arch": list(HIDDEN), "optimizer_kwargs": {"eps": 1e-8}},
    )
    model.set_logger(Logger(None, []))
    return model


def weights(part: Any) -> list[torch.nn.Linear]:
    return [module for module in part.modules() if isinstance(module, torch.nn.Linear)]


def pairs(agent: Any, model: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Every parameter of ours beside theirs, in our layout."""
    network, policy, found = agent.network, model.policy, []
    for mine, theirs in (
        (network.policy.layers, [*weights(policy.mlp_extractor.policy_net), policy.action_net]),
        (network.value.layers, [*weights(policy.mlp_extractor.value_net), policy.value_net]),
    ):
        for own, other in zip(mine, theirs, strict=True):
            found += [(own.weight[0], other.weight.T), (own.bias[0, 0], other.bias)]
    return found + ([(network.log_deviation[0, 0], policy.log_std)] if network.dimensions else [])


def fill(model: Any, rollout: Rollout) -> None:
    """Put our rollout into their buffer as their loop would: a truncated step's reward holds the discounted value of what was seen last."""
    buffer, begins = model.rollout_buffer, np.ones(COPIES, np.float32)
    buffer.reset()
    ended = rollout.terminated | rollout.truncated
    for step in range(LENGTH):
        z, action = rollout.z[0, step], rollout.action[0, step]
        with torch.no_grad():
            value, logarithm, _ = model.policy.evaluate_actions(torch.from_numpy(z), torch.from_numpy(action))
        reward = rollout.reward[0, step] + GAMMA * rollout.ahead[0, step] * rollout.truncated[0, step]
        buffer.add(z, action.reshape(COPIES, -1), reward, begins, value, logarithm)
        begins = ended[0, step].astype(np.float32)
    with torch.no_grad():
        last = model.policy.predict_values(torch.from_numpy(rollout.last[0]))
    buffer.compute_returns_and_advantage(last, begins)


@pytest.mark.parametrize("kind", SPACES)
def test_a_round_of_updates_follows_stable_baselines3(kind: str) -> None:
    model, rng = oracle(SPACES[kind]), np.random.default_rng(0)
    config = PPOConfig(
        gamma=GAMMA, gae=GAE, lr=3e-3, batch=LENGTH * COPIES, epochs=3, length=LENGTH, environments=COPIES, entropy=0.01, hidden=HIDDEN
    )
    agent = ppo_on_features(config, WIDTH, [0], **({"dimensions": 2} if kind == "vectors" else {"actions": 3}))
    with torch.no_grad():
        for mine, theirs in pairs(agent, model):
            mine.copy_(theirs)
    for _ in range(2):
        shape = (1, LENGTH, COPIES)
        z = rng.standard_normal((*shape, WIDTH)).astype(np.float32)
        action = rng.standard_normal((*shape, 2)).astype(np.float32) if kind == "vectors" else rng.integers(0, 3, shape)
        chance = rng.random(shape)
        terminated, truncated = chance < 0.1, chance > 0.9
        reward, ahead = (3.0 * rng.standard_normal(shape).astype(np.float32) for _ in range(2))
        last = rng.standard_normal((1, COPIES, WIDTH)).astype(np.float32)
        rollout = Rollout(z, action, reward, terminated, truncated, np.where(truncated, ahead, np.float32(0.0)), last)
        fill(model, rollout)
        steps = agent.prepare(rollout)
        buffer = model.rollout_buffer
        np.testing.assert_allclose(steps.advantage[0].reshape(LENGTH, COPIES), buffer.advantages, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(steps.goal[0].reshape(LENGTH, COPIES), buffer.returns, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(steps.old[0].reshape(LENGTH, COPIES), buffer.log_probs, rtol=1e-4, atol=1e-5)
        model.train()
        losses = agent.learn(rollout)
        assert losses[-1, 0] == pytest.approx(model.logger.name_to_value["train/loss"], rel=1e-4)
        for mine, theirs in pairs(agent, model):
            torch.testing.assert_close(mine.detach(), theirs.detach(), rtol=1e-4, atol=1e-5)
