"""Arms in, groups of runs that can train as one network out: each with its learner, what it sees and what it learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int

from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.device import batches_in_threads, cores, one_thread_a_product
from layerscout.progress import Task
from layerscout.rl.agents.base import Agent
from layerscout.rl.agents.divided import divided
from layerscout.rl.agents.ppo import PPO
from layerscout.rl.arms import CLIPS, ArmSpec
from layerscout.rl.comparison.learners import ActionSpace, algorithm_of, head_learner, network_learner, settings_of
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops.learning import GroupCheckpoint, LearningHistory, learn_from_games, learn_offline
from layerscout.rl.loops.log import Log
from layerscout.rl.loops.on_policy import game_seeds, learn_on_policy
from layerscout.rl.memory.replay import Replay, ReplayRows
from layerscout.rl.memory.rollout import RolloutBuffer
from layerscout.rl.networks.convolutions import ConvNetwork
from layerscout.rl.networks.layers import RunNetwork
from layerscout.rl.seeing.features import ClipObserver, FeatureObserver, Observer, encoders_of
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.recorded import clip_spec, recorded_clips
from layerscout.rl.seeing.representation import Representation
from layerscout.rl.seeing.rollouts import Stage
from layerscout.worlds.core import World
from layerscout.worlds.pixels import side_by_side

Item = TypeVar("Item")
WIDE, NARROWER = 1024, 4  # features from which on padding costs, and how many times narrower an arm must be to be trained apart


@dataclass(frozen=True)
class ComparisonSetting:
    """What every group of arms needs to train: settings, worlds, actions and seeds, the same for all."""

    config: TrainConfig
    make_world: Callable[[int], World]
    actions: ActionSpace
    first_seed: int = 0  # those before are trained already

    @property
    def seeds(self) -> list[int]:
        """Seeds 0 … n-1, or those from ``first_seed`` on: the same for every arm, so that arms are paired."""
        return list(range(self.first_seed, self.config.seeds))

    @property
    def ahead(self) -> dict[str, float]:
        """How many rewards a transition sums, and their discount."""
        dqn = self.config.dqn
        return {"steps": dqn.n_step, "gamma": dqn.gamma} if algorithm_of(self.config, self.actions) == "dqn" else {}

    def stage(self, runs: int, make_observer: Callable[[Int[np.ndarray, " copy"]], Observer]) -> Stage:
        """Return where so many runs are evaluated: seed r of every arm on block r of the evaluation episodes."""
        blocks = tuple(self.seeds) * (runs // len(self.seeds))
        return Stage(runs, self.make_world, make_observer, side_by_side(self.config.environment), blocks)

    def replay(self, agent: Agent, shape: tuple[int, ...], dtype: type = np.float32) -> Replay:
        """Return an empty replay memory for an agent's runs; it never holds more than will be played."""
        kept = min(agent.config.capacity, self.config.steps)
        return Replay(len(agent.seeds), kept, shape, dtype, action_dimensions=self.actions.dimensions, **self.ahead)  # type: ignore[arg-type]


class TrainedGroup(NamedTuple):
    """A trained group: the agent, what it has been through, and where it can be seen playing."""

    agent: Agent
    history: LearningHistory
    stage: Stage


@dataclass(frozen=True)
class RunGroup:
    """Arms whose runs share one set of tensors; a comparison is trained group by group.

    Attributes
    ----------
    name
        The folder that keeps the group's results.
    arms
        What is trained side by side, each with all seeds.
    learn
        Trains all runs of all arms, continuing from the checkpoint that it is given.

    Examples
    --------
    Arms with heads of one shape are one group. ``planned`` is a `TrainPlan`, ``make_world`` makes so many games:

    >>> setting = ComparisonSetting(planned.resolved, make_world, planned.actions)
    >>> [(group.name, [arm.name for arm in group.arms]) for group in feature_groups(planned.arms, setting)]
    [('mlp-64-64', ['structured_mid', 'pixels']), ('mlp-256-64', ['scratch'])]
    """

    name: str
    arms: tuple[ArmSpec, ...]
    learn: Callable[[GroupCheckpoint, Log, Task], TrainedGroup]


def feature_groups(arms: Sequence[ArmSpec], setting: ComparisonSetting) -> list[RunGroup]:
    """Group arms on frozen features by the shape of their heads, much narrower ones apart; a network on frames is a group of its own."""
    groups = []
    on_features = [arm for arm in arms if arm.layer != CLIPS]
    for head, hidden in dict.fromkeys((arm.head, arm.hidden) for arm in on_features):
        name = "-".join([head, *map(str, hidden)])
        for number, mine in enumerate(alike([arm for arm in on_features if (arm.head, arm.hidden) == (head, hidden)], _width)):
            suffix = f"-width-{max(arm.width for arm in mine)}" if number else ""
            groups.append(RunGroup(name + suffix, mine, partial(_learn_on_features, mine, setting)))
    groups += [RunGroup(arm.folder, (arm,), partial(_learn_on_clips, arm, setting)) for arm in arms if arm.layer == CLIPS]
    return groups


def _width(arm: ArmSpec) -> int:
    return arm.width


def alike(items: Sequence[Item], width_of: Callable[[Item], int]) -> list[tuple[Item, ...]]:
    """Part arms whose padding would be most of the work: a head on 64 features among heads on 1,024 costs as much as they do."""
    left, parts = list(items), []
    while left:
        widest = max(map(width_of, left))
        near = [widest < WIDE or NARROWER * width_of(one) >= widest for one in left]
        parts.append(tuple(one for one, together in zip(left, near, strict=True) if together))
        left = [one for one, together in zip(left, near, strict=True) if not together]
    return parts


