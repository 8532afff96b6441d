"""A config in, a file of episodes out: what an exploratory policy sees and does, for the video model to look at."""

from __future__ import annotations

import shlex
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.dataset.trajectories import Trajectories, TrajectoryWriter
from layerscout.errors import BudgetError, DataError, LayerscoutError, UsageError
from layerscout.progress import SILENT, Reporter
from layerscout.settings import command_of
from layerscout.showing import ShownPlan
from layerscout.worlds.config import CollectConfig
from layerscout.worlds.core import World, random_actions
from layerscout.worlds.exploring import ExploratoryPolicy, parse_policy
from layerscout.worlds.pixels import make_world
from layerscout.worlds.playing import action_generator, episode_seed, play

PILOT_STEPS = 16  # joint steps from which bytes and seconds are estimated
FRAME_OVERHEAD = 200  # bytes that the file spends on a frame beside its pixels: chunk index, state, action


@dataclass(frozen=True)
class CollectPlan(ShownPlan):
    """What ``run`` will do. ``bytes`` and ``seconds`` are estimates from the first steps of the first episodes."""

    config: CollectConfig
    policy: ExploratoryPolicy
    attributes: dict[str, Any]  # what the file says about itself: everything that decides its content
    complete: bool
    bytes: int
    seconds: float
    free_bytes: int

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Return what a dry run shows, as plain data; with ``measure`` also the expected seconds."""
        seconds = {"seconds": 0.0 if self.complete else round(self.seconds, 1)} if measure else {}
        return {
            "stage": "collect",
            "file": str(self.config.out),
            "complete": self.complete,
            "environment": self.config.environment,
            "policy": self.config.policy,
            "steps": self.config.steps,
            "rows_at_least": self.config.steps + 1,  # every episode adds one row for its last frame
            "frame_shape": self.attributes["frame_shape"],
            "bytes": 0 if self.complete else self.bytes,
            "disk_bytes_at_peak": 0 if self.complete else 2 * self.bytes,  # parts and the file made of them
            **seconds,
            "free_bytes": self.free_bytes,
        }


def plan(config: CollectConfig) -> CollectPlan:
    """Say what ``run`` will do; writes nothing.

    Raises
    ------
    UsageError
        The environment or the policy is unknown, the policy needs an expert that the environment does not have, or ``out`` is a
        folder.
    DataError
        The file exists and holds something else, or the environment does not start.
    """
    policy = parse_policy(config.policy)
    if config.out.is_dir():
        raise UsageError(f"{config.out} is a folder", hint=f"name a file in it: --out {shlex.quote(str(config.out / 'data.h5'))}")
    with _world(config) as world:
        seeds = np.array([episode_seed(config.seed, episode) for episode in range(config.copies)], dtype=np.int64)
        world.reset(np.arange(config.copies), seeds)
        if policy.needs_expert and world.expert() is None:
            raise UsageError(
                f"policy '{config.policy}' asks a scripted expert and {config.environment} has none",
                hint="use --policy random or random:K (each random action held for K steps on average)",
            )
        if policy.noise and not world.action_dimensions:
            raise UsageError(
                f"policy '{config.policy}' adds noise to vectors and {config.environment} has {world.action_count} discrete actions",
                hint="use --policy epsilon:E (a share E of the steps is random)",
            )
        attributes = _attributes(config, world)
        complete = _is_complete(config.out, attributes)
        bytes_a_step, seconds_a_step = (0.0, 0.0) if complete else _pilot(world, config.seed)
    return CollectPlan(
        config=config,
        policy=policy,
        attributes=attributes,
        complete=complete,
        bytes=int(bytes_a_step * config.steps),
        seconds=seconds_a_step * config.steps,
        free_bytes=_free_bytes(config.out),
    )


def run(plan: CollectPlan, reporter: Reporter = SILENT) -> Path:
    """Collect what the plan says, or what is still missing of it, and return the file.

    The file is a function of the config alone: not of ``copies``, nor of how often the run was interrupted.

    Raises
    ------
    BudgetError
        The planned bytes do not fit on the disk; nothing was written.
    DataError
        The environment fails, or an episode does not end.
    """
    config = plan.config
    if not plan.complete:
        try:
            _record(plan, reporter)
            return config.out
        except (LayerscoutError, FileNotFoundError):
            if not _is_complete(config.out, plan.attributes):
                raise
            TrajectoryWriter(config.out, plan.attributes)  # the same command elsewhere was faster: clears parts written since
    reporter.say(f"{config.out} is complete")
    return config.out


def _record(plan: CollectPlan, reporter: Reporter) -> None:
    """Play what is missing, part by part, and merge the parts into the file."""
    config = plan.config
    writer = TrajectoryWriter(config.out, plan.attributes, command=command_of("collect", config))
    if writer.finished:
        raise UsageError(f"{config.out} was finished meanwhile")
    _require_space(plan, writer.steps)
    with _world(config) as world, reporter.task("collect", config.steps) as task:
        task.resume(writer.steps)
        episodes = writer.episodes
        for episode in play(world, plan.policy, config.seed, config.steps, first=writer.episodes, already=writer.steps):
            writer.append(episode)
            episodes += 1
            task.advance(episode.steps, episodes=episodes)
    writer.commit()


def _attributes(config: CollectConfig, world: World) -> dict[str, Any]:
    """Return what the file says about itself; what decides the pixels is named even where nobody stated it."""
    size = config.size or (world.frame_shape[0] if world.settings else None)
    return {
        "environment": config.environment,
        "options": config.options | dict(world.settings),
        "frame_shape": list(world.frame_shape),
        "policy": config.policy,
        "seed": config.seed,
        "steps": config.steps,
        "action_count": world.action_count,
        **({"action_dimensions": world.action_dimensions} if world.action_dimensions else {}),
        **({} if size is None else {"size": size}),
    }


def _require_space(plan: CollectPlan, steps_there: int) -> None:
    """Refuse when the missing parts and then the whole file beside them do not fit."""
    needed = plan.bytes * (2 - min(1.0, steps_there / plan.config.steps))
    if needed > plan.free_bytes:
        raise BudgetError(
            f"about {needed / 1e6:,.1f} MB are needed to write {plan.config.out} and {plan.free_bytes / 1e6:,.1f} MB are free",
            hint="free some space, write elsewhere with --out, or collect fewer --steps or smaller frames (--size)",
        )


@contextmanager
def _world(config: CollectConfig) -> Iterator[World]:
    world = make_world(config.environment, config.copies, config.size, config.options)
    try:
        yield world
    finally:
        world.close()


def _is_complete(file: Path, attributes: dict[str, Any]) -> bool:
    """Whether the file holds exactly this dataset; a file that holds another one is never touched."""
    if not file.exists():
        return False
    with Trajectories(file) as trajectories:
        there = dict(trajectories.attributes)
    names = sorted(there.keys() | attributes.keys())
    other = [f"{name} {there.get(name)!r} instead of {attributes.get(name)!r}" for name in names if there.get(name) != attributes.get(name)]
    if other:
        raise DataError(f"{file} holds another dataset: {', '.join(other)}", hint="write to another file with --out, or delete this one")
    return True


def _pilot(world: World, seed: int) -> tuple[float, float]:
    """Return bytes and seconds a step, from a few steps of freshly reset copies under random actions."""
    generator = action_generator(seed, 0)
    began, pressed, compressing = time.perf_counter(), 0, 0.0
    for _ in range(PILOT_STEPS):
        world.step(random_actions(world, generator))
        frames = world.frames()
        pause = time.perf_counter()
        pressed += len(zlib.compress(frames[0].tobytes(), 1))
        compressing += time.perf_counter() - pause
    stepping = time.perf_counter() - began - compressing
    return pressed / PILOT_STEPS + FRAME_OVERHEAD, (stepping / world.copies + compressing) / PILOT_STEPS


def _free_bytes(file: Path) -> int:
    folder = file.absolute().parent
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
