"""Stores in, names and pins that keep them out: ``store pin``, ``unpin`` and ``name``."""

from __future__ import annotations

from typing import Annotated

import typer

from layerscout.commands.console import Call
from layerscout.commands.stores.roots import WORD, Stores, writable_root
from layerscout.commands.words import Root, command
from layerscout.errors import UsageError, suggest
from layerscout.paths import expand_word


@command("layerscout store pin STORE --reason paper", dry_run=True)
def pin(
    call: Call,
    stores: Stores,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for others to read.")] = None,
    root: Root = None,
) -> None:
    """Keep stores from being deleted."""
    from layerscout.cache.catalog import entries as catalog
    from layerscout.cache.catalog import references

    folder = writable_root(root, call.dry_run, stores)
    ids = [catalog.held_store_id(folder, word) for word in stores]
    new = [store_id for store_id in ids if not call.dry_run and references.pin_store(folder, store_id, reason)]
    lines = [
        f"{store_id}: {'would be pinned' if call.dry_run else 'pinned' if store_id in new else 'was pinned already'}" for store_id in ids
    ]
    call.emit({"pinned": ids, "new": new, "dry_run": call.dry_run}, "\n".join(lines))


@command("layerscout store unpin STORE", dry_run=True)
def unpin(
    call: Call,
    stores: Stores,
    root: Root = None,
) -> None:
    """Let stores be deleted again."""
    from layerscout.cache.catalog import entries as catalog
    from layerscout.cache.catalog import references

    folder = writable_root(root, call.dry_run, stores)
    pinned = references.references(folder).pins
    ids = [word if word in pinned else catalog.held_store_id(folder, word) for word in stores]
    ended = [store_id for store_id in ids if store_id in pinned and (call.dry_run or references.unpin_store(folder, store_id))]
    lines = [
        f"{store_id}: {'was not pinned' if store_id not in ended else 'would be unpinned' if call.dry_run else 'unpinned'}"
        for store_id in ids
    ]
    call.emit({"unpinned": ended, "dry_run": call.dry_run}, "\n".join(lines))


@command("layerscout store name STORE intercept-tiny", dry_run=True)
def name(
    call: Call,
    store: Annotated[str | None, typer.Argument(metavar="STORE", parser=expand_word, help=f"{WORD}.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The name to give.")] = None,
    remove: Annotated[str | None, typer.Option("--remove", metavar="NAME", help="Take this name away instead.")] = None,
    root: Root = None,
) -> None:
    """Give a store a name that every command knows, or take one away.

    A name keeps its store from being deleted; a name that another store has moves.
    """
    from layerscout.cache.catalog import entries as catalog
    from layerscout.cache.catalog import references
    from layerscout.cache.naming import check_name, name_store, named_store, remove_name
    from layerscout.cache.opening import open_store

    folder = writable_root(root, call.dry_run, () if store is None else (store,))
    if remove is not None and store is None:
        known = {given: store_id for store_id, names in references.references(folder).names.items() for given in names}
        gone = remove in known and (call.dry_run or remove_name(folder, remove))
        sentence = f"'{remove}' {'would name' if call.dry_run else 'names'} nothing any more" if gone else f"no store is named '{remove}'"
        call.emit({"name": remove, "was": known.get(remove), "removed": gone}, sentence + ("" if gone else suggest(remove, known)))
    elif remove is None and store is not None and name is not None:
        check_name(name)
        opened = open_store(folder, catalog.held_store_id(folder, store))
        before = named_store(folder, name)
        if not call.dry_run:
            name_store(folder, name, opened)
        sentence = f"'{name}' {'would name' if call.dry_run else 'names'} {opened.id}" + (
            f", no longer {before}" if before not in (None, opened.id) else ""
        )
        call.emit({"name": name, "store": opened.id, "was": before, "dry_run": call.dry_run}, sentence)
    else:
        raise UsageError(
            "what should have which name?", hint="--remove NAME takes a name away; to give one: layerscout store name STORE NAME"
        )
