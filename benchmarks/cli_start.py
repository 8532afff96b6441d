"""How long ``layerscout --help`` takes as a whole process, and which heavy packages it loads (none).

python benchmarks/cli_start.py [--quick] [--json]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import harness

HEAVY = ("torch", "diffusers", "sklearn", "dask", "zarr", "numpy", "pydantic")
BARS = {"help_seconds": 0.5, "heavy_packages_loaded": 0}
PROGRAM = "import sys; from layerscout.cli import main; sys.argv = ['layerscout', '--help']; main()"


def seconds() -> float:
    """Wall seconds of one ``--help``."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def loaded() -> list[str]:
    """The heavy packages that are in memory when the help has been printed."""
    check = f"import atexit, sys; atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)); {PROGRAM}"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return [name for name in HEAVY if f"'{name}'" in answer.stderr]


def main() -> None:
    chosen = harness.options(__doc__)
    seconds()  # the first run compiles bytecode and warms the page cache
    runs = [seconds() for _ in range(5 if chosen.quick else 21)]
    figures = {
        "help_seconds": round(statistics.median(runs), 4),
        "help_seconds_min": round(min(runs), 4),
        "help_seconds_max": round(max(runs), 4),
        "heavy_packages_loaded": len(loaded()),
    }
    harness.finish("cli_start", ("typer",), figures, chosen.json, at_most=BARS)


if __name__ == "__main__":
    main()
