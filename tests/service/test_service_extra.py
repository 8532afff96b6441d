"""Without the packages of the service's extra, every module of it imports or says which extra it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import layerscout

SERVE = ("anyio", "fastapi", "httpx2", "jinja2", "markupsafe", "starlette", "uvicorn")
LOOK = f"""
import sys
sys.modules.update(dict.fromkeys({SERVE}))
import layerscout
from import_everything import Path, module_names, outcome
names = [name for name in module_names(Path(layerscout.__path__[0])) if name.startswith("layerscout.service")]
for name in names:
    print(name, outcome(name, without_torch=False), sep=": ")
"""


def test_every_module_of_the_service_imports_or_says_its_extra():
    package = Path(layerscout.__file__).parents[1]
    path = os.pathsep.join([str(package), str(Path(__file__).parents[2] / "tools")])
    done = subprocess.run([sys.executable, "-c", LOOK], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert len(told) > 50
    assert {name: said for name, said in told.items() if said.startswith("FAILS")} == {}
    assert told["layerscout.service.requests"].startswith("extra: ")
    assert told["layerscout.service.acts"] == "imports"
