"""A store in, what it keeps to run single blocks alone out: the ``passport`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from layerscout.commands.console import Call, size, table
from layerscout.commands.stores.roots import OneStore
from layerscout.commands.words import Root, command


@command("layerscout passport STORE blocks.3", dry_run=True)
def passport(
    call: Call,
    store: OneStore,
    layer: Annotated[str | None, typer.Argument(metavar="LAYER", help="One layer (default: list them all).")] = None,
    root: Root = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Look into a checkpoint that is not on this machine, where the store says that it is.")
    ] = False,
) -> None:
    """Show what a store keeps to run single blocks alone.

    Of one layer also what reading its weights from the checkpoint takes; only headers are read for that.
    """
    from layerscout.cache.opening import open_store
    from layerscout.extract.passports.stored_passports import describe_passport, read_passport

    opened = open_store(root, store)
    if layer is None:
        found = [describe_passport(opened, read_passport(opened, name), weights=False) for name in opened.passports]
        columns = ("layer", "block", "parameters", "tokens", "clips", "overall_rms", "context_bytes")
        rows = [[_cell(name, facts[name]) for name in columns] for facts in found]
        listed = table(columns, rows) if found else f"store {opened.id} keeps no passports"
        call.emit({"store": opened.id, "passports": found}, listed)
        return
    facts = describe_passport(opened, read_passport(opened, layer), weights=not call.dry_run, trust=trust)
    lines = [f"{key}: {_cell(key, value)}" for key, value in facts.items() if key != "context"]
    entries = [
        (entry["name"], "x".join(map(str, entry["shape"])), entry["dtype"], "clip" if entry["per_clip"] else "batch", size(entry["bytes"]))
        for entry in facts["context"]
    ]
    context = f"\n\n{table(('context', 'shape', 'type', 'one for each', 'size'), entries)}" if entries else ""
    call.emit(facts, "\n".join(lines) + context)
    if facts["not_here"] is not None and not trust:
        call.reporter().say(f"the checkpoint {facts['not_here']} is not on this machine: --trust looks into it")


def _cell(key: str, value: object) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, list):
        return ", ".join(map(str, value)) if key == "files" else "x".join(map(str, value))
    if key.endswith("bytes"):
        return size(float(str(value)))
    return f"{value:,}" if type(value) is int else f"{value:.4g}" if isinstance(value, float) else str(value)
