"""A command's result or its error in, what a person or a program reads out: one way to print, one way to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from layerscout.errors import BudgetError, DataError, LayerscoutError, UnsealedFile, UsageError, shortage
from layerscout.progress import Reporter
from layerscout.showing import readable
from layerscout.showing import size as size
from layerscout.text import visible, visible_lines

NARROW = 80  # characters; below, a table that does not fit is told row by row


class Interrupted(KeyboardInterrupt):
    """Somebody asked the process to end: ``number`` is the signal, the exit code is 128 + number, as shells count."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


def heed_signals() -> None:
    """End on SIGTERM and SIGHUP as on Ctrl-C, once; what the caller chose to ignore (``nohup``) stays ignored."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends at once
    raise Interrupted(number)


@dataclass
class Call:
    """How a command was called, beside its settings, and where its result goes.

    With ``as_json``, stdout receives one JSON object in the end, whatever happens: the result, the error, or both.
    """

    dry_run: bool = False
    measure: bool = False
    as_json: bool = False
    quiet: bool = False
    debug: bool = False
    _result: dict[str, Any] | None = field(default=None, repr=False)

    def reporter(self, events: Path | None = None) -> Reporter:
        """Make what shows a stage's progress, silent with ``-q``; ``events`` is the file that another process follows."""
        return Reporter(self.quiet, events=events)

    def emit(self, data: dict[str, Any], text: str | None = None) -> None:
        """Give a command's result: ``data`` for programs, ``text`` (else one "key: value" line a field) for people."""
        if self.as_json:
            self._result = data
        else:
            lines = (f"{visible(key)}: {visible(readable(key, value))}" for key, value in data.items())
            print("\n".join(lines) if text is None else visible_lines(text), flush=True)

    @contextmanager
    def guarded(self) -> Iterator[Call]:
        """Turn exceptions into one line and a hint on stderr and the right exit code; tracebacks only with ``--debug``."""
        try:
            if self.measure and not self.dry_run:
                raise UsageError(
                    "--measure tries out how long the work would take, and the work itself was asked for", hint="--dry-run --measure"
                )
            with warnings_as_lines():
                yield self
            self._print_json({})
        except KeyboardInterrupt as error:
            code = 128 + getattr(error, "number", signal.SIGINT)
            self.fail("interrupted", "run the same command to continue", "interrupted", code)
        except BrokenPipeError:  # the reader of our output went away, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except Exception as error:
            if self.debug:
                traceback.print_exc()
            self.fail(*explain(error))

    def fail(self, message: str, hint: str, kind: str, code: int) -> None:
        """End with an error: one line and a hint on stderr, and for programs the same in the object on stdout."""
        with suppress(OSError, ValueError):  # nowhere to print to, or the result itself was at fault: stderr tells it
            self._print_json({"error": message, "kind": kind, "hint": hint, "exit_code": code})
        fail(message, hint, code)

    def _print_json(self, more: dict[str, Any]) -> None:
        if self.as_json and (self._result is not None or more):
            print(json.dumps((self._result or {}) | more, allow_nan=False, default=str), flush=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print layerscout's own warnings as one line each on stderr, without the place in the code that Python adds."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, UnsealedFile):
            print(f"warning: {visible(str(message))}", file=sys.stderr)
        else:
            shown(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


def explain(error: Exception) -> tuple[str, str, str, int]:
    """Return what to tell the user about an error: the message, the hint, the kind and the exit code."""
    if isinstance(error, LayerscoutError):
        return str(error), error.hint, error.kind, error.exit_code
    message = str(error)
    if isinstance(error, OSError):
        message = _of_another_kind(error) or (f"{error.strerror or error}: {error.filename}" if error.filename else message)
    elif isinstance(error, MemoryError):
        message = f"out of memory: {message}" if message else "out of memory"
    if (advice := shortage(error)) is not None:
        return message, advice, BudgetError.kind, BudgetError.exit_code
    if isinstance(error, OSError):
        return message, "check the path and its permissions", DataError.kind, DataError.exit_code
    hint = "run again with --debug and report it with the output of: layerscout doctor"
    return f"this is a bug: {type(error).__name__}: {error}", hint, "bug", 1


def _of_another_kind(error: OSError) -> str | None:
    """Say that a file stands where a folder is needed, or a folder where a file is; None for any other error."""
    if not isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError) or not isinstance(error.filename, str):
        return None
    path = Path(error.filename)
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, expected a file"
    return next((f"{place} is a file, expected a folder" for place in (path, *path.parents) if place.is_file()), None)


def fail(message: str, hint: str, code: int) -> None:
    """Print one line of error and one of advice to stderr, and end."""
    print(f"error: {_one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(hint)}", file=sys.stderr)
    raise SystemExit(code)


def _one_line(message: str) -> str:
    return visible(" ".join(message.splitlines()))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], last: Sequence[str] = ()) -> str:
    """Lay out rows in aligned columns that fit the terminal; numbers to the right. A cell is one line whatever it holds.

    Where the terminal is too narrow, columns are left out and named below; on fewer than 80 characters every row becomes lines of
    ``name: value`` instead. What goes to a file or a pipe is never cut.

    Parameters
    ----------
    last
        Columns in the order in which they are left out; after them the others from the right, never the first.
    """
    columns, cells = [visible(column) for column in columns], [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in cells)) if cells else len(column) for i, column in enumerate(columns)]
    kept, room = list(range(len(columns))), terminal_width()
    if room is not None and room < NARROW and _taken(widths, kept) > room:
        longest = max(map(len, columns))
        return "\n\n".join(
            "\n".join(f"{name:<{longest}}  {cell}" for name, cell in zip(columns, row, strict=True) if cell) for row in cells
        )
    order = [columns.index(visible(name)) for name in last]
    order += [place for place in reversed(kept[1:]) if place not in order]
    while room is not None and _taken(widths, kept) > room and order:
        kept.remove(order.pop(0))
    numeric = {i: all(_is_number(row[i]) for row in cells) for i in kept}

    def line(row: Sequence[str]) -> str:
        return "  ".join(row[i].rjust(widths[i]) if numeric[i] else row[i].ljust(widths[i]) for i in kept).rstrip()

    lines = [line(columns), "  ".join("-" * widths[i] for i in kept), *map(line, cells)]
    if left := [column for i, column in enumerate(columns) if i not in kept]:
        lines += textwrap.wrap(
            f"(no room for: {', '.join(left)}; a wider terminal or --json has them)", room or NARROW, subsequent_indent="  "
        )
    return "\n".join(lines)


def terminal_width() -> int | None:
    """Return how many characters a line of the terminal holds; None where the output goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _taken(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[i] for i in kept) + 2 * (len(kept) - 1)


def _is_number(cell: str) -> bool:
    return cell in ("n/a", "–") or cell.replace(",", "").replace(".", "").replace("-", "").replace("+", "").strip("% ").isdigit()
