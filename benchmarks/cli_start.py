"""What starting costs: ``layerscout --help`` beside ``import typer``, ``import layerscout``, ``layers``, and a demo with a wrong preset.

python benchmarks/cli_start.py [--quick] [--json]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

HEAVY = ("torch", "diffusers", "sklearn", "dask", "zarr", "numpy", "pydantic")
BARS = {
    "help_seconds": 0.5,
    "help_over_typer": 2.0,  # CPU time, in turns: what importing typer costs is not ours
    "import_cpu_seconds": 0.05,  # beyond bare Python
    "heavy_packages_loaded": 0,
    "layers_cpu_seconds": 0.7,
    "wrong_preset_cpu_seconds": 0.7,
}
WAN = {  # the configurations of Wan 2.1 1.3B, as far as a description reads them
    "model_index.json": {"_class_name": "WanPipeline"},
    "transformer/config.json": {
        "_class_name": "WanTransformer3DModel",
        "num_attention_heads": 12,
        "attention_head_dim": 128,
        "num_layers": 30,
        "patch_size": [1, 2, 2],
        "in_channels": 16,
        "ffn_dim": 8960,
    },
    "vae/config.json": {
        "_class_name": "AutoencoderKLWan",
        "z_dim": 16,
        "dim_mult": [1, 2, 4, 4],
        "latents_mean": [0.0] * 16,
        "latents_std": [1.0] * 16,
    },
}
PROGRAM = "import sys; from layerscout.cli import main; sys.argv = ['layerscout', '--help']; main()"


def cost(program: str) -> tuple[float, float]:
    """Wall seconds and CPU seconds, user and system, of one Python process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    return wall, after.children_user - before.children_user + after.children_system - before.children_system


def command(*words: str) -> str:
    """A program that runs ``layerscout`` with these words."""
    return f"from layerscout.cli import main; main({list(words)!r})"


def in_turns(programs: dict[str, str], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Run every program once a round, so that a busy machine is busy for all of them."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            costs[name].append(cost(program))
    return costs


def loaded() -> list[str]:
    """The heavy packages that are in memory when the help has been printed."""
    check = f"import atexit, sys; atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)); {PROGRAM}"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return [name for name in HEAVY if f"'{name}'" in answer.stderr]


def written(folder: Path) -> str:
    """Write the configurations of a published checkpoint, without weights; return its name as a command takes it."""
    for path, content in WAN.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return f"wan:{folder}"


def main() -> None:
    chosen = harness.options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        programs = {
            "bare": "pass",
            "typer": "import typer",
            "import": "import layerscout",
            "help": command("--help"),
            "layers tiny": command("layers", "tiny"),
            "layers wan": command("layers", written(Path(folder))),
            "wrong preset": command("demo", "--preset", "qick", "--out", folder),
        }
        in_turns(programs, 1)  # the first round compiles bytecode and warms the page cache
        costs = in_turns(programs, 5 if chosen.quick else 21)
    walls = [wall for wall, _ in costs["help"]]
    cpu = {name: statistics.median(used for _, used in found) for name, found in costs.items()}
    figures = {
        "help_seconds": round(statistics.median(walls), 4),
        "help_seconds_min": round(min(walls), 4),
        "help_seconds_max": round(max(walls), 4),
        "help_over_typer": round(cpu["help"] / cpu["typer"], 2),
        "help_over_typer_wall": round(statistics.median(walls) / statistics.median(wall for wall, _ in costs["typer"]), 2),
        "import_cpu_seconds": round(cpu["import"] - cpu["bare"], 4),
        "heavy_packages_loaded": len(loaded()),
        "layers_cpu_seconds": round(max(cpu["layers tiny"], cpu["layers wan"]), 4),
        "wrong_preset_cpu_seconds": round(cpu["wrong preset"], 4),
    }
    harness.finish("cli_start", ("typer",), figures, chosen.json, at_most=BARS)


if __name__ == "__main__":
    main()
