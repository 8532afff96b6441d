"""Settings in, a ranking of layers out: the ``probe`` command."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from layerscout.commands.console import Call
from layerscout.commands.words import command
from layerscout.errors import LayerscoutError, shell
from layerscout.probe.config import ProbeConfig

if TYPE_CHECKING:
    from layerscout.cache.store import Store

PAGE_NAME, SELECTION_NAME = "probe.html", "selection.json"


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
        text = ranking_tables.as_text(ranking)
        call.emit(ranking.model_dump(), f"{text}\npage: {config.out / PAGE_NAME}\nnext: {_next(config, planned.store)}")


def _next(config: ProbeConfig, store: Store) -> str:
    """Return the command that trains agents on the selection, with every place that is not the default one."""
    from layerscout.cache.provenance import played_attributes

    environment = "ENVIRONMENT"
    with suppress(LayerscoutError):  # somebody else's store may tell nonsense, and an imported dataset names no environment
        environment = played_attributes(store).get("environment") or environment
    places = () if config.root is None else ("--root", config.root)
    out = () if config.out == ProbeConfig.model_fields["out"].default else ("--out", config.out.parent / "train")
    return shell("train", environment, "--selection", config.out / SELECTION_NAME, *out, *places)
