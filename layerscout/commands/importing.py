"""Somebody else's dataset in, a trajectory file out: the ``import`` command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from layerscout.commands.console import Call
from layerscout.commands.words import USER_PATH, command
from layerscout.errors import UsageError
from layerscout.paths import expand

SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")


@command("layerscout import path/to/dataset --out outputs/data.h5", dry_run=True)
def import_dataset(
    call: Call,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", parser=expand, help="The file or folder of the dataset.")],
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="minari, robomimic, d4rl, lerobot or video (default: found out).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", **USER_PATH, help="The HDF5 file.")] = Path("outputs/data.h5"),
    camera: Annotated[str | None, typer.Option(metavar="NAME", help="Which images, when there are several.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Side of the square frame, or HEIGHTxWIDTH, in pixels (default: as it is).")
    ] = None,
    episodes: Annotated[int | None, typer.Option(metavar="N", help="Take so many from the beginning.")] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out", metavar="NAME", help="A numeric field that is not wanted (repeat).")
    ] = None,
    fps: Annotated[float | None, typer.Option(metavar="R", help="Of videos: take so many frames a second.")] = None,
    stride: Annotated[int, typer.Option(metavar="N", help="Of videos: take every so many-th frame.")] = 1,
) -> None:
    """Make a trajectory file of a dataset that others recorded."""
    from layerscout.cache.importers import run as stage
    from layerscout.cache.importers.base import Options

    options = Options(camera, _size(size), tuple(sorted(set(leave_out or ()))), fps, stride)
    planned = stage.plan(source, out, options, form, episodes)
    call.emit(planned.describe() if call.dry_run else stage.run(planned, call.reporter()))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = SIZE.fullmatch(text)
    if not match or not all(int(side) for side in match.groups() if side):
        raise UsageError(f"--size is '{text}', expected a number of pixels or HEIGHTxWIDTH", hint="for example --size 64 or --size 96x128")
    return int(match[1]), int(match[2] or match[1])
