"""A store in, what other programs show of it out: ``store export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from layerscout.commands.console import Call
from layerscout.commands.stores.roots import OneStore
from layerscout.commands.words import USER_PATH, Root, command
from layerscout.errors import UsageError, shell

Layers = Annotated[list[str] | None, typer.Option("--layer", metavar="NAME", help="This layer (repeat); left out: the last one.")]
Rows = Annotated[int | None, typer.Option("--rows", min=1, metavar="N", help="Rows at most. [default: 5000 points, 3000 steps]")]


@command("layerscout store export STORE --projector points --layer blocks.3", dry_run=True)
def export(
    call: Call,
    store: OneStore,
    projector: Annotated[Path | None, typer.Option("--projector", **USER_PATH, help="Folder for TensorBoard's projector.")] = None,
    rerun: Annotated[Path | None, typer.Option("--rerun", **USER_PATH, help="File (.rrd) for the Rerun viewer.")] = None,
    layer: Layers = None,
    rows: Rows = None,
    root: Root = None,
) -> None:
    """Write what other programs show of a store.

    For TensorBoard's projector: rows as points. For Rerun: frames beside rewards, the reward that the layer foretells, and its first components.
    """
    from layerscout.cache.opening import open_store
    from layerscout.probe.export.projector import MOST_POINTS, export_projector
    from layerscout.probe.export.scrubbing import MOST_ROWS, export_recording

    if projector is None and rerun is None:
        raise UsageError("what should be written?", hint="--projector FOLDER, --rerun FILE.rrd, or both")
    opened = open_store(root, store)
    names = layer or [name for name, spec in opened.specs.items() if spec.role == "layer"][-1:]
    if rerun is not None and len(names) > 1:
        raise UsageError("a recording shows one layer", hint="give one --layer with --rerun")
    facts: dict[str, Any] = {"store": opened.id, "layers": names}
    if projector is not None:
        facts |= {"projector": str(projector), "points": min(opened.rows, rows or MOST_POINTS)}
    if rerun is not None:
        facts["recording"] = str(rerun)
    if not call.dry_run:
        if projector is not None:
            export_projector(opened, names, projector, rows or MOST_POINTS)
            facts["open_with"] = f"tensorboard --logdir {shell(projector).removeprefix('layerscout ')}"
        if rerun is not None:
            facts |= export_recording(opened, names[0], rerun, rows or MOST_ROWS)
            facts["open_with"] = f"rerun {shell(rerun).removeprefix('layerscout ')}"
    call.emit(facts)
