"""The folder of all stores in, its parts out: which folders it has, which of their subfolders belong to stores, and their bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from layerscout.cache.identity import STORE_ID
from layerscout.errors import DataError, UsageError
from layerscout.paths import expand

STORES, MIRRORS, STAGING, NAMES = "stores", "mirrors", "staging", "refs"
ORIGIN_NAME = "origin.json"  # marks a mirror, see cache.remote.mirror
SERVICE = "service"  # what a team's server keeps: jobs, answers, notes, and evidence for whoever asks the same again
PARTIALS = "partials"  # the probe's sums over a store's rows, kept to spare a second pass


def default_root() -> Path:
    """Return the folder of all stores: LAYERSCOUT_ROOT, or ``layerscout`` in the user's cache folder.

    Raises
    ------
    UsageError
        Neither is known, because this user has no home folder; or LAYERSCOUT_ROOT is an address.
    """
    if chosen := os.environ.get("LAYERSCOUT_ROOT"):
        return expand(chosen)
    try:
        caches = os.environ.get("XDG_CACHE_HOME")
        # the XDG rules: a relative path there is invalid and must be ignored
        return (Path(caches) if caches and Path(caches).is_absolute() else Path.home() / ".cache") / "layerscout"
    except RuntimeError:  # what pathlib raises where HOME is not set and the user is not in the system's list
        message = "there is no folder for stores: this user has no home folder (HOME is not set)"
        raise UsageError(message, hint="name one: --root FOLDER or LAYERSCOUT_ROOT=/absolute/folder") from None


def root_words(root: Path | None) -> tuple[str | Path, ...]:
    """Return the words that name a root to another command: none for the one that every command takes."""
    if root is None:
        return ()
    try:
        return () if expand(root).resolve() == default_root().resolve() else ("--root", root)
    except UsageError:  # there is none that every command takes
        return ("--root", root)


def checked_root(root: Path | str) -> Path:
    """Return the folder of all stores as an absolute path.

    Raises
    ------
    DataError
        It does not exist, or is not a folder.
    """
    path = expand(root).resolve()
    hint = "layerscout extract makes it; another folder: --root FOLDER or LAYERSCOUT_ROOT"
    if not path.exists():
        raise DataError(f"there are no stores yet: the folder {path} does not exist", hint=hint)
    if not path.is_dir():
        raise DataError(f"{path} is a file, expected the folder of all stores", hint=hint)
    return path


def check_writable(root: Path) -> None:
    """Raise DataError when this user may not change what lies in a root."""
    for folder in (root, root / STORES):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise DataError(f"you may not write in {folder}", hint="ask its owner, or use a root of your own: --root FOLDER")


def store_folders(folder: Path) -> Iterator[Path]:
    """Yield the subfolders that are named like stores, in order."""
    if folder.is_dir():
        for name in sorted(os.listdir(folder)):
            if STORE_ID.fullmatch(name) and (folder / name).is_dir():
                yield folder / name


def tree_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links are not followed, and what vanishes meanwhile counts nothing."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        with os.scandir(path) as inside:
            return sum(tree_bytes(Path(item.path)) if item.is_dir(follow_symlinks=False) else _size(item) for item in inside)
    except OSError:
        return 0


def _size(item: os.DirEntry[str]) -> int:
    try:
        return item.stat(follow_symlinks=False).st_size
    except OSError:
        return 0
