"""Peak memory of probing n rows and 16 n rows, each in a fresh process, from a store on disk.

    python benchmarks/probe_memory.py [--quick] [--json]

One layer of 1024 features in float16, read and measured as ``layerscout probe`` does. The smaller store has as many rows
as the probe ever holds at once. What grows with the rows is a few numbers for each of them, made of the index columns.
A process that only imports and plans is measured too. ``--quick`` has fewer rows and half as many episode groups.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
import numpy as np
import probe_world

BARS = {"peak_of_16n_over_n": 1.1}
WIDTH, TIMES = 1024, 16


def measure(root: str, store: str, groups: str, only_plan: bool) -> None:
    """Probe one store in this process and print its peak memory in bytes; ``layerscout probe`` without its figures."""
    from threadpoolctl import threadpool_limits

    from layerscout.probe.config import ProbeConfig
    from layerscout.probe.plan import plan
    from layerscout.probe.work import measure_layer

    planned = plan(ProbeConfig(store=store, root=Path(root), out=Path(root) / "out", groups=int(groups)))
    if not only_plan:
        with threadpool_limits(limits=1, user_api="blas"):
            measure_layer(planned, planned.jobs[0], "float32")
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "rows": planned.store.rows}))


def fresh(*words: str) -> dict[str, int]:
    """Do so in a fresh process."""
    done = subprocess.run([sys.executable, __file__, "--measure", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    chosen = harness.options(__doc__)
    episodes, groups, rounds = (110, "10", 1) if chosen.quick else (320, "20", 3)
    peaks: dict[str, list[float]] = {"n": [], "16n": [], "planning_n": [], "planning_16n": []}
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for name, count in (("n", episodes), ("16n", TIMES * episodes)):
            root = Path(folder) / name
            stores[name] = (str(root), probe_world.write_store(root, count, 1, WIDTH).id, groups)
        rows = {}
        for _ in range(rounds):
            for name, words in stores.items():
                found = fresh(*words)
                peaks[name].append(found["peak"])
                rows[name] = found["rows"]
                peaks[f"planning_{name}"].append(fresh(*words, "plan")["peak"])
    figures: dict[str, object] = {"width": WIDTH, "rows_n": rows["n"], "rows_16n": rows["16n"]}
    figures["layer_of_16n_megabytes"] = rows["16n"] * WIDTH * np.dtype(np.float16).itemsize / 1e6
    for name, values in peaks.items():
        figures[f"peak_{name}_megabytes"] = {
            "median": statistics.median(values) / 1e6,
            "min": min(values) / 1e6,
            "max": max(values) / 1e6,
        }
    figures["peak_of_16n_over_n"] = statistics.median(peaks["16n"]) / statistics.median(peaks["n"])
    harness.finish("probe_memory", ("numpy", "scipy"), figures, chosen.json, at_most=BARS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], sys.argv[3], sys.argv[4], len(sys.argv) > 5)
    else:
        main()
