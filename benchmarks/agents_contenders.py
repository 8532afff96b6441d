"""A learning problem in, a function that takes so many updates out: the same update by four libraries, each on its own replay buffer."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CAPACITY = 10_000
ROLLOUT, EPOCHS = 256, 10  # steps of an on-policy rollout, and how often each is learned from
Train = Callable[[int], None]


@dataclass(frozen=True)
class Problem:
    """Shapes of an update; ``actions`` discrete ones, or ``dimensions`` of a continuous one. ``on_policy``: PPO, on one rollout again and again."""

    batch: int
    hidden: tuple[int, ...]
    actions: int = 0
    dimensions: int = 0
    width: int = 128
    device: str = "cpu"
    on_policy: bool = False

    @property
    def gamma(self) -> float:
        return 0.98 if self.actions else 0.99

    @property
    def lr(self) -> float:
        return 1e-3 if self.actions and not self.on_policy else 3e-4


def transitions(problem: Problem, seed: int) -> dict[str, np.ndarray]:
    """Random transitions, as many as a replay buffer holds."""
    rng = np.random.default_rng(seed)
    continuous = rng.uniform(-1, 1, (CAPACITY, max(problem.dimensions, 1))).astype(np.float32)
    return {
        "z": rng.standard_normal((CAPACITY, problem.width), np.float32),
        "next_z": rng.standard_normal((CAPACITY, problem.width), np.float32),
        "action": rng.integers(0, problem.actions, CAPACITY) if problem.actions else continuous,
        "reward": rng.standard_normal(CAPACITY, np.float32),
        "ended": rng.random(CAPACITY) < 0.05,
    }


def sampler(problem: Problem) -> Callable[[], dict[str, torch.Tensor]]:
    """Uniform draws from arrays in memory, as tensors on the device."""
    memory, rng = transitions(problem, 0), np.random.default_rng(1)

    def draw() -> dict[str, torch.Tensor]:
        places = rng.integers(0, CAPACITY, problem.batch)
        return {name: torch.from_numpy(column[places]).to(problem.device) for name, column in memory.items()}

    return draw


def layers(width: int, hidden: tuple[int, ...], out: int) -> nn.Sequential:
    """An MLP with ReLU."""
    sizes = [width, *hidden]
    inner = [part for before, after in itertools.pairwise(sizes) for part in (nn.Linear(before, after), nn.ReLU())]
    return nn.Sequential(*inner, nn.Linear(sizes[-1], out))


# --- stable-baselines3, in its cheapest form: many gradient steps in one call


def stable_baselines3(problem: Problem) -> Train:
    if problem.on_policy:
        return stable_baselines3_ppo(problem)
    import gymnasium
    import stable_baselines3 as sb3
    from stable_baselines3.common.logger import Logger

    seen = gymnasium.spaces.Box(-1.0, 1.0, (problem.width,), np.float32)
    played = gymnasium.spaces.Discrete(problem.actions) if problem.actions else gymnasium.spaces.Box(-1.0, 1.0, (problem.dimensions,))
    nothing = type("Nothing", (gymnasium.Env,), {"observation_space": seen, "action_space": played})
    options = {"batch_size": problem.batch, "buffer_size": CAPACITY, "gamma": problem.gamma, "learning_rate": problem.lr}
    options |= {"policy_kwargs": {"net_arch": list(problem.hidden)}, "device": problem.device, "seed": 0}
    learner = (sb3.DQN if problem.actions else sb3.SAC)("MlpPolicy", nothing(), **options)
    learner.set_logger(Logger(None, []))
    buffer, memory = learner.replay_buffer, transitions(problem, 0)
    buffer.observations[:, 0], buffer.next_observations[:, 0] = memory["z"], memory["next_z"]
    buffer.actions[:] = memory["action"].reshape(buffer.actions.shape)
    buffer.rewards[:, 0], buffer.dones[:, 0], buffer.full = memory["reward"], memory["ended"], True
    return lambda updates: learner.train(gradient_steps=updates, batch_size=problem.batch)


def stable_baselines3_ppo(problem: Problem) -> Train:
    """Its own ``train`` on one rollout; values and densities of it are known to it, and not to ours."""
    import gymnasium
    import stable_baselines3 as sb3
    from stable_baselines3.common.logger import Logger

    seen = gymnasium.spaces.Box(-1.0, 1.0, (problem.width,), np.float32)
    nothing = type("Nothing", (gymnasium.Env,), {"observation_space": seen, "action_space": gymnasium.spaces.Discrete(problem.actions)})
    options = {"n_steps": ROLLOUT, "batch_size": problem.batch, "n_epochs": EPOCHS, "gamma": problem.gamma, "learning_rate": problem.lr}
    learner = sb3.PPO("MlpPolicy", nothing(), policy_kwargs={"net_arch": list(problem.hidden)}, device=problem.device, seed=0, **options)
    learner.set_logger(Logger(None, []))
    buffer, memory = learner.rollout_buffer, transitions(problem, 0)
    buffer.observations[:, 0], buffer.actions[:, 0, 0] = memory["z"][:ROLLOUT], memory["action"][:ROLLOUT]
    buffer.advantages[:, 0], buffer.returns[:, 0], buffer.full = memory["reward"][:ROLLOUT], memory["reward"][:ROLLOUT], True
    buffer.log_probs[:] = -np.log(problem.actions)
    each = EPOCHS * (ROLLOUT // problem.batch)

    def train(updates: int) -> None:
        for _ in range(max(1, updates // each)):
            learner.train()

    return train


# --- one flat loop over torch modules, in the manner of CleanRL


def single_file_dqn(problem: Problem) -> Train:
    draw, online = sampler(problem), layers(problem.width, problem.hidden, problem.actions).to(problem.device)
    target, optimiser = copy.deepcopy(online), torch.optim.Adam(online.parameters(), lr=problem.lr)

    def train(updates: int) -> None:
        for _ in range(updates):
            data = draw()
            with torch.no_grad():
                goal = data["reward"] + problem.gamma * target(data["next_z"]).max(1).values * (~data["ended"]).float()
            loss = F.mse_loss(online(data["z"]).gather(1, data["action"][:, None])[:, 0], goal)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return train


def single_file_sac(problem: Problem) -> Train:
    draw, dimensions = sampler(problem), problem.dimensions
    actor = layers(problem.width, problem.hidden, 2 * dimensions).to(problem.device)
    critics = [layers(problem.width + dimensions, problem.hidden, 1).to(problem.device) for _ in range(2)]
    targets = copy.deepcopy(critics)
    logarithm = torch.zeros(1, requires_grad=True, device=problem.device)
    weights = [parameter for critic in critics for parameter in critic.parameters()]
    steps = [torch.optim.Adam(parameters, lr=problem.lr) for parameters in (actor.parameters(), weights, [logarithm])]

    def policy(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, deviation = actor(z).chunk(2, dim=-1)
        normal = torch.distributions.Normal(mean, (-5 + 3.5 * (deviation.tanh() + 1)).exp())
        before = normal.rsample()
        action = before.tanh()
        return action, (normal.log_prob(before) - torch.log(1 - action.pow(2) + 1e-6)).sum(1, keepdim=True)

    def smaller(networks: Any, z: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return torch.min(*(network(torch.cat([z, action], 1)) for network in networks))

    def move(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def train(updates: int) -> None:
        for _ in range(updates):
            data, temperature = draw(), logarithm.exp().item()
            with torch.no_grad():
                ahead, density = policy(data["next_z"])
                value = smaller(targets, data["next_z"], ahead) - temperature * density
                goal = data["reward"][:, None] + (~data["ended"])[:, None] * problem.gamma * value
            joined = torch.cat([data["z"], data["action"]], 1)
            move(steps[1], sum(F.mse_loss(critic(joined), goal) for critic in critics))  # type: ignore[arg-type]
            action, density = policy(data["z"])
            move(steps[0], (temperature * density - smaller(critics, data["z"], action)).mean())
            move(steps[2], (-logarithm.exp() * (density.detach() - dimensions)).mean())
            with torch.no_grad():
                for critic, target in zip(critics, targets, strict=True):
                    for mine, theirs in zip(critic.parameters(), target.parameters(), strict=True):
                        theirs.lerp_(mine, 0.005)

    return train


def single_file(problem: Problem) -> Train:
    return single_file_dqn(problem) if problem.actions else single_file_sac(problem)


# --- TorchRL's loss modules


def torchrl(problem: Problem) -> Train:
    os.environ.setdefault("RL_WARNINGS", "False")
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    from torchrl.modules import NormalParamExtractor, ProbabilisticActor, QValueActor, TanhNormal, ValueOperator
    from torchrl.objectives import DQNLoss, SACLoss, SoftUpdate, ValueEstimators

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = layers(problem.width + problem.dimensions, problem.hidden, 1)

        def forward(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return self.network(torch.cat([observation, action], dim=-1))

    draw = sampler(problem)
    if problem.actions:
        values = QValueActor(layers(problem.width, problem.hidden, problem.actions), in_keys=["observation"], action_space="categorical")
        loss: Any = DQNLoss(values, action_space="categorical", delay_value=True)
    else:
        body = nn.Sequential(layers(problem.width, problem.hidden, 2 * problem.dimensions), NormalParamExtractor())
        module = TensorDictModule(body, in_keys=["observation"], out_keys=["loc", "scale"])
        actor = ProbabilisticActor(module, in_keys=["loc", "scale"], distribution_class=TanhNormal)
        loss = SACLoss(actor, ValueOperator(Joined(), in_keys=["observation", "action"]), target_entropy=-float(problem.dimensions))
    loss.make_value_estimator(ValueEstimators.TD0, gamma=problem.gamma)
    loss.to(problem.device)
    follow = None if problem.actions else SoftUpdate(loss, eps=0.995)
    optimiser = torch.optim.Adam(loss.parameters(), lr=problem.lr)

    def train(updates: int) -> None:
        for _ in range(updates):
            data = draw()
            ended = data["ended"][:, None]
            after = {"observation": data["next_z"], "reward": data["reward"][:, None], "done": ended, "terminated": ended}
            found = loss(TensorDict({"observation": data["z"], "action": data["action"], "next": after}, [problem.batch]))
            optimiser.zero_grad()
            sum(value for name, value in found.items() if name.startswith("loss")).backward()  # type: ignore[union-attr]
            optimiser.step()
            if follow is not None:
                follow.step()

    return train


CONTENDERS = {"stable_baselines3": stable_baselines3, "single_file": single_file, "torchrl": torchrl}
