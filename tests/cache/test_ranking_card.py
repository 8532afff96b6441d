"""A ranking's card: the hub reads its header, it tells the ranking's own order, and it goes with a ranking wherever its store goes."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import writable_hub
from calling import call, refused
from example_records import example_ranking, layer_score
from huggingface_hub import DatasetCard

from layerscout.cache.records import load, save
from layerscout.cache.records.ranking import Ranking
from layerscout.cache.remote.rankings import push_ranking, read_ranking_folder
from layerscout.cache.remote.transfer import push
from layerscout.cache.store import Store
from layerscout.cache.testing import made_up
from layerscout.cache.writing.ranking_card import ranking_card
from layerscout.errors import DataError


@pytest.fixture
def store(tmp_path, _no_waiting_for_the_disk) -> Store:
    return made_up(seed=0, rows=12, widths=(3,)).write(tmp_path / "here")


@pytest.fixture
def folder(tmp_path, store) -> Path:
    """What the probe leaves, as far as a push looks at it."""
    folder = tmp_path / "probe"
    save(example_ranking().model_copy(update={"store_id": store.id}), folder / "ranking.json")
    (folder / "selection.json").write_text("{}")
    (folder / "layer_analysis.csv").write_text("layer,score\n")
    (folder / "score_by_depth.png").write_bytes(b"\x89PNG")
    (folder / "command.txt").write_text(f"layerscout probe {store.id}\n")
    return folder


def test_a_card_tells_the_rankings_own_order_and_the_hub_reads_it():
    shown = example_ranking()
    text = ranking_card(shown, {"backbone": "tiny"}, "layerscout probe x")
    card = DatasetCard(text)
    assert card.data.license == "apache-2.0"
    assert "layerscout" in card.data.tags
    rows = re.findall(r"^\| (\d+|control|untrained) \| ([^|]+) \|", text, re.MULTILINE)
    assert [name.strip().replace("\\", "") for _, name in rows] == [layer.name for layer in shown.layers]
    assert f"Best layer: **{shown.candidates[0].name}**".replace("_", "\\_") in text
    assert "](score_by_depth.png)" in text
    assert "](score_by_depth.png)" not in ranking_card(shown, {}, None, picture=False)
    hostile = "x|<script>\n---\nlicense: mit"
    bad = ranking_card(shown.model_copy(update={"layers": (layer_score(hostile, "layer", 0, 0.1, 0.5),), "backbone": hostile}), {})
    assert "<script>" not in bad.partition("\n---\n")[2]
    assert DatasetCard(bad).data.license == "other"


def test_three_ways_of_a_card_read_the_ranking(tmp_path):
    save(example_ranking(), tmp_path / "ranking.json")
    with (tmp_path / "layer_analysis.csv").open("w") as file:
        csv.writer(file).writerows([["layer"], ["blocks.5"]])
    for block in re.findall(r"```python\n(.*?)```", ranking_card(example_ranking(), {}), re.DOTALL):
        exec(block, {"path": str(tmp_path)})  # the code that the card shows


def test_a_ranking_goes_into_a_folder_with_its_card_and_again_changes_nothing(store, folder, tmp_path):
    shared = tmp_path / "shared"
    words = ["store", "push", store.id, shared, "--ranking", folder, "--root", tmp_path / "here"]
    assert call(*words, "-n").exit_code == 0
    assert not shared.exists()
    for _ in range(2):
        done = call(*words)
        assert done.exit_code == 0, done.output
    (there,) = (shared / "rankings").iterdir()
    assert load(Ranking, there / "ranking.json").store_id == store.id
    names = {"README.md", "selection.json", "layer_analysis.csv", "score_by_depth.png", "ranking.json"}
    assert {path.name for path in there.iterdir()} == names
    assert f"layerscout probe {store.id}" in (there / "README.md").read_text()
    refused(call(*words[:-3], tmp_path, *words[-2:]), 4, "no ranking lies in")
    save(example_ranking(), folder / "ranking.json")
    with pytest.raises(DataError, match="not of"):
        read_ranking_folder(store, folder)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's own library
def test_a_repository_of_the_hub_shows_the_picture_of_its_ranking(hub: writable_hub.Hub, store, folder):
    url = "hf://datasets/lab/layers"
    push(store, url)
    found = read_ranking_folder(store, folder)
    push_ranking(store, found, url)
    files = hub.repositories["lab/layers"]
    assert files[f"rankings/{found.id}/score_by_depth.png"] == b"\x89PNG"
    text = files["README.md"].decode()
    assert f"](rankings/{found.id}/score_by_depth.png)" in text
    assert f"[{found.id}](rankings/{found.id}/README.md)" in text
    assert "layerscout store pull" in text  # the store's own part is still there
