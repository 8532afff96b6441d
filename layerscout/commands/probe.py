"""Settings in, a ranking of layers out: the ``probe`` command."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from layerscout.commands.console import Call, terminal_width
from layerscout.commands.following import after_ranking, after_selection
from layerscout.commands.study import by_file
from layerscout.commands.team.asking import ask_server
from layerscout.commands.words import Sources, command
from layerscout.probe.config import ProbeConfig

if TYPE_CHECKING:
    from layerscout.cache.records import Ranking

PAGE_NAME = "probe.html"
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Have a server of `layerscout serve` do it; LAYERSCOUT_TOKEN is your token there."),
]


@command("layerscout probe STORE --twin TWIN", dry_run=True, measure=True)
def probe(config: ProbeConfig, call: Call, sources: Sources, server: Server = None) -> None:
    """Rank layers by what a linear map reads from them; no GPU.

    Writes the ranking, the selection for agents, tables, and the page probe.html. Needs no torch. With --server another machine does the work.
    """
    if server is not None:
        asked = ask_server(config, call, server)
        if asked is not None:
            following = by_file.after_ranking(sources, config.out, config.root)
            _tell(config, call, asked.ranking, following or after_selection(config.out, asked.environment, config.root))
        return
    from layerscout.probe import run as stage

    if call.dry_run:
        with TemporaryDirectory() if "://" in f"{config.store}{config.others}{config.twin}" else nullcontext() as scratch:
            call.emit(stage.plan(config, None if scratch is None else Path(scratch)).describe(call.measure))
        return
    planned = stage.plan(config)
    if config.shard is not None:
        call.emit(stage.run_shard(planned, call.reporter()))
    else:
        ranking = stage.run(planned, call.reporter())
        following = by_file.after_ranking(sources, config.out, config.root)
        _tell(config, call, ranking, following or after_ranking(config.out, planned.store, config.root))


def _tell(config: ProbeConfig, call: Call, ranking: Ranking, following: str) -> None:
    """Print a ranking, where its page is, and what comes next."""
    from layerscout.probe.page import tables as ranking_tables

    text = ranking_tables.as_text(ranking, terminal_width())
    after = {"page": str(config.out / PAGE_NAME), "next": following}
    call.emit(ranking.model_dump() | after, f"{text}\npage: {after['page']}\nnext: {after['next']}")
