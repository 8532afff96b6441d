"""A published store in, a folder with its verified files under its final name out; a killed assembly is continued."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from layerscout.cache import manifest as manifests
from layerscout.cache.durable import sync_folders
from layerscout.cache.files import StoredObject, first_misfit, write_file
from layerscout.cache.fingerprint import misfit_of_file
from layerscout.cache.remote.arrival import in_parallel, receive_file
from layerscout.cache.remote.published import Published
from layerscout.cache.root import STAGING
from layerscout.cache.writing import staging
from layerscout.cache.writing.checks import check_space
from layerscout.progress import Reporter


def assemble_store(
    source: Published,
    root: Path,
    target: Path,
    objects: Sequence[StoredObject],
    documents: Mapping[str, bytes],
    reporter: Reporter,
    workers: int,
) -> list[StoredObject]:
    """Bring files into ``<root>/staging``, then the manifest and ``documents``, and give the folder its name by one rename.

    When ``target`` has come to be meanwhile, it is left as it is. Returns the files that a killed call had brought before.

    Raises
    ------
    DataError
        A file is missing or came damaged. What came whole stays, and the same call continues.
    BudgetError
        The disk has no room; nothing was written.
    """
    folder = root / STAGING / source.manifest.store_id
    plan = {"identity_digest": source.manifest.identity_digest, "manifest_digest": source.manifest.digest, "target": target.parent.name}
    earlier = staging.earlier_attempts(folder, plan)
    held = {item.path: attempt for attempt in reversed(earlier) for item in objects if has_file(attempt / staging.TREE, item)}
    check_space(root, sum(item.size for item in objects if item.path not in held) + len(source.content))
    attempt = staging.begin_attempt(folder, plan)
    try:
        for path, holder in held.items():
            attempt.share(holder, [path])
        present = _fill(attempt, source, objects, reporter, workers)
        for path, data in {**documents, manifests.NAME: source.content}.items():
            write_file(attempt.tree, path, data)
        sync_folders(attempt.tree, (item.path for item in objects))
        target.parent.mkdir(parents=True, exist_ok=True)
        _rename(attempt.tree, target)
    except (FileNotFoundError, staging.AttemptGone):
        if not target.is_dir():
            attempt.release()
            raise
        present = []  # another process or thread was first, and swept this attempt away, taking us for dead
    except BaseException:
        attempt.release()
        raise
    attempt.discard()
    staging.sweep_dead_attempts(earlier)
    return present


def staged_objects(root: Path, manifest: manifests.Manifest, objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Return the files that a killed assembly of this very store left behind, by their sizes."""
    trees = (path.parent / staging.TREE for path in (root / STAGING / manifest.store_id).glob(f"*/{staging.ATTEMPT}"))
    return max(([item for item in objects if has_file(tree, item)] for tree in trees), key=len, default=[])


def has_file(folder: Path, item: StoredObject) -> bool:
    """Tell whether a file is there with the size that the manifest states; its content is not read."""
    return first_misfit(folder, (item,)) is None


def _rename(tree: Path, target: Path) -> None:
    try:
        tree.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    sync_folders(target.parent)


def _fill(
    attempt: staging.Attempt, source: Published, objects: Sequence[StoredObject], reporter: Reporter, workers: int
) -> list[StoredObject]:
    present = []

    def bring(item: StoredObject) -> bool:
        if misfit_of_file(attempt.tree / item.path, item) is None:
            return True
        receive_file(source.stream(item), attempt.tree, item, source.where)
        return False

    with reporter.task(f"bring {source.manifest.store_id}", sum(item.size for item in objects), "bytes") as task:
        for item, was_there in in_parallel(bring, objects, workers):
            present += [item] if was_there else []
            attempt.keep_alive()
            task.advance(item.size)
    return present
