"""Somebody else's dataset in, a trajectory file out: the ``import`` command."""

from __future__ import annotations

from layerscout.cache.importers.config import ImportConfig
from layerscout.commands.console import Call
from layerscout.commands.study.by_file import after_data
from layerscout.commands.words import Sources, command


@command("layerscout import path/to/dataset --out outputs/data.h5", dry_run=True, section="import")
def import_dataset(config: ImportConfig, call: Call, sources: Sources) -> None:
    """Make a trajectory file of a dataset that others recorded."""
    from layerscout.cache.importers import run as stage

    planned = stage.plan(config)
    if call.dry_run:
        call.emit(planned.describe())
        return
    result = stage.run(planned, call.reporter())
    call.emit(result | {"next": after_data(sources, config.out) or result["next"]})
