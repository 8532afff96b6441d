"""A published store in, a local copy that grows layer by layer out: what was read once is read from this disk ever after.

``<root>/mirrors/<store id>/`` has manifest, identity, Zarr metadata, index columns, the layers that were asked for so far, and
``origin.json``, which says where the others are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from layerscout.cache import manifest as manifests
from layerscout.cache import records
from layerscout.cache.durable import sync_folders
from layerscout.cache.files import StoredObject, write_file
from layerscout.cache.identity import STORE_ID, Identity
from layerscout.cache.reader import LayerReader
from layerscout.cache.records import Record
from layerscout.cache.remote.arrival import in_parallel, receive_file
from layerscout.cache.remote.assembly import assemble_store, has_file
from layerscout.cache.remote.published import Published, find_published, folder_of, resolve_place
from layerscout.cache.root import MIRRORS, ORIGIN_NAME, STAGING, STORES, root_words
from layerscout.cache.store import Store, check_files
from layerscout.cache.writing import staging
from layerscout.cache.writing.checks import check_space
from layerscout.errors import DataError, shell, suggest
from layerscout.progress import SILENT, Reporter
from layerscout.showing import counted

WORKERS = 8


class Origin(Record):
    """The content of ``origin.json``, which says from where a mirror's missing layers come."""

    format: Literal["layerscout-mirror/1"] = "layerscout-mirror/1"
    url: str


class Mirror(Store):
    """A store of which only some layers are here; ``layer`` brings the others when they are asked for."""

    def __init__(self, root: Path, path: Path, manifest: manifests.Manifest, identity: Identity, url: str) -> None:
        super().__init__(path, manifest, identity)
        self.root, self.url = root, url

    def layer(self, name: str) -> LayerReader:
        """Return the reader of one layer, after bringing it here if it is not yet.

        Raises
        ------
        DataError
            The store has no such layer, or it is not here and its origin cannot be reached or sends something else.
        """
        reader = super().layer(name)
        self.fetch((name,))
        return reader

    def passport(self, layer: str) -> tuple[bytes, bytes]:
        """Return what a layer's passport says and its tensors, after bringing them here if they are not yet; see `Store.passport`."""
        if layer in self.passports:
            paths = manifests.passport_paths(layer)
            self._bring([item for item in self.manifest.objects if item.path in paths], [f"passport of {layer}"])
        return super().passport(layer)

    @property
    def layers_here(self) -> tuple[str, ...]:
        """Return the names of the layers that can be read without the origin."""
        return tuple(name for name in self.specs if all(has_file(self.path, item) for item in layer_objects(self.manifest, (name,))))

    def fetch(self, layers: Sequence[str], reporter: Reporter = SILENT, workers: int = WORKERS, source: Published | None = None) -> None:
        """Bring the files of these layers that are not here yet; safe while other processes do the same.

        Raises
        ------
        DataError
            There is no such layer, the origin cannot be reached, or a file came damaged.
        BudgetError
            The disk has no room; nothing was written.
        """
        self._bring(layer_objects(self.manifest, layers), layers, reporter, workers, source)

    def _bring(
        self,
        items: Sequence[StoredObject],
        layers: Sequence[str],
        reporter: Reporter = SILENT,
        workers: int = WORKERS,
        source: Published | None = None,
    ) -> None:
        missing = [item for item in items if not has_file(self.path, item)]
        if not missing:
            return
        total = sum(item.size for item in missing)
        check_space(self.root, total)
        origin = source or self._origin(layers)
        # files in the making lie where those of killed processes are swept away
        attempt = staging.begin_attempt(
            self.root / STAGING / self.id, {"identity_digest": self.manifest.identity_digest, "layers": list(layers)}
        )

        def bring(item: StoredObject) -> None:
            receive_file(origin.stream(item), attempt.tree, item, origin.where)
            target = self.path / item.path
            target.parent.mkdir(parents=True, exist_ok=True)
            (attempt.tree / item.path).replace(target)  # over the same file, when another process brought it meanwhile

        try:
            with reporter.task(f"bring {', '.join(layers)}", total, "bytes") as task:
                for item, _ in in_parallel(bring, missing, workers):
                    attempt.keep_alive()
                    task.advance(item.size)
            sync_folders(self.path, (item.path for item in missing))
        finally:
            attempt.discard()

    def _origin(self, layers: Sequence[str]) -> Published:
        try:
            place, _ = resolve_place(self.url)
            return Published(place, self.manifest, b"", folder_of(place, self.manifest))
        except DataError as error:
            names = ", ".join(f"'{name}'" for name in layers)
            message = f"layer {names} of store {self.id} is not in the mirror {self.path}, and its origin does not answer: {error}"
            raise DataError(message, hint=error.hint) from None


