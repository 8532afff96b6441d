"""Finished demos in, README's part on them out: the release step that writes what the demo prints and how it differs elsewhere, so that nobody types it by hand.

layerscout demo --out outputs > printed.txt
python benchmarks/demo_stability.py                       # other data, threads and instructions; every run is kept in docs/experiments
python -m tools.readme_demo printed.txt                   # writes the block, and the ranges over those runs, into README.md
python -m tools.readme_demo --check outputs/probe         # README's order of layers is that of this run, or the exit code is 1
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(?<=```text\n)Layers of .*?(?=```)", re.DOTALL)
RESULTS = Path(__file__).parents[1] / "docs" / "experiments" / "demo-stability.jsonl"
RANGES = re.compile(r"(?<=<!-- ranges of the demo -->\n).*?(?=\n<!-- end of ranges -->)", re.DOTALL)
WIDTH = 130  # characters of a sentence's line in the block
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ROW = re.compile(r"^\s*(\d+|control|twin) +(\S+)", re.MULTILINE)
LEFT_OUT = ("Evaluation", "Env. steps", "Updates", "Parameters", "GFLOP", "Wall s", "CPU s")  # columns that README has no room for


def block_of(printed: str) -> str:
    """Return what README shows of a demo's output: without most untrained blocks, and without the agents' evaluation and budget."""
    best = re.search(r"^1 +(\S+)", printed, re.MULTILINE)
    lines, twins, found = printed.strip().splitlines(), [], []
    twins = [line for line in lines if line.startswith("twin ")]
    kept = [line for line in twins if best and line.split()[1] == best[1]] + twins[-1:]
    columns: list[tuple[int, int]] | None = None
    for place, line in enumerate(lines):
        if line.startswith("Arm ") and place + 1 < len(lines):
            spans = [match.span() for match in re.finditer(r"-+", lines[place + 1])]
            columns = [(start, stop) for start, stop in spans if line[start:stop].strip() not in LEFT_OUT]
        if columns and not line.strip():
            columns = None
        if line in twins and line not in kept:
            found += ["..."] if found[-1] != "..." else []
        else:
            cut = "  ".join(line[start:stop].ljust(stop - start) for start, stop in columns).rstrip() if columns else line
            found += [cut] if columns else textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]
    return "\n".join(found) + "\n"


def ranges_of(runs: Sequence[dict[str, Any]]) -> str:
    """Return in a sentence what came out of many demos: what the best-ranked block and its controls returned, and how often each claim was supported."""
    best = sorted({run["ranking"][0] for run in runs})
    returns: dict[str, list[float]] = {}
    for run in runs:
        for arm, value in run["returns"].items():
            kind = "the same block untrained" if arm.endswith("(untrained)") else arm
            returns.setdefault("best" if arm == run["ranking"][0] else kind, []).append(value)
    told = [f"{name} {_range(returns[name])}" for name in ("the same block untrained", "pixels", "scratch")]
    counts = [
        f"*{claim[:-1].lower()}* in {sum(run['claims'][claim] == 'supported' for run in runs)}"
        for claim in ("Pretraining helps.", "A frozen layer helps.", "The ranking helps.")
    ]
    settings = [
        (name, len({run["seed"] for run in runs if run["setting"] == name})) for name in dict.fromkeys(run["setting"] for run in runs)
    ]
    where = ", ".join(f"{NUMBERS[seeds]} with {name}" for name, seeds in settings)
    return "\n".join(
        textwrap.wrap(
            f"In {len(runs)} demos (data of several seeds; {where}) the block that was ranked best was {' or '.join(best)}. It returned {_range(returns['best'])}, mean "
            f"{_signed(statistics.fmean(returns['best']))}; {', '.join(told)}. Supported were {', '.join(counts)} of {len(runs)}.",
            150,
        )
    )


def _range(values: Sequence[float]) -> str:
    return f"{_signed(min(values))} to {_signed(max(values))}"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def order_of(block: str) -> list[str]:
    """Return the layers of a block in their order."""
    return [name for place, name in ROW.findall(block.partition("Agents:")[0]) if place.isdigit()]


def written(readme: str, printed: str, runs: Sequence[dict[str, Any]] = ()) -> str:
    """Return README's text with the block of this output, and the ranges over many runs, in place of those before."""
    text, count = BLOCK.subn(lambda _: block_of(printed), readme)
    if count != 1:
        sys.exit(f"README.md holds {count} blocks of the demo, expected 1")
    return RANGES.sub(lambda _: ranges_of(runs), text) if runs else text


def kept_runs() -> list[dict[str, Any]]:
    """Return the demos that `benchmarks/demo_stability.py` kept."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Write the block, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="what the demo printed; with --check, the probe's folder of a run")
    parser.add_argument("--check", action="store_true", help="compare README's order of layers with the run's")
    arguments = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    if not arguments.check:
        README.write_text(written(readme, arguments.path.read_text(encoding="utf-8"), kept_runs()), encoding="utf-8")
        return
    ranking = json.loads((arguments.path / "ranking.json").read_text(encoding="utf-8"))
    ours, theirs = order_of(BLOCK.search(readme)[0]), [one["name"] for one in ranking["layers"] if one["role"] == "layer"]
    if ours != theirs:
        sys.exit(f"README.md says {', '.join(ours)}; this run says {', '.join(theirs)}: write the block again")


if __name__ == "__main__":
    main()
