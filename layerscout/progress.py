"""Progress events in; a bar on a terminal, a plain line every 30 s in a log, JSONL on disk out."""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from layerscout.text import visible

PLAIN_INTERVAL = 30.0  # seconds between plain lines when the output is not a terminal
EVENT_INTERVAL = 1.0  # seconds between progress events on disk


class Task:
    """One piece of work with a known total; ``advance`` is cheap enough for inner loops."""

    def __init__(self, owner: Reporter, name: str, total: int, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self.facts: dict[str, Any] = {}
        self._owner = owner
        self._began = self._printed = self._logged = time.monotonic()
        self._resumed_at = 0

    def resume(self, done: int) -> None:
        """Say how much was already there, so that the ETA counts only today's work."""
        self.done = self._resumed_at = done
        self._owner._update(self)

    def advance(self, amount: int = 1, **facts: Any) -> None:
        """Count ``amount`` more units done; ``facts`` are the latest figures worth showing."""
        self.done += amount
        self.facts.update(facts)
        self._owner._update(self)

    @property
    def rate(self) -> float:
        """Units a second since the task began."""
        return (self.done - self._resumed_at) / max(time.monotonic() - self._began, 1e-9)

    def line(self) -> str:
        """One line of plain text: how far, how fast, how long still."""
        left = max(0, self.total - self.done) / self.rate if self.rate > 0 else float("inf")
        eta = f", {left:.0f} s left" if left != float("inf") else ""
        facts = "".join(f", {key} {value}" for key, value in self.facts.items())
        return visible(f"{self.name}: {self.done:,}/{self.total:,} {self.unit} ({self.rate:,.0f}/s{eta}{facts})")


class Reporter:
    """Where a stage tells how it is going. Everything goes to ``stream`` (stderr), never to stdout.

    Parameters
    ----------
    quiet
        Show nothing on ``stream``; events still reach ``events``.
    events
        A JSONL file that receives every message and task event.
    """

    def __init__(self, quiet: bool = False, events: Path | None = None, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self.events = events
        self.stream = stream or sys.stderr
        self._bar: Any = None
        self._bar_ids: dict[int, Any] = {}

    def say(self, text: str) -> None:
        """Print one line above the bar, if there is a bar, and record it for whoever follows; quiet ones only record it."""
        self._record("say", text=text)
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(visible(text), highlight=False, markup=False)
        else:
            print(visible(text), file=self.stream, flush=True)

    @contextmanager
    def task(self, name: str, total: int, unit: str = "steps") -> Iterator[Task]:
        """Follow one piece of work from begin to end."""
        task = Task(self, name, total, unit)
        self._record("begin", task=name, total=total, unit=unit)
        bar_was = self._bar
        if not self.quiet and self.stream.isatty():
            self._show_bar(task)
        try:
            yield task
        finally:
            self._record("end", task=name, done=task.done, seconds=round(time.monotonic() - task._began, 3), **task.facts)
            if self._bar is not None and bar_was is None:
                self._bar.stop()
                self._bar = None
                self._bar_ids.clear()
            elif not self.quiet and self._bar is None:
                print(task.line(), file=self.stream, flush=True)

    def _show_bar(self, task: Task) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
            )
            self._bar = Progress(*columns, console=Console(file=self.stream))
            self._bar.start()
        self._bar_ids[id(task)] = self._bar.add_task(visible(task.name), total=task.total, facts="")

    def _update(self, task: Task) -> None:
        now = time.monotonic()
        if self._bar is not None and id(task) in self._bar_ids:
            facts = "  ".join(f"{key} {value}" for key, value in task.facts.items())
            self._bar.update(self._bar_ids[id(task)], completed=task.done, facts=visible(facts))
        elif not self.quiet and now - task._printed >= PLAIN_INTERVAL:
            task._printed = now
            print(task.line(), file=self.stream, flush=True)
        if now - task._logged >= EVENT_INTERVAL:
            task._logged = now
            self._record("progress", task=task.name, done=task.done, total=task.total, **task.facts)

    def _record(self, kind: str, **fields: Any) -> None:
        if self.events is not None:
            line = json.dumps({"time": round(time.time(), 3), "event": kind} | fields, default=str) + "\n"
            try:
                self.events.parent.mkdir(parents=True, exist_ok=True)
                with self.events.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:  # a finished command may be repeated where nothing can be written any more
                if error.errno not in (errno.EROFS, errno.EACCES):
                    raise


SILENT = Reporter(quiet=True)
