"""One folder's name in, the whole job out: the ``demo`` command; its stages are imported when its settings are right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscout.cache.records.making import save_words
from layerscout.commands.console import Call
from layerscout.commands.demo_settings import settings_for
from layerscout.commands.words import USER_PATH, Sources, command

Out = Annotated[Path, typer.Option("--out", **USER_PATH, help="The folder that receives everything, stores included.")]


@command("layerscout demo --preset quick --out first-look", dry_run=True)
def demo(sources: Sources, call: Call, out: Out = Path("outputs")) -> None:
    """The whole job on real pixels: collect to report, in minutes.

    It extracts with the trained model and with its untrained twin, and ends with a verdict on the best layer.
    """
    chosen = settings_for(out, file=sources.file, preset=sources.preset, assignments=sources.assignments)
    from layerscout.commands import demo_stages as stages

    if call.dry_run:
        call.emit(stages.describe(chosen))
        return
    save_words(out, "demo", "--out", out, *sources.as_words())
    result = stages.run(chosen, call.reporter(events=out / "events.jsonl"))
    call.emit(result.data, result.text)
