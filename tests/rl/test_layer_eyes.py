"""A layer as students see it: the stored rows, whatever size the video model brings frames to, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import DataError, UsageError
from layerscout.extract import run as extracting
from layerscout.extract.config import ExtractConfig
from layerscout.rl.transfer.tasks import layer_eyes
from layerscout.worlds import collect as collecting
from layerscout.worlds.config import CollectConfig
from layerscout.worlds.pixels import make_world
from layerscout.worlds.playing import episode_seed

GRID = "layerscout/Grid-v0"


@pytest.fixture(scope="module")
def smaller(tmp_path_factory):
    """A few rows of blocks.1 of tiny, which takes 32 x 32 pixels, from frames of 16 x 16."""
    folder = tmp_path_factory.mktemp("smaller")
    collected = CollectConfig(environment=GRID, steps=40, size=16, policy="random", out=folder / "data.h5")
    data = collecting.run(collecting.plan(collected))
    settings = {"backbone": "tiny", "data": data, "root": folder / "root", "layers": ["blocks.1"], "passport_clips": 0, "threads": 1}
    return extracting.run(extracting.plan(ExtractConfig.model_validate(settings)))


def test_a_layer_whose_model_has_a_size_of_its_own_is_seen_as_its_store_holds_it(smaller):
    eyes = layer_eyes(GRID, {}, smaller, "blocks.1", threads=1)
    world = make_world(GRID, 1, eyes.size)
    world.reset(np.array([0]), np.array([episode_seed(0, 0)]))
    observer = eyes.make_observer(np.zeros(1, np.int64))
    observer.start(np.array([0]), world.frames())
    first = eyes.scale(next(iter(smaller.layer("blocks.1").chunks()))[1][:1])
    np.testing.assert_allclose(observer.observe(np.ones(1, bool)), first, atol=0.02)
    assert (eyes.size, eyes.width, world.frame_shape) == (16, first.shape[1], (16, 16, 3))


def test_options_that_change_the_pictures_are_refused_and_so_are_other_layers_and_worlds(smaller):
    with pytest.raises(DataError, match=r"shows \(16, 16, 2\) with these options, and store ls1-\w+ was made from \(16, 16, 3\)"):
        layer_eyes(GRID, {"observation": "planes"}, smaller, "blocks.1")
    with pytest.raises(UsageError, match=r"has no layer 'blocks.2'; did you mean 'blocks.1'"):
        layer_eyes(GRID, {}, smaller, "blocks.2")
    with pytest.raises(UsageError, match="was made from 'layerscout/Grid-v0', not from 'layerscout/Dot-v0'"):
        layer_eyes("layerscout/Dot-v0", {}, smaller, "blocks.1")
