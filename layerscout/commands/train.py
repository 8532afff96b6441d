"""Settings in, agents' returns out: the ``train`` command."""

from __future__ import annotations

from typing import Any

from layerscout.commands.console import Call, table
from layerscout.commands.following import after_agents
from layerscout.commands.words import command
from layerscout.errors import shell
from layerscout.rl.config import TrainConfig


@command("layerscout train layerscout/Intercept-v0 --selection outputs/probe/selection.json --seeds 10", dry_run=True, measure=True)
def train(config: TrainConfig, call: Call) -> None:
    """Train agents on selected layers and controls, under one budget.

    With a table [train.work], agents earn a wage in a labour world instead; those need no selection.
    The settings of the learners are tables: --set dqn.lr=0.001, --set sac.batch=64, --set iql.expectile=0.9, --set ppo.environments=8.
    Agents that plan towards a picture need no selection: --algorithm pvdr --mode online --set pvdr.model=outputs/pvdr.
    """
    if config.work is not None:
        work(config, call)
        return
    from layerscout.report import tables
    from layerscout.rl import run as learning
    from layerscout.rl.transfer.pvdr import stage as planning

    stage: Any = planning if config.algorithm == "pvdr" else learning
    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe(call.measure))
        return
    record = stage.run(planned, call.reporter(events=config.out / "events.jsonl"))
    columns = tables.paper_columns(record.mode)
    text = table(columns, tables.summary_cells(record), last=(*reversed(tables.SPENT), columns[3], "Score", "Failed"))
    after = shell("report", config.out) if config.algorithm == "pvdr" else after_agents(config.out, config.selection)
    call.emit(record.model_dump() | {"next": after}, f"{text}\nnext: {after}")


def work(config: TrainConfig, call: Call) -> None:
    """Train agents that earn a wage, and show what each arm was expected to earn in the end."""
    from layerscout.rl.economics import run as stage

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe(call.measure))
        return
    record = stage.run(planned, call.reporter(events=config.out / "events.jsonl"))
    rows = [
        (
            arm.name,
            f"{sum(arm.last.profit) / len(arm.last.profit):.2f}",
            f"{min(arm.last.profit):.2f}",
            f"{arm.best.profit:.2f}",
            f"{100 * sum(arm.last.error) / len(arm.last.error):.2f}",
        )
        for arm in record.arms
    ]
    text = table(("Arm", "$/h", "worst seed", "best possible", "error %"), rows)
    after = shell("report", config.out)
    call.emit(record.model_dump(exclude={"frontier", "elasticity"}) | {"next": after}, f"{text}\nnext: {after}")
