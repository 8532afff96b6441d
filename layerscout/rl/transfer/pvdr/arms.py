"""An arm, a goal world and a budget in, its curve out: prefill, then rounds of planned play, learning after each, evaluation on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.seeing.games import TRAINING_STREAM
from layerscout.rl.seeing.rollouts import evaluation_seeds
from layerscout.rl.transfer.pvdr.cloning import CloningLearner
from layerscout.rl.transfer.pvdr.config import ArmName, PvdrConfig
from layerscout.rl.transfer.pvdr.learner import PvdrLearner
from layerscout.rl.transfer.pvdr.rounds import GoalPolicy, HeldActions, play_round
from layerscout.worlds.core import GoalWorld
from layerscout.worlds.playing import episode_seed

GoalLearner = PvdrLearner | CloningLearner
MakeGoalWorld = Callable[[int], GoalWorld]
PREFILLING = 7  # purpose of the random stream from which held actions are drawn


@dataclass(frozen=True)
class GoalRun:
    """One run of one arm: where it plays, for how long, and when it is judged.

    ``evaluate_at`` are environment steps, ascending; the run ends with the last.
    """

    arm: ArmName
    seed: int
    make_world: MakeGoalWorld
    evaluate_at: tuple[int, ...]
    episodes: int = 24
    final_episodes: int = 50


@dataclass
class GoalCurve:
    """What came of a run so far."""

    steps: int = 0
    rounds: int = 0
    cpu_seconds: float = 0.0  # all sittings together, where it was killed and continued
    wall_seconds: float = 0.0
    returns: list[float] = field(default_factory=list)  # of the episodes that were played to learn from
    evaluations: list[tuple[int, list[float]]] = field(default_factory=list)


def new_learner(
    arm: ArmName, config: PvdrConfig, networks: tuple[FrameTokenizer, VisualDynamics], dimensions: int, seed: int
) -> GoalLearner:
    """Return an arm's learner at its beginning."""
    if arm == "cloning":
        return CloningLearner(config, *networks, dimensions, seed)
    return PvdrLearner(arm, config, *networks, dimensions, seed)


def train_goal_run(
    run: GoalRun,
    config: PvdrConfig,
    networks: tuple[FrameTokenizer, VisualDynamics],
    saved: Path | None = None,
    key: str = "",
    heard: Callable[[int], None] = lambda steps: None,
) -> tuple[GoalLearner, GoalCurve]:
    """Train one run; with a place to save to, it goes on bit for bit from the last round that was finished.

    Parameters
    ----------
    config, networks
        Settings, and the pretrained networks.
    saved, key
        Checkpoint, and what it belongs to.
    heard
        Told the environment steps after every round.
    """
    with closing(run.make_world(config.environments)) as world:
        learner, curve = new_learner(run.arm, config, networks, world.action_dimensions, run.seed), GoalCurve()
        state = load_checkpoint(saved, key) if saved is not None else None
        if state is not None:
            learner.load_state_dict(state["learner"])
            curve = GoalCurve(**state["curve"])
            curve.evaluations = [(int(at), list(found)) for at, found in curve.evaluations]  # a checkpoint knows no tuples
        while len(curve.evaluations) < len(run.evaluate_at):
            began = time.process_time(), time.perf_counter()
            due = run.evaluate_at[len(curve.evaluations)]
            if curve.steps < due:
                _play_on(run, config, learner, curve, world)
            else:
                last = due == run.evaluate_at[-1]
                found = evaluate(run, learner, run.final_episodes if last else run.episodes)
                curve.evaluations.append((curve.steps, found.tolist()))
            curve.cpu_seconds += time.process_time() - began[0]
            curve.wall_seconds += time.perf_counter() - began[1]
            heard(curve.steps)
            if saved is not None:
                save_checkpoint(saved, key, {"learner": learner.state_dict(), "curve": vars(curve)})
    return learner, curve


def _play_on(run: GoalRun, config: PvdrConfig, learner: GoalLearner, curve: GoalCurve, world: GoalWorld) -> None:
    """Play a round and learn from it; the first rounds are random."""
    seeds = _training_seeds(run.seed, curve.rounds * config.environments, config.environments)
    policy: GoalPolicy = learner
    if curve.steps < config.prefill:
        policy = HeldActions(world.action_dimensions, config.hold, np.random.default_rng((run.seed, PREFILLING, curve.rounds)))
    learner.explores = True
    played = play_round(world, policy, seeds, learner.shape.history)
    learner.explores = False
    curve.steps, curve.rounds = curve.steps + played.steps, curve.rounds + 1
    curve.returns.extend(played.reached.astype(float).tolist())
    if curve.steps < config.prefill:
        learner.experience.add(played)  # nothing is learned before there is enough to learn from
    else:
        learner.learn(played)


def evaluate(run: GoalRun, policy: GoalPolicy, episodes: int) -> Float64[np.ndarray, " episode"]:
    """Play the run's own evaluation episodes without exploring; 1 where the goal was reached, else 0.

    Evaluating draws from the policy's generators what planning draws, on a copy of them: it changes nothing that is learned later.
    """
    before = policy.torch_generator.get_state() if isinstance(policy, PvdrLearner | CloningLearner) else None
    history = policy.shape.history if isinstance(policy, PvdrLearner | CloningLearner) else 1
    with closing(run.make_world(episodes)) as world:
        played = play_round(world, policy, evaluation_seeds(run.seed, np.arange(episodes)), history)
    if before is not None:
        policy.torch_generator.set_state(before)  # type: ignore[attr-defined]
    return played.reached.astype(np.float64)


def _training_seeds(seed: int, first: int, count: int) -> Int64[np.ndarray, " episode"]:
    return np.array([episode_seed(TRAINING_STREAM + seed, number) for number in range(first, first + count)], dtype=np.int64)
