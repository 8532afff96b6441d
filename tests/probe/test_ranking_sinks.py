"""Hostile names in a ranking do nothing in any file or text that is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import HOSTILE, check, poisoned, unharmed
from ranking_by_hand import example

from layerscout.probe.page.figure import write_ranking_figures
from layerscout.probe.page.page import write_page
from layerscout.probe.page.tables import as_text, write_ranking_tables


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("stores", [1, 2])
def test_every_output_of_a_ranking(name: str, stores: int, tmp_path: Path) -> None:
    shown = example(3, stores=stores)
    ranking, selection = poisoned(shown.ranking, name), poisoned(shown.selection, name)
    evidence = {(layer.store_id, layer.role, layer.name): next(iter(shown.evidence.values())) for layer in ranking.layers}
    write_page(ranking, evidence, selection, shown.config, poisoned(shown.identities, name), tmp_path)
    write_ranking_tables(ranking, selection, tmp_path)
    write_ranking_figures(ranking, [tmp_path / "score_by_depth.svg", tmp_path / "score_by_depth.png"])
    files = [path for path in tmp_path.iterdir() if path.suffix != ".png"]
    assert len(files) == 5
    for path in files:
        check(path.name, path.read_text())
    assert (tmp_path / "selected_layer.txt").read_text().count("\n") == 3 + (stores > 1)
    text = as_text(ranking)
    assert unharmed(text)
    assert max(map(len, text.splitlines())) <= 120
