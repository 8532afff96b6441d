"""TrainConfig in, a RunRecord and the experiment tables out: every arm, every seed, one budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import layerscout
from layerscout import settings
from layerscout.cache import records
from layerscout.cache.records import Arm, Budget, Run, RunRecord, Selection
from layerscout.errors import BudgetError, UsageError
from layerscout.extract.device import check_device, cores, torch_threads
from layerscout.memory import available_memory
from layerscout.progress import SILENT, Reporter
from layerscout.rl import tables
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.arms import ArmSpec, arms_of, check_environment, in_loop_arms
from layerscout.rl.config import TrainConfig
from layerscout.rl.envs.pixels import world_of
from layerscout.rl.groups import Group, feature_groups, in_loop_groups, seeds_of
from layerscout.rl.learning import History, Saved, final_mean
from layerscout.rl.rollouts import random_return

KEY = "settings.key"  # the digest of the settings that a group's folder belongs to


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
        """Runs, budget, memory and what exists already, for ``--dry-run``."""
        config = self.config
        return {
            "mode": config.mode,
            "arms": [arm.name for arm in self.arms],
            "seeds": config.seeds,
            "runs": len(self.arms) * config.seeds,
            **({"updates": config.updates} if config.mode == "offline" else {"environment_steps": config.steps}),
            "memory_bytes": self.memory_bytes,
            "out": str(config.out),
            "exists": (config.out / "runs.json").exists(),
        }


def plan(config: TrainConfig) -> Plan:
    """Work out arms, runs and memory; trains nothing.

    Raises
    ------
    UsageError
        The selection was made from another environment, the device is not there, or ``out`` holds results of other settings.
    DataError
        A store of the selection is missing or does not fit.
    BudgetError
        The tables or the replay do not fit into memory.
    """
    check_device(config.device)
    selection = records.load(Selection, config.selection)
    arms = arms_of(selection, config)
    check_environment(config, arms[0].store, config.selection)
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


def run(planned: Plan, reporter: Reporter = SILENT) -> RunRecord:
    """Train every group that is not finished, then write runs.json and the tables; the same command continues after a kill."""
    config = planned.config
    attributes = planned.arms[0].store.manifest.provenance["dataset_attributes"]

    def make_world(copies: int) -> Any:
        return world_of(attributes, copies)

    probe = make_world(1)
    actions = probe.action_count
    probe.close()
    settings.save(config, config.out / "settings.json")
    arms: list[Arm] = []
    runs: list[Run] = []
    with torch_threads(cores(config.threads)):
        if config.mode == "in-loop":
            groups = in_loop_groups(planned.arms, config, make_world, actions)
        else:
            groups = feature_groups(planned.arms, config, make_world, actions)
        for group in groups:
            part = _finished(config.out / group.name) or _train(group, planned, reporter)
            arms.extend(part.arms)
            runs.extend(part.runs)
    record = RunRecord(
        environment=config.environment,
        mode=config.mode,
        selection=str(config.selection),
        random_policy_return=random_return(make_world),
        arms=tuple(arms),
        runs=tuple(runs),
    )
    records.save(record, config.out / "runs.json")
    tables.write_tables(record, config.out)
    return record


def _refuse_other_settings(out: Path, key: str) -> None:
    """Every group's folder says from its beginning under which settings it was made; refuse before anything is overwritten."""
    for path in sorted(out.glob(f"*/{KEY}")):
        if path.read_text().strip() != key:
            raise UsageError(f"{path.parent} holds results of other settings", hint="choose another --out, or delete that folder")


def _finished(folder: Path) -> RunRecord | None:
    return records.load(RunRecord, folder / "result.json") if (folder / "result.json").exists() else None


def _train(group: Group, planned: Plan, reporter: Reporter) -> RunRecord:
    config = planned.config
    folder = config.out / group.name
    folder.mkdir(parents=True, exist_ok=True)
    records.write_atomic(folder / KEY, planned.key.encode())
    saved = Saved(folder / "checkpoint.npz", planned.key)
    runs = len(group.arms) * config.seeds
    total = (config.updates if config.mode == "offline" else config.steps) * runs
    unit = "updates" if config.mode == "offline" else "steps"
    with reporter.task(f"train {group.name} ({runs} runs, {config.mode})", total, unit) as task:
        dqn, history = group.learn(saved, task)
    wall, cpu = saved.clock.read()
    spent = (wall, cpu / len(group.arms))
    part = RunRecord(
        environment=config.environment,
        mode=config.mode,
        selection=str(config.selection),
        random_policy_return=None,
        arms=tuple(_arm(arm, number * config.seeds, dqn, history, spent) for number, arm in enumerate(group.arms)),
        runs=tuple(_runs(group.arms, seeds_of(config), dqn, history)),
    )
    records.save(part, folder / "result.json")
    saved.path.unlink(missing_ok=True)
    return part


def _arm(arm: ArmSpec, first_run: int, dqn: DQN, history: History, spent: tuple[float, float]) -> Arm:
    """``wall_seconds`` is that of the group, whose arms train side by side; CPU time is shared equally among them."""
    return Arm(
        name=arm.name,
        kind=arm.kind,
        layer=arm.layer,
        store_id=arm.store.id,
        head="-".join([arm.head, *map(str, arm.hidden)]),
        score=arm.score,
        width=arm.width,
        budget=Budget(
            environment_steps=history.environment_steps,
            updates=dqn.updates,
            trainable_parameters=int(dqn.online.trainable_parameters()[first_run]),
            flops=float(dqn.updates * int(dqn.update_flops()[first_run])),
            backbone_clips=0 if arm.kind in {"pixels", "scratch"} else history.backbone_clips,
            wall_seconds=round(spent[0], 2),
            cpu_seconds=round(spent[1], 2),
        ),
    )


def _runs(arms: Sequence[ArmSpec], seeds: Sequence[int], dqn: DQN, history: History) -> list[Run]:
    runs = []
    for number, (arm, seed) in enumerate((arm, seed) for arm in arms for seed in seeds):
        reason = dqn.reasons.get(number, "")
        returns = tuple(float(value) for value in history.returns[number])
        runs.append(
            Run(
                arm=arm.name,
                seed=seed,
                returns=returns,
                evaluations=tuple((int(at), tuple(values[number])) for at, values in history.evaluations),
                final=None if reason else final_mean(returns),
                status="failed" if reason else "done",
                reason=reason,
            )
        )
    return runs
