"""Double DQN, 12 runs side by side, against stable-baselines3's DQN in the same process: CPU milliseconds a run's update.

    python benchmarks/agents_speed.py [--quick] [--json]

Both sides sample their own replay buffer, compute targets, losses and gradients, clip the gradient norm and take an Adam
step, on 128 features, 5 actions and a 64 x 64 head, with one torch thread. layerscout also evaluates the second network of
the double estimator and copies its target network; stable-baselines3 does neither inside ``train``. It is given its
cheapest form: many gradient steps in one call of ``train``. Rounds of the two alternate; figures are medians over rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import harness
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger

from layerscout.rl.agents.dqn import DQN, DQNConfig
from layerscout.rl.layers import Head
from layerscout.rl.replay import Replay, run_generators

RUNS, WIDTH, ACTIONS, HIDDEN, CAPACITY = 12, 128, 5, (64, 64), 10_000
BARS = {"speedup_batch_32": 8.0}


class Nothing(gymnasium.Env):
    """An environment that only tells its spaces."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (WIDTH,), np.float32)
    action_space = gymnasium.spaces.Discrete(ACTIONS)


def fill(z: np.ndarray, next_z: np.ndarray, action: np.ndarray, reward: np.ndarray, ended: np.ndarray, seed: int) -> None:
    """Fill a replay's arrays with random transitions in place."""
    rng = np.random.default_rng(seed)
    z[:], next_z[:] = rng.standard_normal(z.shape, np.float32), rng.standard_normal(z.shape, np.float32)
    action[:], reward[:], ended[:] = (
        rng.integers(0, ACTIONS, action.shape),
        rng.standard_normal(reward.shape),
        rng.random(ended.shape) < 0.05,
    )


def layerscout_side(batch: int) -> Callable[[int], None]:
    """Return a function that takes ``updates`` updates of all runs."""
    config = DQNConfig(batch=batch, head="mlp", hidden=HIDDEN, double=True, gradient_clip=10.0, target_interval=500)
    learner = DQN(config, lambda seeds: Head(WIDTH, ACTIONS, seeds, config.head, config.hidden), range(RUNS))
    replay = Replay(RUNS, CAPACITY, (WIDTH,))
    for run in range(RUNS):
        fill(replay.states[run, :, 0], replay.states[run, :, 1], replay.action[run], replay.reward[run], replay.terminated[run], run)
    replay.size[:] = CAPACITY
    generators = run_generators(range(RUNS), purpose=0)

    def train(updates: int) -> None:
        for _ in range(updates):
            learner.update(replay.sample(batch, generators))

    return train


def baseline_side(batch: int) -> Callable[[int], None]:
    """Return a function that takes ``updates`` updates of one stable-baselines3 learner."""
    learner = stable_baselines3.DQN(
        "MlpPolicy",
        Nothing(),
        batch_size=batch,
        buffer_size=CAPACITY,
        gamma=0.98,
        learning_rate=1e-3,
        policy_kwargs={"net_arch": list(HIDDEN)},
        device="cpu",
        seed=0,
    )
    learner.set_logger(Logger(None, []))
    buffer: Any = learner.replay_buffer
    fill(buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards, buffer.dones, 0)
    buffer.full = True
    return lambda updates: learner.train(gradient_steps=updates, batch_size=batch)


def milliseconds(train: Callable[[int], None], updates: int) -> float:
    """Return CPU milliseconds an update."""
    began = time.process_time()
    train(updates)
    return (time.process_time() - began) / updates * 1e3


def measure(batch: int, rounds: int, updates: int) -> dict[str, float]:
    """Time both sides in alternating rounds."""
    ours, baseline = layerscout_side(batch), baseline_side(batch)
    ours(50)
    baseline(50)
    pairs = [(milliseconds(ours, updates) / RUNS, milliseconds(baseline, updates)) for _ in range(rounds)]
    speedups = [theirs / mine for mine, theirs in pairs]
    return {
        f"layerscout_ms_batch_{batch}": statistics.median(mine for mine, _ in pairs),
        f"stable_baselines3_ms_batch_{batch}": statistics.median(theirs for _, theirs in pairs),
        f"speedup_batch_{batch}": statistics.median(speedups),
        f"speedup_batch_{batch}_low": min(speedups),
        f"speedup_batch_{batch}_high": max(speedups),
    }


def main() -> None:
    chosen = harness.options(__doc__)
    torch.set_num_threads(1)
    rounds, updates = (7, 150) if chosen.quick else (11, 600)
    figures = {key: round(value, 4) for batch in (32, 64) for key, value in measure(batch, rounds, updates).items()}
    harness.finish("agents_speed", ("torch", "stable_baselines3", "numpy"), figures, chosen.json, at_least=BARS)


if __name__ == "__main__":
    main()
