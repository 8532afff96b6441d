"""A finished demo in, README's block of it out: the release step that writes what the demo prints, so that nobody types it by hand.

layerscout demo --out outputs > printed.txt
python -m tools.readme_demo printed.txt                   # writes the block into README.md
python -m tools.readme_demo --check outputs/probe         # README's order of layers is that of this run, or the exit code is 1
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(?<=```text\n)Layers of .*?(?=```)", re.DOTALL)
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
            found.append("  ".join(line[start:stop].ljust(stop - start) for start, stop in columns).rstrip() if columns else line)
    return "\n".join(found) + "\n"


def order_of(block: str) -> list[str]:
    """Return the layers of a block in their order."""
    return [name for place, name in ROW.findall(block.partition("Agents:")[0]) if place.isdigit()]


def written(readme: str, printed: str) -> str:
    """Return README's text with the block of this output in place of the one before."""
    text, count = BLOCK.subn(lambda _: block_of(printed), readme)
    if count != 1:
        sys.exit(f"README.md holds {count} blocks of the demo, expected 1")
    return text


def main() -> None:
    """Write the block, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="what the demo printed; with --check, the probe's folder of a run")
    parser.add_argument("--check", action="store_true", help="compare README's order of layers with the run's")
    arguments = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    if not arguments.check:
        README.write_text(written(readme, arguments.path.read_text(encoding="utf-8")), encoding="utf-8")
        return
    ranking = json.loads((arguments.path / "ranking.json").read_text(encoding="utf-8"))
    ours, theirs = order_of(BLOCK.search(readme)[0]), [one["name"] for one in ranking["layers"] if one["role"] == "layer"]
    if ours != theirs:
        sys.exit(f"README.md says {', '.join(ours)}; this run says {', '.join(theirs)}: write the block again")


if __name__ == "__main__":
    main()
