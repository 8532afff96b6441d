"""The service in a real browser: a colleague's whole way through it, at a desk and on a telephone, with axe-core at every station.

Screenshots go to the folder that LAYERSCOUT_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import csv
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from looking import Sight, faults, overflow
from team import World, live, make_world

from layerscout.service.app import make_app

pytestmark = pytest.mark.browser
WAIT = 60_000  # milliseconds


@pytest.fixture(scope="module")
def team(tmp_path_factory, _no_waiting_for_the_disk):
    """A server over a small world, and its address."""
    world = make_world(tmp_path_factory.mktemp("seen"))
    with live(world.config(submissions=1000)) as url:
        yield url, world


@pytest.fixture
def shots(tmp_path) -> Path:
    folder = Path(os.environ.get("LAYERSCOUT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def profile(sight: Sight, width: int, colours: str = "light", scripts: bool = True):
    """A fresh profile with one page; what a script complains of fails the test."""
    context = sight.browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=colours,
        java_script_enabled=scripts,
        accept_downloads=True,
        reduced_motion="reduce",
    )
    complaints: list[str] = []
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" and "404" not in said.text else None)
    try:
        yield page
        assert complaints == []
    finally:
        context.close()


def station(page: Any, shots: Path, name: str) -> None:
    """Look at a page as it is now: sound to axe, not wider than its window, pictured."""
    page.screenshot(path=shots / f"{name}.png", full_page=True)
    if "LAYERSCOUT_SCREENSHOTS" in os.environ:
        page.screenshot(path=shots / f"top-{name}.png")  # what stands in the documentation
    assert faults(page) == [], name
    assert overflow(page) == 0, name


@pytest.mark.parametrize(("width", "colours"), [(1280, "light"), (400, "dark")])
def test_a_colleague_goes_all_the_way(sight: Sight, team: tuple[str, World], shots: Path, tmp_path: Path, width: int, colours: str) -> None:
    url, world = team
    look = f"-{width}-{colours}"
    with profile(sight, width, colours) as page:
        page.goto(url)
        assert "Which layer should I train on?" in page.locator("h1").inner_text()
        station(page, shots, f"decisions{look}")

        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Stores", exact=True).click()
        page.get_by_label("Search").fill("untrained")
        page.get_by_role("button", name="Search").click()
        page.wait_for_function("document.querySelectorAll('#table-stores tbody tr').length === 1")
        page.get_by_label("Search").fill("")
        page.get_by_label("Only where").fill("backbone=tiny")
        page.get_by_role("button", name="Search").click()
        page.wait_for_function("document.querySelectorAll('#table-stores tbody tr').length === 2")
        station(page, shots, f"stores{look}")

        page.goto(f"{url}/stores/{world.store}")
        station(page, shots, f"store{look}")
        page.get_by_role("link", name="Rank its layers").click()
        assert page.get_by_label("The same model without training").input_value() == world.twin
        page.get_by_text("All settings").click()
        page.get_by_label("Groups").fill(str(7 + (width < 1000)))  # a question of its own for each width
        page.get_by_label("Folds").fill("3")
        page.get_by_role("button", name="Show the cost").click()
        page.wait_for_url("**/probe")
        assert "What it will cost" in page.locator(".answer").first.inner_text()
        station(page, shots, f"form{look}")
        page.get_by_role("button", name="Submit").click()

        page.wait_for_url("**/jobs/*")
        station(page, shots, f"job{look}")
        page.get_by_role("link", name="See the ranking").click(timeout=WAIT)
        page.wait_for_url("**/rankings/*")
        ranking = page.url
        assert "Best layer: blocks.1" in page.locator(".answer").first.inner_text()
        station(page, shots, f"ranking{look}")

        page.locator("#table-layers").get_by_role("link", name="Reward R²", exact=True).press("Enter")  # by the keyboard alone
        page.wait_for_url("**sort=reward-r2*")
        assert page.locator("#table-layers th[aria-sort]").get_attribute("aria-sort") == "descending"
        figures = [
            float(text)
            for text in page.locator("#table-layers tbody tr").evaluate_all("rows => rows.map(row => row.cells[6].firstChild.textContent)")
            if text != "n/a"
        ]
        assert figures == sorted(figures, reverse=True)
        flag = page.locator("#table-layers .tip").first
        assert not flag.locator(".said").is_visible()
        flag.focus()
        assert flag.locator(".said").is_visible()

        before = page.locator("#table-what-if tbody tr th").all_inner_texts()
        for slider, value in (("#w-0", "0"), ("#w-1", "0"), ("#w-2", "1")):
            page.locator(slider).fill(value)
        after = page.locator("#table-what-if tbody tr th").all_inner_texts()
        assert sorted(before) == sorted(after)
        scores = [
            float(text)
            for text in page.locator("#table-what-if tbody tr").evaluate_all("rows => rows.map(row => row.cells[2].firstChild.textContent)")
        ]
        assert scores == sorted(scores, reverse=True)
        assert "w=0.0000&w=0.0000&w=1.0000" in page.url
        permalink = page.url

        with page.expect_download() as caught:
            page.locator("#table-layers + .exports, #table-layers .exports").get_by_role("link", name="CSV").click()
        caught.value.save_as(tmp_path / "layers.csv")
        with (tmp_path / "layers.csv").open() as file:
            assert next(csv.reader(file))[0] == "layer"
        with page.expect_download() as caught:
            page.get_by_role("link", name="PNG").first.click()
        caught.value.save_as(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")

        page.get_by_label("Your note").fill("we train on blocks.1 <b>")
        page.get_by_role("button", name="Keep the note").click()
        page.wait_for_url("**#notes")
        assert "we train on blocks.1 <b>" in page.locator("#notes").inner_text()

        page.goto(ranking)
        page.locator("section", has=page.get_by_role("heading", name="Compare", exact=True)).get_by_role("link").first.click()
        page.wait_for_url("**/compare*")
        assert "rankings side by side" in page.locator("h1").inner_text()
        station(page, shots, f"compare{look}")
        page.goto(f"{url}/board")
        station(page, shots, f"board{look}")
        page.goto(f"{url}/runs")
        page.locator("#table-runs tbody a").first.click()
        page.wait_for_url("**/runs/*")
        station(page, shots, f"runs{look}")
        page.goto(f"{url}/decisions")
        page.locator("#table-tasks tbody a").first.click()
        page.wait_for_url("**/decisions/*")
        station(page, shots, f"decision{look}")
        page.goto(f"{url}/stores/{world.store}/look?layer=blocks.1&episode=2")
        page.locator("#scrub-range").fill("4")
        assert "Step 4:" in page.locator("#scrub-said").inner_text()
        assert "step=4" in page.url
        page.locator("#frames figure svg[aria-label*='at step 4']").first.wait_for(state="attached")  # the chart's line has moved too
        station(page, shots, f"look{look}")
        page.goto(f"{url}/api")
        station(page, shots, f"api{look}")

    with profile(sight, width, colours) as fresh:  # somebody else opens the address that was sent
        fresh.goto(permalink)
        assert fresh.locator("#table-what-if tbody tr th").all_inner_texts() == after
        assert "What if: weights 0.00, 0.00, 1.00" in fresh.locator("#what-if-said").inner_text()


@pytest.mark.parametrize("width", [400, 1280])
def test_a_job_is_cancelled_and_can_be_tried_again(sight: Sight, team: tuple[str, World], tmp_path: Path, width: int) -> None:
    here = team[1].copied(tmp_path)
    config = here.config()
    app = make_app(config)
    with live(config, app) as url, profile(sight, width) as page:
        app.state.runner.stop()  # nobody takes jobs, so that no machine is too quick for the click
        page.goto(f"{url}/probe?store={here.other}&folds=3&groups=9")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url("**/jobs/*")
        page.get_by_role("button", name="Cancel").click()
        page.locator("#job-state", has_text="Cancelled").wait_for(timeout=WAIT)
        assert page.get_by_role("button", name="Try again").is_visible()


@pytest.mark.parametrize("width", [400, 1600])
def test_every_page_fits_its_window_and_does_not_move_while_it_loads(sight: Sight, team: tuple[str, World], width: int) -> None:
    url, world = team
    with profile(sight, width) as page:
        for path in (
            "/decisions",
            "/stores",
            f"/stores/{world.store}",
            f"/rankings/{world.ranking}",
            "/board",
            "/runs",
            "/jobs",
            "/probe",
            "/compare",
            "/api",
        ):
            page.add_init_script(
                "window.moved = 0; new PerformanceObserver(list => { for (const one of list.getEntries()) window.moved += one.value; }).observe({type: 'layout-shift', buffered: true});"
            )
            page.goto(url + path)
            assert overflow(page) == 0, path
            assert page.evaluate("window.moved") < 0.02, path


def test_everything_reads_and_every_form_works_without_scripts(sight: Sight, team: tuple[str, World]) -> None:
    url, world = team
    with profile(sight, 1000, scripts=False) as page:
        page.goto(f"{url}/rankings/{world.ranking}")
        assert page.locator("#table-layers tbody tr").count() == 4
        assert page.locator("main figure > svg:visible").count() >= 2
        page.locator("#table-layers").get_by_role("link", name="Gain", exact=True).click()
        page.wait_for_url("**sort=gain*")
        assert page.locator("#table-layers th[aria-sort]").count() == 1
        page.get_by_role("button", name="Order by these weights").click()
        page.wait_for_url("**w=*")
        assert page.url.count("w=") == 3
        page.goto(f"{url}/probe?store={world.store}&folds=3&groups=6&shifts=3&penalties=1e-3+1e-1&twin=")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url(f"**/rankings/{world.ranking}")  # asked and answered before
        page.goto(f"{url}/stores/{world.store}/look?episode=1")
        page.get_by_role("link", name="Next step").click()
        page.wait_for_url("**step=1*")
        assert "Step 1:" in page.locator("#scrub-said").inner_text()


def test_a_page_prints_without_its_controls(sight: Sight, team: tuple[str, World]) -> None:
    url, world = team
    with profile(sight, 1000, "dark") as page:
        page.emulate_media(media="print")
        page.goto(f"{url}/rankings/{world.ranking}")
        for place in (".bar", "form", ".exports"):
            assert page.locator(place).first.is_hidden(), place
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_keyboard_alone_reaches_everything(sight: Sight, team: tuple[str, World]) -> None:
    url, world = team
    with profile(sight, 1000) as page:
        page.goto(f"{url}/stores")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the content"
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.tagName + (document.activeElement.name || '')"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none" or page.evaluate(
                "document.activeElement === document.body"
            )
        assert {"A", "INPUTq", "INPUTfilter", "BUTTON", "DIV"} <= reached
        assert world.store