def mirror_folder(root: Path, store_id: str) -> Path:
    """The folder under a root into which a remote store's files are fetched, whether or not it exists."""
    return root / MIRRORS / store_id


def open_mirror(root: Path, store_id: str) -> Mirror:
    """Open a mirror without asking its origin.

    Raises
    ------
    DataError
        There is none, or one of the files that every mirror has is missing or damaged.
    """
    path = mirror_folder(root, store_id)
    manifest = manifests.read_manifest(path)
    identity = check_files(path, manifest, skeleton_objects(manifest))
    return Mirror(root, path, manifest, identity, records.load(Origin, path / ORIGIN_NAME, warn=False).url)


def open_url(root: Path, url: str, scratch: Path | None = None) -> Store:
    """Open the store that a URL names: the whole store or the mirror that is here, else a new mirror.

    Parameters
    ----------
    scratch
        Where a new mirror is made in place of ``root``, by whoever only wants to look.

    Raises
    ------
    DataError
        There is no such store, the place cannot be reached, or a mirror of other bytes stands in the way.
    """
    place, store_id = resolve_place(url)
    known = store_id is not None and STORE_ID.fullmatch(store_id)
    source = None if known else find_published(place, store_id)
    store_id = source.manifest.store_id if source else str(store_id)
    if (root / STORES / store_id).is_dir():
        return Store.open(root / STORES / store_id)
    if mirror_folder(root, store_id).is_dir() and (mirror := open_mirror(root, store_id)).url == place.url:
        return mirror
    return make_mirror(source or find_published(place, store_id), scratch or root)


def make_mirror(source: Published, root: Path, reporter: Reporter = SILENT, workers: int = WORKERS) -> Mirror:
    """Return the mirror of a published store, made if it is not here. One that came from another place now goes on from this one.

    Raises
    ------
    DataError
        A file came damaged, or a mirror of the same store but with other bytes (another run's) is here.
    """
    path, origin = mirror_folder(root, source.manifest.store_id), Origin(url=source.place.url)
    document = records.encode_record(origin)
    if not path.is_dir():
        assemble_store(source, root, path, skeleton_objects(source.manifest), {ORIGIN_NAME: document}, reporter, workers)
    mirror = open_mirror(root, source.manifest.store_id)
    if mirror.manifest.digest != source.manifest.digest:
        hint = f"keep using it by its id, or delete it: {shell('store', 'rm', mirror.id, *root_words(root))}"
        raise DataError(f"{path} is a mirror of another run's bytes ({mirror.manifest.digest}) than {source.where} has", hint=hint)
    if mirror.url != origin.url:
        write_file(path, ORIGIN_NAME, document)
        sync_folders(path)
        mirror.url = origin.url
    return mirror


def skeleton_objects(manifest: manifests.Manifest) -> list[StoredObject]:
    """Return the files of every mirror: all but the layers' chunks and passports."""
    layered = {item.path for item in layer_objects(manifest, [spec.name for spec in manifest.layers])}
    return [item for item in manifest.objects if item.path not in layered and not manifests.is_passport(item.path)]


def layer_objects(manifest: manifests.Manifest, layers: Iterable[str]) -> list[StoredObject]:
    """Return the chunk files of the given layers.

    Raises
    ------
    DataError
        There is no such layer.
    """
    arrays = manifest.layout.layers()
    objects = {item.path: item for item in manifest.objects}
    found = []
    for name in layers:
        if name not in arrays:
            message = f"layer '{name}' is not in store {manifest.store_id} ({counted(len(arrays), 'layer')}){suggest(name, arrays)}"
            raise DataError(message, hint=f"layers: {', '.join(arrays)}")
        found += [objects[arrays[name].path(chunk)] for chunk in range(arrays[name].chunks)]
    return found
