"""Wall time and peak memory of ``layerscout demo`` as a whole process, in a folder of its own.

    python benchmarks/demo.py [--quick] [--json]

``--quick`` runs the demo's quick preset once; the bars are those of the full demo and hold for it all the more.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

BARS = {"wall_seconds": 300.0, "peak_gigabytes": 2.0}
PROGRAM = "from layerscout.cli import main; main()"


def once(preset: list[str]) -> tuple[float, dict[str, object]]:
    """Run the demo; return wall seconds and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, "demo", "--out", str(Path(folder) / "outputs"), "--json", "-q", *preset]
        began = time.perf_counter()
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        return time.perf_counter() - began, json.loads(answer.stdout)


def main() -> None:
    chosen = harness.options(__doc__)
    results = [once(["--preset", "quick"])] if chosen.quick else [once([]) for _ in range(3)]
    walls = [wall for wall, _ in results]
    figures = {
        "wall_seconds": round(statistics.median(walls), 1),
        "wall_seconds_min": round(min(walls), 1),
        "wall_seconds_max": round(max(walls), 1),
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9, 3),
        "claims": str(results[-1][1]["claims"]),
    }
    harness.finish("demo", ("torch", "diffusers", "numpy"), figures, chosen.json, at_most=BARS)


if __name__ == "__main__":
    main()
