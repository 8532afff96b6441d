"""A source distribution in, the tracked files that it lacks or changes out: what is built from it is what is in the checkout.

python -m tools.check_sdist dist/layerscout-0.1.0.tar.gz
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path


def packed(archive: Path) -> dict[str, str]:
    """Path inside the archive's one folder → sha256 of the file."""
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                found[member.name.partition("/")[2]] = hashlib.sha256(content.read()).hexdigest()
        return found


def tracked() -> dict[str, str]:
    """Path in the checkout → sha256, of every file that git tracks."""
    names = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout.split("\0")
    return {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names if name}


def main(archive: Path) -> int:
    inside = packed(archive)
    wrong = sorted(name for name, digest in tracked().items() if inside.get(name) != digest)
    for name in wrong:
        print(f"{archive.name}: {'differs' if name in inside else 'lacks'} {name}")
    print(f"{archive.name}: {len(inside)} files, {len(wrong)} tracked files missing or changed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
