"""Settings in, agents' returns out: the ``train`` command."""

from __future__ import annotations

from layerscout.commands.console import Call, table
from layerscout.commands.following import after_agents
from layerscout.commands.words import command
from layerscout.rl.config import TrainConfig


@command("layerscout train layerscout/Intercept-v0 --selection outputs/probe/selection.json --seeds 10", dry_run=True, measure=True)
def train(config: TrainConfig, call: Call) -> None:
    """Train agents on selected layers and controls, under one budget.

    The settings of the learners are tables: --set dqn.lr=0.001, --set sac.batch=64, --set iql.expectile=0.9, --set ppo.environments=8.
    """
    from layerscout.report import tables
    from layerscout.rl import run as stage

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe(call.measure))
        return
    record = stage.run(planned, call.reporter(events=config.out / "events.jsonl"))
    columns = tables.paper_columns(record.mode)
    text = table(columns, tables.summary_cells(record), last=(*reversed(tables.SPENT), columns[3], "Score", "Failed"))
    after = after_agents(config.out, config.selection)
    call.emit(record.model_dump() | {"next": after}, f"{text}\nnext: {after}")
