"""Control tasks in, a page with learners' returns out: run-batched DQN, SAC and PPO beside Stable-Baselines3, eight seeds each.

    python -m tools.agents_against_sb3 [--seeds 8] [--only PPO] [--out docs/experiments]
    python -m tools.agents_against_sb3 --ours             prints layerscout's side alone as JSON, in a minute and a half, and writes nothing
    python -m tools.agents_against_sb3 --theirs           prints Stable-Baselines3's, in nine minutes
    python -m tools.agents_against_sb3 --page             writes the page anew from the records

CartPole with DQN and PPO, Pendulum with SAC and PPO, on state vectors, with the same settings on both sides. ``--only`` measures one algorithm and keeps what is known of the others. After training, every seed plays the
same 20 greedy episodes; the figure is the interquartile mean over seeds of their mean return, with a stratified bootstrap interval.
Writes agents-against-sb3.json and agents-against-sb3.md. One torch thread; about ten minutes of processor time.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch

from layerscout.progress import SILENT
from layerscout.report.numbers.statistics import bootstrap
from layerscout.rl.agents.configs import DQNConfig, PPOConfig, SACConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.agents.ppo import ppo_on_features
from layerscout.rl.agents.sac import sac_on_features
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops.learning import GroupCheckpoint, learn_from_games
from layerscout.rl.loops.log import Log
from layerscout.rl.loops.on_policy import learn_on_policy
from layerscout.rl.memory.replay import Replay
from layerscout.rl.memory.rollout import RolloutBuffer
from layerscout.rl.networks.layers import Head
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.rollouts import EVALUATION_STREAM, Stage
from layerscout.worlds.playing import episode_seed
from tools.sb3_page import EPISODES, NAME, RECORDS, page
from tools.state_worlds import StateObserver, StateWorld


@dataclass(frozen=True)
class Task:
    """One comparison: an environment, a budget, and the settings that both sides share."""

    environment: str
    algorithm: str
    steps: int
    settings: dict[str, Any]


TASKS = (
    Task(
        "CartPole-v1",
        "DQN",
        20_000,
        {
            "gamma": 0.99,
            "lr": 1e-3,
            "batch": 64,
            "double": False,
            "target_interval": 200,
            "epsilon_steps": 4_000,
            "warm_up": 500,
            "hidden": (64, 64),
        },
    ),
    Task("Pendulum-v1", "SAC", 6_000, {"gamma": 0.98, "lr": 1e-3, "batch": 64, "tau": 0.01, "warm_up": 500, "hidden": (64, 64)}),
    Task(
        "CartPole-v1", "PPO", 20_480, {"gamma": 0.99, "gae": 0.95, "lr": 1e-3, "length": 256, "batch": 64, "epochs": 10, "hidden": (64, 64)}
    ),
    Task(
        "Pendulum-v1",
        "PPO",
        30_720,
        {"gamma": 0.9, "gae": 0.95, "lr": 1e-3, "length": 1_024, "batch": 128, "epochs": 10, "hidden": (64, 64)},
    ),
)


def ours(task: Task, seeds: int) -> list[float]:
    """Train all seeds side by side; return each one's mean evaluation return."""
    world = StateWorld(task.environment, seeds)
    agent: Any
    if task.algorithm == "DQN":
        dqn = DQNConfig(**task.settings)
        agent = DQN(dqn, lambda runs: Head(world.width, world.action_count, runs, hidden=dqn.hidden), range(seeds))
    elif task.algorithm == "PPO":
        spaces = {"dimensions": world.action_dimensions, "actions": world.action_count}
        agent = ppo_on_features(PPOConfig(**task.settings), world.width, range(seeds), **spaces)
    else:
        agent = sac_on_features(SACConfig(**task.settings), world.width, range(seeds), dimensions=world.action_dimensions)
    stage = Stage(
        seeds,
        lambda copies: StateWorld(task.environment, copies),
        lambda copy_run: StateObserver(len(copy_run), world.width),  # type: ignore[arg-type]
    )
    config = TrainConfig(
        environment=task.environment,
        selection=Path("none"),
        mode="online",
        steps=task.steps,
        evaluations=1,
        final_episodes=EPISODES,
        checkpoint_updates=task.steps,
    )
    games = Games(world, StateObserver(seeds, world.width), agent.seeds)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder, SILENT.task("train", task.steps) as progress:
        log = Log([(task.environment, seed) for seed in agent.seeds], Path(folder))
        saved = GroupCheckpoint(Path(folder) / "checkpoint.npz", "")
        if task.algorithm == "PPO":
            buffer = RolloutBuffer(seeds, 1, agent.config.length, (world.width,), action_dimensions=world.action_dimensions)
            history = learn_on_policy(agent, games, buffer, stage, config, saved, log, progress)
        else:
            replay = Replay(seeds, agent.config.capacity, (world.width,), action_dimensions=world.action_dimensions)
            history = learn_from_games(agent, games, replay, stage, config, saved, log, progress)
    return [float(np.mean(run)) for run in history.evaluations[-1][1]]


def theirs(task: Task, seed: int) -> float:
    """Train one seed with Stable-Baselines3; return its mean evaluation return."""
    if task.algorithm == "PPO":
        return theirs_on_policy(task, seed)
    said, environment = task.settings, gymnasium.make(task.environment)
    options = {
        "learning_rate": said["lr"],
        "buffer_size": 20_000,
        "batch_size": said["batch"],
        "gamma": said["gamma"],
        "learning_starts": said["warm_up"],
        "train_freq": 1,
        "gradient_steps": 1,
        "policy_kwargs": {"net_arch": list(said["hidden"])},
        "device": "cpu",
        "seed": seed,
    }
    if task.algorithm == "DQN":
        options |= {"target_update_interval": said["target_interval"], "exploration_fraction": said["epsilon_steps"] / task.steps}
        learner = stable_baselines3.DQN("MlpPolicy", environment, **options)
    else:
        learner = stable_baselines3.SAC("MlpPolicy", environment, tau=said["tau"], **options)
    learner.learn(task.steps)
    return float(np.mean([played(learner, task.environment, number) for number in range(EPISODES)]))


