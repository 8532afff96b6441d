"""README's block of the demo is what a demo prints: the tool that writes it keeps its order of layers, and tells when a run has another."""

from __future__ import annotations

from pathlib import Path

import pytest
from readme_demo import BLOCK, RANGES, WIDTH, block_of, kept_runs, order_of, ranges_of, written

from layerscout.commands.demo_settings import DEFAULTS

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


def test_long_sentences_are_broken_into_lines():
    sentence = "Learned: " + "the best cell returns more " * 10
    block = block_of(PRINTED.replace("Too few seeds.", sentence))
    assert all(len(line) <= WIDTH for line in block.splitlines())
    assert " ".join(block.split()).count("the best cell returns more") == 10


def test_readme_shows_the_whole_ranking_of_the_demo():
    block = BLOCK.search(README.read_text(encoding="utf-8"))[0]
    assert sorted(order_of(block)) == sorted(DEFAULTS["extract"]["layers"])
    assert f"best: {order_of(block)[0]}," in block


def test_readme_ranks_as_the_kept_runs_do_and_its_ranges_are_theirs():
    readme, runs = README.read_text(encoding="utf-8"), kept_runs()
    assert order_of(BLOCK.search(readme)[0]) in [run["ranking"] for run in runs]
    assert RANGES.search(readme)[0] == ranges_of(runs)


def test_ranges_say_what_was_lowest_and_highest_and_how_often_a_claim_held():
    claims = {"Pretraining helps.": "supported", "A frozen layer helps.": "not supported", "The ranking helps.": "supported"}
    levels = (
        {"b": 0.2, "a": 0.1, "b (untrained)": -0.4, "pixels": -0.3, "scratch": -0.2},
        {"b": 0.4, "a": 0.5, "b (untrained)": -0.5, "pixels": 0.0, "scratch": 0.1},
    )
    runs = [
        {"seed": seed, "setting": "two threads", "ranking": ["b", "a"], "returns": own, "claims": claims} for seed, own in enumerate(levels)
    ]
    told = " ".join(ranges_of(runs).split())
    assert told.startswith(
        "In 2 demos (data of several seeds; two with two threads) the block that was ranked best was b. It returned 0.20 to 0.40, mean 0.30;"
    )
    assert "the same block untrained −0.50 to −0.40, pixels −0.30 to 0.00, scratch −0.20 to 0.10." in told
    assert "*pretraining helps* in 2, *a frozen layer helps* in 0, *the ranking helps* in 2 of 2." in told
