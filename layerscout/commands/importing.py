"""Somebody else's dataset in, a trajectory file out: the ``import`` command."""

from __future__ import annotations

from layerscout.cache.importers.config import ImportConfig
from layerscout.commands.console import Call
from layerscout.commands.words import command


@command("layerscout import path/to/dataset --out outputs/data.h5", dry_run=True, section="import")
def import_dataset(config: ImportConfig, call: Call) -> None:
    """Make a trajectory file of a dataset that others recorded."""
    from layerscout.cache.importers import run as stage

    planned = stage.plan(config)
    call.emit(planned.describe() if call.dry_run else stage.run(planned, call.reporter()))
