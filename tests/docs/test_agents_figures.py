"""Figures of trained agents say how far they carry, no word says more than a test did, and README's figures are those of the benchmarks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sb3_page

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
# a row of a table: what each setting gave, lowest to highest, and in which file and by which path it is kept
RANGE = re.compile(r"\| ([^|]+) \| (\S+) to (\S+) \| \[[\w-]+\]\((?:\.\./)?(?:experiments/)?settings/([\w-]+)\.json\) `([^`]+)` \|")
SAME = re.compile(r"to the last digit in every setting \(\[[\w-]+\]\((?:\.\./)?(?:experiments/)?settings/([\w-]+)\.json\)\)")
KEPT = ROOT / "docs" / "experiments" / "settings"
ORDER = ("one thread", "two threads", "AVX2", "SSE")
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


def kept(name: str) -> dict[str, Any]:
    return dict(json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8")))


def measured(name: str) -> str:
    """Return the command whose figures were kept, as it is typed."""
    words = kept(name)["command"][2:]
    while words[0].startswith("--"):
        words = words[2:]
    return words[2] if words[:2] == ["bash", "-c"] else " ".join(words)


def shown(value: float | None, like: str) -> str:
    """Write a figure with as many decimals as another has; n/a where there is none."""
    return "n/a" if value is None else f"{value:.{len(like.partition('.')[2])}f}".replace("-", "−")


def test_every_file_of_ranges_is_of_one_thread_two_threads_and_other_instructions() -> None:
    files = sorted(KEPT.glob("*.json"))
    assert len(files) >= 2
    for path in files:
        settings = list(kept(path.stem)["settings"])
        assert settings == [name for name in ORDER if name in settings]
        assert {"one thread", "two threads"} < set(settings)


@pytest.mark.parametrize("page", [page for page in PAGES if RANGE.search(page.read_text(encoding="utf-8"))], ids=name_of)
def test_ranges_over_settings_are_those_of_the_runs(page: Path) -> None:
    for said, low, high, name, figure in RANGE.findall(page.read_text(encoding="utf-8")):
        runs = kept(name)
        one = runs["figures"][figure]
        each = dict(zip(runs["settings"], one["seen"], strict=True))
        assert (low, high) == (shown(one["lowest"], low), shown(one["highest"], low)), figure
        assert said == ", ".join(shown(each[setting], low) if setting in each else "–" for setting in ORDER), figure


def test_what_is_said_to_be_the_same_in_every_setting_is_the_same() -> None:
    """Seconds apart, which are of the machine."""
    for page in PAGES:
        for name in SAME.findall(page.read_text(encoding="utf-8")):
            runs = kept(name)
            moved = [path for path, one in runs["figures"].items() if "cpu" not in path.lower() and len(set(one["seen"])) > 1]
            assert moved == [], f"{name_of(page)}, {name}"
            assert runs["words"] == {}


def test_every_file_of_ranges_stands_in_the_table_with_its_command() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    section = text.partition("### Agents over three settings")[2].partition("\n### ")[0]
    assert {name for *_, name, _ in RANGE.findall(section)} == {path.stem for path in KEPT.glob("*.json")}
    assert "python benchmarks/across_settings.py" in section
    for path in KEPT.glob("*.json"):
        assert f"`{measured(path.stem)}`" in section


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


def test_the_page_of_pretrained_world_models_says_what_was_kept_of_every_setting() -> None:
    text = (ROOT / "docs" / "experiments" / "apv-distance.md").read_text(encoding="utf-8").partition("## Over three settings")[2]
    runs = kept("apv-distance")
    rows = {
        tuple(cells[:2]): cells[2:] for line in text.splitlines() if len(cells := [cell.strip() for cell in line.split("|")[1:-1]]) == 5
    }
    for arm in ("APV", "APV without bonus", "naive fine-tuning", "DreamerV2 from scratch"):
        for place, setting in enumerate(runs["settings"]):
            figures = {
                path.removeprefix(f"{arm}."): one["seen"][place] for path, one in runs["figures"].items() if path.startswith(f"{arm}.")
            }
            area, apart, last = rows.pop((arm, setting))
            assert (area, last) == (shown(figures["area"], "0.0"), shown(figures["last"], "0.0"))
            less = [shown(figures.get(f"less_scratch.{part}"), "0.00") for part in ("value", "low", "high")]
            assert re.findall(r"−?\d+\.\d+", apart) == ([] if "n/a" in less else less)
    assert [arm for arm, _ in rows] == ["arm", "---"]


def test_the_page_of_pvdr_says_what_was_kept_of_every_setting() -> None:
    text = (ROOT / "docs" / "reference" / "pvdr.md").read_text(encoding="utf-8").partition("## What was measured")[2]
    rows = {cells[0]: cells[-1] for line in text.splitlines() if len(cells := [cell.strip() for cell in line.split("|")[1:-1]]) == 4}
    for begins, name, figures in (
        ("dynamics, 4,000", "pvdr-gates", [("dynamics: held-out cross-entropy, nats", "0.0")]),
        ("sampled plans", "pvdr-gates", [("dynamics: sampled plans that show exactly one disc", "0.000")]),
        ("going straight", "pvdr-gates", [("servo to the chosen plan: success", "0.00")]),
        ("alignment on", "pvdr-gates", [("alignment: R² of actions, steps of other episodes", "0.000")]),
        ("planner minus", "pvdr-gates", [("planner minus random: success", "0.00")]),
        ("with and without pre", "pvdr-gates", [("pretrained: held-out nats", "0"), ("from scratch: held-out nats", "0")]),
        ("alignment with and", "pvdr-arms", [("pvdr: success", "0.00"), ("supervised: success", "0.00")]),
        ("the other arms", "pvdr-arms", [("cloning: success", "0.00"), ("random-plans: success", "0.00"), ("scratch: success", "0.00")]),
        ("horizon", "pvdr-future-2", [("planner: success", "0.00")]),
        ("horizon", "pvdr-future-4", [("planner: success", "0.00")]),
        ("horizon", "pvdr-future-8", [("planner: success", "0.00")]),
    ):
        (told,) = [cell.replace("**", "") for row, cell in rows.items() if row.startswith(begins)]
        for figure, like in figures:
            assert ", ".join(shown(value, like) for value in kept(name)["figures"][f"figures.{figure}"]["seen"]) in told, (begins, figure)


def test_the_page_of_learners_is_written_from_its_records() -> None:
    document = json.loads((sb3_page.RECORDS / f"{sb3_page.NAME}.json").read_text(encoding="utf-8"))
    assert (sb3_page.RECORDS / f"{sb3_page.NAME}.md").read_text(encoding="utf-8") == sb3_page.page(document)
