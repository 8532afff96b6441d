"""README's block of the demo is what a demo prints: the tool that writes it keeps its order of layers, and tells when a run has another."""

from __future__ import annotations

from pathlib import Path

import pytest
from readme_demo import BLOCK, block_of, order_of, written

README = Path(__file__).parents[2] / "README.md"
PRINTED = """Layers of tiny, ranked on 20 transitions of 4 episodes

#        layer     S
1        blocks.1  0.5
2        blocks.0  0.4
control  pixels    0.3
twin     blocks.0  0.1
twin     blocks.1  0.2
twin     blocks.2  0.2
twin     blocks.3  0.3
best: blocks.1

Arm       Mean  Evaluation  Seeds  Wall s
--------  ----  ----------  -----  ------
blocks.1   0.1         0.3      2    20.5

Too few seeds.
page: outputs/report.html
"""


def test_the_block_keeps_what_is_read_and_writes_itself_again():
    block = block_of(PRINTED)
    assert order_of(block) == ["blocks.1", "blocks.0"]
    assert [line for line in block.splitlines() if line.startswith(("twin", "..."))] == [
        "...",
        "twin     blocks.1  0.2",
        "...",
        "twin     blocks.3  0.3",
    ]
    assert "Arm       Mean  Seeds" in block
    assert "blocks.1   0.1      2" in block
    text = written("# T\n\n```text\nLayers of old\n```\n\nmore\n", PRINTED)
    assert text == f"# T\n\n```text\n{block}```\n\nmore\n"
    assert written(text, PRINTED) == text
    with pytest.raises(SystemExit):
        written("nothing", PRINTED)


def test_readme_shows_a_whole_ranking_of_the_trained_model():
    block = BLOCK.search(README.read_text(encoding="utf-8"))[0]
    assert sorted(order_of(block)) == [f"blocks.{place}" for place in range(8)]
    assert f"best: {order_of(block)[0]}," in block
