"""Files of experiments: the commands that stand in them and on pages name files and presets that there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"--config (experiments/[a-z_/0-9-]+\.toml)((?: --\w+ \S+)*)")


def test_every_command_with_a_file_of_settings_names_a_file_and_a_preset_of_it() -> None:
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.toml")]
    found = [match for path in texts for match in COMMAND.findall(path.read_text(encoding="utf-8"))]
    assert len(found) >= 20
    for name, options in found:
        presets = tomllib.loads((ROOT / name).read_text(encoding="utf-8")).get("presets", {})
        for preset in re.findall(r"--preset (\w+)", options):
            assert preset in presets, name
