"""Laws of the backbone made of a pretrained model of visual dynamics: what it describes is what it does, and no row sees the future."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from layerscout.cache.records.sealing import seal
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.pvdr.pvdr import PARTS, new_networks, read_networks
from layerscout.extract.backbones.pvdr import DESCRIPTION, WEIGHTS, PvdrShape, read_shape
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import pooled_width

CPU = torch.device("cpu")
SHAPE = PvdrShape(size=32, codes=8, code_width=4, tokenizer_width=8, z=3, width=8, heads=2, blocks=2, history=2, future=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made, networks = tmp_path_factory.mktemp("pvdr"), new_networks(SHAPE, 1)
    with torch.no_grad():  # codes get their places from frames
        networks[0].train()(clips(2).flatten(0, 1).permute(0, 3, 1, 2).float() / 255 - 0.5, torch.Generator().manual_seed(0))
    state = {f"{part}.{name}": value for part, network in zip(PARTS, networks, strict=True) for name, value in network.state_dict().items()}
    save_file(state, made / WEIGHTS)
    (made / DESCRIPTION).write_text(json.dumps({"shape": SHAPE.model_dump()}))
    return made


@pytest.fixture
def backbone(folder):
    return find_backbone(f"pvdr:{folder}")


def clips(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 5, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_layers_are_described_as_they_are(backbone):
    loaded, seen = backbone.load(CPU), {}
    assert [layer.name for layer in backbone.layers] == [
        *("encoder.0", "encoder.1", "z", "prior.0", "prior.1", "prior.z", "decoder.0", "decoder.1")
    ]
    for layer in backbone.layers:
        module = loaded.module.get_submodule(layer.module)
        assert sum(parameter.numel() for parameter in module.parameters()) == layer.parameters
        module.register_forward_hook(lambda m, a, output, layer=layer: seen.update({layer.name: loaded.tokens(output, layer)}))
    loaded.forward(clips(2))
    for layer in backbone.layers:
        assert seen[layer.name].shape == (2, backbone.grid_of(layer).tokens, layer.width)
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())


def test_rows_have_the_stated_width_and_depend_on_their_clip_alone(backbone):
    with Capture(backbone.load(CPU), backbone.layers, backbone.grid, backbone.default_pooling) as capture:
        whole, alone = capture(clips(3)), capture(clips(3)[1:2])
    for layer in backbone.layers:
        assert whole[layer.name].shape == (3, pooled_width(backbone.default_pooling, backbone.grid_of(layer), layer.width))
        torch.testing.assert_close(whole[layer.name][1:2], alone[layer.name], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(whole[layer.name][0], whole[layer.name][1], atol=1e-4)


def test_z_is_the_encoders_mean_and_the_decoder_goes_on_from_the_priors(backbone, folder):
    with Capture(backbone.load(CPU), backbone.layers, backbone.grid, "last/mean") as capture:
        found = capture(clips(2))
    tokenizer, dynamics = read_networks(folder, SHAPE)
    frames = clips(2).permute(0, 1, 4, 2, 3).float() / 255 - 0.5
    tokens = tokenizer.encode(frames.flatten(0, 1)).unflatten(0, (2, 5))
    torch.testing.assert_close(found["z"], dynamics.encoder(tokens).mean)
    expected = dynamics.prior(tokens[:, -2:])
    torch.testing.assert_close(found["prior.z"], expected.mean)
    last = dynamics.decoder.norm  # what follows the last block
    torch.testing.assert_close(last(found["decoder.1"]).shape, torch.Size([2, 8]))
    imagined = dynamics.imagine(expected.mean, tokens[:, -2:])
    assert imagined.shape == (2, 5, SHAPE.places, 8)


@pytest.mark.parametrize("name", ["encoder.0", "z", "prior.0", "prior.z", "decoder.0"])
def test_a_pass_that_ends_early_says_the_same(backbone, name):
    loaded = backbone.load(CPU)
    with Capture(loaded, backbone.layers, backbone.grid, "last/mean") as capture:
        whole = capture(clips(2))
        early = capture(clips(2), only=[name])
        again = capture(clips(2))
    torch.testing.assert_close(early[name], whole[name])
    torch.testing.assert_close(again["decoder.1"], whole["decoder.1"])


def test_weights_have_a_digest_and_a_control_keeps_the_tokenizer(backbone, folder):
    assert backbone.weights_digest() == find_backbone(f"pvdr:{folder}").weights_digest()
    redrawn = find_backbone(f"pvdr:{folder}", {"weights": "reinitialised"})
    one, other = backbone.load(CPU), redrawn.load(CPU)
    assert torch.equal(one.tokenizer.book, other.tokenizer.book)
    assert not torch.equal(one.module.encoder.last.weight, other.module.encoder.last.weight)
    assert redrawn.identity != backbone.identity


def test_weights_that_change_after_their_digest_are_not_loaded(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copy")
    backbone = find_backbone(f"pvdr:{copied}")
    backbone.weights_digest()
    backbone.load(CPU)
    state = {name: value * 0.5 if value.is_floating_point() else value for name, value in load_file(copied / WEIGHTS).items()}
    save_file(state, copied / WEIGHTS)
    with pytest.raises(DataError, match=f"the weights of {copied} changed since their digest was taken"):
        backbone.load(CPU)
    find_backbone(f"pvdr:{copied}").load(CPU)


def test_a_description_that_lost_a_bit_is_refused(folder, tmp_path):
    """Two heads or four, and every weight fits: nothing but the digest tells."""
    whole = seal(f"{json.dumps({'shape': SHAPE.model_dump()}, indent=1)}\n".encode())
    (tmp_path / DESCRIPTION).write_bytes(whole)
    assert read_shape(tmp_path) == SHAPE
    (tmp_path / DESCRIPTION).write_bytes(whole.replace(b'"heads": 2', b'"heads": 4'))
    with pytest.raises(DataError, match="does not have the digest it states"):
        read_shape(tmp_path)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match="takes a folder and no options"):
        find_backbone("pvdr")
    with pytest.raises(DataError, match=r"there is no pvdr\.json"):
        find_backbone(f"pvdr:{tmp_path}")
    (tmp_path / DESCRIPTION).write_text('{"shape": {"size": 30}}')
    with pytest.raises(DataError, match="size 30 is not a multiple of 8"):
        read_shape(tmp_path)
