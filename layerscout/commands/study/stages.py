"""One task's settings in, its data, stores, ranking and agents out: every stage that is not finished, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from layerscout.cache.naming import named_store
from layerscout.cache.records import RunRecord
from layerscout.cache.root import STORES
from layerscout.commands.console import explain
from layerscout.commands.study.ledger import Ledger, stage_key
from layerscout.commands.study.tasks import TaskSettings
from layerscout.extract.config import ExtractConfig
from layerscout.memory import give_back
from layerscout.progress import Reporter
from layerscout.showing import counted, mean

Tell = Callable[[str], None]


@dataclass(frozen=True)
class TaskStage:
    """A stage of a task: ``there`` says whether its output lies where later stages look for it; ``work`` does it and tells what came out."""

    name: str
    config: BaseModel
    there: Callable[[], bool]
    work: Callable[[Reporter], str]


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended: with the stage that failed and why, or without."""

    task: str
    done: int  # stages that were worked on, not only found finished
    failed: str = ""
    message: str = ""
    hint: str = ""
    exit_code: int = 0


def run_task(task: TaskSettings, tell: Tell) -> TaskOutcome:
    """Do what a task lacks; an error ends the task and is returned, an interruption is raised.

    Parameters
    ----------
    tell
        Receives a line for every stage, when it ends.
    """
    worked, place = 0, "collect"
    try:
        ledger, key = Ledger.open(task.folder), ""
        save_settings(task)
        stages = stages_of(task)
        for number, stage in enumerate(stages):
            place, later = stage.name, stages[number + 1 :]
            key = stage_key(key, stage.config)
            if ledger.finished(stage.name, key) and (stage.there() or _passed_on(stage, later, ledger)):
                tell(f"{task.name}: {stage.name} is there")
                continue
            with ledger.timed(stage.name, key) as said:
                said.append(stage.work(Reporter(quiet=True, events=task.folder / "events.jsonl")))
            worked += 1
            give_back()
            spent = ledger.stages[stage.name]
            tell(f"{task.name}: {stage.name} in {spent.seconds:,.0f} s ({spent.cpu_seconds:,.0f} CPU s): {spent.result}")
            _drop_frames(task, stage, stages)
    except Exception as error:  # whatever it is, it is this task's: the others go on
        message, hint, _, code = explain(error)
        tell(f"{task.name}: {place} failed: {message}")
        return TaskOutcome(task.name, worked, place, message, hint, code)
    return TaskOutcome(task.name, worked)


def stages_of(task: TaskSettings) -> list[TaskStage]:
    """Return a task's stages in order: playing, one extraction a backbone, one ranking of all stores, agents on all its layers."""
    probe, train = task.probe, task.train
    return [
        TaskStage("collect", task.collect, task.collect.out.is_file, lambda reporter: _collect(task.collect, reporter)),
        *(_extraction(word, config) for word, config in task.extracts.items()),
        TaskStage("probe", probe, (probe.out / "selection.json").is_file, lambda reporter: _probe(probe, reporter)),
        TaskStage("train", train, (train.out / "runs.json").is_file, lambda reporter: _train(train, reporter)),
    ]


def _extraction(word: str, config: ExtractConfig) -> TaskStage:
    return TaskStage(f"extract {word}", config, lambda: _stored(config), lambda reporter: _extract(config, reporter))


def _passed_on(stage: TaskStage, later: list[TaskStage], ledger: Ledger) -> bool:
    """Say whether frames that are gone were needed no more: every store was made of them."""
    stores = [one for one in later if one.name.startswith("extract")]
    return stage.name == "collect" and all(one.name in ledger.stages and one.there() for one in stores)


def _drop_frames(task: TaskSettings, stage: TaskStage, stages: list[TaskStage]) -> None:
    last = [one.name for one in stages if one.name.startswith("extract")][-1]
    if stage.name == last and not task.keep_frames and not task.needs_frames:
        task.collect.out.unlink(missing_ok=True)


def _stored(config: Any) -> bool:
    name = named_store(config.root, config.name)
    return name is not None and (config.root / STORES / name / "manifest.json").is_file()


def _collect(config: Any, reporter: Reporter) -> str:
    from layerscout.cache.dataset.trajectories import Trajectories
    from layerscout.worlds import collect as stage

    with Trajectories(stage.run(stage.plan(config), reporter)) as data:
        return f"{counted(int(data.lengths.sum()), 'step')} of {counted(len(data), 'episode')}"


def _extract(config: Any, reporter: Reporter) -> str:
    from layerscout.extract import run as stage

    store = stage.run(stage.plan(config), reporter)
    return f"{counted(store.rows, 'row')}, {counted(len(store.specs), 'array')}"


def _probe(config: Any, reporter: Reporter) -> str:
    from layerscout.probe import run as stage

    ranking = stage.run(stage.plan(config), reporter)
    best = ranking.candidates[0]
    return f"{counted(len(ranking.candidates), 'layer')}, first {best.name}" + (f" of {best.label}" if best.label else "")


def _train(config: Any, reporter: Reporter) -> str:
    from layerscout.rl import run as stage

    return returns_in_words(stage.run(stage.plan(config), reporter))


def returns_in_words(record: RunRecord) -> str:
    """Say in a few words what agents earned: the best arm beside what a random policy earns."""
    means = {arm.name: mean([run.final for run in record.runs if run.arm == arm.name and run.final is not None]) for arm in record.arms}
    known = {name: value for name, value in means.items() if value is not None}
    best = max(known, key=lambda name: known[name], default=None)
    best_words = "every run failed" if best is None else f"best {best} {known[best]:+.2f}"
    chance = "" if record.random_policy_return is None else f", random play {record.random_policy_return:+.2f}"
    return f"{counted(len(record.arms), 'arm')}, {counted(len(record.runs), 'run')}, {best_words}{chance}"


def save_settings(task: TaskSettings) -> None:
    """Keep what every stage is run with beside its results."""
    import json

    from layerscout.cache.durable import write_atomic
    from layerscout.cache.records.sealing import seal

    said = {
        "collect": task.collect,
        **{f"extract {word}": config for word, config in task.extracts.items()},
        "probe": task.probe,
        "train": task.train,
    }
    text = json.dumps({name: json.loads(config.model_dump_json()) for name, config in said.items()}, indent=1)
    task.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(task.folder / "settings.json", seal(text.encode() + b"\n"))
