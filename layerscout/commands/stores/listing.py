"""Stores in, what is known about them out: ``store ls``, ``info`` and ``verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from layerscout.commands.console import Call
from layerscout.commands.stores.roots import WORD, OneStore, chosen_root, existing_root
from layerscout.commands.words import Root, command
from layerscout.errors import DataError, UsageError, shell
from layerscout.paths import expand_word


@command("layerscout store ls --sort size:desc")
def ls(
    call: Call,
    where: Annotated[
        str | None, typer.Argument(metavar="ROOT", parser=expand_word, help="Folder of all stores, or a URL (default: as --root).")
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="CONDITION", help="size>1GB, backbone=tiny, age>30d, ... (repeat).")
    ] = None,
    sort: Annotated[str, typer.Option(metavar="KEY", help="KEY, KEY:asc or KEY:desc.")] = "created:desc",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Show so many stores at most.")] = None,
    root: Root = None,
) -> None:
    """List stores: what they hold, how large they are, what keeps them."""
    from layerscout.cache.catalog.entries import list_entries, list_mirrors, list_remote_entries
    from layerscout.cache.catalog.prune import remains_beside_stores
    from layerscout.cache.catalog.query import select_entries
    from layerscout.commands.stores import text

    if where and root:
        raise UsageError(f"two folders: '{where}' and --root {root}", hint="give one of them")
    remote = where is not None and "://" in where
    folder = None if remote else existing_root(Path(where) if where else root)
    found = select_entries(
        list_remote_entries(str(where)) if folder is None else [*list_entries(folder), *list_mirrors(folder)], filters or (), sort
    )
    shown = found[:limit]
    facts: dict[str, Any] = {"root": str(folder or where), "stores": [entry.describe() for entry in shown], "count": len(found)}
    facts |= {"bytes": sum(entry.bytes for entry in found)} | (remains_beside_stores(folder) if folder else {})
    call.emit(facts, text.listing(found, shown))
    if not call.as_json:
        for line in text.hints(facts):
            call.reporter().say(line)


@command("layerscout store info STORE")
def info(call: Call, store: OneStore, root: Root = None) -> None:
    """Show everything known about a store.

    Layers, identity, provenance, names and pin; no data is read.
    """
    from layerscout.cache.catalog.details import store_details
    from layerscout.cache.opening import find_folder, open_store
    from layerscout.commands.stores import text

    folder = chosen_root(root)
    if "://" not in store:
        facts = store_details(folder, find_folder(folder, store))
    else:  # what is not here is looked at, and not kept
        with TemporaryDirectory() as scratch:
            facts = store_details(folder, open_store(folder, store, Path(scratch)).path)
            facts |= {"path": store, "layers_here": []} if facts["path"].startswith(scratch) else {}
    call.emit(facts, text.information(facts))


@command("layerscout store verify --all")
def verify(
    call: Call,
    stores: Annotated[list[str] | None, typer.Argument(metavar="STORE", parser=expand_word, help=f"{WORD}; several.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every store.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Also sha256 (slower); else size and crc32c of every file.")] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="OTHER", parser=expand_word, help="Compare with another machine's store of the same id: a folder."
        ),
    ] = None,
    root: Root = None,
) -> None:
    """Read every file of a store and compare it with the manifest.

    Exit code 4 when anything is missing, damaged, of another size, or in no manifest. With --against, read two stores of one id and
    tell how many values of every layer differ, and by how much; exit code 4 when their index columns differ.
    """
    from layerscout.cache.catalog.verification import verify_store as check
    from layerscout.cache.opening import find_folder
    from layerscout.cache.root import STORES, root_words, store_folders
    from layerscout.commands.stores import text

    if against is not None:
        _compare(call, stores or (), against, root)
        return
    if every == bool(stores):
        raise UsageError("which stores?", hint="name stores, or all of them: layerscout store verify --all")
    folder = existing_root(root) if every else chosen_root(root)
    paths = list(store_folders(folder / STORES)) if every else [find_folder(folder, word) for word in stores or ()]
    checked = [check(path, full, call.reporter()) for path in paths]
    damaged = [one for one in checked if one.problems]
    call.emit({"stores": [one.describe() for one in checked], "damaged": len(damaged)}, text.problems(checked))
    if damaged:
        count = sum(len(one.problems) for one in damaged)
        hint = f"extract it or pull it again, after: {shell('store', 'rm', damaged[0].store_id, *root_words(folder))}"
        raise DataError(f"{count} problem(s) in {len(damaged)} of {len(checked)} store(s)", hint=hint)


def _compare(call: Call, stores: Sequence[str], against: str, root: Path | None) -> None:
    from layerscout.cache.catalog.comparison import compare_stores, open_against
    from layerscout.cache.opening import find_folder
    from layerscout.cache.root import root_words
    from layerscout.cache.store import Store
    from layerscout.commands.stores import text

    if len(stores) != 1:
        raise UsageError("which store?", hint="one STORE goes with --against: layerscout store verify STORE --against FOLDER")
    store = Store.open(find_folder(chosen_root(root), stores[0]))
    found = compare_stores(store, open_against(store.id, against), call.reporter())
    call.emit(found.describe(), text.differences(found))
    if found.unequal_columns:
        message = f"index columns differ: {', '.join(found.unequal_columns)}; {found.path} and {found.other_path} are not of the same rows"
        raise DataError(message, hint=f"see which of them is whole: {shell('store', 'verify', store.id, '--full', *root_words(root))}")
