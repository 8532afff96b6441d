"""Folders and URLs of stores in; which of them take jobs, and safe paths inside them, out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from layerscout.cache.remote.address import check_address
from layerscout.cache.root import SERVICE, STORES, checked_root, default_root
from layerscout.errors import DataError


@dataclass(frozen=True)
class ServedRoot:
    """A place of stores. ``why`` says why it takes no jobs; it is empty where it does."""

    place: str
    folder: Path | None
    why: str = ""


def served_roots(words: tuple[str, ...]) -> tuple[ServedRoot, ...]:
    """Return the places to serve, in their order.

    Raises
    ------
    DataError
        A folder does not exist.
    UsageError
        A URL holds more than a place.
    """
    return tuple(_served(word) for word in (words or (str(default_root()),)))


def _served(word: str) -> ServedRoot:
    if "://" in word:
        check_address(word)
        return ServedRoot(word, None, "it is elsewhere: only manifests are read; layerscout store pull brings a store here")
    folder = checked_root(word)
    shut = next((each for each in (folder, folder / STORES, folder / SERVICE) if each.exists() and not writable(each)), None)
    return ServedRoot(str(folder), folder, f"this server may not write in {shut.name or shut}" if shut else "")


def writable(folder: Path) -> bool:
    """Tell whether this process may make files in a folder: permissions, and a file system that is not read-only."""
    return os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY


def inside(root: Path, path: Path) -> Path:
    """Return a path with every link followed, if it is still in the root.

    Raises
    ------
    DataError
        A symbolic link leads out of the root, or the path is not there.
    """
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise DataError(f"{path.name} is not there any more", hint="look at the list again") from None
    if not found.is_relative_to(root.resolve()):
        raise DataError(f"{path.name} is a symbolic link that leaves its root", hint="put the files themselves into the root")
    return found
