"""Words in, one call, words out: the ``layerscout store`` commands over the folder of all stores. Nothing heavy is imported at start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerscout.commands.console import AsJson, Debug, DryRun, Quiet, Root, emit, guarded, size
from layerscout.errors import DataError, UsageError, suggest
from layerscout.progress import Reporter

if TYPE_CHECKING:
    from layerscout.cache.catalog.prune import Deletion

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="List, check, share and delete the stores of a folder.",
)

Stores = Annotated[list[str], typer.Argument(metavar="STORE", help="A store's id, the beginning of one, a name or a folder; several.")]
OneStore = Annotated[str, typer.Argument(metavar="STORE", help="A store's id, the beginning of one, a name or a folder.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking; needed where nobody can be asked.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Files on their way at once.")]


@app.command()
@guarded
def ls(
    where: Annotated[str | None, typer.Argument(metavar="ROOT", help="Folder of all stores, or a URL.")] = None,
    filters: Annotated[list[str] | None, typer.Option("--filter", help="size>1GB, backbone=tiny, age>30d, ... (repeat).")] = None,
    sort: Annotated[str, typer.Option(help="KEY, KEY:asc or KEY:desc.")] = "created:desc",
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many stores at most.")] = None,
    root: Root = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List stores: what they hold, how large they are, what keeps them."""
    from layerscout.cache.catalog.entries import entries, remote_entries
    from layerscout.cache.catalog.prune import beside
    from layerscout.cache.catalog.query import select
    from layerscout.commands import store_text

    if where and root:
        raise UsageError(f"two folders: '{where}' and --root {root}", hint="give one of them")
    remote = where is not None and "://" in where
    folder = None if remote else _root(Path(where) if where else root)
    found = select(remote_entries(str(where)) if folder is None else entries(folder), filters or (), sort)
    shown = found[:limit]
    facts: dict[str, Any] = {"root": str(folder or where), "stores": [entry.describe() for entry in shown], "count": len(found)}
    facts |= {"bytes": sum(entry.bytes for entry in found)} | (beside(folder) if folder else {})
    emit(facts, as_json, store_text.listing(found, shown))
    if not as_json:
        for line in store_text.hints(facts):
            Reporter(quiet).say(line)


