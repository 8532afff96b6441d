"""A store's folder in, everything that is wrong with it out: every file read and compared with the manifest."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from layerscout.cache import identity as identities
from layerscout.cache import manifest as manifests
from layerscout.cache.files import StoredObject, read_document
from layerscout.cache.fingerprint import misfit_of_file
from layerscout.cache.identity import STORE_ID
from layerscout.cache.root import ORIGIN_NAME
from layerscout.errors import DataError, raise_shortage
from layerscout.progress import SILENT, Reporter

READERS = 4  # files read at once: on a network disk one waits while others are summed


@dataclass(frozen=True)
class Problem:
    """A file of a store that is not what the manifest says; ``path`` is relative to the store."""

    path: str
    kind: Literal["missing", "wrong size", "damaged", "stray"]
    detail: str


@dataclass(frozen=True)
class Verification:
    """What a verification read of a store, and every problem that it found."""

    store_id: str
    path: Path
    files: int
    bytes: int
    problems: tuple[Problem, ...]

    def describe(self) -> dict[str, Any]:
        """Return the result as plain data, for ``--json``."""
        problems = [asdict(problem) for problem in self.problems]
        return {"store": self.store_id, "path": str(self.path), "files": self.files, "bytes": self.bytes, "problems": problems}


def verify_store(path: Path, full: bool = False, reporter: Reporter = SILENT) -> Verification:
    """Compare every file of a store with its manifest: presence, size and crc32c; with ``full`` also sha256.

    Of a mirror, layers that were never fetched are not missing. A store with a damaged manifest has that one problem: without
    it nothing tells what the other files should be.
    """
    mirror = (path / ORIGIN_NAME).exists()
    try:
        if (path / manifests.NAME).is_symlink():
            raise DataError("not a plain file")
        manifest = manifests.read_manifest(path)
    except DataError as error:
        return Verification(path.name, path, 1, 0, (Problem(manifests.NAME, "damaged", str(error)),))
    layout = manifest.layout
    layers = {array.path(unit) for array in layout.layers().values() for unit in range(layout.units)}
    later = {item.path for item in manifest.objects if item.path in layers or manifests.is_passport(item.path)} if mirror else set()
    present = [item for item in manifest.objects if item.path not in later or os.path.lexists(path / item.path)]
    total = sum(item.size for item in present)
    problems: list[Problem] = []
    with ThreadPoolExecutor(READERS) as pool, reporter.task(f"verify {manifest.store_id[:12]}", total, "bytes") as task:
        for item, found in zip(present, pool.map(lambda item: _check(path, item, full), present), strict=True):
            problems += [found] if found else []
            task.advance(item.size)
    reported = {problem.path for problem in problems}
    problems += [problem for problem in _naming(path, manifest) if problem.path not in reported]
    listed = {item.path for item in manifest.objects} | {manifests.NAME} | ({ORIGIN_NAME} if mirror else set())
    problems += [Problem(stray, "stray", "not in the manifest") for stray in sorted(_files(path)) if stray not in listed]
    read = total + (path / manifests.NAME).stat().st_size  # the manifest is a file of the store too
    return Verification(manifest.store_id, path, len(present) + 1, read, tuple(problems))


def _check(root: Path, item: StoredObject, full: bool) -> Problem | None:
    """Read one file, in blocks, and return the first thing that does not fit."""
    path = root / item.path
    try:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode):
            return Problem(item.path, "damaged", "not a plain file")
        if state.st_size != item.size:
            return Problem(item.path, "wrong size", f"{state.st_size:,} bytes, expected {item.size:,}")
        misfit = misfit_of_file(path, item, full)
    except FileNotFoundError:
        return Problem(item.path, "missing", f"{item.size:,} bytes")
    except OSError as error:
        raise_shortage(error, path)
        return Problem(item.path, "damaged", f"cannot be read: {error.strerror}")
    return Problem(item.path, "damaged", misfit) if misfit else None


def _naming(path: Path, manifest: manifests.Manifest) -> Iterator[Problem]:
    """Yield what is wrong with the store's name: its folder, its identity and its manifest must tell the same."""
    if STORE_ID.fullmatch(path.name) and path.name != manifest.store_id:
        yield Problem(manifests.NAME, "damaged", f"it is the manifest of {manifest.store_id}")
    text = (path / manifests.NAME).read_bytes()
    if text != manifests.manifest_text(json.loads(text)):
        yield Problem(manifests.NAME, "damaged", "it says what it said, but in another spelling")
    try:
        identity = json.loads(read_document(path / manifests.IDENTITY_NAME))
        if identities.identity_digest(identity) != manifest.identity_digest or identities.store_id(identity) != manifest.store_id:
            yield Problem(manifests.IDENTITY_NAME, "damaged", "it is not the identity that the manifest states")
    except FileNotFoundError:
        return  # told as a missing file
    except (OSError, ValueError, TypeError, RecursionError, DataError) as error:
        yield Problem(manifests.IDENTITY_NAME, "damaged", str(error))


def _files(path: Path) -> Iterator[str]:
    """Yield every file and link under a store, relative to it."""
    for folder, folders, names in os.walk(path):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*names, *links):
            yield Path(folder, name).relative_to(path).as_posix()
