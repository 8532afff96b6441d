"""A store and a place in, the store at both out: push and pull, in parallel, verified, continued by the same command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from layerscout.cache import manifest as manifests
from layerscout.cache.files import StoredObject, first_misfit
from layerscout.cache.fingerprint import misfit_of_file
from layerscout.cache.identity import STORE_ID
from layerscout.cache.reader import REPAIR
from layerscout.cache.remote import mirror
from layerscout.cache.remote.arrival import in_parallel
from layerscout.cache.remote.assembly import assemble_store, has_file, staged_objects
from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.cache.remote.hub import MARK, HubPlace, batches
from layerscout.cache.remote.place import FolderPlace, Place
from layerscout.cache.remote.published import (
    Published,
    content_folder,
    fetch_manifest,
    find_published,
    manifest_path,
    parse_foreign_manifest,
    resolve_place,
)
from layerscout.cache.root import STORES, default_root
from layerscout.cache.store import Store
from layerscout.cache.writing.card import PICTURE
from layerscout.errors import DataError
from layerscout.paths import expand
from layerscout.progress import SILENT, Reporter

RANKINGS = "rankings"  # folder of a place
WORKERS = 8  # files on their way at once; memory holds at most twice bucket.PART_BYTES of each

Url = str | Path | Place  # a place that is opened already stands for its URL


@dataclass(frozen=True)
class Transfer:
    """What a push or a pull moves, or has moved.

    ``objects`` and ``bytes`` count all that was asked for, without the manifest, which comes last and has ``manifest_bytes``; those ``present``
    were at the target already. ``describe`` counts the manifest with them, as every other size of a store does.
    ``digest`` is that of the manifest that is pushed or pulled. ``outcome``: it is ``planned``; it was ``published`` now; it was
    ``present`` before; or ``another`` store of the same id, made by another run, was published first: the one with ``other_digest``.
    """

    store_id: str
    source: str
    target: str
    layers: tuple[str, ...]
    objects: int
    bytes: int
    present_objects: int
    present_bytes: int
    digest: str
    outcome: Literal["planned", "published", "present", "another"] = "planned"
    other_digest: str | None = None
    manifest_bytes: int = field(default=0, compare=False)

    def describe(self) -> dict[str, Any]:
        """Return the facts for ``--dry-run`` and ``--json``."""
        facts = asdict(self) | {"layers": list(self.layers)}
        size = facts.pop("manifest_bytes")
        counted = ("", "present_") if self.outcome == "present" and self.present_objects == self.objects else ("",)
        for whose in counted:
            facts[f"{whose}objects"] += 1
            facts[f"{whose}bytes"] += size
        return facts

    def holding(self, present: Sequence[StoredObject]) -> Transfer:
        """Return the same transfer with these files at the target already."""
        return replace(self, present_objects=len(present), present_bytes=sum(item.size for item in present))


def push(store: Store, url: Url, reporter: Reporter = SILENT, workers: int = WORKERS) -> Transfer:
    """Publish a store at a place: every file first, the manifest last and only if none is there.

    Files that an earlier, killed push sent are not sent again. When the same store is published already, what is missing or
    damaged there is restored.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``gs://…``, ``az://…``, ``hf://datasets/ORG/NAME``, ``hf://buckets/ORG/NAME``, ``file:///folder`` or a folder.
    workers
        Files on their way at once.

    Raises
    ------
    DataError
        The store is damaged here, or the place cannot be reached or written.
    BudgetError
        The place is a folder whose disk has no room; nothing was written.

    References
    ----------
    docs/decisions/0009-a-pushed-store-lies-under-its-manifests-digest.md
    """
    place, planned = _destination(store, url)
    if planned.outcome == "another":
        return planned
    if isinstance(place, FolderPlace):
        return _into_folder(store, place, planned, reporter, workers)
    if isinstance(place, HubPlace):
        return _into_commits(store, place, planned, reporter)
    return _upload(store, place, planned, reporter, workers)


def plan_push(store: Store, url: Url, workers: int = WORKERS) -> Transfer:
    """Tell what ``push`` would send, asking the place what it has already; writes nothing."""
    place, planned = _destination(store, url)
    if planned.outcome == "another":
        return planned
    if isinstance(place, FolderPlace):
        objects = store.manifest.objects
        return planned.holding(objects if planned.outcome == "present" else staged_objects(place.folder, store.manifest, objects))
    if isinstance(place, HubPlace):
        return planned.holding(place.present(content_folder(store.manifest), store.manifest.objects, store.path))
    sizes, present = place.sizes(content_folder(store.manifest)), []
    for item, there in in_parallel(lambda item: _is_there(place, store.manifest, item, sizes), store.manifest.objects, workers):
        present += [item] if there else []
    return planned.holding(present)


def pull(
    url: Url | Published, root: Path | str | None, layers: Sequence[str] | None = None, reporter: Reporter = SILENT, workers: int = WORKERS
) -> Store:
    """Bring a published store to ``<root>/stores``; with ``layers``, bring these alone to ``<root>/mirrors``.

    Every file is checked (size, crc32c, sha256) before it gets its name. A store that is here already is opened.

    Raises
    ------
    DataError
        There is no such store or layer, a file came damaged, or the place cannot be reached.
    BudgetError
        The disk has no room; nothing was written.
    """
    root, source, target = _origin(url, root)
    if target.is_dir():
        return Store.open(target)
    if layers is not None:
        mirror.layer_objects(source.manifest, layers)  # an unknown layer is refused before anything is written
        opened = mirror.make_mirror(source, root, reporter, workers)
        opened.fetch(layers, reporter, workers, source)
        return opened
    assemble_store(source, root, target, source.manifest.objects, {}, reporter, workers)
    return Store.open(target)


def plan_pull(url: Url | Published, root: Path | str | None, layers: Sequence[str] | None = None) -> Transfer:
    """Tell what ``pull`` would bring; writes nothing."""
    root, source, target = _origin(url, root)
    objects: Sequence[StoredObject] = source.manifest.objects
    size = len(source.content)
    if target.is_dir():
        return replace(_planned(source.where, target, source.manifest, objects, size), outcome="present").holding(objects)
    if layers is None:
        return _planned(source.where, target, source.manifest, objects, size).holding(staged_objects(root, source.manifest, objects))
    target = mirror.mirror_folder(root, source.manifest.store_id)
    objects = [*mirror.skeleton_objects(source.manifest), *mirror.layer_objects(source.manifest, layers)]
    planned = _planned(source.where, target, source.manifest, objects, size).holding([item for item in objects if has_file(target, item)])
    return replace(planned, layers=tuple(layers), outcome="present" if planned.present_objects == len(objects) else "planned")


def _origin(url: Url | Published, root: Path | str | None) -> tuple[Path, Published, Path]:
    folder = expand(root) if root is not None else default_root()
    source = url if isinstance(url, Published) else find_published(*resolve_place(url))
    return folder, source, folder / STORES / source.manifest.store_id


def _destination(store: Store, url: Url) -> tuple[Place, Transfer]:
    """Return the place, and what a push there comes to as far as its manifest tells; refuses what must not be published."""
    misfit = first_misfit(store.path, store.manifest.objects)
    if misfit:
        if deleted := _deleted(store):
            raise deleted
        message = f"store {store.id} is not whole here: {store.path / misfit.path} is missing or does not have its {misfit.size} bytes"
        raise DataError(message, hint="pull the whole store first, or extract it again")
    place, named = resolve_place(url)
    if named not in (None, store.id):
        raise DataError(f"the URL names store {named}, the store to push is {store.id}", hint=f"push to {place.url}")
    target = f"{place.url}/stores/{store.id}"
    size = (store.path / manifests.NAME).stat().st_size
    planned, there = _planned(str(store.path), target, store.manifest, store.manifest.objects, size), fetch_manifest(place, store.id)
    return place, planned if there is None else _beside(planned, parse_foreign_manifest(there, target).digest)


def _upload(store: Store, place: ObjectPlace, planned: Transfer, reporter: Reporter, workers: int) -> Transfer:
    folder, objects = content_folder(store.manifest), store.manifest.objects
    sizes, present = place.sizes(folder), []

    def send(item: StoredObject) -> bool:
        if _is_there(place, store.manifest, item, sizes):
            return True
        source = store.path / item.path
        if misfit := misfit_of_file(source, item):  # what is damaged here must not be published
            raise _deleted(store) or DataError(f"{source} is damaged: {misfit}", hint=REPAIR)
        place.put(f"{folder}/{item.path}", source, item.sha256)
        return False

    with reporter.task(f"push {store.id}", planned.bytes, "bytes") as task:
        for item, was_there in in_parallel(send, objects, workers):
            present += [item] if was_there else []
            task.advance(item.size)
    done = planned.holding(present)
    # beside the manifest too, for whoever lists a place: the same bytes in every store of this id, whoever sends them
    identity, name = store.path / manifests.IDENTITY_NAME, f"stores/{store.id}/{manifests.IDENTITY_NAME}"
    place.put(name, identity, next(item.sha256 for item in objects if item.path == manifests.IDENTITY_NAME))
    if place.create(name, identity.read_bytes()):  # it is there, so this must fail, or two pushers could undo each other's manifest
        raise DataError(f"{place.url} ignores If-None-Match, so nothing was published", hint="use a server that honours conditional writes")
    if place.create(manifest_path(store.id), (store.path / manifests.NAME).read_bytes()):
        return replace(done, outcome="published")
    done = _beside(done, parse_foreign_manifest(fetch_manifest(place, store.id) or b"", planned.target).digest)
    if done.outcome == "another":  # no manifest can refer to our files any more
        place.delete([f"{folder}/{item.path}" for item in objects])
    return done


def _into_commits(store: Store, place: HubPlace, planned: Transfer, reporter: Reporter) -> Transfer:
    """Send what is missing in commits of many files, then the manifest in one of its own, with what the hub shows of the place."""
    folder, objects = content_folder(store.manifest), store.manifest.objects
    present = place.present(folder, objects, store.path)
    missing = [item for item in objects if item not in present]
    with reporter.task(f"push {store.id}", planned.bytes, "bytes") as task:
        task.advance(planned.bytes - sum(item.size for item in missing))
        for group in batches(missing):
            for item in group:
                if misfit := misfit_of_file(store.path / item.path, item):  # what is damaged here must not be published
                    raise _deleted(store) or DataError(f"{store.path / item.path} is damaged: {misfit}", hint=REPAIR)
            place.send([(f"{folder}/{item.path}", store.path / item.path) for item in group], f"Files of {store.id}")
            task.advance(sum(item.size for item in group))
    done = planned.holding(present)
    beside: list[tuple[str, Path | bytes]] = [(f"stores/{store.id}/{manifests.IDENTITY_NAME}", store.path / manifests.IDENTITY_NAME)]
    if (card := place_card(place, store)) is not None:
        beside.append((manifests.CARD_NAME, card))
    if place.create(manifest_path(store.id), (store.path / manifests.NAME).read_bytes(), beside):
        return replace(done, outcome="published")
    return _beside(done, parse_foreign_manifest(fetch_manifest(place, store.id) or b"", planned.target).digest)


def place_card(place: HubPlace, store: Store, rankings: Sequence[str] = ()) -> bytes | None:
    """Return the README.md of a repository that holds stores: the newest store's card, how all are read, and the rankings beside them.

    None where somebody wrote another. ``rankings`` are on their way there; the picture is of the first of them.
    """
    there = place.read(manifests.CARD_NAME, manifests.LARGEST_DOCUMENT)
    if place.prefix or (there is not None and MARK.encode() not in there):
        return None
    own = store.path / manifests.CARD_NAME
    text = own.read_text(encoding="utf-8") if own.is_file() else f"# Activations\n\nStore {store.id}.\n"
    listed = sorted({store.id, *(name for name in place.names(STORES) if STORE_ID.fullmatch(name))})
    lines = [f"- `layerscout store pull {place.url}/{name}`" for name in listed]
    found = [*rankings, *(name for name in place.names(RANKINGS) if name not in rankings)]
    ranked = "\n".join(f"- [{name}]({RANKINGS}/{name}/{manifests.CARD_NAME})" for name in found)
    picture = f"![Score of every layer by depth]({RANKINGS}/{found[0]}/{PICTURE})" if found else ""
    more = f"\n## Rankings\n\n{picture}\n\n{ranked}\n" if found else ""
    return f"{text}\n## Stores in this repository\n\n{MARK}\n\n".encode() + "\n".join(lines).encode() + f"\n{more}".encode()


def _into_folder(store: Store, place: FolderPlace, planned: Transfer, reporter: Reporter, workers: int) -> Transfer:
    objects, target = store.manifest.objects, place.folder / STORES / store.id
    present: Sequence[StoredObject] = objects
    if planned.outcome == "planned":
        content = (store.path / manifests.NAME).read_bytes()
        here = Published(FolderPlace(str(store.path), store.path), store.manifest, content, "")
        try:
            present = assemble_store(here, place.folder, target, objects, {}, reporter, workers)
        except DataError as error:
            raise _deleted(store) or error from None
        planned = replace(planned, outcome="published")
    digest = Store.open(target).manifest.digest
    return planned.holding(present) if digest == store.manifest.digest else _beside(planned, digest)


def _deleted(store: Store) -> DataError | None:
    """Return the error that a store is gone since it was opened, or None while it is there."""
    if (store.path / manifests.NAME).exists():
        return None
    return DataError(f"store {store.id} was deleted here while it was pushed: {store.path}", hint="pull it back, or extract it again")


def _beside(planned: Transfer, digest: str) -> Transfer:
    """Say what it means that a manifest with this digest is published already."""
    same = digest == planned.digest
    return replace(planned, outcome="present" if same else "another", other_digest=None if same else digest)


def _is_there(place: ObjectPlace, manifest: manifests.Manifest, item: StoredObject, sizes: Mapping[str, int]) -> bool:
    """Tell whether an object was sent before: by its size, and by the sha256 that was noted with it."""
    path = f"{content_folder(manifest)}/{item.path}"
    return sizes.get(path) == item.size and place.digest(path) == item.sha256


def _planned(
    source: str, target: str | Path, manifest: manifests.Manifest, objects: Sequence[StoredObject], manifest_bytes: int
) -> Transfer:
    layers = tuple(spec.name for spec in manifest.layers)
    size = sum(item.size for item in objects)
    return Transfer(
        manifest.store_id, source, str(target), layers, len(objects), size, 0, 0, manifest.digest, manifest_bytes=manifest_bytes
    )
