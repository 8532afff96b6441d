"""Words in, one call, words out: the ``layerscout import`` command. Nothing heavy is imported at start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from layerscout.commands.console import AsJson, Debug, DryRun, Quiet, emit, guarded
from layerscout.errors import UsageError
from layerscout.progress import Reporter

SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")


@guarded
def import_dataset(
    source: Annotated[Path, typer.Argument(help="The file or folder of the dataset.")],
    form: Annotated[str | None, typer.Option("--format", help="minari, robomimic, d4rl, lerobot or video (default: found out).")] = None,
    out: Annotated[Path, typer.Option("--out", help="The HDF5 file.")] = Path("outputs/data.h5"),
    camera: Annotated[str | None, typer.Option(help="Which images, when there are several.")] = None,
    size: Annotated[str | None, typer.Option(help="Side of the square frame, or HEIGHTxWIDTH, in pixels (default: as it is).")] = None,
    episodes: Annotated[int | None, typer.Option(help="Take so many from the beginning.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option("--leave-out", help="A numeric field that is not wanted (repeat).")] = None,
    fps: Annotated[float | None, typer.Option(help="Of videos: take so many frames a second.")] = None,
    stride: Annotated[int, typer.Option(help="Of videos: take every so many-th frame.")] = 1,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a trajectory file of a dataset that others recorded."""
    from layerscout.cache.importers import run as stage
    from layerscout.cache.importers.base import Options

    options = Options(camera, _size(size), tuple(sorted(set(leave_out or ()))), fps, stride)
    planned = stage.plan(source, out, options, form, episodes)
    emit(planned.describe() if dry_run else stage.run(planned, Reporter(quiet)), as_json)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = SIZE.fullmatch(text)
    if not match or not all(int(side) for side in match.groups() if side):
        raise UsageError(f"--size is '{text}', expected a number of pixels or HEIGHTxWIDTH", hint="for example --size 64 or --size 96x128")
    return int(match[1]), int(match[2] or match[1])
