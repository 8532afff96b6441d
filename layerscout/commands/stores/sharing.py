"""A store and a place in, the store there or here out: ``store push`` and ``pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscout.commands.console import Call
from layerscout.commands.following import after_store
from layerscout.commands.stores.roots import OneStore, chosen_root
from layerscout.commands.words import USER_PATH, Root, command
from layerscout.errors import DataError, UsageError, shell
from layerscout.paths import expand_word

Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Files on their way at once.")]


@command("layerscout store push STORE s3://bucket/layerscout", dry_run=True)
def push(
    call: Call,
    store: OneStore,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            parser=expand_word,
            help="s3://bucket/prefix, gs://..., az://..., hf://datasets/ORG/NAME, hf://buckets/ORG/NAME or a folder.",
        ),
    ],
    ranking: Annotated[
        Path | None,
        typer.Option("--ranking", **USER_PATH, help="Also publish the ranking that probe wrote there, with a card of its own."),
    ] = None,
    workers: Workers = 8,
    root: Root = None,
) -> None:
    """Publish a store for others; the same command continues."""
    from layerscout.cache.opening import find_folder
    from layerscout.cache.remote import rankings
    from layerscout.cache.remote import transfer as remote
    from layerscout.cache.root import root_words
    from layerscout.cache.store import Store

    if "://" in store and "/" not in url:  # a place is an address or a folder, a bare word is a store
        raise UsageError(f"the store comes first, then the place: {store}", hint=shell("store", "push", url, store))
    opened = Store.open(find_folder(chosen_root(root), store))
    beside = rankings.read_ranking_folder(opened, ranking) if ranking is not None else None
    done = remote.plan_push(opened, url, workers) if call.dry_run else remote.push(opened, url, call.reporter(), workers)
    if beside is not None and not call.dry_run and done.outcome != "another":
        rankings.push_ranking(opened, beside, url)
    call.emit(done.describe() | (beside.describe() if beside is not None else {}))
    if done.outcome == "another":
        message = f"{done.target} holds the same store as somebody else computed it first; this one was not published"
        places = root_words(root)
        hint = f"to have that one here: {shell('store', 'rm', done.store_id, *places)} && {shell('store', 'pull', done.target, *places)}"
        raise DataError(message, hint=hint)


@command("layerscout store pull s3://bucket/layerscout/STORE --layer blocks.3", dry_run=True)
def pull(
    call: Call,
    url: Annotated[
        str,
        typer.Argument(metavar="URL", parser=expand_word, help="Where it was pushed to; ends in the store's id when there are several."),
    ],
    layer: Annotated[list[str] | None, typer.Option("--layer", metavar="NAME", help="Only these layers (repeat).")] = None,
    workers: Workers = 8,
    root: Root = None,
) -> None:
    """Bring a published store here; the same command continues."""
    from layerscout.cache.remote import transfer as remote

    planned = remote.plan_pull(url, root, layer or None)
    if call.dry_run:
        call.emit(planned.describe())
        return
    store = remote.pull(url, root, layer or None, call.reporter(), workers)
    moved = planned.describe()
    facts = {"store": store.id, "path": str(store.path), "layers": layer or list(store.specs)}
    facts |= {name: moved[name] for name in ("bytes", "present_bytes", "present_objects", "objects")}
    call.emit(facts | {"next": after_store(store, root)})
