"""What several files of tests on training share: two selections."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from by_hand import select


@pytest.fixture(scope="session")
def chosen(tmp_path_factory, small, synthetic_store, tiny_store, untrained_store):
    """One selection on the grid's planes, one on Intercept with the untrained twin."""
    folder = tmp_path_factory.mktemp("selections")
    grid = select(
        folder / "grid.json",
        ("ranked", synthetic_store, "structured_mid"),
        ("middle", synthetic_store, "random_narrow"),
        ("pixels", synthetic_store, "pixels"),
    )
    intercept = select(
        folder / "intercept.json",
        ("ranked", tiny_store, "blocks.5"),
        ("twin", untrained_store, "blocks.5"),
        ("pixels", tiny_store, "pixels"),
    )
    return SimpleNamespace(grid=grid, intercept=intercept, root=small.root)
