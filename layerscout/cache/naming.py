"""A name for people and a store in, ``refs/<name>.json`` out, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from layerscout.cache import records
from layerscout.cache.arrays import NAME
from layerscout.cache.durable import sync_folders, write_atomic
from layerscout.cache.identity import STORE_ID
from layerscout.cache.records import Record
from layerscout.cache.root import NAMES, default_root
from layerscout.cache.store import Store
from layerscout.errors import DataError, UsageError
from layerscout.paths import expand


class Reference(Record):
    """The content of ``refs/<name>.json``, which says which store has this name."""

    format: Literal["layerscout-ref/1"] = "layerscout-ref/1"
    store_id: str


def name_store(root: Path | str | None, name: str, store: Store) -> Path:
    """Give a store a human name in ``refs/``; a name already taken moves to this store, one that it has is left as it is.

    Raises
    ------
    UsageError
        The name is not made of letters, digits, ".", "_" and "-", or looks like a store id.
    """
    check_name(name)
    folder = (expand(root) if root is not None else default_root()) / NAMES
    path = folder / f"{name}.json"
    if not _names(path, store):
        write_atomic(path, records.encode_record(Reference(store_id=store.id)))
    return path


def check_name(name: str) -> None:
    """Raise UsageError unless a store may have this name."""
    if not NAME.fullmatch(name) or STORE_ID.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a store", hint="letters, digits, '.', '_' and '-', beginning with a letter or digit")


def remove_name(root: Path, name: str) -> bool:
    """Take a name away from its store; return False when no store has it."""
    return bool(NAME.fullmatch(name)) and remove_file(root / NAMES / f"{name}.json")


def named_store(root: Path, name: str) -> str | None:
    """Return the id of the store with this name, or None.

    Raises
    ------
    DataError
        The name's file is damaged.
    """
    path = root / NAMES / f"{name}.json"
    return read_reference(path) if NAME.fullmatch(name) and path.is_file() else None


def read_reference(path: Path) -> str:
    """Return the store id that a file in ``refs/`` holds.

    Raises
    ------
    DataError
        The file is damaged.
    """
    try:
        store_id = records.load(Reference, path, warn=False).store_id
    except DataError as error:
        raise DataError(str(error), hint="delete it and name the store again") from None
    if not STORE_ID.fullmatch(store_id):
        raise DataError(f"{path} names {store_id!r}, which is not a store id", hint="delete it and name the store again")
    return store_id


def _names(path: Path, store: Store) -> bool:
    try:
        return path.is_file() and read_reference(path) == store.id
    except DataError:
        return False


def remove_file(path: Path) -> bool:
    """Delete a file durably; return False when there was none."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_folders(path.parent)
    return True
