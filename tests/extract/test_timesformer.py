"""TimeSformer: the library's numbers with time brought to the front, and its silent mistake with another frame count refused."""

from __future__ import annotations

import checkpoints_encoders as made
import encoder_laws as laws
import golden
import pytest
import torch

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passes.capture import Capture

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.save(tmp_path_factory.mktemp("timesformer"), "timesformer")


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law, folder):
    law("timesformer", folder)


def test_the_library_alone_takes_another_frame_count_silently_and_is_far_off(folder):
    backbone = find_backbone(f"timesformer:{folder}")
    clips = golden.clips(backbone, 2).flatten(0, 1)[None]  # 8 frames
    untold = made.make("timesformer")
    told = made.make("timesformer")
    told.config.num_frames = 8  # the blocks read it here
    outputs = [made.by_hand(model, "timesformer", clips)[-1] for model in (untold, told)]
    assert laws.off(*outputs) > 0.1
    with pytest.raises(DataError, match="was described for clips 4x32x32x3 and is given 8x32x32x3"):
        backbone.load(CPU).forward(clips)
    with pytest.raises(UsageError, match="takes 4 frames of 32x32 pixels and no others, not 8 frames"):
        find_backbone(f"timesformer:{folder}", {"frames": 8})


def test_the_class_token_is_the_first_and_no_video_token(folder):
    backbone = find_backbone(f"timesformer:{folder}")
    clips = golden.clips(backbone, 2)
    pooled = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "cls")(clips)
    for values, output in zip(pooled.values(), made.by_hand(made.make("timesformer"), "timesformer", clips), strict=True):
        assert torch.equal(values, output[:, 0])


def test_single_frame_attention_is_refused(tmp_path):
    folder = made.save(tmp_path, "timesformer", attention_type="space_only")
    with pytest.raises(DataError, match="sees single frames"):
        find_backbone(f"timesformer:{folder}")
