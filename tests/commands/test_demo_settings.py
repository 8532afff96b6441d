"""The demo's own settings: what its three questions need, they give."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerscout.commands.demo_settings import settings_for
from layerscout.report.numbers.statistics import smallest_p


@pytest.mark.parametrize("preset", [None, "quick"])
def test_every_layer_that_is_ranked_is_trained_beside_the_controls(preset):
    """So a blind pick is one among all of them; twin and pixels come with every selection, the network from scratch by its setting."""
    chosen = settings_for(Path("out"), file=None, preset=preset, assignments=())
    assert chosen.probe["top_k"] == len(chosen.extract.layers) >= 3
    assert chosen.twin.layers == chosen.extract.layers
    assert chosen.train.scratch
    assert chosen.train.pixels


def test_seeds_suffice_to_support_a_claim_even_after_holm_over_three():
    assert 3 * smallest_p(settings_for(Path("out"), file=None, preset=None, assignments=()).train.seeds) < 0.05
