"""Do the demo's claims come out the same whatever data it plays, however many threads it has and whatever the processor rounds?

    python benchmarks/demo_stability.py [--quick] [--json] [--runs N] [--results FILE]

Whole demos on data of 7 seeds, on one thread, on two threads, and on one with AVX2 instructions: 20 runs, of which the first seven are all of different data. Each is appended to
the results as it ends (default: docs/experiments/demo-stability.jsonl, where ours lie), and what is there is not run again: the same command continues, within a demo too.
The bars are that "pretraining helps" and "a frozen layer helps" are supported in 19 of 20 runs, and the mean return of the best-ranked block. ``--runs`` goes on until there are so
many, ``--quick`` is one demo in its quick preset, which tests no claim and is not kept.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness

PROGRAM = "from layerscout.cli import main; main()"
RESULTS = Path(__file__).parents[1] / "docs" / "experiments" / "demo-stability.jsonl"
# along diagonals, so that the first few runs are of different data and of all settings
PLANS = [(seed, list(harness.SETTINGS)[(turn - seed) % 3]) for turn in (1, 2, 3) for seed in range(7)][:20]
CLAIMS = {"pretraining": "Pretraining helps.", "frozen": "A frozen layer helps.", "ranking": "The ranking helps."}
NEEDED, RETURN = 0.95, 0.3


def demo(seed: int, setting: str, out: Path, preset: list[str]) -> dict[str, Any]:
    """Run one demo, or what is left of it in ``out``; return what it printed."""
    threads, _ = harness.SETTINGS[setting]
    settings = [f"collect.seed={seed}", *(f"{stage}.threads={threads}" for stage in ("extract", "probe", "train"))]
    words = [part for each in settings for part in ("--set", each)]
    environment = os.environ | harness.environment_of(setting)
    command = [sys.executable, "-c", PROGRAM, "demo", "--out", str(out), "--json", "-q", *preset, *words]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return dict(json.loads(answer.stdout))


def keep_one(seed: int, setting: str, results: Path) -> None:
    """Run one demo in a folder that a killed run is continued in, and append what came out."""
    out = Path(tempfile.gettempdir()) / f"layerscout-demo-{seed}-{setting.replace(' ', '-')}"
    whole = not out.exists()
    found = demo(seed, setting, out, [])
    kept = {name: found[name] for name in ("ranking", "returned", "returns", "claims")}
    spent = {"seconds": found["seconds"], "peak_gigabytes": round(found["peak_bytes"] / 1e9, 3)} if whole else {}
    with results.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"seed": seed, "setting": setting, **kept, **spent}) + "\n")
    shutil.rmtree(out)
    told = ", ".join(f"{name} {found['claims'].get(claim)}" for name, claim in CLAIMS.items())
    print(f"seed {seed}, {setting}: {found['selected']} {found['returned']:+.3f}, {told}", file=sys.stderr, flush=True)


def read(results: Path) -> list[dict[str, Any]]:
    """Return the runs that are in the results."""
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.is_file() else []


def figures_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how often each claim was supported, and what the best-ranked block returned."""
    returns, whole = [run["returned"] for run in runs], [run for run in runs if "seconds" in run]  # a continued one tells no time
    figures: dict[str, Any] = {"runs": len(runs)}
    figures |= {name: sum(run["claims"].get(claim) == "supported" for run in runs) for name, claim in CLAIMS.items()}
    return figures | {
        "return": statistics.fmean(returns),
        "lowest_return": min(returns),
        "highest_return": max(returns),
        "blocks": ", ".join(sorted({run["ranking"][0] for run in runs})),
        "seconds": statistics.median([run["seconds"] for run in whole] or [0.0]),
        "peak_gigabytes": max([run["peak_gigabytes"] for run in whole], default=0.0),
    }


def main() -> None:
    chosen = harness.options(__doc__, runs=len(PLANS), results=RESULTS)
    if chosen.quick:
        with tempfile.TemporaryDirectory() as folder:
            found = demo(0, "one thread", Path(folder) / "outputs", ["--preset", "quick"])
        runs = [found | {"peak_gigabytes": found["peak_bytes"] / 1e9}]
    else:
        for seed, setting in PLANS:
            done = {(run["seed"], run["setting"]) for run in read(chosen.results)}
            if len(done) < chosen.runs and (seed, setting) not in done:
                keep_one(seed, setting, chosen.results)
        runs = read(chosen.results)
    bars = {} if chosen.quick else {"pretraining": NEEDED * len(runs), "frozen": NEEDED * len(runs), "return": RETURN}
    harness.finish("demo_stability", ("torch", "numpy"), figures_of(runs), chosen.json, at_least=bars, at_most={"peak_gigabytes": 2.0})


if __name__ == "__main__":
    main()
