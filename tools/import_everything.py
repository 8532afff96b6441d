"""The installed package in, one line a module out: it imports, or it needs an extra and its error says which.

Run it from a folder without a checkout: python import_everything.py [--no-torch]
With ``--no-torch`` the modules that need torch may fail for want of it; everything else must still import.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import layerscout
from layerscout.errors import MissingExtraError

TORCH = ("torch", "diffusers", "transformers")


def outcome(name: str, without_torch: bool) -> str:
    """Return "imports", "extra: HINT", "torch" or "FAILS: …"."""
    try:
        importlib.import_module(name)
    except MissingExtraError as error:
        return f"extra: {error.hint}" if error.hint else f"FAILS: no hint in {error}"
    except ImportError as error:
        if without_torch and (error.name or "").partition(".")[0] in TORCH:
            return "torch"
        return f"FAILS: {error}"
    return "imports"


def module_names(folder: Path) -> list[str]:
    """Return every module's name by its file: to walk the packages would import them, and some need an extra."""
    files = (file.relative_to(folder.parent).with_suffix("") for file in folder.rglob("*.py") if file.stem != "__main__")
    return sorted(".".join(file.parts).removesuffix(".__init__") for file in files if file != Path("layerscout/__init__"))


def main() -> int:
    without_torch = "--no-torch" in sys.argv
    names = module_names(Path(layerscout.__path__[0]))
    outcomes = {name: outcome(name, without_torch) for name in names}
    counts: dict[str, int] = {}
    for name, said in outcomes.items():
        kind = said.partition(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
        if kind not in ("imports", "torch"):
            print(f"{name}: {said}")
    print(f"{len(names)} modules of layerscout {layerscout.__version__}: {counts}")
    return 1 if "FAILS" in counts or counts.get("imports", 0) < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
