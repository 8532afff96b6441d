"""Roots in, all their stores out as lists show them; a store is read again only when its manifest or identity changed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from layerscout.cache import manifest as manifests
from layerscout.cache.catalog.entries import Entry, list_remote_entries, read_entry
from layerscout.cache.catalog.query import select_entries
from layerscout.cache.catalog.references import References, references
from layerscout.cache.identity import STORE_ID
from layerscout.cache.root import STORES, store_folders
from layerscout.errors import DataError, LayerscoutError
from layerscout.service.data.roots import ServedRoot, inside
from layerscout.service.problems import HttpProblem

UNTRAINED = "-untrained"  # what the twin of a model is called after it
FRESH_SECONDS, REMOTE_SECONDS = 2.0, 300.0
A_PAGE = 50  # stores

One = TypeVar("One")


@dataclass(frozen=True)
class Shelved:
    """A store of a root: what its entry says, its layers' names, the digest of its manifest, and whose files they are."""

    entry: Entry
    root: ServedRoot
    layers: tuple[str, ...] = ()
    digest: str = ""
    by: str = ""

    @property
    def id(self) -> str:
        """The store's id."""
        return self.entry.store_id

    @property
    def text(self) -> str:
        """Everything that a search looks through."""
        entry = self.entry
        return " ".join((entry.store_id, *entry.names, entry.backbone or "", entry.dataset or "", self.by, *self.layers)).casefold()

    def folder(self) -> Path:
        """Return the store's folder.

        Raises
        ------
        DataError
            It is elsewhere, not there any more, or behind a link that leaves its root.
        """
        if self.root.folder is None:
            raise DataError(f"store {self.id} is at {self.root.place}", hint=f"layerscout store pull {self.root.place}/{self.id}")
        return inside(self.root.folder, self.root.folder / STORES / self.id)


class Catalogue:
    """All stores of the roots, looked at again when somebody asks and two seconds have passed. ``version`` grows with every change."""

    def __init__(self, roots: tuple[ServedRoot, ...]) -> None:
        self.roots = roots
        self.version = 0
        self.troubles: tuple[str, ...] = ()  # roots that could not be read
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, ...], Shelved]] = {}
        self._far: dict[str, tuple[float, list[Shelved]]] = {}
        self._all: tuple[Shelved, ...] = ()
        self._looked = -1e9  # never

    def all(self) -> tuple[Shelved, ...]:
        """Return every store; of one that lies in several roots, the first."""
        if time.monotonic() - self._looked >= FRESH_SECONDS and self._lock.acquire(blocking=self._looked < 0):
            try:  # one looks; the others are shown what was there a moment ago
                if time.monotonic() - self._looked >= FRESH_SECONDS:
                    self._look()
                    self._looked = time.monotonic()
            finally:
                self._lock.release()
        return self._all

    def find(self, word: str) -> Shelved:
        """Return the store with this id or name.

        Raises
        ------
        HttpProblem
            There is none (404).
        """
        every = self.all()
        found = [one for one in every if one.id == word] if STORE_ID.fullmatch(word) else [one for one in every if word in one.entry.names]
        if not found:
            raise HttpProblem(404, f"no store '{word[:80]}' here", "the list of stores has all ids and names", "data")
        return found[0]

    def twin_of(self, word: str) -> str:
        """Return the id of the store of the same model without training on the same data; empty when there is none."""
        every = self.all()
        own = next((one for one in every if word and word in (one.id, *one.entry.names)), None)
        if own is None or not own.entry.backbone:
            return ""
        alike = (
            one for one in every if one.entry.dataset == own.entry.dataset and one.entry.rows == own.entry.rows and one.layers == own.layers
        )
        return next((one.id for one in alike if one.entry.backbone == f"{own.entry.backbone}{UNTRAINED}"), "")

    def select(self, text: str = "", filters: Iterable[str] = (), order: str = "created:desc") -> list[Shelved]:
        """Return the stores that hold every word of ``text`` and satisfy every filter, in the order of ``layerscout store ls --sort``."""
        wanted = text.casefold().split()
        held = {id(one.entry): one for one in self.all() if all(word in one.text for word in wanted)}
        return [held[id(entry)] for entry in select_entries([one.entry for one in held.values()], filters, order)]

    def _look(self) -> None:
        troubles: list[str] = []
        found: dict[str, Shelved] = {}
        for root in self.roots:
            try:
                for one in self._far_away(root) if root.folder is None else self._here(root, root.folder):
                    found.setdefault(one.id, one)
            except (LayerscoutError, OSError) as error:
                troubles.append(f"{root.place}: {error}")
        everything = tuple(found.values())
        if everything != self._all or tuple(troubles) != self.troubles:
            self._all, self.troubles = everything, tuple(troubles)
            self.version += 1

    def _here(self, root: ServedRoot, folder: Path) -> Iterator[Shelved]:
        standing = references(folder)
        for path in store_folders(folder / STORES):
            yield self._one(root, path, standing)

    def _one(self, root: ServedRoot, path: Path, standing: References) -> Shelved:
        state = _state(path)
        names, pinned = standing.names.get(path.name, ()), path.name in standing.pins
        known = self._known.get(str(path))
        if known is not None and known[0] == state:
            shelved = known[1]
            if (shelved.entry.names, shelved.entry.pinned) == (names, pinned):
                return shelved
            shelved = replace(shelved, entry=replace(shelved.entry, names=names, pinned=pinned))
        else:
            shelved = _read(root, path, standing)
        self._known[str(path)] = (state, shelved)
        return shelved

    def _far_away(self, root: ServedRoot) -> list[Shelved]:
        when, found = self._far.get(root.place, (-REMOTE_SECONDS, []))
        if time.monotonic() - when >= REMOTE_SECONDS:
            found = [Shelved(entry, root) for entry in list_remote_entries(root.place)]
            self._far[root.place] = (time.monotonic(), found)
        return found


def count_pages(found: Sequence[One]) -> int:
    """Return how many pages of fifty there are, at least one."""
    return max(1, -(-len(found) // A_PAGE))


def on_page(found: Sequence[One], page: int) -> Sequence[One]:
    """Return what stands on a page, counted from 1; nothing behind the last."""
    return found[(page - 1) * A_PAGE : page * A_PAGE]


def _state(path: Path) -> tuple[int, ...]:
    found: list[int] = []
    for name in (manifests.NAME, manifests.IDENTITY_NAME):
        try:
            about = (path / name).stat()
            found += [about.st_ino, about.st_size, about.st_mtime_ns]
        except OSError:
            found.append(-1)
    return tuple(found)


def _read(root: ServedRoot, path: Path, standing: References) -> Shelved:
    try:
        inside(root.folder or path, path)
    except DataError as error:
        return Shelved(Entry(path.name, str(path), 0, path.lstat().st_mtime, damage=str(error)), root)
    entry = read_entry(path, standing)
    if entry.damage:
        return Shelved(entry, root)
    fields = json.loads((path / manifests.NAME).read_bytes())
    return Shelved(
        entry, root, tuple(str(layer["name"]) for layer in fields["layers"]), str(fields["digest"]), _owner(path / manifests.NAME)
    )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError, NotImplementedError):
        return ""
