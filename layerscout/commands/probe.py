"""Settings in, a ranking of layers out: the ``probe`` command."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from layerscout.commands.console import Call, terminal_width
from layerscout.commands.following import after_ranking
from layerscout.commands.words import command
from layerscout.probe.config import ProbeConfig

PAGE_NAME = "probe.html"


@command("layerscout probe STORE --twin TWIN", dry_run=True, measure=True)
def probe(config: ProbeConfig, call: Call) -> None:
    """Rank layers by what a linear map reads from them; no GPU.

    Writes the ranking, the selection for agents, tables, and the page probe.html. Needs no torch.
    """
    from layerscout.probe import run as stage
    from layerscout.probe.page import tables as ranking_tables

    if call.dry_run:
        with TemporaryDirectory() if "://" in f"{config.store}{config.others}{config.twin}" else nullcontext() as scratch:
            call.emit(stage.plan(config, None if scratch is None else Path(scratch)).describe(call.measure))
        return
    planned = stage.plan(config)
    if config.shard is not None:
        call.emit(stage.run_shard(planned, call.reporter()))
    else:
        ranking = stage.run(planned, call.reporter())
        text = ranking_tables.as_text(ranking, max(60, min(120, terminal_width() or 120)))
        after = {"page": str(config.out / PAGE_NAME), "next": after_ranking(config.out, planned.store, config.root)}
        call.emit(ranking.model_dump() | after, f"{text}\npage: {after['page']}\nnext: {after['next']}")
