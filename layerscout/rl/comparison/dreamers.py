"""Settings of DreamerV2 in, its arms and their groups out: one arm a way of using the pretrained model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.opening import open_store
from layerscout.cache.records import Selection
from layerscout.cache.records.world_models import FILM_NAME, SHEET_NAME, WORLD_MODEL_NAME, LossesAt, WorldModelRecord
from layerscout.errors import DataError, UsageError
from layerscout.paths import expand
from layerscout.progress import Task
from layerscout.rl.agents.dreamer import Dreamer
from layerscout.rl.arms import CLIPS, ArmSpec
from layerscout.rl.comparison.groups import ComparisonSetting, RunGroup, TrainedGroup
from layerscout.rl.config import TrainConfig, comparison_key
from layerscout.rl.loops.dreaming import learn_dreaming
from layerscout.rl.loops.learning import GroupCheckpoint
from layerscout.rl.loops.log import Log
from layerscout.rl.memory.sequences import SequenceReplay
from layerscout.rl.seeing.filming import gif_of, png_of
from layerscout.rl.seeing.imagined import FRAMES_PER_SECOND, IMAGINED, SEEN, contact_sheet, film, imagined_frames
from layerscout.rl.seeing.recurrent import RecurrentObserver
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.folder import PretrainedModel, open_folder
from layerscout.rl.transfer.apv.keeping import load_action_free
from layerscout.rl.transfer.apv.learner import DreamerLearner

NAMES = {
    "apv": "APV",
    "apv-no-bonus": "APV without bonus",
    "naive": "naive fine-tuning",
    "untrained": "stacked, not pretrained",
    "none": "DreamerV2 from scratch",
}
NEED = ("apv", "apv-no-bonus", "naive")  # a pretrained model


def dreamer_arms(selection: Selection, config: TrainConfig) -> list[ArmSpec]:
    """Return one arm for each way that the settings name; layers of the selection take no part, its dataset says what is played.

    Raises
    ------
    UsageError
        An arm needs a pretrained model, and none was named.
    DataError
        The folder holds none, or one of other sizes than were asked for.
    """
    store = open_store(config.root, selection.store_id)
    pretrained_of(config)
    return [ArmSpec(NAMES[use], f"dreamer {use}", CLIPS, store, "mlp", config.dreamer.hidden, None) for use in config.dreamer.transfer]


def pretrained_of(config: TrainConfig) -> PretrainedModel | None:
    """Open the folder of the pretrained model, if the arms need one."""
    dreamer = config.dreamer
    if not any(use in NEED for use in dreamer.transfer):
        return None
    if dreamer.pretrained is None:
        needs = next(use for use in dreamer.transfer if use in NEED)
        hint = "--set dreamer.pretrained=outputs/apv, which layerscout pretrain apv DATA makes"
        raise UsageError(f"the arm '{needs}' starts from a pretrained model, and none was named", hint=hint)
    model = open_folder(expand(dreamer.pretrained))
    if {"model", "scale"} & dreamer.model_fields_set:
        model.require(dreamer.model)
    return model


def require_planned_model(config: TrainConfig, selection: Selection, key: str) -> None:
    """Refuse weights of a pretrained model that are not those of the plan, whose ``key`` has their digest, any more.

    Raises
    ------
    DataError
        The file was changed or replaced since.
    """
    if config.algorithm == "dreamer" and comparison_key(config, selection) != key:
        message = f"the pretrained model in {config.dreamer.pretrained} was changed since it was planned with"
        raise DataError(message, hint="put it back, or run the same command again with another --out")


def dreamer_groups(arms: Sequence[ArmSpec], setting: ComparisonSetting) -> list[RunGroup]:
    """One group an arm: world models of one arm learn in one process, and resume by themselves."""
    return [RunGroup(arm.folder, (arm,), partial(_learn, arm, setting)) for arm in arms]


def sizes_of(config: TrainConfig) -> APVModelConfig:
    """Return the sizes of all arms' world models: those of the pretrained one, where there is one."""
    model = pretrained_of(config)
    return config.dreamer.model if model is None else model.sizes


def _learn(arm: ArmSpec, setting: ComparisonSetting, saved: GroupCheckpoint, log: Log, task: Task) -> TrainedGroup:
    config, actions = setting.config, setting.actions
    dreamer, model, sizes = config.dreamer, pretrained_of(config), sizes_of(config)
    use = next(use for use, name in NAMES.items() if name == arm.name)
    pretrained = None if model is None else load_action_free(model)
    learners = [
        DreamerLearner(dreamer, sizes, actions.count, actions.dimensions, use, seed, pretrained, config.device)  # type: ignore[arg-type]
        for seed in setting.seeds
    ]
    agent = Dreamer(dreamer, learners, setting.seeds)
    stage = setting.stage(len(learners), lambda copy_run: RecurrentObserver(agent, copy_run))
    frames = min(dreamer.capacity, 2 * config.steps + 2)  # every step may end an episode
    replay = SequenceReplay(len(learners), frames, (sizes.size, sizes.size, sizes.channels), actions.count or actions.dimensions)
    with closing(setting.make_world(len(learners))) as world:
        if world.frame_shape[2] != sizes.channels:
            message = f"{config.environment} shows frames of {world.frame_shape[2]} channels, and the model takes {sizes.channels}"
            raise DataError(message, hint=f"--set dreamer.model.channels={world.frame_shape[2]}")
        history = learn_dreaming(agent, world, replay, stage, config, saved, log, task)
    _keep(arm, agent, replay, config, saved.path.parent, model.facts if model is not None and use in NEED else None)
    return TrainedGroup(agent, history, stage)  # type: ignore[arg-type]


def _keep(
    arm: ArmSpec, agent: Dreamer, replay: SequenceReplay, config: TrainConfig, folder: Path, pretrained: dict[str, Any] | None
) -> None:
    """Write what the world models learned, beside what those of earlier seeds did, and a picture and a film of what the first run's imagines."""
    sheet = not agent.failed[0] and bool(replay.size[0] >= SEEN + IMAGINED)
    if sheet:
        both = imagined_frames(agent.learners[0], replay, 0)
        write_atomic(folder / SHEET_NAME, png_of(contact_sheet(*both)))
        write_atomic(folder / FILM_NAME, gif_of(film(*both), FRAMES_PER_SECOND))
    path = folder / WORLD_MODEL_NAME
    before = records.load(WorldModelRecord, path).losses if path.is_file() else ()
    losses = tuple(one for one in before if one.seed not in agent.seeds)
    losses += tuple(LossesAt(seed=agent.seeds[run], updates=at, losses=parts) for run, at, parts in agent.curve)
    record = WorldModelRecord(arm=arm.name, environment=config.environment, losses=losses, sheet=sheet, pretrained=pretrained)
    records.save(record, path)


def replay_bytes(config: TrainConfig) -> int:
    """Bytes of uint8 pictures in the replays of all seeds, the largest part of their memory."""
    sizes = sizes_of(config)
    return config.seeds * min(config.dreamer.capacity, 2 * config.steps + 2) * int(np.prod((sizes.size, sizes.size, sizes.channels)))
