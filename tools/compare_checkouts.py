"""Two checkouts and a benchmark in; by how much its figures differ between them, each with an interval, out.

    python -m tools.compare_checkouts BEFORE AFTER [--rounds 5] [--core 0] [--figure NAME[=NAME_AFTER] ...] -- ARGUMENT ...

What stands after ``--`` goes to Python inside each checkout in turns, so that a machine that is busy with something else slows both alike: on
one core, with one thread. The last line that it prints are its figures, as our benchmarks print them with ``--json``; of a figure with a
spread the median is taken. ``cpu_seconds``, of the whole process, can be had of any command, and is taken where no figure is named.

A ratio is after / before, the geometric mean over rounds, with the 95 % interval of Student's t over the logarithms of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scipy.special

CPU = "cpu_seconds"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS")


@dataclass(frozen=True)
class Ratio:
    """A figure's median before and after, and after / before with its interval; None where rounds are too few for one."""

    before: float
    after: float
    ratio: float
    low: float | None
    high: float | None


def ratio_of(before: Sequence[float], after: Sequence[float]) -> Ratio:
    """Compare a figure of several rounds, each of which measured both checkouts."""
    logs = [math.log(late / early) for early, late in zip(before, after, strict=True)]
    centre, low, high = statistics.fmean(logs), None, None
    if len(logs) > 1:
        reach = float(scipy.special.stdtrit(len(logs) - 1, 0.975)) * statistics.stdev(logs) / math.sqrt(len(logs))
        low, high = math.exp(centre - reach), math.exp(centre + reach)
    return Ratio(statistics.median(before), statistics.median(after), math.exp(centre), low, high)


def figures_of(checkout: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Run Python once inside a checkout, and return the figures that it prints, with its CPU seconds."""
    environment = os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": str(checkout)}
    began = _children()
    done = subprocess.run([sys.executable, *arguments], cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    spent = _children() - began
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])["figures"]
    except (IndexError, ValueError, TypeError, KeyError):
        found = {}
    return {name: value["median"] if isinstance(value, dict) else value for name, value in found.items()} | {CPU: spent}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(before: Path, after: Path, arguments: Sequence[str], names: Sequence[str], rounds: int) -> dict[str, Ratio]:
    """Run both checkouts in turns, each first in every other round; a name may have another one after ``=`` for the second checkout."""
    pairs = [(name.partition("=")[0], name.partition("=")[2] or name) for name in names]
    values: dict[str, tuple[list[float], list[float]]] = {early: ([], []) for early, _ in pairs}
    for turn in range(rounds):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        found: list[dict[str, Any]] = [{}, {}]
        for side in order:
            found[side] = figures_of((before, after)[side], arguments)
        for early, late in pairs:
            for side, name in enumerate((early, late)):
                if name not in found[side]:
                    raise SystemExit(f"{(before, after)[side]} printed no figure '{name}', but {', '.join(sorted(found[side]))}")
                values[early][side].append(float(found[side][name]))
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    return {name: ratio_of(*both) for name, both in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--core", type=int, default=0, help="the core that everything runs on")
    parser.add_argument("--figure", nargs="+", default=[CPU], metavar="NAME[=NAME_AFTER]")
    own, arguments = sys.argv[1:], []
    if "--" in own:
        own, arguments = own[: own.index("--")], own[own.index("--") + 1 :]
    chosen = parser.parse_args(own)
    if not arguments:
        parser.error("nothing to run: put what Python is to run after --, such as -- benchmarks/store_io.py --quick --json")
    os.sched_setaffinity(0, {chosen.core})  # what is started inherits it
    print(f"{'figure':40} {'before':>10} {'after':>10} {'after / before':>15}   95 % interval")
    for name, found in compare(chosen.before.resolve(), chosen.after.resolve(), arguments, chosen.figure, chosen.rounds).items():
        interval = "n/a" if found.low is None else f"{found.low:.3f} to {found.high:.3f}"
        print(f"{name:40} {found.before:10.4g} {found.after:10.4g} {found.ratio:15.3f}   {interval}")


if __name__ == "__main__":
    main()
