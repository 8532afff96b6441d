"""The checked-in VideoMAE and the script that made it: the loss falls, the folder is read like any other, and its record is of its weights."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from layerscout.extract.backbones.finding import find_backbone

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "experiments" / "registered" / "encoder"
INTERCEPT = "layerscout/Intercept-v0"
SCRIPT = "tools.pretrain_encoder"


def test_a_few_updates_lower_the_loss_and_make_a_checkpoint_that_extraction_reads(script, videos, tmp_path):
    settings = Namespace(seed=0, lr=2e-3, steps=24, batch=16, log=8)
    model, curve = script.train({INTERCEPT: videos}, {INTERCEPT: videos}, settings)
    losses = [point["loss"] for point in curve]
    assert [point["step"] for point in curve] == [8, 16, 24]
    assert losses[0] > losses[1] > losses[2] > 0
    model.save_pretrained(tmp_path)
    backbone = find_backbone(f"videomae:{tmp_path}")
    assert (len(backbone.layers), backbone.layers[0].width, backbone.clip.offsets) == (8, 64, (-3, -2, -1, 0))
    inner = backbone.load(torch.device("cpu")).module
    assert all(torch.equal(value, model.videomae.state_dict()[name]) for name, value in inner.state_dict().items())


def test_as_many_tokens_are_hidden_in_every_clip_and_not_the_same(script):
    hidden = script.hidden_tokens(50)
    assert (hidden.sum(dim=1) == script.HIDDEN).all()
    assert len({tuple(row) for row in hidden.tolist()}) == 50


def test_the_mean_picture_is_held_against_the_same_hidden_pixels(script, videos):
    """Frames that all are the mean picture cost nothing; one pixel that differs costs where its token is hidden, in [0, 1]²."""
    grey = np.full((4, *videos.shape[1:]), 51, np.uint8)
    assert script.errors(script.new_model(0).eval(), grey, grey)["mean_picture"] == 0.0
    white = np.full_like(grey, 255)
    assert script.errors(script.new_model(0).eval(), grey, white)["mean_picture"] == pytest.approx(0.64)


def test_the_record_of_the_checked_in_encoder_is_measured_on_its_weights(script, videos):
    """It paints hidden pixels better than the mean picture does, as its record says of other held-out clips."""
    from transformers import VideoMAEForPreTraining

    record = json.loads((FOLDER / script.RECORD).read_text())["held_out"][INTERCEPT]
    model = VideoMAEForPreTraining.from_pretrained(FOLDER, dtype=torch.float32).eval()
    assert record["model"] < record["mean_picture"]
    assert script.painting_error(model, videos) == pytest.approx(record["model"], rel=0.5)
