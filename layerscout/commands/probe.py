"""Settings in, a ranking of layers out: the ``probe`` command."""

from __future__ import annotations

from layerscout.commands.console import Call
from layerscout.commands.words import command
from layerscout.probe.config import ProbeConfig


@command("layerscout probe STORE --twin TWIN", dry_run=True, measure=True)
def probe(config: ProbeConfig, call: Call) -> None:
    """Rank layers by what a linear map reads from them; no GPU.

    Writes the ranking, the selection for agents, tables, and the page probe.html. Needs no torch.
    """
    from layerscout.probe import run as stage
    from layerscout.probe.page import tables as ranking_tables

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe(call.measure))
    elif config.shard is not None:
        call.emit(stage.run_shard(planned, call.reporter()))
    else:
        ranking = stage.run(planned, call.reporter())
        call.emit(ranking.model_dump(), ranking_tables.as_text(ranking))
