"""A place and a store id in, the published manifest and where its files lie out; all stores of a place listed.

``stores/<store id>/manifest.json`` is the commit. The files it lists lie in ``stores/<store id>/content/<digest>/``, named by
the manifest's own digest, when ``push`` sent them to a bucket; beside the manifest, in a folder or a copy of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerscout.cache import manifest as manifests
from layerscout.cache.files import StoredObject
from layerscout.cache.identity import STORE_ID
from layerscout.cache.remote.place import Place, open_place, split_url
from layerscout.errors import DataError, shell, suggest

LISTED_AT_ONCE = 16
LEAST_PREFIX = 8  # characters of an id that may stand for it: "ls1-" and four digits
STRANGE = "this is not a store that layerscout wrote"


@dataclass(frozen=True)
class Published:
    """A store that was found at a place, with its manifest. ``folder`` is where its files are, relative to the place."""

    place: Place
    manifest: manifests.Manifest
    content: bytes = field(repr=False)  # of manifest.json, as it lies there
    folder: str

    @property
    def where(self) -> str:
        """URL of the folder that the files lie in, as messages name it."""
        return f"{self.place.url}/{self.folder}" if self.folder else self.place.url

    def stream(self, item: StoredObject) -> Iterator[Any]:
        """Yield the bytes of one file of the manifest, block by block, as they lie at the place."""
        return self.place.stream(f"{self.folder}/{item.path}" if self.folder else item.path)


@dataclass(frozen=True)
class StoreSummary:
    """What a place tells of one store without its data. ``problem`` says why a damaged manifest cannot; the figures are then 0."""

    store_id: str
    backbone: str = ""
    dataset: str = ""
    created: str = ""
    written_by: str = ""
    rows: int = 0
    layers: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0
    digest: str = ""
    problem: str = ""


def list_remote(url: str | Path | Place) -> list[StoreSummary]:
    """List the stores at a place, or the one that the URL names. Uploads that have not finished are no stores.

    Raises
    ------
    DataError
        The place cannot be read, or does not have the named store.
    """
    place, named = resolve_place(url)
    if named is not None:
        find_published(place, named)
    with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
        found = pool.map(lambda store_id: _summary(place, store_id), [named] if named is not None else _names(place))
        return [line for line in found if line is not None]


def resolve_place(url: str | Path | Place) -> tuple[Place, str | None]:
    """Return the place that a URL names and the store id in it, if any."""
    if not isinstance(url, str | Path):
        return url, None
    place, store_id = split_url(url)
    return open_place(place), store_id


def find_published(place: Place, store_id: str | None) -> Published:
    """Read the manifest of a published store; an id may be cut to its first 8 letters or more, or left out where there is one store.

    Raises
    ------
    DataError
        There is no such store, its upload has not finished, its manifest is damaged, or an id is needed to choose.
    """
    if store_id is None:
        store_id = _only(place)
    elif not STORE_ID.fullmatch(store_id):
        store_id = _beginning(place, store_id)
    content = fetch_manifest(place, store_id) if STORE_ID.fullmatch(store_id) else None
    if content is None:
        known = _names(place)
        if store_id in known:
            message = f"store {store_id} at {place.url} is incomplete: it has no manifest.json"
            raise DataError(message, hint="its push has not finished; run it again")
        raise DataError(f"no store '{store_id}' at {place.url}{suggest(store_id, known)}", hint=shell("store", "ls", place.url))
    manifest = parse_foreign_manifest(content, f"{place.url}/{manifest_path(store_id)}")
    if manifest.store_id != store_id:
        raise DataError(f"{place.url}/{manifest_path(store_id)} is the manifest of {manifest.store_id}", hint=STRANGE)
    return Published(place, manifest, content, folder_of(place, manifest))


def folder_of(place: Place, manifest: manifests.Manifest) -> str:
    """The folder named by the manifest's digest, where new stores lie, or that of the store's id, where older ones do."""
    parent, _, own = content_folder(manifest).rpartition("/")
    return f"{parent}/{own}" if own in place.names(parent) else f"stores/{manifest.store_id}"


def manifest_path(store_id: str) -> str:
    """Where a place keeps the manifest that says which store of this id counts."""
    return f"stores/{store_id}/{manifests.NAME}"


def content_folder(manifest: manifests.Manifest) -> str:
    """Return the path of the files that ``push`` sends to a bucket; only this very manifest can ever refer to it."""
    return f"stores/{manifest.store_id}/content/{manifest.digest.removeprefix('sha256:')[:32]}"


def fetch_manifest(place: Place, store_id: str) -> bytes | None:
    """Return the bytes of a store's manifest at a place, or None when there is none."""
    return place.read(manifest_path(store_id), manifests.LARGEST_DOCUMENT)


def parse_foreign_manifest(content: bytes, where: str) -> manifests.Manifest:
    """Read and check a manifest that came from elsewhere, before anything it says is used.

    Raises
    ------
    DataError
        It is damaged, or lists other files than its layers need, or sizes that they cannot have.
    """
    try:
        manifest = manifests.parse_manifest(content, where)
    except DataError as error:
        raise DataError(str(error), hint="the copy there is damaged, or of another version of layerscout") from None
    if not STORE_ID.fullmatch(manifest.store_id):
        raise DataError(f"{where} states the store id '{manifest.store_id}'", hint=STRANGE)
    return manifest


def _summary(place: Place, store_id: str) -> StoreSummary | None:
    content = fetch_manifest(place, store_id)
    if content is None:
        return None
    try:
        manifest = parse_foreign_manifest(content, f"{place.url}/{manifest_path(store_id)}")
        identity = json.loads(place.read(f"stores/{store_id}/{manifests.IDENTITY_NAME}", manifests.LARGEST_DOCUMENT) or b"{}")
        backbone, dataset = str(identity["backbone"].get("name", "")), str(identity["dataset"]["digest"])
    except DataError as error:
        return StoreSummary(store_id, problem=str(error))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return StoreSummary(store_id, problem=f"identity.json is damaged: {error!r}")
    layers, size = tuple(spec.name for spec in manifest.layers), len(content) + sum(item.size for item in manifest.objects)
    return StoreSummary(
        store_id,
        backbone,
        dataset,
        manifest.created,
        manifest.written_by,
        manifest.rows,
        layers,
        len(manifest.objects),
        size,
        manifest.digest,
    )


def _names(place: Place) -> list[str]:
    return [name for name in place.names("stores") if STORE_ID.fullmatch(name)]


def _beginning(place: Place, word: str) -> str:
    """Return the id that begins with ``word``; the word itself where none does."""
    near = [name for name in _names(place) if name.startswith(word) and len(word) >= LEAST_PREFIX]
    if len(near) > 1:
        raise DataError(
            f"'{word}' is the beginning of {len(near)} stores' ids at {place.url}", hint=f"give more of it: {', '.join(near[:4])}"
        )
    return near[0] if near else word


def _only(place: Place) -> str:
    complete = [name for name in _names(place) if place.holds(manifest_path(name))]
    if len(complete) == 1:
        return complete[0]
    if not complete:
        raise DataError(f"no store at {place.url}", hint="push one there first, or check the address")
    some = ", ".join(complete[:4]) + (", …" if len(complete) > 4 else "")
    raise DataError(f"there are {len(complete)} stores at {place.url}: {some}", hint=f"name one: {place.url}/{complete[0]}")
