"""A store's id, name, folder, URL or identity in, the open store out: whole, or as a mirror that grows when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerscout.cache import identity as identities
from layerscout.cache import manifest as manifests
from layerscout.cache.files import read_document
from layerscout.cache.naming import named_store
from layerscout.cache.remote import mirror
from layerscout.cache.root import MIRRORS, STORES, default_root
from layerscout.cache.store import Store
from layerscout.errors import DataError, raise_shortage, suggest
from layerscout.paths import expand, expand_word


def open_store(root: Path | str | None, text: Path | str, scratch: Path | None = None) -> Store:
    """Open a store by its id, by a name given with ``name_store``, by its folder, or by a URL (see ``cache.remote.mirror``).

    Parameters
    ----------
    root
        Folder of all stores; None means ``default_root()``.
    scratch
        Where the mirror of a URL is made that is not here yet, in place of ``root``, by whoever only wants to look.

    Raises
    ------
    DataError
        Nothing is known under that word, or the store is incomplete or damaged, or its place cannot be reached.
    """
    root = expand(root) if root is not None else default_root()
    word = expand_word(str(text))
    if "://" in word:
        return mirror.open_url(root, word, scratch)
    if identities.STORE_ID.fullmatch(word):
        return _open_held(root, word)
    if named := named_store(root, word):
        return _open_held(root, named)
    if Path(word).is_dir():
        return Store.open(word)
    known = [path.stem for path in root.glob("refs/*.json")] + [path.name for path in root.glob("stores/ls1-*")]
    raise DataError(f"no store '{word}' under {root}{suggest(word, known)}", hint="give a store's id, name or folder, or the right --root")


def find_store(root: Path | str | None, identity: identities.Identity) -> Store | None:
    """Return the store of this identity, or one computed the same way that has more layers, or None.

    Raises
    ------
    DataError
        The identity is unresolved, or the store that would serve is damaged.
    """
    folder = (expand(root) if root is not None else default_root()) / STORES
    exact = folder / identities.store_id(identity)
    if exact.is_dir():
        return Store.open(exact)
    for candidate in sorted(folder.glob(f"{identities.STORE_PREFIX}*")):
        if (candidate / manifests.NAME).is_file() and _serves(candidate, identity):
            return Store.open(candidate)
    return None


def _open_held(root: Path, store_id: str) -> Store:
    """Open a store that is here whole, else its mirror."""
    if not (root / STORES / store_id).is_dir() and (root / MIRRORS / store_id).is_dir():
        return mirror.open_mirror(root, store_id)
    return Store.open(root / STORES / store_id)


def _serves(candidate: Path, identity: identities.Identity) -> bool:
    try:
        held: dict[str, Any] = json.loads(read_document(candidate / manifests.IDENTITY_NAME))
        return identities.identity_serves(held, identity)
    except (OSError, ValueError, TypeError, RecursionError, DataError) as error:
        if isinstance(error, OSError):
            raise_shortage(error, candidate / manifests.IDENTITY_NAME)
        return False  # a store whose identity cannot be read serves nobody; opening it by id tells what is wrong
