"""TrainConfig in, a RunRecord and the experiment tables out: every arm, every seed, one budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.provenance import played_attributes
from layerscout.cache.records import Arm, Budget, ReferenceReturn, Run, RunRecord
from layerscout.cache.records.making import save_command
from layerscout.errors import DataError
from layerscout.extract.device import cores, torch_threads
from layerscout.extract.encoder import backbone_of
from layerscout.extract.trust import foreign_source
from layerscout.progress import SILENT, Reporter
from layerscout.report import tables
from layerscout.rl.agents.base import Agent
from layerscout.rl.arms import CLIPS, PIXELS, ArmSpec
from layerscout.rl.comparison.closed_form import GROUP as CLOSED_FORM_GROUP
from layerscout.rl.comparison.closed_form import in_closed_form, solve_group
from layerscout.rl.comparison.dreamers import dreamer_groups, require_planned_model
from layerscout.rl.comparison.extending import merged, seeds_of
from layerscout.rl.comparison.going_on import KeptLearners, course_of, kept_learners
from layerscout.rl.comparison.groups import ComparisonSetting, RunGroup, feature_groups
from layerscout.rl.comparison.in_loop import in_loop_groups
from layerscout.rl.config import KEY_NAME
from layerscout.rl.loops.learning import LEARNER, GroupCheckpoint, LearningHistory, final_mean
from layerscout.rl.loops.log import Log
from layerscout.rl.plan import TrainPlan, plan
from layerscout.rl.references import reference_returns
from layerscout.rl.seeing.filming import film_runs, save_film
from layerscout.rl.seeing.rollouts import Stage
from layerscout.worlds.pixels import is_light, side_by_side, world_of

__all__ = ["TrainPlan", "plan", "run"]

RUNS_NAME, RESULT_NAME = "runs.json", "result.json"
NAMES = {"random": "random play", "constant": "best constant action", "data": "the data's own policy", "optimal": "optimal"}


def run(plan: TrainPlan, reporter: Reporter = SILENT) -> RunRecord:
    """Train every group that is not finished, then write runs.json and the tables; the same command continues after a kill."""
    config = plan.resolved
    plan.require_trust()
    for store in {arm.store.id: arm.store for arm in plan.arms}.values():
        if config.mode != "in-loop" and foreign_source(store) is not None:
            backbone_of(store, config.trust, reporter)  # downloaded here, where it is told how far it is
    attributes = played_attributes(plan.arms[0].store)

    def make_world(copies: int) -> Any:
        return world_of(attributes, copies)

    setting = ComparisonSetting(config, make_world, plan.actions)
    for path in config.out.glob(f"*/{KEY_NAME}"):  # what is there belongs to what is asked for: the plan has looked
        write_atomic(path, plan.key.encode())
    records.save_settings(config, config.out / "settings.json")
    save_command("train", plan.config, config.out)
    reporter.say(f"learner: {plan.algorithm} ({plan.algorithm_reason})")
    if plan.goes_on_from:
        reporter.say(f"the runs that are there go on from {plan.goes_on_from:,} to {config.length:,} {config.unit}")
    arms: list[Arm] = []
    runs: list[Run] = []
    with torch_threads(cores(config.threads)):
        groups = _groups(plan.arms, setting)
        if (config.out / RUNS_NAME).exists() and all(_all_there(group, plan) for group in groups):
            reporter.say(f"{config.out / RUNS_NAME} is already there for these settings")
        for group in groups:
            part = _complete(group, setting, plan, reporter)
            arms.extend(part.arms)
            runs.extend(part.runs)
    references = references_of(plan, make_world)
    record = RunRecord(
        environment=config.environment,
        mode=config.mode,
        selection=str(config.selection),
        random_policy_return=next(one.mean for one in references if one.name == "random"),
        best_possible=config.best_possible,
        references=references,
        episodes_apart=True,
        dataset_digest=plan.selection.dataset_digest,
        algorithm=plan.algorithm,
        algorithm_reason=plan.algorithm_reason,
        arms=tuple(arms),
        runs=tuple(runs),
    )
    records.save(record, config.out / RUNS_NAME)
    tables.write_experiment_tables(record, config.out)
    reporter.say("for comparison: " + ", ".join(f"{NAMES[one.name]} {one.mean:+.2f}" for one in references))
    if warning := tables.seed_caution(record):
        reporter.say(warning)
    return record


def _groups(arms: Sequence[ArmSpec], setting: ComparisonSetting) -> list[RunGroup]:
    """Put together what trains side by side; what is solved in closed form comes last."""
    solved = tuple(arm for arm in arms if in_closed_form(arm))
    make = in_loop_groups if setting.config.mode == "in-loop" else feature_groups
    if setting.config.algorithm == "dreamer":
        make = dreamer_groups
    groups = make([arm for arm in arms if arm not in solved], setting)
    return groups + ([RunGroup(CLOSED_FORM_GROUP, solved, partial(solve_group, solved, setting))] if solved else [])


def references_of(plan: TrainPlan, make_world: Callable[[int], Any]) -> tuple[ReferenceReturn, ...]:
    """Return what policies earn that learn nothing here, on the episodes that the agents are evaluated on."""
    config = plan.config
    return reference_returns(
        make_world,
        plan.arms[0].store,
        config.seeds,
        config.final_episodes,
        side_by_side=side_by_side(config.environment),
        light=is_light(config.environment),
        best_possible=config.best_possible,
    )


def _all_there(group: RunGroup, plan: TrainPlan) -> bool:
    there = _finished(plan.resolved.out / group.name)
    return there is not None and not _behind(group, plan) and all(seeds_of(there, arm.name) >= plan.resolved.seeds for arm in group.arms)


def _behind(group: RunGroup, plan: TrainPlan) -> list[KeptLearners]:
    """Return the finished learners of a group that went less far than is asked for now."""
    config = plan.resolved
    kept = kept_learners(config.out / group.name, course_of(config, plan.selection))
    return [one for one in kept if one.at < config.length]


def _complete(group: RunGroup, setting: ComparisonSetting, plan: TrainPlan, reporter: Reporter) -> RunRecord:
    """Return the results of a group: those that are there, and beside them the seeds and the arms that are new."""
    config = plan.resolved
    there, order = _finished(config.out / group.name), [arm.name for arm in group.arms]
    if there is not None and group.name == CLOSED_FORM_GROUP and any(run.evaluations[-1][0] != config.updates for run in there.runs):
        there = None  # a matter of seconds, and its evaluation stands where the others' last one does
    by_name = {arm.name: arm for arm in group.arms}
    for learners in _behind(group, plan) if there is not None else ():
        own = replace(setting, config=config.model_copy(update={"seeds": learners.seeds[-1] + 1}), first_seed=learners.seeds[0])
        for part in _groups([by_name[name] for name in learners.arms], own):
            there = _train(replace(part, name=group.name), own, plan, reporter, there, order, learners.added)
    counts = {arm.name: 0 if there is None else seeds_of(there, arm.name) for arm in group.arms}
    for first in sorted({count for count in counts.values() if count < config.seeds}):
        arms = [arm for arm in group.arms if counts[arm.name] == first]
        own = replace(setting, first_seed=first)
        for part in _groups(arms, own):
            # what is added has a checkpoint and a log of its own: nothing that is there is touched before it is whole, or belongs to other arms
            added = "" if there is None else f"-{first}-{_digest(part.arms)}"
            there = _train(replace(part, name=group.name), own, plan, reporter, there, order, added)
    assert there is not None, "a group has runs"
    kept = {arm.name for arm in group.arms}
    return there.model_copy(
        update={
            "arms": tuple(arm for arm in there.arms if arm.name in kept),
            "runs": tuple(run for run in there.runs if run.arm in kept and run.seed < config.seeds),
        }
    )


def _digest(arms: Sequence[ArmSpec]) -> str:
    return hashlib.sha256("\n".join(arm.name for arm in arms).encode()).hexdigest()[:8]


def _finished(folder: Path) -> RunRecord | None:
    path = folder / RESULT_NAME
    try:
        return records.load(RunRecord, path) if path.exists() else None
    except DataError as error:
        raise DataError(str(error), hint=f"delete {path}, then run the same command again: it trains this group anew") from None


def _train(
    group: RunGroup,
    setting: ComparisonSetting,
    plan: TrainPlan,
    reporter: Reporter,
    before: RunRecord | None,
    order: Sequence[str],
    added: str,
) -> RunRecord:
    """Train runs, or go on with them, and keep them with those of the group that are there; a killed call continues.

    ``added`` ends the names of their own files: checkpoint, log, and what they know at the end.
    """
    config, seeds = plan.resolved, len(setting.seeds)
    folder = config.out / group.name
    folder.mkdir(parents=True, exist_ok=True)
    require_planned_model(config, plan.selection, plan.key)
    write_atomic(folder / KEY_NAME, plan.key.encode())
    about = {"course": course_of(config, plan.selection), "arms": [arm.name for arm in group.arms], "seeds": setting.seeds}
    saved = GroupCheckpoint(
        folder / f"checkpoint{added}.npz",
        plan.key,
        learner=folder / f"{LEARNER}{added}.npz",
        about=about,
        most=config.most_kept * 10**6,
        say=reporter.say,
    )
    runs = len(group.arms) * seeds
    names = [(arm.name, seed) for arm in group.arms for seed in setting.seeds]
    facts = {"environment": config.environment, "mode": config.mode, "algorithm": plan.algorithm}
    log = Log(
        names,
        folder / f"added{added}" if added else folder,
        tensorboard=config.tensorboard,
        wandb=config.wandb,
        trackio=config.trackio,
        facts=facts,
    )
    with closing(log), reporter.task(f"train {group.name} ({runs} runs, {config.mode})", config.length * runs, config.unit) as task:
        agent, history, stage = group.learn(saved, log, task)
    _film(group, setting, agent, stage, reporter)
    wall, cpu = saved.clock.read()
    spent = (wall, cpu / len(group.arms))
    part = RunRecord(
        environment=config.environment,
        mode=config.mode,
        selection=str(config.selection),
        random_policy_return=None,
        episodes_apart=True,
        arms=tuple(_arm(arm, number * seeds, agent, history, spent) for number, arm in enumerate(group.arms)),
        runs=tuple(_runs(group.arms, setting.seeds, agent, history)),
    )
    part = merged(before, part, order)
    require_planned_model(config, plan.selection, plan.key)
    records.save(part, folder / RESULT_NAME)
    saved.finish()
    return part


def _film(group: RunGroup, setting: ComparisonSetting, agent: Agent, stage: Stage, reporter: Reporter) -> None:
    """Save films of the first seeds of every arm that did not fail."""
    config, seeds = setting.config, setting.seeds
    runs = [run for run in range(len(group.arms) * len(seeds)) if seeds[run % len(seeds)] < config.videos and not agent.failed[run]]
    for run, pictures in zip(runs, film_runs(agent, stage, runs) if runs else (), strict=True):
        arm, seed = group.arms[run // len(seeds)], seeds[run % len(seeds)]
        reporter.say(f"film: {save_film(pictures, config.out / 'videos' / f'{arm.folder}-{seed}')}")


def _arm(arm: ArmSpec, first_run: int, agent: Agent, history: LearningHistory, spent: tuple[float, float]) -> Arm:
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
            updates=agent.updates,
            trainable_parameters=int(agent.trainable_parameters()[first_run]),
            flops=float(agent.updates * int(agent.update_flops()[first_run])),
            backbone_clips=0 if arm.layer in {PIXELS, CLIPS} else history.backbone_clips,
            wall_seconds=round(spent[0], 2),
            cpu_seconds=round(spent[1], 2),
        ),
    )


def _runs(arms: Sequence[ArmSpec], seeds: Sequence[int], agent: Agent, history: LearningHistory) -> list[Run]:
    runs = []
    for number, (arm, seed) in enumerate((arm, seed) for arm in arms for seed in seeds):
        reason = agent.reasons.get(number, "")
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
