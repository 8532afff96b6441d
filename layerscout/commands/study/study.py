"""A study's file in, every task from data to agents and the pages over all of them out: the ``study`` command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerscout.cache.records.making import save_words
from layerscout.commands.console import Call, table
from layerscout.commands.words import USER_PATH, Sources, command
from layerscout.errors import LayerscoutError, UsageError
from layerscout.paths import expand

if TYPE_CHECKING:
    from layerscout.commands.study.stages import TaskOutcome
    from layerscout.commands.study.tasks import StudyFile, TaskSettings
    from layerscout.progress import Reporter

File = Annotated[Path | None, typer.Argument(metavar="FILE", parser=expand, help="TOML file with a table [tasks.NAME.STAGE] a task.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="TASK", help="Only this task of the file. [repeat]")]
Out = Annotated[Path | None, typer.Option("--out", **USER_PATH, help="The folder that receives everything, stores included.")]
Processes = Annotated[int | None, typer.Option("--processes", metavar="N", min=1, help="Tasks at work at the same time. [default: 1]")]


class TasksFailed(LayerscoutError):
    """Some tasks of a study failed; the others are done. Its exit code is that of the first one."""

    kind = "tasks"

    def __init__(self, failed: list[TaskOutcome], of: int) -> None:
        named = "; ".join(f"{one.task}: {one.failed}: {one.message}" for one in failed)
        super().__init__(f"{len(failed)} of {of} tasks failed: {named}", hint=failed[0].hint or "run the same command again")
        self.exit_code = failed[0].exit_code


@command("layerscout study experiments/registered/2026-layers.toml --dry-run", dry_run=True, measure=True)
def study(sources: Sources, call: Call, file: File = None, only: Only = None, out: Out = None, processes: Processes = None) -> None:
    """Run many tasks from one file: data to agents, then a study.

    Every task is collected, extracted with every backbone, probed in one ranking and trained on all layers. The same command continues, and passes over
    what is finished; a task that fails does not stop the others.
    """
    from layerscout.commands.study.tasks import chosen_tasks, read_study

    path = file or sources.file
    if path is None:
        raise UsageError("no study to run", hint="give its TOML file: layerscout study FILE")
    flags = {"out": out, "processes": processes}
    found = read_study(path, preset=sources.preset, assignments=sources.assignments, flags=flags)
    tasks = chosen_tasks(found, only or ())
    if call.dry_run:
        from layerscout.commands.study.costs import costs_table, expected_costs

        costs = expected_costs(found, tasks, measure=call.measure)
        call.emit(costs, costs_table(costs))
        return
    save_words(found.out, "study", path, *flags_of(out, processes), *replace(sources, file=None).as_words())  # all tasks: --only is for now
    outcomes = _run(found, tasks, call.reporter(found.out / "events.jsonl"))
    failed = [one for one in outcomes if one.failed]
    page = _report(found) if found.config.report == "study" else None
    facts = _facts(found, tasks, outcomes, page)
    call.emit(facts, _as_text(facts))
    if failed:
        raise TasksFailed(failed, len(tasks))


def flags_of(out: Path | None, processes: int | None) -> list[object]:
    """Return the flags of a study as they were given."""
    return [word for flag, value in (("--out", out), ("--processes", processes)) if value is not None for word in (flag, value)]


def _run(found: StudyFile, tasks: tuple[TaskSettings, ...], reporter: Reporter) -> list[TaskOutcome]:
    from layerscout.commands.study.processes import run_tasks
    from layerscout.commands.study.stages import save_settings

    if found.registered:
        from layerscout.report.study.registration import Registration

        registration = Registration.read(found.path)
        for task in tasks:
            registration.stamp(task.folder, task.name)
    for task in tasks:
        save_settings(task)
    stages = sum(3 + len(task.extracts) for task in tasks)
    with reporter.task("study", stages, "stages") as progress:

        def tell(line: str) -> None:
            reporter.say(line)
            progress.advance(1)

        outcomes = list(run_tasks(tasks, min(found.config.processes, len(tasks)), tell))
    order = [task.name for task in tasks]
    return sorted(outcomes, key=lambda one: order.index(one.task))


def _report(found: StudyFile) -> Path | None:
    """Write the pages over all tasks that have agents, asked for now or earlier; None where there is none."""
    from layerscout.report import plan as stage

    folders = [task.folder for task in found.tasks if (task.train.out / "runs.json").is_file()]
    return stage.run(stage.plan(folders, found.out / "study")) if folders else None


def _facts(found: StudyFile, tasks: tuple[TaskSettings, ...], outcomes: list[TaskOutcome], page: Path | None) -> dict[str, Any]:
    from layerscout.commands.study.ledger import Ledger

    rows: list[dict[str, Any]] = []
    for task, outcome in zip(tasks, outcomes, strict=True):
        stages = Ledger.open(task.folder).stages if not outcome.failed else {}
        rows.append(
            {
                "task": task.name,
                "state": "failed" if outcome.failed else "done",
                "stages_done": outcome.done,
                "seconds": round(sum(one.seconds for one in stages.values()), 1),
                "cpu_seconds": round(sum(one.cpu_seconds for one in stages.values()), 1),
                "stages": {
                    name: {"seconds": one.seconds, "cpu_seconds": one.cpu_seconds, "result": one.result} for name, one in stages.items()
                },
                **({"stage": outcome.failed, "error": outcome.message, "hint": outcome.hint} if outcome.failed else {}),
            }
        )
    whole = {name: round(sum(row[name] for row in rows), 1) for name in ("seconds", "cpu_seconds")}
    return {"out": str(found.out), "tasks": rows, **whole, "page": None if page is None else str(page)}


def _as_text(facts: dict[str, Any]) -> str:
    rows = [
        (
            row["task"],
            row["state"],
            f"{row['seconds']:,.0f}",
            f"{row['cpu_seconds']:,.0f}",
            row.get("error") or row["stages"].get("train", {}).get("result", ""),
        )
        for row in facts["tasks"]
    ]
    page = f"\npage: {facts['page']}" if facts["page"] else ""
    return f"{table(('task', 'state', 'seconds', 'CPU seconds', 'agents'), rows)}{page}"
