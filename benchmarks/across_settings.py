"""Do a command's figures come out the same on two threads, and with other instructions? Each as a range over four settings, or those that are named.

    python benchmarks/across_settings.py [--setting NAME …] [--read FILE …] [--rows COLUMN …] [--keep PATTERN] [--out FILE] COMMAND …
    python benchmarks/across_settings.py --keep '_score$' python benchmarks/repaint.py --quick --json

COMMAND prints JSON, at last; it runs on one thread, on two, and on one thread with AVX2 and with SSE instructions, each time in a process of its own. ``{folder}`` in it is an
empty folder of that run, ``{threads}`` the number of threads, ``{-setting}`` a dash and the setting's name, and nothing on one thread: ``cat kept{-setting}.json`` makes ranges of
what was run before. Several commands are one as ``bash -c 'FIRST && SECOND'``. With ``--read``, figures come from files that it wrote (JSON or CSV) instead of what it prints;
``--rows`` names the columns that tell rows of a CSV apart. Printed is every number that PATTERN finds by its path, lowest to highest; ``--out`` keeps them, the command and the
settings as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness

Leaf = float | str | None


def leaves(value: Any, path: str = "") -> dict[str, Leaf]:
    """Return every number, word and missing figure inside a JSON value by its path; a truth value is a word, for it has no range.

    Items of a list go by their ``name``, else by their ``updates``, where each has its own; else by their place.
    """
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else zip(_names(value), value, strict=True)
        return {name: leaf for key, inner in items for name, leaf in leaves(inner, f"{path}.{key}" if path else str(key)).items()}
    if isinstance(value, bool):
        return {path: str(value).lower()}
    return {path: float(value) if isinstance(value, int | float) else value}


def _names(items: list[Any]) -> list[str]:
    for key in ("name", "updates"):
        names = [str(item[key]) for item in items if isinstance(item, dict) and item.get(key) is not None]
        if len(set(names)) == len(items):
            return names
    return [str(place) for place in range(len(items))]


def rows_of(text: str, columns: list[str]) -> dict[str, Leaf]:
    """Return the figures of a CSV by row and column; ``n/a`` is a missing one. Raises SystemExit where a row's names are not its own."""
    found: dict[str, Leaf] = {}
    for row in csv.DictReader(text.splitlines()):
        name = ",".join(row.pop(column) for column in columns or list(row)[:1])
        if any(f"{name}.{column}" in found for column in row):
            sys.exit(f"two rows of the CSV are named {name!r}: give --rows columns that tell them apart")
        found |= {f"{name}.{column}": _number(cell) for column, cell in row.items()}
    return found


def document(text: str) -> Any:
    """Return the JSON value that a command printed: all of it, or its last line. Raises ValueError where neither is one."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads((text.strip().splitlines() or [""])[-1])


def _number(cell: str) -> Leaf:
    try:
        return float(cell)
    except ValueError:
        return None if cell in ("", "n/a") else cell


def _filled(part: str, setting: str, folder: str) -> str:
    suffix = "" if setting == "one thread" else f"-{setting.replace(' ', '-').lower()}"
    for place, meant in (("{folder}", folder), ("{threads}", str(harness.SETTINGS[setting][0])), ("{-setting}", suffix)):
        part = part.replace(place, meant)
    return part


def run(command: list[str], setting: str, files: list[str], columns: list[str]) -> dict[str, Leaf]:
    """Run the command in one setting; return its figures by path. Raises SystemExit with what it printed where there are none."""
    with tempfile.TemporaryDirectory() as folder:
        words = [_filled(part, setting, folder) for part in (*command, *files)]
        files = words[len(command) :]
        answer = subprocess.run(words[: len(command)], capture_output=True, text=True, env=os.environ | harness.environment_of(setting))
        try:
            texts = {name: Path(name).read_text(encoding="utf-8") for name in files} or {"": answer.stdout}
            found: dict[str, Leaf] = {}
            for name, text in texts.items():
                found |= rows_of(text, columns) if name.endswith(".csv") else leaves(document(text))
        except (OSError, ValueError) as error:
            sys.exit(f"{setting}: no figures ({error}); exit code {answer.returncode}\n{answer.stdout[-1000:]}{answer.stderr[-3000:]}")
    if answer.returncode:
        print(f"{setting}: exit code {answer.returncode}\n{answer.stderr[-1000:]}", file=sys.stderr)
    return found


def ranges(runs: dict[str, dict[str, Leaf]], keep: str) -> dict[str, Any]:
    """Return each kept figure's range over the runs, with what each run gave, and the words that differ between runs."""
    paths = [path for path in dict.fromkeys(path for found in runs.values() for path in found) if re.search(keep, path)]
    seen = {path: [found.get(path) for found in runs.values()] for path in paths}
    figures = {
        path: {"lowest": min(numbers), "highest": max(numbers), "seen": values}
        for path, values in seen.items()
        if (numbers := [value for value in values if isinstance(value, float)])
    }
    return {"figures": figures, "words": {path: values for path, values in seen.items() if path not in figures and len(set(values)) > 1}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--setting", action="append", choices=harness.SETTINGS, metavar="NAME", help=f"one of {', '.join(harness.SETTINGS)} (repeat); all"
    )
    parser.add_argument(
        "--read", action="append", default=[], metavar="FILE", help="a file that the command writes, .json or .csv (repeat)"
    )
    parser.add_argument(
        "--rows", action="append", default=[], metavar="COLUMN", help="a column that names a CSV's rows; the first (repeat)"
    )
    parser.add_argument("--keep", default="", metavar="PATTERN", help="only figures whose path this regular expression finds; all")
    parser.add_argument("--out", type=Path, help="where the ranges are kept")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what is run, after all options")
    chosen = parser.parse_args()
    if not chosen.command:
        parser.error("say the command that is to be run, after the options")
    runs: dict[str, dict[str, Leaf]] = {}
    for setting in chosen.setting or harness.SETTINGS:
        print(f"{setting} ...", file=sys.stderr, flush=True)
        runs[setting] = run(chosen.command, setting, chosen.read, chosen.rows)
    found = ranges(runs, chosen.keep)
    for path, one in found["figures"].items():
        lacking = " (n/a in some)" if None in one["seen"] else ""
        print(f"{path:60} {one['lowest']:12.4g} to {one['highest']:.4g}{lacking}")
    for path, values in found["words"].items():
        print(f"{path:60} {' | '.join(str(value) for value in values)}")
    if chosen.out is not None:
        settings = {name: harness.environment_of(name) for name in runs}
        versions = {"python": platform.python_version()} | {name: version(name) for name in ("torch", "numpy")}
        kept = {"command": ["python", "benchmarks/across_settings.py", *sys.argv[1:]], "settings": settings, "versions": versions}
        chosen.out.write_text(json.dumps(kept | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
