"""A ``--root`` in, the folder of all stores out; and how stores are named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscout.paths import expand_word

Stores = Annotated[
    list[str], typer.Argument(metavar="STORE", parser=expand_word, help="A store's id, the beginning of one, a name or a folder; several.")
]
OneStore = Annotated[
    str, typer.Argument(metavar="STORE", parser=expand_word, help="A store's id, the beginning of one, a name or a folder.")
]


def existing_root(root: Path | None, needed: bool = True) -> Path:
    """Return the folder of all stores; when it is not needed (a store is given as a folder), it need not exist."""
    from layerscout.cache.root import checked_root, default_root

    chosen = root or default_root()
    return checked_root(chosen) if needed or chosen.is_dir() else chosen


def writable_root(root: Path | None, dry_run: bool) -> Path:
    """Return the folder of all stores, and refuse one that this user may not change."""
    from layerscout.cache.root import check_writable

    folder = existing_root(root)
    if not dry_run:
        check_writable(folder)
    return folder
