"""Arms with one frozen block in the middle in, groups out: Q = h(f(g(o))) with the block, and the block's controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.encoder import backbone_of
from layerscout.extract.passes.pooling import layer_of
from layerscout.extract.passports.passport import FrozenLayer, Passport, harvest, open_passport, reinitialised, shuffled
from layerscout.progress import Task
from layerscout.rl.arms import ArmSpec
from layerscout.rl.comparison.groups import ComparisonSetting, RunGroup, TrainedGroup, learn_on_frames
from layerscout.rl.comparison.learners import network_learner
from layerscout.rl.loops.learning import GroupCheckpoint
from layerscout.rl.loops.log import Log
from layerscout.rl.networks.adapters import InputAdapter, OutputAdapter
from layerscout.rl.networks.in_loop_network import InLoopNetwork, OwnBlocks, count_multiply_adds
from layerscout.rl.networks.layers import RunNetwork
from layerscout.rl.seeing.features import ClipObserver
from layerscout.rl.seeing.recorded import clip_spec, recorded_clips

CALIBRATION_CLIPS = 256
CONTROL_SEED = 0  # of the re-initialised and the shuffled block, which all runs share as they share the frozen one

Block = torch.nn.Module | OwnBlocks


def in_loop_groups(arms: Sequence[ArmSpec], setting: ComparisonSetting) -> list[RunGroup]:
    """Return one group an arm; arms on the same block share its passport.

    Parameters
    ----------
    arms
        See `layerscout.rl.arms.in_loop_arms`.

    Raises
    ------
    DataError
        The checkpoint is gone or changed; or the store has no passports, and the dataset whose clips would make them is gone.
    UsageError
        An adapter cannot give the block its tokens.
    """
    passports: dict[tuple[str, str], Passport] = {}
    groups = []
    for arm in arms:
        key = (arm.store.id, layer_of(arm.layer))
        if key not in passports:
            passports[key] = _passport(arm, setting.config.device, setting.config.trust)
        groups.append(RunGroup(arm.folder, (arm,), partial(_learn, passports[key], arm, setting)))
    return groups


def _passport(arm: ArmSpec, device: str, trust: bool) -> Passport:
    layer = layer_of(arm.layer)
    if layer in arm.store.passports:  # its block alone is read from the checkpoint
        passport = open_passport(arm.store, layer, device, trust).passport
    else:  # the store was made without passports
        passport = harvest(backbone_of(arm.store, trust), layer, recorded_clips(arm.store, CALIBRATION_CLIPS), device)
    return passport


def token_grid(passport: Passport, clip: ClipSpec) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Return the (time, height, width) of tokens that an adapter makes for a block, and which frame of a clip each time slot shows.

    A block that takes any number of tokens gets one slot a frame. One with position tables gets as many slots as it was made
    for: those of the past show frames evenly spaced up to the newest, those that held noise show the newest.

    Raises
    ------
    UsageError
        The block's tokens are no square pieces of the frames, or it gives others than it takes.
    """
    time, height, width = passport.input_shape
    given = (passport.grid.time, passport.grid.height, passport.grid.width)
    if given != passport.input_shape or passport.layer.width != len(passport.input_mean):
        raise UsageError(
            f"block {passport.layer.name} takes {time} x {height} x {width} tokens of {len(passport.input_mean)} features and gives "
            f"{' x '.join(map(str, given))} of {passport.layer.width}",
            hint="in the loop only blocks that keep their tokens' number and width stand in for one another; use --mode online",
        )
    frames, (rows, columns, _) = len(clip.offsets), clip.frame_shape
    if rows % height or columns % width or rows // height != columns // width:
        raise UsageError(
            f"block {passport.layer.name} takes {height} x {width} tokens, which cut frames of {rows} x {columns} pixels into no squares",
            hint="use --mode online or offline with this backbone",
        )
    if passport.fixed_tokens is None:
        return (frames, height, width), tuple(range(frames))
    past = min(passport.grid.past, time)
    return (time, height, width), tuple(-(-frames * (min(slot, past - 1) + 1) // past) - 1 for slot in range(time))


def block_of(kind: str, passport: Passport) -> Callable[[int], Block]:
    """Return what makes the middle of an arm's network for so many runs: the frozen block, or what stands in its place."""
    if kind == "identity":
        return lambda runs: torch.nn.Identity()
    if kind == "trained":
        return lambda runs: OwnBlocks([FrozenLayer(passport, reinitialised(passport, seed)) for seed in range(runs)])
    changed = {"reinitialised": reinitialised, "shuffled": shuffled}.get(kind)
    layer = FrozenLayer(passport, changed(passport, CONTROL_SEED) if changed else None)
    return lambda runs: layer


def _learn(passport: Passport, arm: ArmSpec, setting: ComparisonSetting, saved: GroupCheckpoint, log: Log, task: Task) -> TrainedGroup:
    config, clip = setting.config, clip_spec(arm.store)
    width, (tokens, shown) = passport.layer.width, token_grid(passport, clip)
    deviation = (passport.input_rms.square() - passport.input_mean.square()).clamp_min(0).sqrt()
    cost = 0 if arm.kind == "identity" else count_multiply_adds(FrozenLayer(passport), int(np.prod(tokens)), width)
    make_block = block_of(arm.kind, passport)

    def network(runs: Sequence[int], outputs: int, dueling: bool) -> RunNetwork:
        g = InputAdapter(
            (len(clip.offsets), *clip.frame_shape),
            clip.frame_shape[0] // tokens[1],
            width,
            runs,
            (passport.input_mean.cpu(), deviation.cpu()),
            config.adapter_in,
            shown,
        )
        h = OutputAdapter(
            tokens,
            width,
            outputs,
            runs,
            config.in_loop_grid,
            arm.head,  # type: ignore[arg-type]
            arm.hidden,
            config.adapter_out,
            dueling=dueling,
        )
        return InLoopNetwork(g, make_block(len(runs)), h, cost)

    agent = network_learner(config, setting.actions, setting.seeds, network)
    stage = setting.stage(len(agent.seeds), lambda copy_run: ClipObserver(len(copy_run), clip))
    return TrainedGroup(agent, learn_on_frames(agent, clip, stage, setting, saved, log, task), stage)
