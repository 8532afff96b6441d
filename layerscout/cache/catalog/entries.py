"""A root in, its stores out, each as its manifest tells it. Only manifests and identities are read; no data, so a thousand take a second."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from layerscout.cache import manifest as manifests
from layerscout.cache.catalog.references import References, references
from layerscout.cache.files import read_document
from layerscout.cache.opening import find_folder
from layerscout.cache.remote.mirror import open_mirror
from layerscout.cache.root import MIRRORS, ORIGIN_NAME, STORES, root_words, store_folders, tree_bytes
from layerscout.errors import DataError, raise_shortage, shell

STORE_FORMAT = "layerscout-store/1"


@dataclass(frozen=True)
class Entry:
    """What is known of a store of a root without reading its data. What a damaged manifest cannot tell is None; ``bytes`` are then those found on disk."""

    store_id: str
    path: str  # folder or URL
    bytes: int
    committed: float  # seconds since 1970, by the file system's clock
    names: tuple[str, ...] = ()
    pinned: bool = False
    damage: str | None = None
    backbone: str | None = None
    dataset: str | None = None
    created: str | None = None
    rows: int | None = None
    layers: int | None = None
    mirror_of: str | None = None  # of a mirror: the URL that its other layers come from
    layers_here: int | None = None  # of a mirror; ``bytes`` are then those that it takes here

    @property
    def states(self) -> tuple[str, ...]:
        """Return words for the store's state: pinned, named, mirror, damaged, or "free" when nothing keeps it from being pruned."""
        kept = (*(["pinned"] if self.pinned else []), *(["named"] if self.names else []))
        return (*(kept or ("free",)), *(["mirror"] if self.mirror_of else []), *(["damaged"] if self.damage else []))

    def describe(self) -> dict[str, Any]:
        """Return the entry as plain data, for ``--json``."""
        facts: dict[str, Any] = {"store": self.store_id, "path": self.path, "names": list(self.names), "state": list(self.states)}
        facts |= {"backbone": self.backbone, "dataset": self.dataset, "rows": self.rows, "layers": self.layers}
        facts |= {"mirror_of": self.mirror_of, "layers_here": self.layers if self.mirror_of is None else self.layers_here}
        return facts | {"bytes": self.bytes, "created": self.created, "committed": round(self.committed, 3), "damage": self.damage}


def list_entries(root: Path) -> list[Entry]:
    """Return every store under ``root/stores``, whole or damaged, in the order of their ids."""
    standing = references(root)
    return [read_entry(path, standing) for path in store_folders(root / STORES)]


def list_mirrors(root: Path) -> list[Entry]:
    """Return every mirror under ``root/mirrors`` of a store that is not here whole, with its place and how many layers are here."""
    standing = references(root)
    found = []
    for path in store_folders(root / MIRRORS):
        if not (path / ORIGIN_NAME).is_file() or (root / STORES / path.name).is_dir():
            continue
        entry = replace(read_entry(path, standing), bytes=tree_bytes(path))
        try:
            mirror = open_mirror(root, path.name)
            entry = replace(entry, mirror_of=mirror.url, layers_here=len(mirror.layers_here))
        except DataError as error:
            entry = replace(entry, damage=str(error))
        found.append(entry)
    return found


def read_entry(path: Path, standing: References) -> Entry:
    """Return one store as its manifest tells it. A manifest that is missing, unreadable or changed is told as ``damage``."""
    names, pinned = standing.names.get(path.name, ()), path.name in standing.pins
    committed = path.stat().st_mtime
    try:
        facts = _facts(path.name, read_document(path / manifests.NAME), read_document(path / manifests.IDENTITY_NAME))
        committed = (path / manifests.NAME).stat().st_mtime
    except DataError as error:
        facts = {"bytes": tree_bytes(path), "damage": str(error)}
    except OSError as error:
        raise_shortage(error, path)
        what = f"{Path(str(error.filename)).name} is missing" if isinstance(error, FileNotFoundError) else str(error)
        facts = {"bytes": tree_bytes(path), "damage": what}
    return Entry(path.name, str(path), committed=committed, names=names, pinned=pinned, **facts)


def list_remote_entries(url: str) -> list[Entry]:
    """Return the committed stores at a URL. Names and pins belong to a root, so there are none.

    Raises
    ------
    DataError
        The place cannot be read, or does not have the store that the URL names.
    """
    from layerscout.cache.remote.place import split_url
    from layerscout.cache.remote.published import list_remote

    place = split_url(url)[0]
    return [
        Entry(
            store_id=found.store_id,
            path=f"{place}/{STORES}/{found.store_id}",
            bytes=found.bytes,
            committed=datetime.fromisoformat(found.created).timestamp() if found.created else 0.0,
            damage=found.problem or None,
            backbone=found.backbone or None,
            dataset=found.dataset or None,
            created=found.created or None,
            rows=found.rows if not found.problem else None,
            layers=len(found.layers) if not found.problem else None,
        )
        for found in list_remote(url)
    ]


def held_store_id(root: Path, word: str) -> str:
    """Return the id of the store or mirror under the root that a word means (see `find_folder`).

    Raises
    ------
    DataError
        There is none, or the word leads to a folder elsewhere.
    """
    path = find_folder(root, word)
    if path.parent not in (root / STORES, root / MIRRORS):
        raise DataError(
            f"{path} is not a store under {root}",
            hint=f"name its own folder of stores with --root, or bring it here: {shell('store', 'pull', path, *root_words(root))}",
        )
    return path.name


def _facts(store_id: str, manifest: bytes, identity: bytes) -> dict[str, Any]:
    """Return what an entry says. The two documents' digests are compared, but no model of every file is built: that is for readers.

    Raises
    ------
    DataError
        One of the two documents is damaged, of another version, or another store's.
    """
    try:
        fields, origin = json.loads(manifest), json.loads(identity)
        stated = fields.pop("digest")
        if fields["format"] != STORE_FORMAT:
            raise DataError(f"its format is {fields['format']!r}, expected '{STORE_FORMAT}'", hint="use the layerscout that wrote it")
        if manifests.digest_of(fields) != stated:
            raise DataError("manifest.json does not have the digest it states", hint="delete the store and extract it again")
        if fields["store_id"] != store_id:
            raise DataError(f"manifest.json is that of {fields['store_id']}", hint="delete the store and extract it again")
        if fields["identity_digest"] != f"sha256:{hashlib.sha256(identity).hexdigest()}":
            raise DataError("identity.json is not the one that the manifest states", hint="delete the store and extract it again")
        datetime.fromisoformat(fields["created"])
        return {
            "bytes": len(manifest) + sum(item["size"] for item in fields["objects"]),
            "created": fields["created"],
            "rows": int(fields["rows"]),
            "layers": len(fields["layers"]),
            "backbone": str(origin["backbone"].get("name", "unnamed")),
            "dataset": str(origin["dataset"]["digest"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"manifest.json or identity.json is damaged: {error!r}", hint="delete the store and extract it again") from None
