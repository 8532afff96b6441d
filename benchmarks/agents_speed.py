"""Run-batched DQN, SAC and PPO against Stable-Baselines3, a single-file loop and TorchRL's losses in one process: milliseconds a run's update.

    python benchmarks/agents_speed.py [--quick] [--json] [--device cuda [--cuda-graphs]]

Everybody samples its own replay buffer, computes targets, losses and gradients and takes Adam steps, on 128 features, with one
torch thread: DQN for 5 actions, SAC for 2 dimensions with twin critics, learned temperature and target critics; PPO for 5 actions on a rollout of 256 steps, 10 times over,
against Stable-Baselines3 alone. Rounds of all
contenders alternate; figures are medians over rounds, ratios are of the same round. layerscout's DQN also evaluates the second
network of the double estimator, clips gradients and copies its target; Stable-Baselines3 clips, the others do neither. On the
CPU the milliseconds are processor time, on a GPU wall time. ``--cuda-graphs`` adds one update held in a CUDA graph, without
sampling and without the check for runs that failed.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import torch
from agents_contenders import CAPACITY, CONTENDERS, EPOCHS, ROLLOUT, Problem, Train, transitions

from layerscout.rl.agents.base import discounts, normal_noise
from layerscout.rl.agents.configs import DQNConfig, PPOConfig, SACConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.agents.ppo import ppo_on_features
from layerscout.rl.agents.sac import sac_on_features
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Replay
from layerscout.rl.memory.rollout import Rollout
from layerscout.rl.networks.layers import Head
from layerscout.rl.networks.optimiser import RunAdam

BARS = {
    "dqn_32_runs_12_times_stable_baselines3": 8.0,
    "dqn_64_runs_12_times_stable_baselines3": 5.0,
    "sac_256_runs_1_times_stable_baselines3": 1.3,
    "sac_1024_runs_1_times_stable_baselines3": 1.2,
    "sac_64_runs_6_times_stable_baselines3": 1.5,
    "ppo_64_runs_12_times_stable_baselines3": 3.0,
}


def rows(device: str) -> list[tuple[str, Problem, int, int]]:
    """Name, problem, runs side by side, and updates of a full round."""
    small, wide = (64, 64), (256, 256)
    return [
        ("dqn_32", Problem(32, small, actions=5, device=device), 12, 600),
        ("dqn_64", Problem(64, small, actions=5, device=device), 12, 600),
        ("sac_256", Problem(256, wide, dimensions=2, device=device), 1, 60),
        ("sac_1024", Problem(1024, wide, dimensions=2, device=device), 1, 20),
        ("sac_64", Problem(64, wide, dimensions=2, device=device), 6, 40),
        ("ppo_64", Problem(64, small, actions=5, device=device, on_policy=True), 12, 480),
    ]


def layerscout(problem: Problem, runs: int) -> tuple[Any, Replay, list[np.random.Generator]]:
    """Return the learner, its filled replay and the generators that draw from it."""
    agent: Any
    if problem.actions:
        dqn = DQNConfig(batch=problem.batch, hidden=problem.hidden, gamma=problem.gamma, lr=problem.lr)
        agent = DQN(dqn, lambda seeds: Head(problem.width, problem.actions, seeds, hidden=dqn.hidden), range(runs), problem.device)
    else:
        sac = SACConfig(batch=problem.batch, hidden=problem.hidden, gamma=problem.gamma, lr=problem.lr)
        agent = sac_on_features(sac, problem.width, range(runs), dimensions=problem.dimensions, device=problem.device)
    replay = Replay(runs, CAPACITY, (problem.width,), action_dimensions=problem.dimensions)
    for run in range(runs):
        memory = transitions(problem, run)
        replay.states[run, :, 0], replay.states[run, :, 1] = memory["z"], memory["next_z"]
        replay.action[run], replay.reward[run], replay.terminated[run] = memory["action"], memory["reward"], memory["ended"]
    replay.added[:] = CAPACITY
    return agent, replay, run_generators(range(runs), 1)


def on_policy(problem: Problem, runs: int) -> Train:
    """PPO on one rollout of every run, which it looks at anew every time."""
    ppo = PPOConfig(batch=problem.batch, hidden=problem.hidden, gamma=problem.gamma, lr=problem.lr, epochs=EPOCHS, length=ROLLOUT)
    agent = ppo_on_features(ppo, problem.width, range(runs), actions=problem.actions, device=problem.device)
    memories = [transitions(problem, run) for run in range(runs)]
    z, action, reward = (np.stack([memory[name][:ROLLOUT] for memory in memories])[:, :, None] for name in ("z", "action", "reward"))
    ended, blank = np.zeros(reward.shape, np.bool_), np.zeros_like(reward)
    rollout = Rollout(z, action, reward, ended, ended, blank, z[:, -1])
    each = EPOCHS * (ROLLOUT // problem.batch)

    def train(updates: int) -> None:
        for _ in range(max(1, updates // each)):
            agent.learn(rollout)

    return train


def eager(problem: Problem, runs: int) -> Train:
    if problem.on_policy:
        return on_policy(problem, runs)
    agent, replay, generators = layerscout(problem, runs)

    def train(updates: int) -> None:
        for _ in range(updates):
            agent.update(replay.sample(problem.batch, generators))

    return train


def graphed(problem: Problem, runs: int) -> Train:
    """Hold one update on one batch in a CUDA graph and play it again and again."""
    agent, replay, generators = layerscout(problem, runs)
    batch = replay.sample(problem.batch, generators)
    arrays = [batch.states, batch.action, batch.reward, discounts(batch, problem.gamma)]
    if problem.dimensions:
        arrays.append(normal_noise(generators, (2 * problem.batch, problem.dimensions)))
    tensors = [torch.from_numpy(array).to(problem.device) for array in arrays]

    def update() -> None:
        if problem.dimensions:
            agent.learn(RunAdam.step_on_device, *tensors)
        else:
            agent.optimiser.step_on_device(agent.learn(*tensors))

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what is set up once must not be recorded
        for _ in range(3):
            update()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()

    def train(updates: int) -> None:
        for _ in range(updates):
            graph.replay()

    return train


def milliseconds(train: Train, updates: int, device: str) -> float:
    """Return milliseconds an update: processor time, or wall time on a GPU."""
    clock: Callable[[], float] = time.process_time
    if device == "cuda":
        torch.cuda.synchronize()
        clock = time.perf_counter
    began = clock()
    train(updates)
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - began) / updates * 1e3


def measure(name: str, problem: Problem, runs: int, rounds: int, updates: int, graphs: bool) -> dict[str, Any]:
    """Time everybody in alternating rounds."""
    installed = [contender for contender in CONTENDERS if importlib.util.find_spec(contender) or contender == "single_file"]
    installed = [contender for contender in installed if not problem.on_policy or contender == "stable_baselines3"]
    sides = {"layerscout": (eager(problem, runs), runs)} | {contender: (CONTENDERS[contender](problem), 1) for contender in installed}
    if graphs and not problem.on_policy:
        sides["layerscout_graph"] = (graphed(problem, runs), runs)
    for train, _ in sides.values():
        train(max(updates // 10, 3))
    times = [
        {side: milliseconds(train, updates, problem.device) / together for side, (train, together) in sides.items()} for _ in range(rounds)
    ]
    row = f"{name}_runs_{runs}"
    figures: dict[str, Any] = {f"{row}_{side}_ms": round(statistics.median(round_[side] for round_ in times), 4) for side in sides}
    for side in installed:
        ratios = [round_[side] / round_["layerscout"] for round_ in times]
        figures[f"{row}_times_{side}"] = round(statistics.median(ratios), 3)
        figures[f"{row}_times_{side}_range"] = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return figures


def main() -> None:
    chosen = harness.options(__doc__, device=True, cuda_graphs=True)
    torch.set_num_threads(1)
    rounds, share = (7, 0.25) if chosen.quick else (9, 1.0)
    figures: dict[str, Any] = {}
    for name, problem, runs, updates in rows(chosen.device):
        figures |= measure(name, problem, runs, rounds, max(int(share * updates), 4), chosen.cuda_graphs and chosen.device == "cuda")
    packages = ["torch", "stable_baselines3", "numpy", *(["torchrl"] if importlib.util.find_spec("torchrl") else [])]
    harness.finish("agents_speed", tuple(packages), figures, chosen.json, at_least=BARS if chosen.device == "cpu" else None)


if __name__ == "__main__":
    main()