@app.command()
@guarded
def info(store: OneStore, root: Root = None, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Show everything known about a store: layers, identity, provenance, names and pin."""
    from layerscout.cache.catalog.details import details
    from layerscout.cache.catalog.entries import find
    from layerscout.commands import store_text

    folder = _root(root, needed=not Path(store).is_dir())
    facts = details(folder, find(folder, store))
    emit(facts, as_json, store_text.information(facts))


@app.command()
@guarded
def verify(
    stores: Annotated[list[str] | None, typer.Argument(metavar="STORE", help="Ids, names or folders.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every store.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Also sha256 (slower); else size and crc32c of every file.")] = False,
    root: Root = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read every file of a store and compare it with the manifest; exit code 4 when anything is wrong."""
    from layerscout.cache.catalog.entries import find
    from layerscout.cache.catalog.verification import verify as check
    from layerscout.cache.root import STORES, store_folders
    from layerscout.commands import store_text

    if every == bool(stores):
        raise UsageError("which stores?", hint="layerscout store verify STORE, or layerscout store verify --all")
    folder = _root(root, needed=every or not all(Path(word).is_dir() for word in stores or ()))
    paths = list(store_folders(folder / STORES)) if every else [find(folder, word) for word in stores or ()]
    checked = [check(path, full, Reporter(quiet)) for path in paths]
    damaged = [one for one in checked if one.problems]
    emit({"stores": [one.describe() for one in checked], "damaged": len(damaged)}, as_json, store_text.problems(checked))
    if damaged:
        count = sum(len(one.problems) for one in damaged)
        hint = f"layerscout store rm {damaged[0].store_id}, then extract it or pull it again"
        raise DataError(f"{count} problem(s) in {len(damaged)} of {len(checked)} store(s)", hint=hint)


@app.command()
@guarded
def rm(
    stores: Stores,
    yes: Yes = False,
    root: Root = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Delete stores; what is pinned, named or in use is refused."""
    from layerscout.cache.catalog.prune import plan_rm

    _delete(plan_rm(_writable(root, dry_run), stores), yes, dry_run, as_json, quiet)


@app.command()
@guarded
def prune(
    unreferenced: Annotated[bool, typer.Option("--unreferenced", help="Also stores that are neither pinned nor named.")] = False,
    older_than: Annotated[str | None, typer.Option(help="Also mirrors not read for so long (30d, 12h); limits --unreferenced too.")] = None,
    yes: Yes = False,
    root: Root = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Delete what killed processes left behind, and on demand what nobody needs."""
    from layerscout.cache.catalog.prune import plan_prune
    from layerscout.cache.catalog.query import duration

    age = None if older_than is None else duration(older_than)
    _delete(plan_prune(_writable(root, dry_run), unreferenced, age), yes, dry_run, as_json, quiet)


@app.command()
@guarded
def pin(
    stores: Stores,
    reason: Annotated[str | None, typer.Option(help="Why, for others to read.")] = None,
    root: Root = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Keep stores from being deleted."""
    from layerscout.cache.catalog import entries as catalog
    from layerscout.cache.catalog import references

    folder = _writable(root, dry_run)
    ids = [catalog.held(folder, word) for word in stores]
    new = [store_id for store_id in ids if not dry_run and references.pin(folder, store_id, reason)]
    told = [f"{store_id}: {'would be pinned' if dry_run else 'pinned' if store_id in new else 'was pinned already'}" for store_id in ids]
    emit({"pinned": ids, "new": new, "dry_run": dry_run}, as_json, "\n".join(told))


@app.command()
@guarded
def unpin(
    stores: Stores,
    root: Root = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Let stores be deleted again."""
    from layerscout.cache.catalog import entries as catalog
    from layerscout.cache.catalog import references

    folder = _writable(root, dry_run)
    pinned = references.references(folder).pins
    ids = [word if word in pinned else catalog.held(folder, word) for word in stores]
    ended = [store_id for store_id in ids if store_id in pinned and (dry_run or references.unpin(folder, store_id))]
    told = [
        f"{store_id}: {'was not pinned' if store_id not in ended else 'would be unpinned' if dry_run else 'unpinned'}" for store_id in ids
    ]
    emit({"unpinned": ended, "dry_run": dry_run}, as_json, "\n".join(told))


@app.command()
@guarded
def name(
    store: Annotated[str | None, typer.Argument(help="A store's id, the beginning of one, a name or a folder.")] = None,
    name: Annotated[str | None, typer.Argument(help="The name to give.")] = None,
    remove: Annotated[str | None, typer.Option("--remove", metavar="NAME", help="Take this name away instead.")] = None,
    root: Root = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Give a store a name, by which every command knows it and which keeps it; or take a name away."""
    from layerscout.cache.catalog import entries as catalog
    from layerscout.cache.catalog import references
    from layerscout.cache.naming import check_name, name_store, named_store, remove_name
    from layerscout.cache.opening import open_store

    folder = _writable(root, dry_run)
    if remove is not None and store is None:
        known = {given: store_id for store_id, names in references.references(folder).names.items() for given in names}
        gone = remove in known and (dry_run or remove_name(folder, remove))
        told = f"'{remove}' {'would name' if dry_run else 'names'} nothing any more" if gone else f"no store is named '{remove}'"
        emit({"name": remove, "was": known.get(remove), "removed": gone}, as_json, told + ("" if gone else suggest(remove, known)))
    elif remove is None and store is not None and name is not None:
        check_name(name)
        opened = open_store(folder, catalog.held(folder, store))
        before = named_store(folder, name)
        if not dry_run:
            name_store(folder, name, opened)
        told = f"'{name}' {'would name' if dry_run else 'names'} {opened.id}" + (
            f", no longer {before}" if before not in (None, opened.id) else ""
        )
        emit({"name": name, "store": opened.id, "was": before, "dry_run": dry_run}, as_json, told)
    else:
        raise UsageError("what should have which name?", hint="layerscout store name STORE NAME, or layerscout store name --remove NAME")


@app.command()
@guarded
def push(
    store: OneStore,
    url: Annotated[str, typer.Argument(metavar="URL", help="s3://bucket/prefix, gs://..., az://... or a folder.")],
    workers: Workers = 8,
    root: Root = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Publish a store for others; the same command continues."""
    from layerscout.cache.catalog.entries import find
    from layerscout.cache.remote import transfer as remote
    from layerscout.cache.store import Store

    opened = Store.open(find(_root(root, needed=not Path(store).is_dir()), store))
    done = remote.plan_push(opened, url, workers) if dry_run else remote.push(opened, url, Reporter(quiet), workers)
    emit(done.describe(), as_json)
    if done.outcome == "another":
        message = f"{done.target} holds the same store as somebody else computed it first; this one was not published"
        raise DataError(message, hint=f"layerscout store pull {done.target} brings that one, after: layerscout store rm {done.store_id}")


@app.command()
@guarded
def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where it was pushed to; ends in the store's id when there are several.")],
    layer: Annotated[list[str] | None, typer.Option("--layer", help="Only these layers (repeat).")] = None,
    workers: Workers = 8,
    root: Root = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Bring a published store here; the same command continues."""
    from layerscout.cache.remote import transfer as remote

    planned = remote.plan_pull(url, root, layer or None)
    if dry_run:
        emit(planned.describe(), as_json)
        return
    store = remote.pull(url, root, layer or None, Reporter(quiet), workers)
    facts = {"store": store.id, "path": str(store.path), "layers": layer or list(store.specs), "bytes": planned.bytes}
    facts |= {"present_bytes": planned.present_bytes, "present_objects": planned.present_objects, "objects": planned.objects}
    emit(facts | {"next": f"layerscout probe {store.id}"}, as_json)


def _delete(planned: Deletion, yes: bool, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Show the plan; ask, where somebody can be asked; delete; say what became of it."""
    from layerscout.cache.catalog.prune import delete
    from layerscout.commands import store_text

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    plan = planned.describe()
    if dry_run or not planned.victims or not (yes or terminal):
        emit(plan | {"deleted": False}, as_json, store_text.deletion(planned))
        if planned.victims and not dry_run:
            Reporter(quiet).say("nothing was deleted: there is no terminal to ask on; --yes deletes")
        return
    if not as_json:
        emit(plan, False, store_text.deletion(planned))
    if not yes and not _agreed(f"delete {size(planned.bytes)}?"):
        emit(plan | {"deleted": False}, as_json, "nothing was deleted")
        return
    with Reporter(quiet).task("delete", len(planned.victims), "items") as task:
        outcome = delete(planned, lambda victim: task.advance())
    left = [{"path": str(victim.path), "why": why} for victim, why in outcome.left]
    facts = plan | {"deleted": True, "freed_bytes": outcome.bytes, "left": left}
    emit(facts, as_json, f"deleted: {store_text.counted(len(outcome.deleted), 'item')}, {size(outcome.bytes)} freed")
    if left:
        raise DataError(f"{len(left)} item(s) stay: {left[0]['path']}: {left[0]['why']}", hint="mend that, then run the same command again")


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C or the end of the input is a no
        return False


def _root(root: Path | None, needed: bool = True) -> Path:
    """Return the folder of all stores; when it is not needed (a store is given as a folder), it need not exist."""
    from layerscout.cache.root import checked_root, default_root

    chosen = root or default_root()
    return checked_root(chosen) if needed or chosen.is_dir() else chosen


def _writable(root: Path | None, dry_run: bool) -> Path:
    """Return the folder of all stores, and refuse one that this user may not change."""
    from layerscout.cache.root import check_writable

    folder = _root(root)
    if not dry_run:
        check_writable(folder)
    return folder
