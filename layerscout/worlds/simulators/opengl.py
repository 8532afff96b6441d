"""This machine in, an OpenGL context for the pictures of MuJoCo out, or the name of the package that is missing.

MuJoCo draws through one of three libraries, which the environment variable ``MUJOCO_GL`` names: ``egl`` (with or without a
GPU, no window), ``osmesa`` (on the processor, no window) or ``glfw`` (needs a display). Simulators read the variable when they
are imported, so ``choose_library`` must come before that.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import subprocess
import sys
from typing import Any

from layerscout.errors import MissingExtraError, UsageError, install

VARIABLE = "MUJOCO_GL"
PACKAGES = {  # what brings each library on Debian and Ubuntu
    "egl": "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "apt-get install libglfw3, and a display; without a display use MUJOCO_GL=egl",
}
AUTOMATIC = ("egl", "osmesa")  # tried in this order when nothing is stated
PROBE = "import importlib, sys; c = importlib.import_module('mujoco.' + sys.argv[1]).GLContext(8, 8); c.make_current(); c.free()"
PROBE_SECONDS = 60


def require_simulator(environment_id: str, package: str, extra: str) -> None:
    """Make sure that a simulator is installed and that its pictures can be drawn, before it is imported.

    Raises
    ------
    UsageError, MissingExtraError
        The package is not installed; or see ``choose_library``.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"{environment_id} needs the package {package}", hint=install(extra))
    choose_library()


def choose_library() -> str:
    """Return the library that draws, and leave its name in ``MUJOCO_GL`` for every simulator imported from now on.

    The library that is stated there must work; nothing else is tried then. A library is tried in a process of its own, because
    one that was loaded in vain keeps the next one, and MuJoCo itself, from loading.

    Raises
    ------
    UsageError
        ``MUJOCO_GL`` names something else.
    MissingExtraError
        The stated library, or each of them, does not work here; the hint names the packages that bring them.
    """
    stated = os.environ.get(VARIABLE, "").lower().strip()
    if stated and stated not in PACKAGES:
        raise UsageError(f"{VARIABLE} is '{stated}'", hint=f"unset it, or use one of: {', '.join(PACKAGES)}")
    if stated:
        if failure := _try(stated):
            raise MissingExtraError(
                f"MuJoCo cannot draw with {VARIABLE}={stated}: {failure}", hint=f"{PACKAGES[stated]}; or unset {VARIABLE}"
            )
        return stated
    failures = []
    for library in AUTOMATIC:
        failure = _try(library)
        if not failure:
            os.environ[VARIABLE] = library
            return library
        failures.append(f"{library}: {failure}")
    raise MissingExtraError(
        f"no OpenGL library can draw the pictures of MuJoCo ({'; '.join(failures)})",
        hint=" or ".join(PACKAGES[library] for library in AUTOMATIC),
    )


def drawing_context(width: int, height: int) -> Any:
    """Return MuJoCo's OpenGL context of this size, made current in this thread.

    Raises
    ------
    UsageError, MissingExtraError
        See ``choose_library``.
    """
    made = importlib.import_module(f"mujoco.{choose_library()}").GLContext(width, height)
    made.make_current()
    return made


@functools.cache  # a process sees one machine
def _try(library: str) -> str:
    """Return an empty string when the library makes a context, else why not."""
    environment = os.environ | {VARIABLE: library}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, library], env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_SECONDS} s"
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return last.strip()
