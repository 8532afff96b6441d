"""Pages in a real browser: axe-core finds nothing grave, nothing is wider than a telephone, and they read without scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from example_records import example_ranking, example_runs, example_selection
from looking import faults, overflow
from ranking_by_hand import example
from simulated_study import simulate

from layerscout.cache.records import save
from layerscout.probe.page.page import render
from layerscout.report.report import write_report
from layerscout.report.study.page import write_study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """A page of every kind, written from records made up from a seed."""
    folder = tmp_path_factory.mktemp("pages")
    shown = example()
    probe = folder / "probe.html"
    probe.write_text(render(shown.ranking, shown.evidence, shown.selection, shown.config, shown.identities), encoding="utf-8")
    save(example_ranking(), folder / "run" / "probe" / "ranking.json")
    save(example_selection(), folder / "run" / "probe" / "selection.json")
    save(example_runs(), folder / "run" / "train" / "runs.json")
    study = write_study(simulate(folder / "tasks", tasks=4, layers=6), folder / "study")
    return {"probe": probe, "report": write_report(folder / "run"), "study": study}


@pytest.mark.parametrize("kind", ["probe", "report", "study"])
@pytest.mark.parametrize(("width", "colours"), [(360, "light"), (1400, "dark")])
def test_a_page_is_sound_to_axe_and_no_wider_than_its_window(sight, pages, kind, width, colours):
    with sight.page(pages[kind], width, colours) as page:
        assert faults(page) == []
        assert overflow(page) == 0


@pytest.mark.parametrize("kind", ["probe", "report", "study"])
def test_sentences_in_tables_are_read_on_a_telephone_without_scrolling(sight, pages, kind):
    """Figures in columns scroll under their names; what is a sentence is wrapped, and in a column wide enough to be read."""
    with sight.page(pages[kind], 360) as page:
        beyond = "[...document.querySelectorAll('table.words')].filter(one => one.scrollWidth > one.parentElement.clientWidth + 1).length"
        assert page.evaluate(beyond) == 0
        narrow = "[...document.querySelectorAll('table.words td')].filter(one => one.innerText.length > 60 && one.offsetParent && one.clientWidth < 150).map(one => one.innerText)"
        assert page.evaluate(narrow) == []


@pytest.mark.parametrize("kind", ["probe", "report"])
def test_the_foot_says_when_by_whom_of_what_with_which_versions_and_by_which_command(sight, pages, kind):
    with sight.page(pages[kind]) as page:
        foot = page.locator("footer").inner_text()
    assert re.search(r"Written on \d{4}-\d\d-\d\d by \S+; dataset: \S+.*; layerscout \S+, Python \S+, numpy \S+", foot)
    assert f"layerscout {kind} " in foot


@pytest.mark.parametrize("kind", ["probe", "report", "study"])
def test_a_page_reads_without_scripts(sight, pages, kind):
    with sight.page(pages[kind], scripts=False) as page:
        assert page.locator("main h2:visible").count() >= 3
        assert page.locator("main table:visible").count() >= 1
        assert page.locator("main figure > svg:visible").count() >= 2


def test_a_heading_sorts_its_table_and_says_so(sight, pages):
    with sight.page(pages["probe"]) as page:
        head = page.locator("table.sortable th[data-column='2']").first
        cells = "[...document.querySelector('table.sortable').tBodies[0].rows].map(row => row.cells[2].firstChild.textContent)"
        head.locator("button").press("Enter")  # by the keyboard
        assert head.get_attribute("aria-sort") == "descending"
        known = [float(text.replace("−", "-")) for text in page.evaluate(cells) if text != "n/a"]
        assert known == sorted(known, reverse=True)
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"


def test_axe_does_find_what_is_wrong(sight, tmp_path):
    """So that an empty list means something."""
    bad = tmp_path / "bad.html"
    bad.write_text("<title>bad</title><body style='background:#fff'><p style='color:#eee'>pale</p><img src='data:,'></body>")
    with sight.page(bad) as page:
        assert {fault.split()[0] for fault in faults(page)} >= {"color-contrast", "image-alt", "html-has-lang"}
