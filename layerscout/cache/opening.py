"""A word for a store in, its folder or the open store out: the one place that says what a word means. An identity in, its store out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerscout.cache import identity as identities
from layerscout.cache import manifest as manifests
from layerscout.cache.files import read_document
from layerscout.cache.naming import named_store
from layerscout.cache.remote import mirror
from layerscout.cache.remote.address import check_address
from layerscout.cache.remote.place import split_url
from layerscout.cache.remote.published import LEAST_PREFIX
from layerscout.cache.root import MIRRORS, NAMES, ORIGIN_NAME, STORES, default_root, root_words, store_folders
from layerscout.cache.store import Store
from layerscout.errors import DataError, UsageError, raise_shortage, shell, suggest
from layerscout.paths import expand, expand_word


def open_store(root: Path | str | None, text: Path | str, scratch: Path | None = None) -> Store:
    """Open the store that a word means: whole, or as a mirror that grows when it is read.

    Parameters
    ----------
    root
        Folder of all stores; None means ``default_root()``.
    text
        What `find_folder` takes, or the URL of a place that has it (see ``cache.remote.mirror``): ``s3://bucket/team/ls1-0f3a``.
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
    path = find_folder(root, word)
    if (path / ORIGIN_NAME).exists() and path.parent.name == MIRRORS:
        return mirror.open_mirror(path.parents[1], path.name)
    return Store.open(path)


def find_folder(root: Path, word: str) -> Path:
    """Return the folder of the store or mirror on this disk that a word means. It is not opened; a store goes before its mirror.

    A word is a store's id, the beginning of one that no other store's id has (8 letters or more), a name given with
    ``name_store``, the store's folder, ``PLACE/ID`` where PLACE is another folder of stores, PLACE alone when it has one store, or
    the URL of a store that was brought here.

    Raises
    ------
    DataError
        Nothing, or more than one store, is known under that word.
    UsageError
        It is a URL, and no such store is here.
    """
    check_address(word)
    if "://" in word:
        return _brought(root, word)
    if (found := _in_root(root, word)) is not None:
        return found
    path = Path(word)
    if (path / manifests.NAME).is_file() or (path.is_dir() and identities.STORE_ID.fullmatch(path.name)):
        return path.resolve()
    if path.name != word:
        place = path.parent.parent if path.parent.name in (STORES, MIRRORS) else path.parent
        if (place / STORES).is_dir() and (found := _in_root(place, path.name)) is not None:
            return found.resolve()
    if (path / STORES).is_dir():
        return _only(path)
    raise _not_here(root, word)


def _in_root(root: Path, word: str) -> Path | None:
    """Return the store of a root with this id, name, or beginning of an id."""
    here = {path.name: path for folder in (MIRRORS, STORES) for path in store_folders(root / folder)}
    named = named_store(root, word)
    if (exact := here.get(word) or here.get(named or "")) is not None:
        return exact
    if named is not None:
        raise DataError(
            f"'{word}' names store {named}, which is not under {root}", hint=shell("store", "name", "--remove", word, *root_words(root))
        )
    near = [path for store_id, path in here.items() if store_id.startswith(word) and len(word) >= LEAST_PREFIX]
    if len(near) > 1:
        listed = ", ".join(path.name for path in near[:4])
        raise DataError(f"'{word}' is the beginning of {len(near)} stores' ids under {root}", hint=f"give more of it: {listed}")
    return near[0] if near else None


def _only(place: Path) -> Path:
    found = list(store_folders(place / STORES))
    if len(found) == 1:
        return found[0].resolve()
    raise DataError(f"there are {len(found)} stores in {place}", hint=f"name one, as {place}/ID: {shell('store', 'ls', place)}")


def _brought(root: Path, url: str) -> Path:
    store_id = split_url(url)[1]
    if store_id is not None and (found := _in_root(root, store_id)) is not None:
        return found
    hint = f"{url} can be listed, and brought here: {shell('store', 'pull', url, *root_words(root))}"
    raise UsageError(f"{url} is elsewhere, and under {root} is no copy of it; this command is for stores that are here", hint=hint)


def _not_here(root: Path, word: str) -> DataError:
    """Return the one error for a store that is not there: it names the folder that was looked in, and how to name another."""
    if Path(word).is_file():
        from layerscout.cache.dataset.looking import looking_command

        made = (
            f"a store is made of it by: {looking_command(Path(word))}"
            if word.endswith((".h5", ".hdf5"))
            else "give a store's id, name or folder"
        )
        return DataError(f"{word} is a file, expected a store", hint=made)
    another = "another folder of stores is named by --root FOLDER or LAYERSCOUT_ROOT"
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        return DataError(f"no store '{word}': the folder of stores, {root}, {what}", hint=another)
    known = [path.stem for path in root.glob(f"{NAMES}/*.json")]
    known += [path.name for folder in (STORES, MIRRORS) for path in store_folders(root / folder)]
    return DataError(
        f"no store '{word}' under {root}{suggest(word, known)}", hint=f"{another}; this one holds: {shell('store', 'ls', root)}"
    )


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


def _serves(candidate: Path, identity: identities.Identity) -> bool:
    try:
        held: dict[str, Any] = json.loads(read_document(candidate / manifests.IDENTITY_NAME))
        return identities.identity_serves(held, identity)
    except (OSError, ValueError, TypeError, RecursionError, DataError) as error:
        if isinstance(error, OSError):
            raise_shortage(error, candidate / manifests.IDENTITY_NAME)
        return False  # a store whose identity cannot be read serves nobody; opening it by id tells what is wrong
