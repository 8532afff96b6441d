"""The how-to pages, one after another in one folder, as somebody follows them: what an earlier page left is there for the next one.

Marked shell blocks run on every page. On the pages in ``ALSO`` every other block runs too, with what they leave to their reader filled in; a line
there that needs what is not here says why in ``ELSEWHERE``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_docs import ROOT, blocks, environment, finish

ALSO = ("gpu.md", "train-and-compare.md", "export-layer.md", "share-stores.md", "serve-a-team.md", "manage-stores.md", "read-a-ranking.md")
ELSEWHERE = (
    (r"--device cuda", "a GPU"),
    (r"\bwan\b", "weights of many gigabytes"),
    (r"^hf |hf://", "the Hugging Face hub; tests/cache/test_hub_place.py has a stand-in"),
    (r"^pip |layerscout serve|--server|^curl ", "a server; tests/service starts one"),
    (r"ls1-…", "a store of somebody else"),
)
PLACES = {
    "s3://team/layerscout": "team",
    "STORE_ID": "$(layerscout store info small --json | python -c 'import json, sys; print(json.load(sys.stdin)[\"store\"])')",
    "STORE": "small",
    "TWIN": "small-untrained",
    "blocks.9": "blocks.5",  # the model here has eight
}
TWIN = "layerscout extract tiny-untrained outputs/data.h5 --name small-untrained -q"  # what "read a ranking" begins with


def pages() -> list[Path]:
    """The pages in the order of the site's contents."""
    found = re.findall(r"how-to/[a-z-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return [ROOT / "docs" / name for name in dict.fromkeys(found)]


def lines_here(page: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The lines of a page's shell blocks that run here, with places filled in, and those that do not, with the reason."""
    run, left = [], []
    for block in blocks(page, "sh"):
        if block.marked:
            run.append(block.code.rstrip("\n"))
            continue
        for line in block.code.splitlines() if page.name in ALSO else ():
            reason = next((why for pattern, why in ELSEWHERE if re.search(pattern, line)), "")
            if reason:
                left.append((line, reason))
            elif line.strip():
                run.append(re.sub("|".join(map(re.escape, PLACES)), lambda match: PLACES[match[0]], line))
    return run, left


def test_every_page_is_in_the_contents_and_every_reason_is_needed() -> None:
    assert set(pages()) == set((ROOT / "docs" / "how-to").glob("*.md"))
    reasons = {reason for page in pages() for _, reason in lines_here(page)[1]}
    assert reasons == {reason for _, reason in ELSEWHERE}


@pytest.mark.skipif(shutil.which("bash") is None, reason="shell blocks are written for bash; runs wherever there is one")
def test_the_pages_run_in_order_in_one_folder(tmp_path: Path, quick_command: Path) -> None:
    script = ["here=$PWD"]
    for page in pages():
        if lines := lines_here(page)[0]:
            before = [TWIN] if any("small-untrained" in line for line in lines) else []
            script += [f'cd "$here"; echo "== {page.name}" >&2', *before, *lines]
    program = tmp_path / "all.sh"
    program.write_text("\n".join(script))
    finish(["bash", "-e", "-o", "pipefail", str(program)], tmp_path, 1200, quick_command)
    work = tmp_path / "work"
    assert (work / "outputs" / "probe" / "ranking.json").is_file()
    told = subprocess.run(
        [quick_command / "layerscout", "store", "ls", "--json"], env=environment(tmp_path, quick_command), capture_output=True, check=True
    )
    assert b"small" in told.stdout
