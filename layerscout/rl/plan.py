"""TrainConfig in, a Plan out: the arms and runs of a comparison, what they cost, and whether they may begin; trains nothing."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import layerscout
from layerscout.cache import records
from layerscout.cache.records import Selection
from layerscout.errors import BudgetError, UsageError
from layerscout.extract.device import check_device, cores, torch_threads
from layerscout.memory import available_memory
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.arms import ArmSpec, arms_of, check_actions, check_environment, in_loop_arms
from layerscout.rl.config import TrainConfig
from layerscout.rl.layers import Head
from layerscout.rl.replay import Batch

KEY = "settings.key"  # the digest of the settings that a group's folder belongs to
PILOT_UPDATES = 3


@dataclass(frozen=True)
class Plan:
    """What a comparison will do. ``key`` names everything that decides its numbers."""

    config: TrainConfig
    selection: Selection
    arms: tuple[ArmSpec, ...]
    key: str

    @property
    def memory_bytes(self) -> int:
        """Feature tables (offline) or replay (online, in-loop), plus weights, target and optimiser."""
        config, widths = self.config, [arm.width for arm in self.arms]
        weights = 16 * config.seeds * sum(width * sum(arm.hidden[:1] or (8,)) for width, arm in zip(widths, self.arms, strict=True))
        if config.mode == "offline":
            return weights + 4 * self.arms[0].store.rows * sum(widths)
        kept = min(config.dqn.capacity, config.steps)
        if config.mode == "online":
            return weights + 8 * kept * config.seeds * len(widths) * max(widths)
        clip = self.arms[0].store.identity
        return weights + 2 * kept * config.seeds * int(np.prod(clip["preprocessing"]["frame_shape"])) * len(clip["recipe"]["offsets"])

    def describe(self) -> dict[str, Any]:
        """Runs, budget, memory, time and what exists already, for ``--dry-run``; in-loop updates are too costly to try out."""
        config, exists = self.config, (self.config.out / "runs.json").exists()
        return {
            "mode": config.mode,
            "arms": [arm.name for arm in self.arms],
            "seeds": config.seeds,
            "runs": len(self.arms) * config.seeds,
            **({"updates": config.updates} if config.mode == "offline" else {"environment_steps": config.steps}),
            "memory_bytes": self.memory_bytes,
            "seconds_of_updates": 0.0 if exists else None if config.mode == "in-loop" else round(self._seconds_of_updates(), 1),
            "out": str(config.out),
            "exists": exists,
        }

    def _seconds_of_updates(self) -> float:
        """Estimate the updates of all groups from a few on made-up batches; acting and evaluating come on top."""
        config, seconds = self.config, 0.0
        updates = config.updates if config.mode == "offline" else config.steps // config.dqn.train_interval
        for head, hidden in dict.fromkeys((arm.head, arm.hidden) for arm in self.arms):
            widths = [arm.width for arm in self.arms if (arm.head, arm.hidden) == (head, hidden)]
            with torch_threads(cores(config.threads)):
                seconds += updates * _one_update(config, head, hidden, max(widths), len(widths) * config.seeds)
        return seconds


def _one_update(config: TrainConfig, head: str, hidden: tuple[int, ...], width: int, runs: int) -> float:
    dqn = DQN(config.dqn, lambda seeds: Head(width, 2, seeds, head, hidden), range(runs), config.device)  # type: ignore[arg-type]
    shape = (runs, config.dqn.batch)
    blank = np.zeros(shape)
    states = np.zeros((runs, 2 * config.dqn.batch, width), np.float32)
    batch = Batch(states, blank.astype(np.int64), blank.astype(np.float32), blank.astype(bool))
    dqn.update(batch)  # the first one pays for what is set up once
    began = time.monotonic()
    for _ in range(PILOT_UPDATES):
        dqn.update(batch)
    return (time.monotonic() - began) / PILOT_UPDATES


def plan(config: TrainConfig) -> Plan:
    """Work out arms, runs and memory; trains nothing.

    Raises
    ------
    UsageError
        The selection was made from another environment, the device is not there, ``out`` holds results of other settings, or
        offline training was asked on actions that are not discrete.
    DataError
        A store of the selection is missing or does not fit.
    BudgetError
        The tables or the replay do not fit into memory.
    """
    check_device(config.device)
    selection = records.load(Selection, config.selection)
    arms = arms_of(selection, config)
    check_environment(config, arms[0].store, config.selection)
    check_actions(config, arms[0].store)
    if config.mode == "in-loop":
        arms = in_loop_arms(arms)
    exempt = {"out", "root", "selection", "threads", "checkpoint_updates"}  # where and how fast, never what comes out
    document = {
        "config": json.loads(config.model_dump_json(exclude=exempt)),
        "selection": selection.model_dump_json(),
        "version": layerscout.__version__,
    }
    planned = Plan(config, selection, tuple(arms), hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest())
    _refuse_other_settings(config.out, planned.key)
    available = available_memory()
    if available is not None and planned.memory_bytes > available:
        raise BudgetError(
            f"training needs about {planned.memory_bytes / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are free",
            hint="fewer seeds, a smaller --set train.dqn.capacity, or fewer layers in the selection",
        )
    return planned


def _refuse_other_settings(out: Path, key: str) -> None:
    """Every group's folder says from its beginning under which settings it was made; refuse before anything is overwritten."""
    for path in sorted(out.glob(f"*/{KEY}")):
        if path.read_text().strip() != key:
            raise UsageError(f"{path.parent} holds results of other settings", hint="choose another --out, or delete that folder")
