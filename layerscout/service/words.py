"""Figures in, the words of the service's pages out: one place for all of them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from layerscout.showing import readable, size

STATES = {
    "queued": "waiting",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
COST = {
    "layers": "layers, with controls and untrained blocks",
    "layers_to_measure": "layers that were not measured yet",
    "rows": "rows of the store",
    "episodes": "episodes",
    "bytes": "to read",
    "partial_bytes": "to keep, so that the next question reads less",
    "memory_bytes": "of memory",
    "layers_at_once": "layers at once",
    "seconds": "seconds, about",
}
WHAT_IF = (
    "What if: the order under other weights, from what was measured already. Nothing is measured again, and the ranking stays what it is."
)
WHAT_IF_S = (
    "What if S ordered, with weights of its own? From what was measured already: nothing is measured again, and the ranking, which S-ctrl orders by ranks "
    "without weights, stays what it is."
)
PAIRS = (
    "By how much the layer of the row scores above the layer of the column, episode group by episode group (paired jackknife), with its 95 % "
    "interval. Bold: the interval does not hold 0, so the two can be told apart."
)
VERSIONS = "What every version of the score would choose from the same figures. Where they agree, the choice does not hang on the formula."
BOARD = (
    "One line for the best layer of every video model on every task. The order is by what training gave: the layer's score above the same block "
    "without training. A score alone compares only layers of one task, so it never decides here."
)
SUBMIT = (
    "To take part, push a store into this server's root (layerscout store push). The service measures it itself; nobody types figures in."
)


def moment(seconds: float | None) -> str:
    """Return a time for people, as 2026-05-31 14:05 UTC."""
    if not seconds:
        return "n/a"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def day(seconds: float | None) -> str:
    """Return the day of a time as people read it, such as 2026-05-04; n/a without a time."""
    return moment(seconds)[:10]


def duration(seconds: float | None) -> str:
    """Return a time span for people: 40 s, 12 min, 3.5 h."""
    if seconds is None:
        return "n/a"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(value: Any) -> str:
    """Return a whole number with its thousands parted; n/a where there is none."""
    return "n/a" if value is None else f"{value:,}"


def short(name: str) -> str:
    """Return the beginning of an id or digest, enough to tell it from others by eye."""
    plain = name.removeprefix("sha256:")
    return plain[:12] if len(plain) > 16 else plain


def cost_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(figure, words) for every known cost of a question, in the order of the page."""
    return [(readable(key, facts[key]), words) for key, words in COST.items() if facts.get(key) is not None]


FILTERS: dict[str, Callable[..., str]] = {"moment": moment, "day": day, "duration": duration, "count": count, "short": short, "size": size}
