"""V-JEPA 2: the library's numbers, at any size that is asked for; what the library would take silently is refused."""

from __future__ import annotations

import json
import shutil

import checkpoints_encoders as made
import encoder_laws as laws
import golden
import pytest
import torch

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.save(tmp_path_factory.mktemp("vjepa2"), "vjepa2", max_shard_size="60KB")


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law, folder):
    law("vjepa2", folder)


@pytest.mark.parametrize("options", [{"frames": 2}, {"frames": 6}, {"size": 64}, {"size": 16, "frames": 8}], ids=str)
def test_another_shape_that_is_asked_for_gives_the_numbers_of_a_model_configured_for_it(folder, options):
    backbone = find_backbone(f"vjepa2:{folder}", options)
    clips = golden.clips(backbone)
    ours = golden.activations(backbone, clips)
    changes = {"frames_per_clip": options.get("frames", made.FRAMES), "crop_size": options.get("size", made.SIZE)}
    theirs = made.by_hand(made.make("vjepa2", **changes), "vjepa2", clips)
    assert all(torch.equal(tokens, output) for tokens, output in zip(ours.values(), theirs, strict=True))
    assert backbone.grid.tokens == theirs[0].shape[1]


def test_the_library_alone_takes_another_size_silently_and_is_far_off(folder):
    clips = golden.clips(find_backbone(f"vjepa2:{folder}", {"size": 64}))
    told, untold = (made.by_hand(made.make("vjepa2", crop_size=size), "vjepa2", clips)[-1] for size in (64, made.SIZE))
    assert laws.off(untold, told) > 0.1
    with pytest.raises(DataError, match="was described for clips 4x32x32x3 and is given 4x64x64x3"):
        find_backbone(f"vjepa2:{folder}").load(CPU).forward(clips)


def test_the_clip_is_the_last_frames_and_stride_spreads_them(folder):
    assert find_backbone(f"vjepa2:{folder}").clip.offsets == (-3, -2, -1, 0)
    spread = find_backbone(f"vjepa2:{folder}", {"stride": 5})
    assert spread.clip.offsets == (-15, -10, -5, 0)
    assert spread.seen == (-10, 0)
    assert find_backbone(f"vjepa2:{folder}").seen == (-2, 0)


def test_frames_and_size_that_do_not_fit_are_refused_with_ones_that_do(folder):
    for options, message, hint in [
        ({"frames": 5}, "takes frames in groups of 2, not 5", "frames=4"),
        ({"frames": 1}, "takes frames in groups of 2, not 1", "frames=2"),
        ({"size": 30}, "frame size 30 is not a multiple of 8 pixels", "size=24"),
    ]:
        with pytest.raises(UsageError, match=message) as error:
            find_backbone(f"vjepa2:{folder}", options)
        assert error.value.hint.endswith(hint)
    with pytest.raises(UsageError, match="sigma"):
        find_backbone(f"vjepa2:{folder}", {"sigma": 0.2})


def test_the_predictor_is_not_run(folder):
    loaded = find_backbone(f"vjepa2:{folder}").load(CPU)
    ran = []
    loaded.module.predictor.register_forward_hook(lambda m, a, o: ran.append(1))
    loaded.forward(golden.clips(find_backbone(f"vjepa2:{folder}")))
    assert not ran


def test_what_changes_numbers_is_in_the_identity(folder, tmp_path):
    base = find_backbone(f"vjepa2:{folder}")
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert find_backbone(f"vjepa2:{copy}").identity == base.identity
    assert find_backbone(f"vjepa2:{folder}", {"frames": 6}).identity != base.identity
    (copy / "preprocessor_config.json").write_text(json.dumps(made.PREPROCESSOR | {"image_mean": [0.5, 0.5, 0.5]}))
    other = find_backbone(f"vjepa2:{copy}")
    assert other.identity["pixels"]["mean"] == [0.5, 0.5, 0.5]
    clips = golden.clips(base)
    assert not torch.equal(golden.activations(other, clips)["encoder.layer.0"], golden.activations(base, clips)["encoder.layer.0"])
    # newer checkpoints hold the same under another name, which then counts
    (copy / "video_preprocessor_config.json").write_text(json.dumps(made.PREPROCESSOR))
    assert find_backbone(f"vjepa2:{copy}").identity == base.identity


def test_a_checkpoint_that_lacks_something_is_refused_by_name(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "shards")
    shard = sorted(copy.glob("model-*.safetensors"))[2]
    shard.unlink()
    assert find_backbone(f"vjepa2:{copy}").layers == find_backbone(f"vjepa2:{folder}").layers, "a description needs no weights"
    for use in (lambda: find_backbone(f"vjepa2:{copy}").load(CPU), lambda: find_backbone(f"vjepa2:{copy}").weights_digest()):
        with pytest.raises(DataError, match=f"misses {shard.name}"):
            use()
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(folder / "config.json", pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(DataError, match=r"pickled pytorch_model\.bin"):
        find_backbone(f"vjepa2:{pickled}").load(CPU)
    with pytest.raises(DataError, match="model_type 'vjepa2', expected 'videomae'"):
        find_backbone(f"videomae:{folder}")
    with pytest.raises(UsageError, match="needs a checkpoint"):
        find_backbone("vjepa2")
    with pytest.raises(DataError, match="no checkpoint folder"):
        find_backbone(f"vjepa2:{tmp_path / 'nowhere'}")


def test_a_damaged_configuration_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": "many"}))
    with pytest.raises(DataError, match="num_hidden_layers 'many'"):
        find_backbone(f"vjepa2:{copy}")
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": made.BLOCKS + 1}))
    with pytest.raises(DataError, match=r"lacks \d+ weights of its configuration, first encoder.layer.3"):
        find_backbone(f"vjepa2:{copy}").load(CPU)
