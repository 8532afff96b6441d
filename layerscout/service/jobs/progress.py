"""A job's folder in, how far it is and how long it will still take out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.service.jobs.records import EVENTS, LOG

TAIL = 2**16  # bytes at the end of a log or of events that are read


@dataclass(frozen=True)
class JobProgress:
    """``done`` of ``total`` units of work, the seconds that are left where they can be told, and the last line that was said."""

    done: int = 0
    total: int = 0
    unit: str = ""
    seconds_left: float | None = None
    said: str = ""
    layer: str = ""


def progress_of(folder: Path, now: float | None = None) -> JobProgress:
    """Read the end of a job's events."""
    begun: dict[str, Any] = {}
    latest: dict[str, Any] = {}
    said = ""
    for event in read_events(folder):
        if event.get("event") == "begin":
            begun, latest = event, {}
        elif event.get("event") in ("progress", "end"):
            latest = event
        elif event.get("event") == "say":
            said = str(event.get("text", ""))
    done, total = int(latest.get("done", 0)), int(latest.get("total", begun.get("total", 0)))
    left = None
    if begun and done and latest.get("event") == "progress":
        spent = (now or time.time()) - float(begun["time"])
        left = max(0.0, float(round(spent * (total - done) / done)))
    return JobProgress(done, max(total, done), str(begun.get("unit", "")), left, said, str(latest.get("layer", "")))


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return the last events of a job; a line that is not whole is left out."""
    found = []
    for line in _tail(folder / EVENTS).splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def read_log(folder: Path) -> str:
    """The last part of a job's standard output and errors; "" before it printed any."""
    return _tail(folder / LOG)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
