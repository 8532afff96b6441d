"""Figures of trained agents say how far they carry, no word says more than a test did, and README's figures are those of the benchmarks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARRIES = ("same-store.md#which-results-can-move", "registered.md#how-far-it-carries")
# pages that speak of seeds and of decimals, and of no agent that was trained
METHODS = {
    "decisions/0008-the-headline-claim-is-one-test.md",
    "decisions/0015-what-repaint-leaves-open.md",
    "explanation/score-against-return.md",
    "how-to/put-a-machine-to-work.md",
    "reference/formats.md",
    "reference/metrics.md",
}
SPREAD = "#agents-over-three-settings"  # what moved where a command was run three times: a page of one run leads there
RANGE = re.compile(r"\| (\S+) to (\S+) \| \[[\w-]+\]\(experiments/settings/([\w-]+)\.json\) `([^`]+)` \|")
LOUD = re.compile(r"\b(clearly|obviously|undoubtedly|of course|without doubt|dramatically|hugely)\b", re.IGNORECASE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix().removeprefix("docs/")


def lines_with_seeds(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(r"\bseeds?\b", line) and re.search(r"\d\.\d\d", line)]


def test_a_page_with_figures_of_agents_says_how_far_they_carry() -> None:
    found = {name_of(page): page.read_text(encoding="utf-8") for page in PAGES}
    found = {name: text for name, text in found.items() if lines_with_seeds(text)}
    assert {name_of(page) for page in PAGES} >= METHODS
    silent = [name for name, text in found.items() if name not in METHODS and not any(link in text for link in CARRIES)]
    assert silent == []


def test_a_page_of_one_run_leads_to_what_was_measured_in_three_settings() -> None:
    """A figure of one run says so, and by how much the nearest that was run three times moved."""
    found = {name_of(page): page.read_text(encoding="utf-8") for page in PAGES}
    of_agents = {name for name, text in found.items() if lines_with_seeds(text)} - METHODS
    of_agents |= {name for name, text in found.items() if CARRIES[0] in text}
    assert len(of_agents) >= 12
    silent = [name for name in sorted(of_agents) if SPREAD not in found[name] and CARRIES[1] not in found[name]]
    assert silent == []


def test_ranges_over_settings_are_those_of_the_runs_and_stand_with_their_command() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    section = text.partition("### Agents over three settings")[2].partition("\n### ")[0]
    rows = RANGE.findall(section)
    assert {name for *_, name, _ in rows} == {path.stem for path in (ROOT / "docs" / "experiments" / "settings").glob("*.json")}
    assert "python benchmarks/across_settings.py" in section
    for low, high, name, figure in rows:
        kept = json.loads((ROOT / "docs" / "experiments" / "settings" / f"{name}.json").read_text(encoding="utf-8"))
        assert list(kept["settings"]) == ["one thread", "two threads", "AVX2"]
        seen = kept["figures"][figure]["seen"]
        assert (low, high) == tuple(f"{value:.2f}".replace("-", "−") for value in (min(seen), max(seen)))
        assert ", ".join(f"{value:.2f}" for value in seen).replace("-", "−") in section
        command = " ".join(kept["command"][kept["command"].index("python", 1) :])
        assert f"`{command}`" in section


@pytest.mark.parametrize(
    "page", [page for page in PAGES if name_of(page).startswith(("README", "benchmarks", "experiments/"))], ids=name_of
)
def test_no_word_says_more_than_a_test_did(page: Path) -> None:
    assert LOUD.findall(page.read_text(encoding="utf-8")) == []


def test_readme_says_how_much_less_a_probe_takes_as_the_benchmark_measured_it() -> None:
    """Against a grid search, and against what a user of notebooks calls."""
    (said,) = [line for line in PAGES[0].read_text(encoding="utf-8").splitlines() if "probe_speed.py" in line]
    table = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    measured = re.findall(r"times less than `GridSearchCV`[^|]*/ than `RidgeCV`[^|]*\| (\d+) / (\d+) \|", table)[:2]
    (whole, alone) = measured
    assert f"{whole[0]} times less CPU than in float64, {whole[1]} times less than `RidgeCV`" in said
    assert f"{alone[0]} and {alone[1]} times without what stands beside the score" in said
    bars = re.findall(r"\| at least (\d+) / (\d+): not held \|", table)
    assert f"below its bars of {bars[0][0]} and {bars[0][1]}" in said