def theirs_on_policy(task: Task, seed: int) -> float:
    """Train one seed of PPO; actions are in [-1, 1], as ours are."""
    said = task.settings
    options = {
        "learning_rate": said["lr"],
        "n_steps": said["length"],
        "batch_size": said["batch"],
        "n_epochs": said["epochs"],
        "gamma": said["gamma"],
        "gae_lambda": said["gae"],
        "policy_kwargs": {"net_arch": list(said["hidden"])},
        "device": "cpu",
        "seed": seed,
    }
    learner = stable_baselines3.PPO("MlpPolicy", in_unit(gymnasium.make(task.environment)), **options)
    learner.learn(task.steps)
    return float(np.mean([played(learner, task.environment, number, in_unit) for number in range(EPISODES)]))


def in_unit(game: gymnasium.Env) -> gymnasium.Env:
    """Let a game with vectors as actions take them in [-1, 1]."""
    continuous = isinstance(game.action_space, gymnasium.spaces.Box)
    return gymnasium.wrappers.RescaleAction(game, np.float32(-1.0), np.float32(1.0)) if continuous else game


def played(learner: Any, environment: str, number: int, wrap: Callable[[gymnasium.Env], gymnasium.Env] | None = None) -> float:
    """Return of one greedy episode, from the seed that layerscout's evaluation uses."""
    game = gymnasium.make(environment)
    game = game if wrap is None else wrap(game)
    seen, _ = game.reset(seed=episode_seed(EVALUATION_STREAM, number))
    total, over = 0.0, False
    while not over:
        seen, reward, terminated, truncated, _ = game.step(learner.predict(seen, deterministic=True)[0])
        total, over = total + float(reward), terminated or truncated
    game.close()
    return total


def compare(task: Task, seeds: int) -> dict[str, Any]:
    """Train both sides; return their returns, estimates and CPU seconds a seed."""
    sides: dict[str, Any] = {}
    for name in ("layerscout", "stable_baselines3"):
        began = time.process_time()
        returns = ours(task, seeds) if name == "layerscout" else theirs_of(task, seeds)
        spent = (time.process_time() - began) / seeds
        estimate = bootstrap([np.array(returns)])
        assert estimate is not None
        sides[name] = {"returns": returns, "iqm": estimate.value, "low": estimate.low, "high": estimate.high, "cpu_seconds_a_seed": spent}
        print(
            f"{task.environment} {name}: {estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}], {spent:.1f} CPU s a seed",
            flush=True,
        )
    baseline = sides["stable_baselines3"]
    return asdict(task) | {"sides": sides, "inside": bool(baseline["low"] <= sides["layerscout"]["iqm"] <= baseline["high"])}


def theirs_of(task: Task, seeds: int) -> list[float]:
    """Train Stable-Baselines3's learner once a seed; return the mean return of every one."""
    return [theirs(task, seed) for seed in range(seeds)]


def estimates(side: Callable[[Task, int], list[float]], seeds: int, only: str | None = None) -> dict[str, Any]:
    """Train one side alone, of all algorithms or one; return every task's interquartile mean, its interval and the mean return of every seed."""
    found = {}
    for task in (task for task in TASKS if only in (None, task.algorithm)):
        returns = side(task, seeds)
        estimate = bootstrap([np.array(returns)])
        assert estimate is not None
        found[f"{task.environment} {task.algorithm}"] = {
            "iqm": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "returns": returns,
        }
    return found


def kept(out: Path) -> list[dict[str, Any]]:
    """Return the tasks that were measured before."""
    path = out / f"{NAME}.json"
    tasks: list[dict[str, Any]] = json.loads(path.read_text())["tasks"] if path.is_file() else []
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument(
        "--only", choices=sorted({task.algorithm for task in TASKS}), help="measure this one; keep the others as they are known"
    )
    parser.add_argument("--out", type=Path, default=RECORDS)
    parser.add_argument("--page", action="store_true", help="write the page anew from what was measured, and measure nothing")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--ours", action="store_true", help="train layerscout's side alone, print JSON, write nothing")
    alone.add_argument("--theirs", action="store_true", help="train Stable-Baselines3's side alone, print JSON, write nothing")
    chosen = parser.parse_args()
    if chosen.ours or chosen.theirs:  # on as many threads as the environment says, which is what is asked then
        print(json.dumps(estimates(ours if chosen.ours else theirs_of, chosen.seeds, chosen.only)))
        return
    if chosen.page:
        document = json.loads((chosen.out / f"{NAME}.json").read_text())
        (chosen.out / f"{NAME}.md").write_text(page(document))
        return
    torch.set_num_threads(1)
    versions = {"python": platform.python_version()} | {name: version(name) for name in ("torch", "gymnasium", "stable_baselines3")}
    known = {(task["environment"], task["algorithm"]): task for task in kept(chosen.out)} if chosen.only else {}
    found = [
        compare(task, chosen.seeds) if chosen.only in (None, task.algorithm) else known.get((task.environment, task.algorithm))
        for task in TASKS
    ]
    document = {"seeds": chosen.seeds, "versions": versions, "tasks": [task for task in found if task is not None]}
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"{NAME}.json").write_text(json.dumps(document, indent=1) + "\n")
    (chosen.out / f"{NAME}.md").write_text(page(document))


if __name__ == "__main__":
    main()
