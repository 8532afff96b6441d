"""Stores and remains in, a plan and then their bytes back out: ``store rm`` and ``prune``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from layerscout.commands.console import Call, size
from layerscout.commands.stores.roots import Stores, writable_root
from layerscout.commands.words import Root, command
from layerscout.errors import DataError, UsageError
from layerscout.showing import counted

if TYPE_CHECKING:
    from layerscout.cache.catalog.prune import Deletion

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking; needed where nobody can be asked.")]


@command("layerscout store rm STORE --dry-run", dry_run=True)
def rm(
    call: Call,
    stores: Stores,
    yes: Yes = False,
    root: Root = None,
) -> None:
    """Delete stores; what is pinned, named or in use is refused."""
    from layerscout.cache.catalog.prune import plan_rm

    _delete(plan_rm(writable_root(root, call.dry_run, stores), stores), yes, call)


@command("layerscout store prune --older-than 30d", dry_run=True)
def prune(
    call: Call,
    unreferenced: Annotated[bool, typer.Option("--unreferenced", help="Also stores that are neither pinned nor named.")] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Also mirrors not read for so long (30d, 12h); limits --unreferenced too.")
    ] = None,
    yes: Yes = False,
    root: Root = None,
) -> None:
    """Delete what killed processes left behind, and more on demand."""
    from layerscout.cache.catalog.prune import plan_prune
    from layerscout.cache.catalog.query import parse_duration

    age = None if older_than is None else parse_duration(older_than)
    _delete(plan_prune(writable_root(root, call.dry_run), unreferenced, age), yes, call)


def _delete(planned: Deletion, yes: bool, call: Call) -> None:
    """Show the plan; ask, where somebody can be asked; delete; say what became of it."""
    from layerscout.cache.catalog.prune import carry_out_deletion
    from layerscout.commands.stores import text

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    plan = planned.describe()
    if call.dry_run or not planned.victims or not (yes or terminal):
        call.emit(plan | {"deleted": False}, text.deletion(planned))
        if planned.victims and not call.dry_run:
            raise UsageError(
                "nothing was deleted: there is no terminal to ask on", hint="--yes deletes without asking, --dry-run only looks"
            )
        return
    if not call.as_json:
        call.emit(plan, text.deletion(planned))
    if not yes and not _agreed(f"delete {size(planned.bytes)}?"):
        call.emit(plan | {"deleted": False}, "nothing was deleted")
        return
    with call.reporter().task("delete", len(planned.victims), "items") as task:
        outcome = carry_out_deletion(planned, lambda victim: task.advance())
    left = [{"path": str(victim.path), "why": why} for victim, why in outcome.left]
    facts = plan | {"deleted": True, "freed_bytes": outcome.bytes, "left": left}
    call.emit(facts, f"deleted: {counted(len(outcome.deleted), 'item')}, {size(outcome.bytes)} freed")
    if left:
        raise DataError(f"{len(left)} item(s) stay: {left[0]['path']}: {left[0]['why']}", hint="mend that, then run the same command again")


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C or the end of the input is a no
        return False
