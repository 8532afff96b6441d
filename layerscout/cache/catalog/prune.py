"""A root and a wish in, a plan of what to delete and its bytes out; then the deletion. What anybody needs or works on stays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from layerscout.cache.catalog import trash
from layerscout.cache.catalog.entries import held_store_id
from layerscout.cache.catalog.in_use import all_attempt_folders, is_worked_on, last_changed, last_read, why_kept
from layerscout.cache.catalog.references import PINS, references
from layerscout.cache.durable import TEMPORARY_SUFFIX, is_abandoned
from layerscout.cache.identity import STORE_ID
from layerscout.cache.root import MIRRORS, NAMES, PARTIALS, STAGING, STORES, store_folders, tree_bytes
from layerscout.errors import DataError, UsageError, shell

VictimKind = Literal["store", "mirror", "attempt", "partial sums", "torn file", "trash"]


@dataclass(frozen=True)
class Victim:
    """A path that a plan will delete, of which kind it is, how many bytes it has, and why it goes."""

    path: Path
    kind: VictimKind
    bytes: int
    why: str


@dataclass(frozen=True)
class Deletion:
    """A plan of what to delete under a root. ``kept`` pairs a store id with the reason; ``absent`` ids were asked for and are gone already."""

    root: Path
    victims: tuple[Victim, ...]
    kept: tuple[tuple[str, str], ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes on disk of all that would be deleted."""
        return sum(victim.bytes for victim in self.victims)

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain data, for ``--dry-run`` and ``--json``."""
        victims = [{"path": str(v.path), "kind": v.kind, "bytes": v.bytes, "why": v.why} for v in self.victims]
        kept = [{"store": store_id, "why": why} for store_id, why in self.kept]
        return {"root": str(self.root), "victims": victims, "bytes": self.bytes, "kept": kept, "absent": list(self.absent)}


@dataclass(frozen=True)
class DeletionOutcome:
    """What a deletion did: which victims are gone, and which were left and why. What another process deleted first is in neither."""

    deleted: tuple[Victim, ...]
    left: tuple[tuple[Victim, str], ...]

    @property
    def bytes(self) -> int:
        """Bytes on disk of what could be deleted."""
        return sum(victim.bytes for victim in self.deleted)


def plan_rm(root: Path, words: Sequence[str]) -> Deletion:
    """Plan to delete the given stores with their mirrors and partial sums. An id that is not there is ``absent``, not an error.

    Raises
    ------
    DataError
        A word is neither an id nor a known store, or a store is pinned, named, or being extracted right now.
    UsageError
        A word is a URL: stores elsewhere are not deleted.
    """
    standing = references(root)
    standing.require_readable()
    victims: dict[Path, Victim] = {}
    absent: list[str] = []
    for word in words:
        if "://" in word:
            hint = f"what is here goes by its id; what is here: {shell('store', 'ls', root)}"
            raise UsageError(f"{word} is elsewhere, and only stores under {root} are deleted", hint=hint)
        store_id = word if STORE_ID.fullmatch(word) else held_store_id(root, word)
        if refusal := why_kept(root, store_id, standing):
            raise DataError(f"store {store_id} {refusal[0]}; nothing was deleted", hint=refusal[1])
        places = _places(root, store_id)
        absent += [] if places else [word]
        for kind, place in places:
            trash.check_inside(root, place)
            victims[place] = Victim(place, kind, tree_bytes(place), "asked for")
    return Deletion(root, tuple(victims.values()), absent=tuple(absent))


def plan_prune(root: Path, unreferenced: bool = False, older_than: float | None = None, now: float | None = None) -> Deletion:
    """Plan to delete what dead processes left behind and, when asked to, what nobody needs.

    Always: attempts without a living owner, half-written files, remains of killed deletions, partial sums of stores that are gone.

    Parameters
    ----------
    unreferenced
        Also stores that are neither pinned nor named (with ``older_than``: only those committed longer ago).
    older_than
        Also mirrors that were not read for so long; seconds, by the file system's timestamps.
    now
        Seconds since 1970; the present when None.
    """
    moment = time.time() if now is None else now
    standing = references(root)
    victims = [Victim(path, "trash", tree_bytes(path), "left by a killed deletion") for path in trash.trash_leftovers(root)]
    kept: list[tuple[str, str]] = []
    for attempt in all_attempt_folders(root):
        if is_worked_on(attempt, moment):
            kept.append((attempt.parent.name, "is being written"))
        else:
            victims.append(Victim(attempt, "attempt", tree_bytes(attempt), "its process is gone"))
    victims += [Victim(path, "torn file", tree_bytes(path), "half-written, its process is gone") for path in _torn(root)]
    wanted: list[tuple[VictimKind, Path, str]] = []
    if older_than is not None:
        old = (path for path in store_folders(root / MIRRORS) if moment - last_read(path) > older_than)
        wanted += [("mirror", path, "not read for long") for path in old]
    if unreferenced:
        limit = older_than or 0.0
        free = (path for path in store_folders(root / STORES) if moment - last_changed(path) >= limit)
        wanted += [("store", path, "neither pinned nor named") for path in free]
    if wanted:
        standing.require_readable()
    for kind, path, why in wanted:
        if refusal := why_kept(root, path.name, standing):
            kept.append((path.name, refusal[0]))
        else:
            victims.append(Victim(path, kind, tree_bytes(path), why))
    going = {victim.path for victim in victims}
    staying = {path.name for folder in (STORES, MIRRORS) for path in store_folders(root / folder) if path not in going}
    orphans = (path for path in store_folders(root / PARTIALS) if path.name not in staying)
    victims += [Victim(path, "partial sums", tree_bytes(path), "their store is gone") for path in orphans]
    return Deletion(root, tuple(victims), tuple(kept))


def remains_beside_stores(root: Path) -> dict[str, Any]:
    """Return what lies in a root beside its stores, as plain data: remains, work under way, mirrors, names that lead nowhere."""
    remains, standing = plan_prune(root), references(root)
    mirrors = list(store_folders(root / MIRRORS))
    here = {path.name for path in (*store_folders(root / STORES), *mirrors)}
    return {
        "remains": {"count": len(remains.victims), "bytes": remains.bytes},
        "being_written": len(remains.kept),
        "mirrors": {"count": len(mirrors), "bytes": sum(map(tree_bytes, mirrors))},
        "dangling_names": [name for store_id, names in standing.names.items() if store_id not in here for name in names],
        "damaged_names": [str(path) for path in standing.unreadable],
    }


def carry_out_deletion(planned: Deletion, tell: Callable[[Victim], None] = lambda victim: None) -> DeletionOutcome:
    """Carry out a plan, looking again at each victim right before: what was pinned or named since stays.

    ``tell`` hears of every victim that is gone. A victim that cannot be deleted does not keep the others from going.
    """
    root, deleted, left = planned.root, [], []
    for victim in planned.victims:
        try:
            if reason := _changed(root, victim):
                left.append((victim, reason))
            elif trash.discard_to_trash(root, victim.path):
                deleted.append(victim)
                tell(victim)
        except (OSError, DataError) as error:
            left.append((victim, str(error)))
    for folder in store_folders(root / STAGING):
        with contextlib.suppress(OSError):  # another attempt is in it
            folder.rmdir()
    return DeletionOutcome(tuple(deleted), tuple(left))


def _places(root: Path, store_id: str) -> list[tuple[VictimKind, Path]]:
    found: list[tuple[VictimKind, Path]] = [("store", root / STORES / store_id), ("mirror", root / MIRRORS / store_id)]
    return [(kind, path) for kind, path in [*found, ("partial sums", root / PARTIALS / store_id)] if path.is_dir() or path.is_symlink()]


def _torn(root: Path) -> Iterator[Path]:
    shallow = (folder.glob(f"*{TEMPORARY_SUFFIX}") for folder in (root / NAMES, root / PINS, *store_folders(root / STAGING)))
    deep = (folder.rglob(f"*{TEMPORARY_SUFFIX}") for folder in (root / MIRRORS, root / PARTIALS))
    for found in (*shallow, *deep):
        for path in sorted(found):
            if path.is_file() and is_abandoned(path):
                yield path


def _changed(root: Path, victim: Victim) -> str | None:
    """Return why a planned victim must stay after all."""
    if victim.kind in ("store", "mirror"):
        standing = references(root)
        standing.require_readable()
        refusal = why_kept(root, victim.path.name, standing)
        return refusal[0] if refusal else None
    if victim.kind == "attempt" and is_worked_on(victim.path, time.time()):
        return "a process works there again"
    return None
