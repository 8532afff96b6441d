"""A ``--root`` in, the folder of all stores out; and how stores are named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from layerscout.paths import expand_word

WORD = "A store's id, the beginning of one, a name, a folder or a URL"
Stores = Annotated[list[str], typer.Argument(metavar="STORE", parser=expand_word, help=f"{WORD}; several.")]
OneStore = Annotated[str, typer.Argument(metavar="STORE", parser=expand_word, help=f"{WORD}.")]


def chosen_root(root: Path | None) -> Path:
    """Return the folder of all stores, which need not exist: whoever looks for a store in it tells."""
    from layerscout.cache.root import default_root

    return (root or default_root()).resolve()


def existing_root(root: Path | None) -> Path:
    """Return the folder of all stores, and refuse one that does not exist."""
    from layerscout.cache.root import checked_root, default_root

    return checked_root(root or default_root())


def writable_root(root: Path | None, dry_run: bool, stores: Sequence[str] = ()) -> Path:
    """Return the folder of all stores, and refuse one that this user may not change.

    Where it does not exist, a store that was named is not there, which is told in the words that every command has for it.
    """
    from layerscout.cache.opening import find_folder
    from layerscout.cache.root import check_writable

    if stores and not chosen_root(root).is_dir():
        find_folder(chosen_root(root), stores[0])
    folder = existing_root(root)
    if not dry_run:
        check_writable(folder)
    return folder
