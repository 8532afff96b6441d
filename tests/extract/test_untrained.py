"""Controls of any backbone: other weights, the same architecture, an identity of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerscout.errors import UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.config import ExtractConfig
from layerscout.extract.encoder import backbone_of
from layerscout.extract.run import plan, run
from layerscout.probe.questions.sources import backbone_name

CPU = torch.device("cpu")


def weights(kind: str) -> dict[str, torch.Tensor]:
    return find_backbone("tiny", {"weights": kind}).load(CPU).module.state_dict()


def test_trained_is_the_backbone_itself():
    assert find_backbone("tiny", {"weights": "trained"}).identity == find_backbone("tiny").identity


def test_shuffled_weights_are_the_same_numbers_in_other_places():
    trained, shuffled = weights("trained"), weights("shuffled")
    moved = 0
    for name, value in trained.items():
        assert torch.equal(value.flatten().sort().values, shuffled[name].flatten().sort().values)
        moved += not torch.equal(value, shuffled[name])
    assert moved > 0.5 * len(trained)


def test_redrawn_weights_have_the_scale_of_their_fan_in():
    for name, value in weights("reinitialised").items():
        if value.ndim == 2 and value.shape[-1] >= 32 and value.numel() >= 1024:
            assert float(value.std()) == pytest.approx(value.shape[-1] ** -0.5, rel=0.1), name


@pytest.mark.parametrize("kind", ["reinitialised", "shuffled"])
def test_controls_are_the_same_every_time(kind):
    one, again = weights(kind), weights(kind)
    assert all(torch.equal(value, again[name]) for name, value in one.items())


def test_a_control_has_a_store_of_its_own_and_acts_with_its_own_weights(small, tmp_path):
    def store(kind):
        options = {"weights": kind}
        return run(
            plan(ExtractConfig(backbone="tiny", data=small.intercept, root=tmp_path, layers=("blocks.2",), backbone_options=options))
        )

    trained, shuffled = store("trained"), store("shuffled")
    assert trained.id != shuffled.id
    assert not np.allclose(trained.layer("blocks.2").all(), shuffled.layer("blocks.2").all())
    assert np.array_equal(trained.layer("pixels").all(), shuffled.layer("pixels").all())
    assert backbone_of(shuffled).identity["weights"] == "shuffled, seed 0"
    named = [backbone_name(store(kind)) for kind in ("trained", "reinitialised", "shuffled")]
    assert named == ["tiny", "tiny-untrained", "tiny-shuffled"], "a ranking of several stores tells them apart"


def test_unknown_weights_are_refused():
    with pytest.raises(UsageError, match="weights 'random' are not known"):
        find_backbone("tiny", {"weights": "random"})
