"""Nothing in, what a bug report needs out; every part is tried on its own, so a broken torch hides nothing else."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from layerscout import showing
from layerscout.commands.console import Call
from layerscout.commands.words import command
from layerscout.errors import UsageError

PACKAGES = (
    *("layerscout", "torch", "diffusers", "transformers", "numpy", "scipy", "scikit-learn", "dask", "zarr", "h5py", "safetensors"),
    *("gymnasium", "minigrid", "stable-baselines3", "typer", "pydantic", "torchvision"),
)
GL_LIBRARIES = {"EGL": "libegl1", "OSMesa": "libosmesa6", "GL": "libgl1"}  # name → the Debian package that brings it


@command("layerscout doctor --json")
def doctor(call: Call) -> None:
    """Print what a bug report needs: versions, devices, GL, disk."""
    facts = examine()
    call.emit(facts, readable(facts))


def examine() -> dict[str, Any]:
    """Return versions, devices, GL libraries, memory and free disk as plain data."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None,
        "packages": {name: _version(name) for name in PACKAGES},
        "torch": _torch(),
        "gl": {name: ctypes.util.find_library(name) or f"missing (Debian: {package})" for name, package in GL_LIBRARIES.items()},
        "store_root": str(_root() or "none: this user has no home folder; --root or LAYERSCOUT_ROOT names one"),
        "free_disk_bytes": {str(path): _free(path) for path in (_root(), Path.cwd()) if path},
        "warnings": _warnings(),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _torch() -> dict[str, Any]:
    """Ask a child process: an import that crashes the interpreter must not take the report with it."""
    question = (
        "import torch, json; print(json.dumps({'version': torch.__version__, 'threads': torch.get_num_threads(), "
        "'cuda': torch.cuda.is_available(), 'devices': [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]}))"
    )
    try:
        answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return {"broken": "import took more than 120 s"}
    except OSError as error:
        return {"broken": f"could not be tried: {error}"}
    if answer.returncode:
        return {"broken": (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]}
    try:
        return json.loads(answer.stdout.splitlines()[-1])  # what torch prints when it is imported comes before
    except (IndexError, ValueError):
        return {"broken": f"unexpected answer: {answer.stdout[:200]!r}"}


def _root() -> Path | None:
    from layerscout.cache.root import default_root

    try:
        return default_root()
    except UsageError:
        return None


def _free(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _warnings() -> list[str]:
    if _version("torchvision") != "not installed":
        return ["torchvision is installed: a build that does not match torch breaks diffusers and transformers"]
    return []


def readable(facts: dict[str, Any]) -> str:
    """Lay the report out as indented lines."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines.extend(f"  {name}: {showing.readable(key, item)}" for name, item in value.items())
        elif isinstance(value, list):
            lines.extend(f"warning: {item}" for item in value)
        else:
            lines.append(f"{key}: {showing.readable(key, value)}")
    return "\n".join(lines)
