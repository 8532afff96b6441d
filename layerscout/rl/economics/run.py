"""A WorkPlan in; arms of agents that earn a wage, their logs and one record out. Finished arms are not worked again, a broken one goes on."""

from __future__ import annotations

from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.records.making import save_command
from layerscout.cache.records.work import WORK_NAME, WorkArm, WorkRecord
from layerscout.extract.device import torch_threads
from layerscout.progress import SILENT, Reporter
from layerscout.rl.config import KEY_NAME
from layerscout.rl.differences import SETTINGS_NAME
from layerscout.rl.economics import closed_forms
from layerscout.rl.economics.episode_log import EpisodeLog
from layerscout.rl.economics.plan import ARM_NAME, TRADES, LabourArm, WorkPlan, plan
from layerscout.rl.economics.worked import Work
from layerscout.rl.economics.working import Workplace
from layerscout.rl.loops.learning import GroupCheckpoint

__all__ = ["WorkPlan", "plan", "run"]

CHECKPOINT_NAME = "checkpoint.npz"


def run(planned: WorkPlan, reporter: Reporter = SILENT) -> WorkRecord:
    """Work the hours of every arm that is not finished, and write ``work.json``; the same command continues after a kill.

    Raises
    ------
    DataError
        An arm's checkpoint is damaged or of other settings.
    """
    config = planned.config
    assert config.work is not None, "planned with work"
    finished = [planned.finished(arm) for arm in planned.arms]  # results of other settings are refused before these are written
    config.out.mkdir(parents=True, exist_ok=True)
    records.save_settings(config, config.out / SETTINGS_NAME)
    save_command("train", config, config.out)
    done = []
    with torch_threads(1):
        for arm, there in zip(planned.arms, finished, strict=True):
            if there is not None:
                reporter.say(f"{arm.name}: already there")
            done.append(there or _work(planned, arm, reporter))
    first, trade = planned.arms[0], TRADES[config.environment]
    limit = first.config.last_target
    kept, profitable = closed_forms.counts(trade, first.prices, limit)
    record = WorkRecord(
        environment=config.environment,
        seeds=planned.seeds,
        limit=limit,
        feasible=kept,
        profitable=profitable,
        needed=closed_forms.needed_product(first.prices),
        frontier=closed_forms.frontier(trade, first.prices, limit),
        elasticity=closed_forms.elasticity(trade, first.prices, first.limit),
        arms=tuple(done),
    )
    records.save(record, config.out / WORK_NAME)
    return record


def _work(planned: WorkPlan, arm: LabourArm, reporter: Reporter) -> WorkArm:
    config, seeds = planned.config, planned.seeds
    folder = config.out / arm.folder
    folder.mkdir(parents=True, exist_ok=True)
    saved = GroupCheckpoint(folder / CHECKPOINT_NAME, planned.key(arm))
    place = Workplace(arm.config, seeds, root=config.root, trust=config.trust)
    done, last = Work(place.agent), 0
    if (state := saved.load()) is not None:
        place.load_state_dict(state["place"])
        done.load_state_dict(state["done"])
        last = place.steps
    with EpisodeLog(folder) as log, reporter.task(f"work {arm.name} ({len(seeds)} runs)", arm.config.episodes, "hours") as task:
        for row in (row for rows in done.rows for row in rows):
            log.add(row)
        task.resume(len(done.rows))
        for hour in place.hours():
            done.take(hour)
            for row in hour.rows:
                log.add(row)
            if place.steps - last >= config.checkpoint_updates and saved.affordable and len(done.rows) < arm.config.episodes:
                saved.save({"place": place.state_dict(), "done": done.state_dict()})
                last = place.steps
            task.advance(1)
    reasons = {seeds[run]: reason for run, reason in sorted(place.agent.reasons.items())}
    for seed, reason in reasons.items():
        reporter.say(f"{arm.name}: seed {seed} stopped learning: {reason}")
    found = WorkArm(
        name=arm.name,
        settings=arm.settings,
        environment=arm.config.environment,
        prices={name: getattr(arm.prices, name) for name in ("price", "damage", "energy", "human_wage")},
        limit=arm.limit,
        swept=arm.swept,
        best=arm.best,
        hours=arm.config.episodes,
        updates=place.agent.updates,
        clips=place.steps * len(seeds) if place.encoding.sees else 0,
        trainable_parameters=place.trainable_parameters(),
        cpu_seconds=round(saved.clock.read()[1], 2),
        judgements=tuple(judgement.record() for judgement in done.judgements),
        blocks=done.blocks,
        curves=done.curves(),
        foretold=done.correlations("predicted_gain", "gain"),
        novel=done.correlations("novelty", "gain"),
        reasons=reasons,
    )
    write_atomic(folder / KEY_NAME, planned.key(arm).encode())
    records.save(found, folder / ARM_NAME)
    saved.finish()
    return found
