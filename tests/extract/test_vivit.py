"""ViViT: the library's numbers, its class token and its own pixel range."""

from __future__ import annotations

import json

import checkpoints_encoders as made
import encoder_laws as laws
import golden
import numpy as np
import pytest
import torch

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.pixels import read_scaling
from layerscout.extract.passes.capture import Capture

CPU = torch.device("cpu")
HALVES = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.save(tmp_path_factory.mktemp("vivit"), "vivit")


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law, folder):
    law("vivit", folder)


def test_the_class_token_is_the_first_and_no_video_token(folder):
    backbone = find_backbone(f"vivit:{folder}")
    clips = golden.clips(backbone, 2)
    pooled = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "cls")(clips)
    for values, output in zip(pooled.values(), made.by_hand(made.make("vivit"), "vivit", clips), strict=True):
        assert torch.equal(values, output[:, 0])


def test_a_classifier_has_no_pooler_and_loads_all_the_same(tmp_path):
    folder = made.save(tmp_path, "vivit", "ForVideoClassification")
    backbone = find_backbone(f"vivit:{folder}")
    clips = golden.clips(backbone)
    theirs = made.by_hand(made.make("vivit", "ForVideoClassification").vivit, "vivit", clips)
    for tokens, output in zip(golden.activations(backbone, clips).values(), theirs, strict=True):
        assert torch.equal(tokens, output[:, 1:])


def test_another_frame_count_is_refused(folder):
    with pytest.raises(UsageError, match="takes 4 frames of 32x32 pixels and no others, not 6 frames of 32 pixels"):
        find_backbone(f"vivit:{folder}", {"frames": 6})


def test_a_preprocessor_says_what_is_done_to_pixels(tmp_path):
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).repeat(1, 1, 1, 1, 3)
    plain = every.double()

    def scaled(told: dict | None) -> np.ndarray:
        for file in tmp_path.glob("*.json"):
            file.unlink()
        if told is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
        return read_scaling(tmp_path, HALVES, HALVES)(every).double().numpy()

    np.testing.assert_allclose(scaled(None), plain / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(scaled({"do_normalize": False}), plain / 255, atol=1e-6)
    # as published: brought to [-1, 1], then normalised once more
    published = {"rescale_factor": 1 / 127.5, "offset": True, "image_mean": list(HALVES), "image_std": list(HALVES)}
    np.testing.assert_allclose(scaled(published), (plain / 127.5 - 1 - 0.5) / 0.5, atol=1e-6)
    np.testing.assert_allclose(scaled({"do_rescale": False, "do_normalize": False}), plain, atol=1e-6)
    with pytest.raises(DataError, match="expected 3 numbers each"):
        scaled({"image_mean": [0.5]})
