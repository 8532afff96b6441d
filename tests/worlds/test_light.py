"""What must not wait for torch: collecting, and reading any stage's settings."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "diffusers", "transformers", "sklearn", "dask", "zarr", "matplotlib", "scipy")
COLLECT = """
import sys
from layerscout import cli
try:
    cli.app(["collect", "layerscout/Grid-v0", "--steps", "5", "--out", sys.argv[1], "-q"])
except SystemExit as end:
    assert not end.code, end.code
"""
SETTINGS = "import layerscout.rl.config, layerscout.worlds.config"


def loaded_by(program: str, *arguments: str) -> set[str]:
    """Which of the heavy packages a program has in its memory when it ends."""
    tell = f"\nprint(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"import sys\n{program}{tell}", *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_collect_loads_no_torch(tmp_path):
    assert not loaded_by(COLLECT, str(tmp_path / "data.h5"))
    assert (tmp_path / "data.h5").is_file()


def test_the_settings_of_playing_and_training_load_no_torch():
    assert not loaded_by(SETTINGS)
