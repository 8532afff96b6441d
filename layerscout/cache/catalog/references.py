"""A root in, who still needs which store out: the names in ``refs/`` and the pins in ``pins/``. Either keeps a store from deletion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from layerscout.cache import records
from layerscout.cache.durable import sync_folders
from layerscout.cache.files import write_file
from layerscout.cache.identity import STORE_ID
from layerscout.cache.naming import read_reference, remove_file
from layerscout.cache.records import Record
from layerscout.cache.root import NAMES, root_words
from layerscout.errors import DataError, shell

PINS = "pins"


class Pin(Record):
    """The content of ``pins/<store id>.json``, which says that this store must stay and why."""

    format: Literal["layerscout-pin/1"] = "layerscout-pin/1"
    store_id: str
    reason: str | None = None
    created: str  # UTC, ISO 8601


@dataclass(frozen=True)
class References:
    """Who needs which store: names and pins by store id. Names that are ``unreadable`` cannot tell which store they keep."""

    names: Mapping[str, tuple[str, ...]]
    pins: Mapping[str, Pin | None]  # None: a pin whose content is damaged; it still keeps its store
    unreadable: tuple[Path, ...]
    root: Path

    def why_kept(self, store_id: str) -> tuple[str, str] | None:
        """Return why a store must stay and the command that ends it, or None when nothing needs the store."""
        if store_id in self.pins:
            pin = self.pins[store_id]
            reason = f" ({pin.reason})" if pin and pin.reason else ""
            return f"is pinned{reason}", shell("store", "unpin", store_id, *root_words(self.root))
        if names := self.names.get(store_id):
            return f"is named '{names[0]}'", shell("store", "name", "--remove", names[0], *root_words(self.root))
        return None

    def require_readable(self) -> None:
        """Raise DataError when a name is damaged: the store it keeps might be the one about to be deleted."""
        if self.unreadable:
            message = f"{self.unreadable[0]} is not a store's name, so the store that it keeps is not known; nothing was deleted"
            raise DataError(
                message,
                hint=f"delete that file, or name the store again: {shell('store', 'name', 'STORE', self.unreadable[0].stem, *root_words(self.root))}",
            )


def references(root: Path) -> References:
    """Read every name and pin under a root."""
    names: dict[str, tuple[str, ...]] = {}
    unreadable = []
    for path in sorted(root.glob(f"{NAMES}/*.json")):
        try:
            target = read_reference(path)
        except DataError:
            unreadable.append(path)
        else:
            names[target] = (*names.get(target, ()), path.stem)
    pins = {path.stem: _pin(path) for path in sorted(root.glob(f"{PINS}/*.json")) if STORE_ID.fullmatch(path.stem)}
    return References(names, pins, tuple(unreadable), root)


def pin_store(root: Path, store_id: str, reason: str | None = None) -> bool:
    """Keep a store from deletion; return False when it was pinned already for the same reason."""
    standing = references(root).pins.get(store_id)
    if standing is not None and reason in (None, standing.reason):
        return False
    document = Pin(store_id=store_id, reason=reason, created=datetime.now(UTC).isoformat(timespec="seconds"))
    write_file(root / PINS, f"{store_id}.json", records.encode_record(document))
    sync_folders(root / PINS)
    return True


def unpin_store(root: Path, store_id: str) -> bool:
    """Let a store be deleted again; return False when it was not pinned."""
    return remove_file(root / PINS / f"{store_id}.json")


def _pin(path: Path) -> Pin | None:
    try:
        return records.load(Pin, path, warn=False)
    except DataError:
        return None
