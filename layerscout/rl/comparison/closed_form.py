"""Arms on frozen features in, one group of agents in closed form out: solved in seconds, then evaluated as every agent is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from layerscout.extract.device import cores
from layerscout.progress import Task
from layerscout.rl.agents.ridge import ClosedForm, LinearPolicy, rows_of_returns, solve_policy
from layerscout.rl.arms import CLIPS, ArmSpec
from layerscout.rl.comparison.groups import ComparisonSetting, TrainedGroup
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops.learning import GroupCheckpoint, LearningHistory
from layerscout.rl.loops.log import Log
from layerscout.rl.seeing.features import FeatureObserver, encoders_of
from layerscout.rl.seeing.representation import Representation

GROUP = "closed-form"  # the folder of its results
HEAD = "ridge"  # begins the head's name of every such arm; the form follows
COLUMNS = ("episode", "step", "action", "reward", "terminated")


def closed_form_arms(arms: Sequence[ArmSpec], config: TrainConfig) -> list[ArmSpec]:
    """Return one arm in closed form for every representation among the arms, whatever heads they have."""
    found: dict[tuple[str, str, int | None, int], ArmSpec] = {}
    for arm in (arm for arm in arms if arm.layer != CLIPS and arm.kind != "scratch"):
        name = arm.name.removesuffix(f" + {arm.head}") if len(config.heads) > 1 else arm.name
        new = replace(arm, name=f"closed form, {name}", head=f"{HEAD}-{config.ridge.form}", hidden=())
        found.setdefault((arm.store.id, arm.layer, arm.random_width, arm.random_seed), new)
    return list(found.values())


def in_closed_form(arm: ArmSpec) -> bool:
    """Whether the arm's agent is solved, not trained."""
    return arm.head.startswith(HEAD)


def solve_group(arms: Sequence[ArmSpec], setting: ComparisonSetting, saved: GroupCheckpoint, log: Log, task: Task) -> TrainedGroup:
    """Solve one policy an arm and evaluate it once for every seed, on that seed's block of episodes."""
    config, seeds = setting.config, setting.seeds
    arm_of_run = np.repeat(np.arange(len(arms)), len(seeds))
    representations, policies, flops, transitions = [], list[LinearPolicy](), list[float](), 0
    for arm in arms:  # one table in memory at a time
        seen = Representation.measure(arm, config.standardise, config.whiten)
        columns = {name: arm.store.index(name) for name in COLUMNS}
        rows = rows_of_returns(seen.all_rows(arm.store.layer(arm.layer)), columns, config.ridge)
        assert config.ridge.form != "auto", "the form is settled before anything is solved"
        policy, cost = solve_policy(rows, config.ridge.form, config.ridge, setting.actions.count)
        representations.append(seen)
        policies.append(policy)
        flops.append(cost)
        transitions = len(rows.transitions)
    encoders, workers = encoders_of(arms, config.device, config.trust), cores(config.threads)

    def observer(runs: Int[np.ndarray, " copy"]) -> FeatureObserver:
        return FeatureObserver(arms, representations, arm_of_run[runs], encoders, workers)

    agent = ClosedForm(policies, arm_of_run.tolist(), seeds * len(arms), flops)
    stage = setting.stage(len(arm_of_run), observer)
    returns = stage.evaluate(agent.act, config.final_episodes)
    log.begin([[config.updates, returns.tolist()]])
    task.advance(config.updates * len(arm_of_run), returns=f"{returns.mean():+.2f} (best {returns.mean(axis=1).max():+.2f})")
    history = LearningHistory([[config.updates, returns.tolist()]], [list(own) for own in returns], transitions, 0)
    return TrainedGroup(agent, history, stage)  # type: ignore[arg-type]  # it has no settings of a loop, because it needs none
