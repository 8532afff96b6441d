"""One path under a root in, nothing left of it out: renamed away in one step, then deleted, so that no reader meets half a store."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from layerscout.errors import DataError

TRASH = "trash"
DISCARDED = re.compile(r".+\.[0-9a-f]{32}")  # what this module put there; a file of anybody else's is left alone


def discard_to_trash(root: Path, path: Path) -> bool:
    """Delete a file or folder under a root; return False when it was gone already.

    The rename into ``root/trash`` is the deletion that others see. What a killed deletion leaves there is found by ``leftovers``.

    Raises
    ------
    DataError
        The path is not under the root, is or passes through a symbolic link, or could not be emptied.
    """
    check_inside(root, path)
    aside = root / TRASH / f"{path.name[:60]}.{uuid.uuid4().hex}"
    check_inside(root, aside)
    aside.parent.mkdir(exist_ok=True)
    try:
        path.rename(aside)  # also what lies in the trash already: of two processes that delete it, one gets it
    except FileNotFoundError:
        return False
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)
    if os.path.lexists(aside):
        raise DataError(f"{aside} could not be deleted wholly", hint="see who may write there, then: layerscout store prune")
    return True


def check_inside(root: Path, path: Path) -> None:
    """Raise DataError unless the path lies under the root and no part of it below the root is a symbolic link."""
    if ".." in path.parts or root not in path.parents:
        raise DataError(f"{path} is not under {root}; nothing was deleted", hint="give the right --root")
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise DataError(
                f"{part} is a symbolic link, so what it leads to may be elsewhere", hint="delete the link and its target by hand"
            )


def trash_leftovers(root: Path) -> Iterator[Path]:
    """Yield what killed deletions left in the trash."""
    folder = root / TRASH
    if folder.is_dir() and not folder.is_symlink():
        for name in sorted(os.listdir(folder)):
            if DISCARDED.fullmatch(name):
                yield folder / name
