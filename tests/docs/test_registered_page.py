"""The pages of registered studies say what their tables of cells say: figures that no page of the program prints come from a script, and are held to it."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
EXPERIMENTS = PROJECT / "docs" / "experiments"
SCRIPT = PROJECT / "experiments" / "registered" / "exploratory.py"
STUDIES = [("registered.md", "study", 11), ("another-family.md", "encoder", 9), ("depth.md", "depth", 7)]
AGAIN = [("depth.md", "depth", "depth-sse", 4)]  # a study that was run once more: the tables of both


@pytest.mark.parametrize(("page", "name", "count"), STUDIES)
def test_every_figure_that_the_script_prints_stands_on_the_page(page: str, name: str, count: int) -> None:
    text = re.sub(r"\s+", " ", (EXPERIMENTS / page).read_text(encoding="utf-8"))
    found = runpy.run_path(str(SCRIPT))["figures"](EXPERIMENTS / "registered" / f"{name}.csv")
    assert len(found) == count
    assert {name: figure for name, figure in found.items() if figure not in text} == {}


@pytest.mark.parametrize(("page", "name", "other", "count"), AGAIN)
def test_what_a_second_run_gave_stands_beside_the_first(page: str, name: str, other: str, count: int) -> None:
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
    rows = {line.split("|")[1].strip(): line.split("|")[3] for line in text_lines(page, "## Once more")}
    for one, (outcome, figures) in outcomes.items():
        assert outcome in rows[one]
        assert rows[one].count("**") == (2 if outcome == "not supported" else 0)
        assert {figure.lstrip("+") for figure in figures} & set(re.findall(r"\d\.\d{2}", rows[one]))


def test_measures_of_both_runs_of_the_study_of_depth_are_those_of_the_reports() -> None:
    rows = {
        line.split("|")[1].strip(): [cell.replace("−", "-") for cell in line.split("|")[2:4]]
        for line in text_lines("depth.md", "## Once more")
    }
    for place, name in enumerate(("depth", "depth-sse")):
        record = json.loads((EXPERIMENTS / "registered" / f"{name}.json").read_text(encoding="utf-8"))
        measures = {one["name"]: one for one in record["analyses"][0]["measures"]}
        for row, measure in (("ρ of S-ctrl with return, mean over six learned tasks", "S-ctrl"), ("ρ of S", "S")):
            mean = measures[measure]["spearman"]
            assert rows[row][place].strip() == f"{mean['value']:.2f} [{mean['low']:.2f}, {mean['high']:.2f}]"
        given_up = {
            "given up by the first choice of S-ctrl": "S-ctrl",
            "by the middle block": "nearness to the middle",
            "by the deepest": "depth alone",
            "by the first choice of bits of action alone": "bits of action",
        }
        for row, measure in given_up.items():
            share = {part: 100 * measures[measure]["regret_1"][part] for part in ("value", "low", "high")}
            assert rows[row][place].strip() == f"{share['value']:.0f} % [{share['low']:.0f}, {share['high']:.0f}]"


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
