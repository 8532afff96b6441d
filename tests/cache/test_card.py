"""A store's card: the hub reads its header, its three ways to read give the store's numbers, and no name breaks out of its place."""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest
from huggingface_hub import DatasetCard

from layerscout.cache.layout import StoreLayout
from layerscout.cache.manifest import CARD_NAME
from layerscout.cache.store import LayerSpec
from layerscout.cache.testing import made_up
from layerscout.cache.writing.card import licence, store_card


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_stores_card_is_read_by_the_hub_and_its_three_ways_give_its_numbers(tmp_path, codec):
    store = made_up(seed=1, rows=7, widths=(3, 5), codec=codec).write(tmp_path)
    text = (store.path / CARD_NAME).read_text(encoding="utf-8")
    card = DatasetCard(text)
    assert "layerscout" in card.data.tags
    assert card.data.license in ("other", "apache-2.0")
    assert card.data.size_categories == ["n<1K"]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    printed = []
    for block in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            exec(block, {"path": str(store.path)})  # the code that the card shows
        printed.append([float(number) for number in re.findall(r"-?\d+\.\d*(?:e[+-]?\d+)?", shown.getvalue())])
    expected = store.layer("blocks.0").read(0, 5).astype(np.float64).ravel()
    for numbers in printed:
        assert len(numbers) >= 12  # four rows, where a chunk has no more
        np.testing.assert_allclose(numbers[: len(expected)], expected[: len(numbers)], rtol=1e-2)
    assert store.id in text


def test_a_card_says_what_made_the_store_and_whose_the_weights_are():
    layout = StoreLayout((LayerSpec("a", 2, "float16", "layer", 0, "a"),), 5, 4)
    identity = {"backbone": {"name": "x\n---\nlicense: mit"}, "dataset": {"digest": "d"}}
    told = {
        "backbone": "wan:Org/Name@abc",
        "command": "layerscout extract wan:Org/Name data.h5",
        "dataset_attributes": {"environment": "[a](http://b)`<script>"},
    }
    text = store_card("ls1-x", identity, layout, told)
    assert DatasetCard(text).data.license_link == "https://huggingface.co/Org/Name"
    assert "```sh\nlayerscout extract wan:Org/Name data.h5\n```" in text
    assert "\nlicense: mit" not in text
    assert "<script>" not in text.partition("\n---\n")[2]
    assert licence({"backbone": "tiny-untrained"})[0] == "apache-2.0"
    assert licence({"backbone": "tiny-2"}) == licence({"backbone": "tiny"})
    assert licence({"backbone": "wan:/models/wan"})[0] == licence({})[0] == "other"
    assert "does not say" in store_card("ls1-x", identity, layout, {"command": "rm -rf /"})
