"""How long ``layerscout --help`` takes as a whole process, and which heavy packages it loads (none); what ``layerscout layers`` costs.

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
BARS = {"help_seconds": 0.5, "heavy_packages_loaded": 0, "layers_cpu_seconds": 0.7}
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


def layers_cpu(spec: str) -> float:
    """CPU seconds, user and system, of one ``layerscout layers SPEC``."""
    before = os.times()
    subprocess.run([sys.executable, "-c", PROGRAM.replace("'--help'", f"'layers', {spec!r}")], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def written(folder: Path) -> str:
    """Write the configurations of a published checkpoint, without weights; return its name as a command takes it."""
    for path, content in WAN.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    return f"wan:{folder}"


def main() -> None:
    chosen = harness.options(__doc__)
    seconds()  # the first run compiles bytecode and warms the page cache
    with tempfile.TemporaryDirectory() as folder:
        specs = ["tiny", written(Path(folder))]
        layers = [statistics.median(layers_cpu(spec) for _ in range(3 if chosen.quick else 11)) for spec in specs]
    runs = [seconds() for _ in range(5 if chosen.quick else 21)]
    figures = {
        "help_seconds": round(statistics.median(runs), 4),
        "help_seconds_min": round(min(runs), 4),
        "help_seconds_max": round(max(runs), 4),
        "heavy_packages_loaded": len(loaded()),
        "layers_cpu_seconds": round(max(layers), 4),
    }
    harness.finish("cli_start", ("typer",), figures, chosen.json, at_most=BARS)


if __name__ == "__main__":
    main()
