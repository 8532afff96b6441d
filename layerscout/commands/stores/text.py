"""Stores, problems and deletions in, tables for people out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from layerscout.cache.catalog.comparison import Comparison
from layerscout.cache.catalog.entries import Entry
from layerscout.cache.catalog.prune import Deletion
from layerscout.cache.catalog.verification import Verification
from layerscout.commands.console import size, table
from layerscout.errors import shell
from layerscout.showing import counted, readable
from layerscout.text import visible

SHORTEST_ID = 12  # "ls1-" and eight digits
MOST_LINES = 40  # of a plan; the rest is counted


def listing(found: Sequence[Entry], shown: Sequence[Entry]) -> str:
    """Return the table of ``shown`` stores, and one line about all that were found."""
    length = short_length([entry.store_id for entry in found])
    columns = ("store", "name", "backbone", "rows", "layers", "size", "created", "state")
    rows = [
        (
            entry.store_id[:length],
            ", ".join(entry.names),
            entry.backbone or "n/a",
            "n/a" if entry.rows is None else f"{entry.rows:,}",
            "n/a" if entry.layers is None else entry.layers if entry.mirror_of is None else f"{entry.layers_here} of {entry.layers}",
            size(entry.bytes),
            (entry.created or "n/a")[:16].replace("T", " "),
            _state(entry),
        )
        for entry in shown
    ]
    mirrors = sum(entry.mirror_of is not None for entry in found)
    of = f"{len(shown)} of {f'{len(found)}: ' if mirrors else ''}" if len(shown) < len(found) else ""
    kinds = [counted(len(found) - mirrors, "store"), *([counted(mirrors, "mirror")] if mirrors else [])]
    footer = f"{of}{' and '.join(kinds)}, {size(sum(entry.bytes for entry in found))}"
    return f"{table(columns, rows, last=('created', 'layers', 'rows'))}\n{footer}" if rows else footer


def hints(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for everything that a listing found beside whole stores, with the command that deals with it."""
    from layerscout.cache.root import root_words

    places = () if "://" in facts["root"] else root_words(Path(facts["root"]))
    for entry in facts["stores"]:
        if entry["damage"]:
            yield f"damaged: {entry['store']}: {shell('store', 'verify', entry['store'], *places)}"
    if facts.get("being_written"):
        yield f"being written: {counted(facts['being_written'], 'store')}"
    if (remains := facts.get("remains")) and remains["count"]:
        yield f"left behind by killed processes: {counted(remains['count'], 'item')}, {size(remains['bytes'])}: {shell('store', 'prune', *places)}"
    if (mirrors := facts.get("mirrors")) and mirrors["count"]:
        mirrored = f"{counted(mirrors['count'], 'mirror')} of stores elsewhere, {size(mirrors['bytes'])}"
        yield f"{mirrored}; those not read for long are deleted by: {shell('store', 'prune', '--older-than', '30d', *places)}"
    for name in facts.get("dangling_names", ()):
        shown = visible(name)
        yield f"the name '{shown}' leads to no store: {visible(shell('store', 'name', '--remove', name, *places))}"
    for path in facts.get("damaged_names", ()):
        yield f"{visible(path)} is damaged: delete it and name the store again"


def short_length(store_ids: Sequence[str]) -> int:
    """Return how many characters tell these ids apart, at least 12."""
    different = len(set(store_ids))
    longest = max(map(len, store_ids), default=SHORTEST_ID)
    return next((n for n in range(SHORTEST_ID, longest) if len({store_id[:n] for store_id in store_ids}) == different), longest)


def information(facts: Mapping[str, Any]) -> str:
    """Return everything about one store: facts, layers, identity, provenance."""
    apart = ("layers", "layers_here", "identity", "provenance")
    shown = {key: value for key, value in facts.items() if key not in apart}
    layers = table(
        ("depth", "layer", "role", "width", "type", "size", "here"),
        [
            (
                *(layer[key] for key in ("depth", "name", "role", "width", "dtype")),
                size(layer["bytes"]),
                readable("here", layer["name"] in facts["layers_here"]),
            )
            for layer in facts["layers"]
        ],
    )
    identity = {key: value for key, value in facts["identity"].items() if key != "layers"}
    parts = ["\n".join(f"{visible(key)}: {visible(_fact(key, value))}" for key, value in shown.items()), layers]
    parts += ["identity\n" + "\n".join(flat(identity)), "provenance\n" + "\n".join(flat(facts["provenance"]))]
    return "\n\n".join(parts)


def flat(value: Any, name: str = "") -> Iterator[str]:
    """Yield nested plain data as lines "  a.b: value"."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from flat(part, f"{name}.{key}" if name else str(key))
    else:
        yield f"  {visible(name)}: {visible(readable(name.rpartition('.')[2], value))}"


def problems(checked: Sequence[Verification]) -> str:
    """Return every problem of the verified stores, and one line about all."""
    rows = [(one.store_id[:SHORTEST_ID], found.path, found.kind, found.detail) for one in checked for found in one.problems]
    files, count = sum(one.files for one in checked), sum(one.bytes for one in checked)
    footer = (
        f"{counted(len(checked), 'store')}, {counted(files, 'file')}, {size(count)}: {counted(len(rows), 'problem') if rows else 'whole'}"
    )
    return f"{table(('store', 'file', 'problem', 'detail'), rows)}\n{footer}" if rows else footer


def differences(found: Comparison) -> str:
    """Return how far every layer of two stores lies apart, and one line about all."""
    columns = ("layer", "values", "differ", "share", "largest absolute", "largest relative", "root mean square")
    rows = [
        (
            layer.name,
            f"{layer.values:,}",
            f"{layer.different:,}",
            f"{layer.different / layer.values:.2%}",
            f"{layer.largest_absolute:.3g}",
            f"{layer.largest_relative:.3g}",
            f"{layer.root_mean_square:.3g}",
        )
        for layer in found.layers
    ]
    index = f"index columns differ: {', '.join(found.unequal_columns)}" if found.unequal_columns else "index columns equal"
    return f"{table(columns, rows)}\n{'equal to the last bit' if found.equal else index}"


def deletion(planned: Deletion) -> str:
    """Return what a deletion will take away and what stays."""
    rows = [(one.kind, one.path.relative_to(planned.root), size(one.bytes), one.why) for one in planned.victims]
    lines = [table(("what", "path", "size", "why"), rows[:MOST_LINES])] if rows else []
    lines += [f"… and {len(rows) - MOST_LINES} more"] if len(rows) > MOST_LINES else []
    lines += [f"stays: {store_id} {visible(why)}" for store_id, why in planned.kept]
    lines += [f"not there: {store_id}" for store_id in planned.absent]
    return "\n".join([*lines, f"to delete: {counted(len(rows), 'item')}, {size(planned.bytes)}"])


def _state(entry: Entry) -> str:
    mirror = [f"mirror of {entry.mirror_of}"] if entry.mirror_of else []
    words = [*(["pinned"] if entry.pinned else []), *mirror, *([f"damaged: {entry.damage}"] if entry.damage else [])]
    return ", ".join(words)


def _fact(key: str, value: Any) -> str:
    return f"{size(value)} ({value:,})" if "bytes" in key and isinstance(value, int) else readable(key, value)
