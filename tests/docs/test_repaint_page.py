"""The page on REPAINT says what the benchmark wrote: its bars, last scores and scores on the simulator are those of the file beside it."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "experiments"
FIGURES, PAGE = json.loads((FOLDER / "repaint.json").read_text()), (FOLDER / "repaint.md").read_text().splitlines()


def test_every_bar_stands_on_the_page_with_its_figure_and_whether_it_holds() -> None:
    assert len(FIGURES["bars"]) >= 21
    for name, bar in FIGURES["bars"].items():
        ends = "holds" if bar["holds"] else "**does not hold**"
        assert f"| {name} | {bar['figure']:.3f} | {bar['bar']:.3f} | {ends} |" in PAGE


def test_last_scores_on_the_page_are_those_of_the_file() -> None:
    for name, (difference, low, high) in FIGURES["last_scores"].items():
        assert f"| {name} | {difference:.2f} | {low:.2f} to {high:.2f} |" in PAGE
    for name, arm in FIGURES["arms"].items():
        assert f"| {name} | {sum(arm['on_reacher_v5']) / len(arm['on_reacher_v5']):.2f} | {arm['last_on_twin']:.2f} |" in PAGE


def test_what_the_teachers_steps_are_filtered_by_stays_a_filter_in_every_arm_and_iteration() -> None:
    shares = [arm["kept"] for arm in FIGURES["arms"].values() if arm["kept"] is not None]
    assert len(shares) == 6
    assert min(low for low, _ in shares) >= 0.05
    assert max(high for _, high in shares) <= 0.5
