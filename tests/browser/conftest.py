"""A real browser for the tests of pages: Chromium, and axe-core, which judges what a page says to readers with other senses."""

from __future__ import annotations

import shutil

import pytest
from looking import Sight


@pytest.fixture(scope="module")  # not of the session: its event loop would be in the way of tests that have their own
def sight():
    """Opens pages in a Chromium; skipped where there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed; runs wherever there is one (Debian: chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it comes with the extra 'test'")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield Sight(browser)
        browser.close()
