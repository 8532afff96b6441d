"""The pages of registered studies say what their tables of cells say: figures that no page of the program prints come from a script, and are held to it."""

from __future__ import annotations

import csv
import json
import re
import runpy
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
EXPERIMENTS = PROJECT / "docs" / "experiments"
SCRIPT = PROJECT / "experiments" / "registered" / "exploratory.py"
STUDIES = [("registered.md", "study", 11), ("another-family.md", "encoder", 9), ("depth.md", "depth", 7)]
AGAIN = [  # a study that was run once more: its table there, the column of the page
    ("registered.md", "study", "study-avx2", 2, 4),
    ("another-family.md", "encoder", "encoder-avx2", 2, 4),
    ("depth.md", "depth", "depth-sse", 3, 4),
]
OVER = "## Over three settings"
RUNS = [  # page, the tasks of its means, records in the order of its columns, updates
    ("registered.md", "nine learned tasks", ("study", "study-avx2"), 3_000),
    ("another-family.md", "six learned tasks", ("encoder", "encoder-avx2"), 3_000),
    ("depth.md", "six learned tasks", ("depth", "depth-two-threads", "depth-sse"), 3_000),
]


@pytest.mark.parametrize(("page", "name", "count"), STUDIES)
def test_every_figure_that_the_script_prints_stands_on_the_page(page: str, name: str, count: int) -> None:
    text = re.sub(r"\s+", " ", (EXPERIMENTS / page).read_text(encoding="utf-8"))
    found = runpy.run_path(str(SCRIPT))["figures"](EXPERIMENTS / "registered" / f"{name}.csv")
    assert len(found) == count
    assert {name: figure for name, figure in found.items() if figure not in text} == {}


@pytest.mark.parametrize(("page", "name", "other", "column", "count"), AGAIN)
def test_what_a_second_run_gave_stands_beside_the_first(page: str, name: str, other: str, column: int, count: int) -> None:
    text = re.sub(r"\s+", " ", (EXPERIMENTS / page).read_text(encoding="utf-8"))
    script = runpy.run_path(str(SCRIPT))
    tables = [EXPERIMENTS / "registered" / f"{one}.csv" for one in (name, other)]
    found = script["again"](*tables)
    assert len(found) == count
    said = [word for figure in found.values() for word in re.findall(r"\d\.\d+", figure)]
    assert len(said) >= 4
    assert [word for word in (*said, *script["figures"](tables[1]).values()) if word.rstrip("0") not in text] == []
    outcomes = {
        one["name"]: (one["outcome"], set(figures_in(one["sentence"].partition(",")[0])))
        for analysis in json.loads(tables[1].with_suffix(".json").read_text(encoding="utf-8"))["analyses"]
        for one in analysis["hypotheses"]
    }
    rows = {line.split("|")[1].strip(): line.split("|")[column + 1] for line in text_lines(page, OVER)}
    for one, (outcome, figures) in outcomes.items():
        assert outcome in rows[one]
        assert rows[one].count("**") == (2 if outcome == "not supported" else 0)
        assert {figure.lstrip("+") for figure in figures} & set(re.findall(r"\d\.\d{2}", rows[one]))


@pytest.mark.parametrize(("page", "tasks", "names", "budget"), RUNS)
def test_measures_of_every_run_of_a_study_are_those_of_the_reports(page: str, tasks: str, names: tuple[str, ...], budget: int) -> None:
    rows = {line.split("|")[1].strip(): [cell.replace("−", "-") for cell in line.split("|")[2:]] for line in text_lines(page, OVER)}
    for place, name in enumerate(names):
        record = json.loads((EXPERIMENTS / "registered" / f"{name}.json").read_text(encoding="utf-8"))
        (analysis,) = [one for one in record["analyses"] if one["updates"] == budget]
        measures = {one["name"]: one for one in analysis["measures"]}
        for row, measure in ((f"ρ of S-ctrl with return, mean over {tasks}", "S-ctrl"), ("ρ of S", "S")):
            mean = measures[measure]["spearman"]
            assert rows[row][place].strip() == f"{mean['value']:.2f} [{mean['low']:.2f}, {mean['high']:.2f}]"
        given_up = {
            "given up by the first choice of S-ctrl": "S-ctrl",
            "by the middle block": "nearness to the middle",
            "by the deepest": "depth alone",
            "by the first choice of bits of action alone": "bits of action",
        }
        inside = measures["S-ctrl"]["within_groups"]
        if (row := "the same inside pretrained and inside untrained cells") in rows:
            given_up["by that of S"] = "S"
            assert rows[row][place].strip() == f"{inside['value']:.2f} [{inside['low']:.2f}, {inside['high']:.2f}]"
        for row, measure in given_up.items():
            share = {part: 100 * measures[measure]["regret_1"][part] for part in ("value", "low", "high")}
            assert rows[row][place].strip() == f"{share['value']:.0f} % [{share['low']:.0f}, {share['high']:.0f}]"


def test_on_two_threads_every_agent_of_the_study_of_depth_is_the_same() -> None:
    tables = [(EXPERIMENTS / "registered" / f"depth{suffix}.csv").read_text(encoding="utf-8") for suffix in ("", "-two-threads")]
    one, two = (list(csv.DictReader(table.splitlines())) for table in tables)
    agents = ("task", "layer", "weights", "mean_return_at_3000", "mean_return_last_50")
    assert len(one) == 60
    assert [[row[name] for name in agents] for row in one] == [[row[name] for name in agents] for row in two]
    moved = max(abs(float(first["bits_action"]) - float(second["bits_action"])) for first, second in zip(one, two, strict=True))
    assert f"at most {moved:.5f} " in (EXPERIMENTS / "depth.md").read_text(encoding="utf-8")


def text_lines(page: str, heading: str) -> list[str]:
    """Return the rows of the table under a heading of a page."""
    section = (EXPERIMENTS / page).read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(("page", "name"), [study[:2] for study in STUDIES])
def test_every_outcome_of_a_hypothesis_stands_on_the_page_as_the_report_said_it(page: str, name: str) -> None:
    text = (EXPERIMENTS / page).read_text(encoding="utf-8")
    record = json.loads((EXPERIMENTS / "registered" / f"{name}.json").read_text(encoding="utf-8"))
    judged = [one for analysis in record["analyses"] for one in analysis["hypotheses"]]
    assert len(judged) >= 3
    for one in judged:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {one['name']} |") and f"| {one['updates']:,} |" in line]
        assert f"**{one['outcome']}**" in row
        assert figures_in(row.split("|")[5]) == figures_in(one["sentence"])


def figures_in(sentence: str) -> list[str]:
    """Correlations, regrets and their intervals; powers of ten, which pages write otherwise, are left out."""
    return re.findall(r"[-+]?\d\.\d{2}\b", re.sub(r"[\d.]+(e-|·10⁻)\S+", "", sentence))
