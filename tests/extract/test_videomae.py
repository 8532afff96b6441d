"""VideoMAE: the library's numbers from any of its heads' checkpoints, at the one shape that its position table fits."""

from __future__ import annotations

import shutil

import checkpoints_encoders as made
import encoder_laws as laws
import golden
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.pixels import read_scaling

CPU = torch.device("cpu")
BIASES = ("q_bias", "v_bias")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.save(tmp_path_factory.mktemp("videomae"), "videomae")


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law, folder):
    law("videomae", folder)


def test_frames_and_size_are_those_of_the_checkpoint_or_refused(folder):
    assert find_backbone(f"videomae:{folder}", {"frames": 4, "size": 32}).layers == find_backbone(f"videomae:{folder}").layers
    for options in ({"frames": 8}, {"frames": 2}, {"size": 64}):
        with pytest.raises(UsageError, match="takes 4 frames of 32x32 pixels and no others"):
            find_backbone(f"videomae:{folder}", options)


@pytest.mark.parametrize("kind", ["ForPreTraining", "ForVideoClassification"])
def test_a_checkpoint_of_another_head_gives_the_encoder_inside_it_without_a_word(kind, tmp_path, capfd):
    extra = {"decoder_num_hidden_layers": 1, "decoder_hidden_size": 24, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32}
    folder = made.save(tmp_path / kind, "videomae", kind, **extra)
    inner = made.make("videomae", kind, **extra).videomae
    capfd.readouterr()
    backbone = find_backbone(f"videomae:{folder}")
    clips = golden.clips(backbone)
    ours, theirs = golden.activations(backbone, clips), made.by_hand(inner, "videomae", clips)
    assert all(torch.equal(tokens, output) for tokens, output in zip(ours.values(), theirs, strict=True))
    assert capfd.readouterr() == ("", "")


def test_biases_under_their_published_names_are_the_biases_and_no_zeros(folder, tmp_path):
    """The publisher calls them q_bias and v_bias; the library names them after their layers."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file, kept = tmp_path / "model.safetensors", load_file(folder / "model.safetensors")
    names = {name: name.replace("query.bias", "q_bias").replace("value.bias", "v_bias") for name in kept}
    published = {new: torch.randn(kept[name].shape) if new.endswith(BIASES) else kept[name] for name, new in names.items()}
    own = {name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): value for name, value in published.items()}
    assert len(set(published) - set(own)) == 2 * 3, "of three blocks"
    save_file(own, file, {"format": "pt"})
    described = find_backbone(f"videomae:{tmp_path}")
    expected = golden.activations(described, golden.clips(described))
    save_file(published, file, {"format": "pt"})
    backbone = find_backbone(f"videomae:{tmp_path}")
    found = golden.activations(backbone, golden.clips(backbone))
    assert all(torch.equal(found[name], tokens) for name, tokens in expected.items())
    plain = golden.activations(find_backbone(f"videomae:{folder}"), golden.clips(backbone))
    assert not any(torch.equal(plain[name], tokens) for name, tokens in expected.items())


def test_weights_that_are_missing_are_refused_not_drawn_at_random(folder, tmp_path):
    made.save(tmp_path, "videomae")
    state = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in state if "layer.1" in name and name.endswith("weight"))
    save_file({name: value for name, value in state.items() if name != lost}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=f"lacks 1 weights of its configuration, first {lost}"):
        find_backbone(f"videomae:{tmp_path}").load(CPU)
    (tmp_path / "model.safetensors").write_bytes(b"not a checkpoint at all")
    with pytest.raises(DataError, match="states a header of"):
        find_backbone(f"videomae:{tmp_path}").load(CPU)


def test_pixels_are_scaled_as_the_librarys_own_preprocessor_does(folder):
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    theirs = VideoMAEImageProcessorPil(do_resize=False, do_center_crop=False, **made.PREPROCESSOR)(list(frames), return_tensors="np")
    ours = read_scaling(folder, (0.5,) * 3, (0.5,) * 3)(torch.from_numpy(frames[None])).permute(0, 1, 4, 2, 3)
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs["pixel_values"]).reshape(ours.shape), atol=1e-5)