def _learn_on_features(arms: Sequence[ArmSpec], setting: ComparisonSetting, saved: GroupCheckpoint, log: Log, task: Task) -> TrainedGroup:
    config, seeds = setting.config, setting.seeds
    arm_of_run = np.repeat(np.arange(len(arms)), len(seeds))
    width, live = max(arm.width for arm in arms), [arms[arm].width for arm in arm_of_run.tolist()]
    encoders, workers = encoders_of(arms, config.device, config.trust), cores(config.threads)
    with one_thread_a_product():
        measured = batches_in_threads(lambda arm: Representation.measure(arm, config.standardise, config.whiten), arms, workers)
        representations = list(measured)

    def learner(runs: slice) -> Agent:
        own_seeds = (seeds * len(arms))[runs]
        return head_learner(config, setting.actions, own_seeds, width, live[runs], arms[0].head, arms[0].hidden)

    def observer(runs: Int[np.ndarray, " copy"]) -> FeatureObserver:
        return FeatureObserver(arms, representations, arm_of_run[runs], encoders, workers)

    stage = setting.stage(len(arm_of_run), observer)
    with one_thread_a_product():  # the cores are for parts of the runs and for batches of clips, not for threads within small products
        batch = settings_of(config, algorithm_of(config, setting.actions)).batch
        apart = config.device == "cpu" and algorithm_of(config, setting.actions) != "ppo"
        agent = divided(learner, len(arm_of_run), workers if apart else 1, batch)
        if config.mode == "offline":
            of_arms = list(zip(arms, representations, strict=True))
            tables = list(batches_in_threads(lambda one: one[1].all_rows(one[0].store.layer(one[0].layer)), of_arms, workers))
            rows = _rows(arms[0], tables, arm_of_run.tolist(), setting)
            return TrainedGroup(agent, learn_offline(agent, rows, stage, config, saved, log, task), stage)
        return TrainedGroup(agent, learn_playing(agent, observer, (width,), np.float32, stage, setting, saved, log, task), stage)


def _learn_on_clips(arm: ArmSpec, setting: ComparisonSetting, saved: GroupCheckpoint, log: Log, task: Task) -> TrainedGroup:
    clip = clip_spec(arm.store)
    shape = (len(clip.offsets), *clip.frame_shape)

    def network(runs: Sequence[int], outputs: int, dueling: bool) -> RunNetwork:
        return ConvNetwork(shape, outputs, runs, hidden=arm.hidden, dueling=dueling)

    agent = network_learner(setting.config, setting.actions, setting.seeds, network)
    stage = setting.stage(len(agent.seeds), lambda copy_run: ClipObserver(len(copy_run), clip))
    if setting.config.mode == "offline":
        rows = _rows(arm, [recorded_clips(arm.store)], [0] * len(agent.seeds), setting)
        return TrainedGroup(agent, learn_offline(agent, rows, stage, setting.config, saved, log, task), stage)
    return TrainedGroup(agent, learn_on_frames(agent, clip, stage, setting, saved, log, task), stage)


def learn_on_frames(
    agent: Agent, clip: ClipSpec, stage: Stage, setting: ComparisonSetting, saved: GroupCheckpoint, log: Log, task: Task
) -> LearningHistory:
    """Learn from games with a network that takes the frames themselves; no backbone runs."""
    shape = (len(clip.offsets), *clip.frame_shape)
    history = learn_playing(agent, lambda runs: ClipObserver(len(runs), clip), shape, np.uint8, stage, setting, saved, log, task)
    history.backbone_clips = 0
    return history


def learn_playing(
    agent: Agent,
    observer: Callable[[Int[np.ndarray, " copy"]], Observer],
    shape: tuple[int, ...],
    dtype: type,
    stage: Stage,
    setting: ComparisonSetting,
    saved: GroupCheckpoint,
    log: Log,
    task: Task,
) -> LearningHistory:
    """Learn from games by the loop of the agent's kind: from a replay memory, or from rollouts of its own policy.

    ``shape`` and ``dtype`` are those of what one game's observer gives.
    """
    config, runs = setting.config, len(agent.seeds)
    if not isinstance(agent, PPO):
        with closing(setting.make_world(runs)) as world:
            games = Games(world, observer(np.arange(runs)), agent.seeds)
            return learn_from_games(agent, games, setting.replay(agent, shape, dtype), stage, config, saved, log, task)
    count = agent.config.environments
    length = min(agent.config.length, -(-config.steps // count))
    buffer = RolloutBuffer(runs, count, length, shape, dtype, action_dimensions=setting.actions.dimensions)
    with closing(setting.make_world(runs * count)) as world:
        games = Games(world, observer(np.repeat(np.arange(runs), count)), game_seeds(agent.seeds, count))
        return learn_on_policy(agent, games, buffer, stage, config, saved, log, task)


def _rows(arm: ArmSpec, tables: list[np.ndarray], arms: list[int], setting: ComparisonSetting) -> ReplayRows:
    columns = (arm.store.index(name) for name in ("episode", "step", "action", "reward", "terminated"))
    return ReplayRows(tables, arms, *columns, **setting.ahead)  # type: ignore[arg-type]
