"""Arms in, groups of runs that can train as one network out: each with its learner, its features and its cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8

from layerscout.cache.trajectories import Trajectories
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.clips import RowTable as Rows
from layerscout.extract.clips import clips_of
from layerscout.extract.encoder import backbone_of
from layerscout.extract.passport import FrozenLayer, Passport, harvest, reinitialised
from layerscout.progress import Task
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.arms import ArmSpec
from layerscout.rl.config import TrainConfig
from layerscout.rl.envs.core import World
from layerscout.rl.features import ClipObserver, FeatureObserver, Scaler, encoders_of, feature_table
from layerscout.rl.games import Games
from layerscout.rl.learning import History, Saved, learn_from_games, learn_offline
from layerscout.rl.networks import Head, InLoopNetwork, InputAdapter, OutputAdapter, OwnBlocks, RunNetwork, count_multiply_adds
from layerscout.rl.replay import Replay, RowTable
from layerscout.rl.rollouts import Stage

WorldMaker = Callable[[int], World]
CALIBRATION_CLIPS = 256


@dataclass(frozen=True)
class Group:
    """Arms whose runs share one set of tensors. ``learn`` trains all their runs and returns the agent with its history."""

    name: str
    arms: tuple[ArmSpec, ...]
    learn: Callable[[Saved, Task], tuple[DQN, History]]


def seeds_of(config: TrainConfig) -> list[int]:
    """Seeds 0 … n-1: the same for every arm, so that arms are paired."""
    return list(range(config.seeds))


def feature_groups(arms: Sequence[ArmSpec], config: TrainConfig, make_world: WorldMaker, actions: int) -> list[Group]:
    """Group arms on frozen features by the shape of their heads."""
    groups = []
    for head, hidden in dict.fromkeys((arm.head, arm.hidden) for arm in arms):
        mine = tuple(arm for arm in arms if (arm.head, arm.hidden) == (head, hidden))
        name = "-".join([head, *map(str, hidden)])
        groups.append(Group(name, mine, partial(_learn_on_features, mine, config, make_world, actions)))
    return groups


def _learn_on_features(
    arms: Sequence[ArmSpec], config: TrainConfig, make_world: WorldMaker, actions: int, saved: Saved, task: Task
) -> tuple[DQN, History]:
    seeds = seeds_of(config)
    arm_of_run = np.repeat(np.arange(len(arms)), len(seeds))
    scalers = [Scaler.of(arm.store.layer(arm.layer)) if config.standardise else Scaler.unchanged(arm.width) for arm in arms]
    width, live = max(arm.width for arm in arms), [arms[arm].width for arm in arm_of_run.tolist()]

    def network(runs: Sequence[int]) -> RunNetwork:
        return Head(width, actions, runs, arms[0].head, arms[0].hidden, live)  # type: ignore[arg-type]

    dqn = DQN(config.dqn, network, seeds * len(arms), config.device)
    encoders = encoders_of(arms, config.device)
    stage = Stage(len(arm_of_run), make_world, lambda copy_run: FeatureObserver(arms, scalers, arm_of_run[copy_run], encoders))
    if config.mode == "offline":
        return dqn, learn_offline(dqn, _table(arms, scalers, arm_of_run), stage, config, saved, task)
    replay = Replay(len(arm_of_run), min(config.dqn.capacity, config.steps), (width,))
    with closing(make_world(len(arm_of_run))) as world:
        games = Games(world, FeatureObserver(arms, scalers, arm_of_run, encoders), dqn.seeds)
        return dqn, learn_from_games(dqn, games, replay, stage, config, saved, task)


def _table(arms: Sequence[ArmSpec], scalers: Sequence[Scaler], arm_of_run: Int[np.ndarray, " run"]) -> RowTable:
    store = arms[0].store
    tables = [feature_table(arm, scaler) for arm, scaler in zip(arms, scalers, strict=True)]
    columns = (store.index(name) for name in ("episode", "action", "reward", "terminated"))
    return RowTable(tables, arm_of_run.tolist(), *columns)


def in_loop_groups(arms: Sequence[ArmSpec], config: TrainConfig, make_world: WorldMaker, actions: int) -> list[Group]:
    """The seeds' equation Q = h(f(g(o))) with the frozen block, and its controls: re-initialised, identity, trained from the start.

    Parameters
    ----------
    arms
        See `in_loop_arms`.

    Raises
    ------
    DataError
        The dataset that the store was made from is gone (its clips calibrate the block's inputs).
    UsageError
        The block works on one number of tokens only, and an input adapter gives another.
    """
    best = arms[0]
    backbone = backbone_of(best.store)
    clip, grid = backbone.clip, backbone.grid
    passport = harvest(backbone, best.layer, _calibration(best, clip), config.device)
    tokens = len(clip.offsets) * grid.height * grid.width
    if passport.fixed_tokens not in {None, tokens}:
        raise UsageError(
            f"block {best.layer} has position tables for {passport.fixed_tokens} tokens, and a clip of {len(clip.offsets)} frames gives {tokens}",
            hint="use --mode online or offline with this backbone",
        )
    frozen, fresh = FrozenLayer(passport), FrozenLayer(passport, reinitialised(passport, seed=0))
    blocks: dict[str, Callable[[int], torch.nn.Module | OwnBlocks]] = {
        "ranked": lambda runs: frozen,
        "reinitialised": lambda runs: fresh,
        "identity": lambda runs: torch.nn.Identity(),
        "trained": lambda runs: OwnBlocks([FrozenLayer(passport, reinitialised(passport, seed)) for seed in range(runs)]),
    }
    return [
        Group(
            re.sub(r"[^A-Za-z0-9._-]+", "-", arm.name),
            (arm,),
            partial(_learn_in_loop, passport, blocks[arm.kind], arm, clip, config, make_world, actions),
        )
        for arm in arms
    ]


def _learn_in_loop(
    passport: Passport,
    make_block: Callable[[int], torch.nn.Module | OwnBlocks],
    arm: ArmSpec,
    clip: ClipSpec,
    config: TrainConfig,
    make_world: WorldMaker,
    actions: int,
    saved: Saved,
    task: Task,
) -> tuple[DQN, History]:
    grid, width = passport.grid, passport.layer.width
    frames = (len(clip.offsets), *clip.frame_shape)
    deviation = (passport.input_rms.square() - passport.input_mean.square()).clamp_min(0).sqrt()
    patch = clip.frame_shape[0] // grid.height
    tokens = (len(clip.offsets), grid.height, grid.width)
    cost = count_multiply_adds(FrozenLayer(passport), tokens[0] * tokens[1] * tokens[2], width)

    def network(runs: Sequence[int]) -> RunNetwork:
        block = make_block(len(runs))
        adapter = InputAdapter(frames, patch, width, runs, (passport.input_mean.cpu(), deviation.cpu()))
        head = OutputAdapter(tokens, width, actions, runs, grid=config.in_loop_grid, kind=arm.head, hidden=arm.hidden)  # type: ignore[arg-type]
        return InLoopNetwork(adapter, block, head, 0 if isinstance(block, torch.nn.Identity) else cost)

    seeds = seeds_of(config)
    dqn = DQN(config.dqn, network, seeds, config.device)
    stage = Stage(len(seeds), make_world, lambda copy_run: ClipObserver(len(copy_run), clip))
    replay = Replay(len(seeds), min(config.dqn.capacity, config.steps), frames, np.uint8)
    with closing(make_world(len(seeds))) as world:
        games = Games(world, ClipObserver(len(seeds), clip), seeds)
        history = learn_from_games(dqn, games, replay, stage, config, saved, task)
    history.backbone_clips = 0  # the backbone as a whole never runs here
    return dqn, history


def _calibration(arm: ArmSpec, clip: ClipSpec) -> UInt8[np.ndarray, "clip time height width channel"]:
    path = Path(arm.store.manifest.provenance["data"])
    if not path.exists():
        raise DataError(
            f"the dataset {path} of {arm.store.id} is gone, and in-loop training calibrates on its clips",
            hint="put it back or collect it again",
        )
    with Trajectories(path) as data:
        if data.digest() != arm.store.identity["dataset"]["digest"]:
            raise DataError(f"{path} is not the dataset that {arm.store.id} was made from", hint="collect it again with the same settings")
        rows = Rows(data.lengths)
        return clips_of(data, rows, 0, min(len(rows), CALIBRATION_CLIPS), clip)
