"""One folder's name in, the whole job out: the ``demo`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscout.commands.console import Call
from layerscout.commands.words import USER_PATH, Sources, command

Out = Annotated[Path, typer.Option("--out", **USER_PATH, help="The folder that receives everything, stores included.")]


@command("layerscout demo --preset quick --out first-look", dry_run=True)
def demo(sources: Sources, call: Call, out: Out = Path("outputs")) -> None:
    """The whole job on real pixels: collect to report, in minutes.

    It extracts with the trained model and with its untrained twin, and ends with a verdict on the best layer.
    """
    from layerscout.commands import demo_stages as stages

    settings = stages.settings_for(out, file=sources.file, preset=sources.preset, assignments=sources.assignments)
    if call.dry_run:
        call.emit(stages.describe(settings))
        return
    result = stages.run(settings, call.reporter(events=out / "events.jsonl"))
    call.emit(result.data, result.text)
