"""What the commands share: options, one way to print results, one way to end in an error, sizes and tables for people."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from layerscout.errors import BudgetError, DataError, LayerscoutError, UnsealedFile, shortage
from layerscout.text import visible, visible_lines

Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 130

DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Root = Annotated[Path | None, typer.Option("--root", help="Folder of all stores (default: LAYERSCOUT_ROOT or the user's cache).")]


def guarded(command: Command) -> Command:
    """Turn exceptions into one line and a hint on stderr and the right exit code; tracebacks only with ``--debug``."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            with told_warnings():
                return command(*arguments, **options)
        except KeyboardInterrupt:
            fail("interrupted", "run the same command to continue", INTERRUPTED)
        except BrokenPipeError:  # the reader of our output went away, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except Exception as error:
            if options.get("debug"):
                traceback.print_exc()
            fail(*explain(error))

    return run  # type: ignore[return-value]


@contextmanager
def told_warnings() -> Iterator[None]:
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


def explain(error: Exception) -> tuple[str, str, int]:
    """Return what to tell the user about an error: the message, the hint and the exit code."""
    if isinstance(error, LayerscoutError):
        return str(error), error.hint, error.exit_code
    told = str(error)
    if isinstance(error, OSError):
        told = f"{error.strerror or error}: {error.filename}" if error.filename else told
    if (advice := shortage(error)) is not None:
        return told or "out of memory", advice, BudgetError.exit_code
    if isinstance(error, OSError):
        return told, "check the path and its permissions", DataError.exit_code
    hint = "run again with --debug and report it with the output of: layerscout doctor"
    return f"this is a bug: {type(error).__name__}: {error}", hint, 1


def fail(message: str, hint: str, code: int) -> None:
    """Print one line of error and one of advice to stderr, and end."""
    print(f"error: {_one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(hint)}", file=sys.stderr)
    raise SystemExit(code)


def emit(data: dict[str, Any], as_json: bool, text: str | None = None) -> None:
    """Print a command's result to stdout: JSON for programs, otherwise ``text`` or one "key: value" line a field."""
    if as_json:
        print(json.dumps(data, allow_nan=False, default=str), flush=True)
    else:
        lines = (f"{visible(key)}: {visible(_readable(key, value))}" for key, value in data.items())
        print("\n".join(lines) if text is None else visible_lines(text), flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows in aligned columns; numbers to the right. A cell is one line whatever it holds."""
    columns, cells = [visible(column) for column in columns], [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in cells)) if cells else len(column) for i, column in enumerate(columns)]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()

    return "\n".join([line(columns), "  ".join("-" * width for width in widths), *map(line, cells)])


def size(count: float) -> str:
    """Bytes for people: 512 B, 1.4 MB, 3.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _one_line(message: str) -> str:
    return visible(" ".join(message.splitlines()))


def _readable(key: str, value: Any) -> str:
    if "bytes" in key and isinstance(value, int | float):
        return size(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(cell: str) -> bool:
    return cell == "n/a" or cell.replace(",", "").replace(".", "").replace("-", "").replace("+", "").strip("% ").isdigit()
