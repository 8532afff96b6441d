"""Entries and words such as "size>1GB" in, the entries that match out, in the order asked for."""

from __future__ import annotations

import fnmatch
import operator
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from layerscout.cache.catalog.entries import Entry
from layerscout.errors import UsageError, suggest

NUMBERS: dict[str, Callable[[Entry, float], float | None]] = {
    "size": lambda entry, now: entry.bytes,
    "rows": lambda entry, now: entry.rows,
    "layers": lambda entry, now: entry.layers,
    "age": lambda entry, now: now - entry.committed,
}
TEXTS: dict[str, Callable[[Entry], Sequence[str]]] = {
    "id": lambda entry: (entry.store_id,),
    "name": lambda entry: entry.names or ("",),
    "backbone": lambda entry: (entry.backbone or "",),
    "dataset": lambda entry: (entry.dataset or "",),
    "created": lambda entry: (entry.created or "",),
    "state": lambda entry: entry.states,
}
KEYS = (*NUMBERS, *TEXTS)
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
CONDITION = re.compile(r"\s*(\w+)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*")
BYTES = {"": 1.0, "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2.0**10, "MIB": 2.0**20, "GIB": 2.0**30, "TIB": 2.0**40}
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31557600.0}
AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Condition:
    """A condition that an entry satisfies or not. What an entry does not know (None) satisfies no condition on numbers."""

    key: str
    relation: str
    value: str
    amount: float  # of a number's key

    def holds(self, entry: Entry, now: float) -> bool:
        """Tell whether an entry satisfies the condition; ``now`` in seconds since 1970."""
        if self.key in NUMBERS:
            number = NUMBERS[self.key](entry, now)
            return number is not None and COMPARE[self.relation](number, self.amount)
        matches = any(fnmatch.fnmatchcase(text, self.value) for text in TEXTS[self.key](entry))
        return matches if self.relation == "=" else not matches


def parse_condition(text: str) -> Condition:
    """Read "KEY RELATION VALUE": ``size>1GB``, ``age<=30d``, ``rows!=0``, ``backbone=tiny*``, ``name!=best``, ``state=pinned``.

    Numbers (size, rows, layers, age) take =, !=, <, <=, > and >=; texts (id, name, backbone, dataset, created, state) take = and !=
    with the wildcards * ? [ ].

    Raises
    ------
    UsageError
        The text has no such form, key or unit.
    """
    match = CONDITION.fullmatch(text)
    hint = "for example: --filter 'size>1GB' --filter 'age>30d' --filter 'backbone=tiny*'"
    if not match:
        raise UsageError(f"filter '{text}' is not KEY, one of = != < <= > >=, and VALUE", hint=hint)
    key, relation, value = match.groups()
    if key not in KEYS:
        raise UsageError(f"filter '{text}' has an unknown key '{key}'{suggest(key, KEYS)}", hint=f"keys: {', '.join(KEYS)}")
    if key in TEXTS:
        if relation not in ("=", "!="):
            raise UsageError(f"filter '{text}' compares a text with '{relation}', expected = or !=", hint=hint)
        return Condition(key, relation, value, 0.0)
    amount = parse_duration(value) if key == "age" else parse_byte_count(value) if key == "size" else _amount(value, {"": 1.0}, "a number")
    return Condition(key, relation, value, amount)


def select_entries(found: Iterable[Entry], filters: Iterable[str] = (), order: str = "created:desc") -> list[Entry]:
    """Return the entries that satisfy every filter, sorted by "KEY", "KEY:asc" or "KEY:desc"; what has no value comes last.

    Raises
    ------
    UsageError
        A filter or the order cannot be read.
    """
    conditions, now = [parse_condition(text) for text in filters], time.time()
    key, _, direction = order.partition(":")
    if key not in KEYS:
        raise UsageError(f"cannot sort by '{key}'{suggest(key, KEYS)}", hint=f"keys: {', '.join(KEYS)}")
    if direction not in ("", "asc", "desc"):
        raise UsageError(f"cannot sort in the direction '{direction}', expected asc or desc", hint=f"for example: --sort {key}:desc")
    chosen = sorted((entry for entry in found if all(one.holds(entry, now) for one in conditions)), key=lambda entry: entry.store_id)

    def known(entry: Entry) -> bool:
        return NUMBERS[key](entry, now) is not None if key in NUMBERS else any(TEXTS[key](entry))

    def value(entry: Entry) -> float | Sequence[str]:
        return NUMBERS[key](entry, now) or 0.0 if key in NUMBERS else TEXTS[key](entry)

    placed = sorted((entry for entry in chosen if known(entry)), key=value, reverse=direction == "desc")  # type: ignore[arg-type]
    return placed + [entry for entry in chosen if not known(entry)]


def parse_duration(text: str) -> float:
    """Return the seconds of "90s", "5m", "12h", "30d", "2w" or "1y"."""
    return _amount(text, SECONDS, "a time such as 12h or 30d")


def parse_byte_count(text: str) -> float:
    """Return the bytes of "512", "20kB", "1.5GB" (powers of 1000) or "1GiB" (powers of 1024)."""
    return _amount(text, BYTES, "a size such as 20MB or 1.5GB")


def _amount(text: str, units: dict[str, float], expected: str) -> float:
    match = AMOUNT.fullmatch(text.strip())
    unit = match[2] if units is SECONDS and match else match[2].upper() if match else None
    if match is None or unit not in units:
        known = ", ".join(name for name in units if name)
        raise UsageError(f"'{text}' is not {expected}", hint=f"units: {known}" if known else "for example: --filter 'rows>1000'")
    return float(match[1]) * units[unit]
