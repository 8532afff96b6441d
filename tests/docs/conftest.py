"""The programs that the documentation's blocks find on their PATH."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import forking
import pytest

import layerscout


@pytest.fixture(scope="session")
def quick_command():
    """A folder with a ``layerscout`` and a ``page`` that fork from a process which has imported everything; see ``forking``."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        environment = os.environ | {
            "PYTHONPATH": str(Path(layerscout.__file__).parents[1]),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        server = subprocess.Popen([sys.executable, forking.__file__, address], env=environment, stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline() == "ready\n"
        yield forking.write_shims(Path(folder) / "bin", address)
        server.terminate()
        server.wait()
        server.stdout.close()
