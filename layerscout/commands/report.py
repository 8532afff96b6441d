"""Folders of results in, pages out: the ``report`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscout.commands.console import Call
from layerscout.commands.words import USER_PATH, command
from layerscout.errors import shell
from layerscout.paths import expand

Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FOLDER", parser=expand, help="Results of probe and train (default: outputs); several are tasks of a study."),
]
Registered = Annotated[
    Path | None,
    typer.Option("--registration", **USER_PATH, help="File in which the study was fixed before it was run. [default: the runner's]"),
]
Out = Annotated[Path | None, typer.Option("--out", **USER_PATH, help="Where a study goes (several folders: outputs/study).")]


@command("layerscout report outputs", dry_run=True)
def report(call: Call, folder: Folders = None, out: Out = None, registration: Registered = None) -> None:
    """Write the pages of a run, or a study of several tasks.

    Of one folder: report.html, which needs nothing else, and paper.md; of one that transfer wrote: transfer.html and transfer.md. Of several: does the score foretell the
    return? Of agents that plan towards a picture, several stand side by side.
    """
    from layerscout.report import plan as stage

    planned = stage.plan(folder or [Path("outputs")], out, registration)
    if call.dry_run:
        call.emit(planned.describe())
        return
    page = stage.run(planned)
    beside: dict[str, str] = {}
    if isinstance(planned, stage.LabourReport | stage.GoalReport):
        beside = {"table": str(planned.table)}
    elif planned.transfer:
        beside = {"table": str(page.with_name("transfer.md")), "csv": str(page.with_name("transfer.csv"))}
    elif planned.study:
        beside = {name: str(page.with_name(f"study.{name}")) for name in ("json", "csv", "md")}
    else:
        beside = {"paper": str(page.with_name("paper.md"))}
    call.emit({"page": str(page), **beside, "next": shell("status", page.parent)})
