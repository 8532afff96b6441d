"""pyproject.toml in, requirement lines out: the lowest declared versions, or the base dependencies without some.

python -m tools.dependencies --lowest                      name==lowest version, of every base dependency
python -m tools.dependencies --without torch diffusers     the base dependencies but these
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

LINE = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(?P<extras>\[[^\]]*\])?>=(?P<version>[0-9.]+)$")


def base() -> list[re.Match[str]]:
    """The base dependencies; each must state its lowest version and nothing else."""
    found = {line: LINE.match(line) for line in tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]}
    if unclear := [line for line, match in found.items() if match is None]:
        raise SystemExit(f"dependencies that are not of the form name>=version: {unclear}")
    return [match for match in found.values() if match]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--lowest", action="store_true")
    kind.add_argument("--without", nargs="+", metavar="NAME")
    chosen = parser.parse_args()
    for match in base():
        if chosen.lowest:
            print(f"{match['name']}=={match['version']}")
        elif match["name"] not in chosen.without:
            print(match[0])


if __name__ == "__main__":
    main()
