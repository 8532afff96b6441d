"""The contract of every backbone: what it says about itself without weights is what the loaded model does."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoints_encoders as made
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from layerscout import registry
from layerscout.errors import UsageError
from layerscout.extract.backbones import synthetic, tiny
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import fixed_noise
from layerscout.extract.backbones.networks import cogvideox
from layerscout.extract.backbones.networks import encoder as encoder_network
from layerscout.extract.backbones.networks import synthetic as synthetic_network
from layerscout.extract.backbones.networks import transnet as transnet_network
from layerscout.extract.backbones.networks.tiny import tiny as tiny_network
from layerscout.extract.checkpoints.checkpoint_weights import CheckpointWeights
from layerscout.extract.checkpoints.tensors import values as tensor_values
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import parse_pooling, pooled_width
from layerscout.rl.transfer.apv import looking
from layerscout.rl.transfer.apv.action_free import new_action_free
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.folder import PretrainedModel, write_description
from layerscout.rl.transfer.apv.keeping import save_weights

CPU = torch.device("cpu")
FAMILIES = [
    "tiny",
    "tiny-untrained",
    "tiny-2",
    "tiny-2-untrained",
    "synthetic",
    "cogvideox-2b",
    "cogvideox-5b",
    *made.CONFIGS,
    "transnet",
    "apv",
]
ELSEWHERE = {  # families that obey the same laws, and more, in a file of their own
    "wan": "test_wan.py",
    "ltx": "test_ltx.py",
    "hunyuan": "test_hunyuan.py",
    "hunyuan15": "test_hunyuan.py",
    "mochi": "test_mochi.py",
    "svd": "test_svd.py",
    "cosmos": "test_cosmos.py",
    "r3d18": "test_r3d.py",
    "transnet-untrained": "test_transnet.py",
    "pvdr": "test_pvdr_backbone.py",
}


@dataclass
class Family:
    """A backbone, how it is asked for, and its model, loaded when somebody needs it."""

    spec: str
    options: dict[str, Any]

    def find(self) -> Backbone:
        return find_backbone(self.spec, self.options)

    def capture(self) -> Capture:
        backbone = self.find()
        return Capture(backbone.load(CPU), backbone.layers, backbone.grid, backbone.default_pooling)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> Family:
    if request.param in made.CONFIGS:
        return Family(f"{request.param}:{made.save(request.getfixturevalue('tmp_path_factory').mktemp(request.param), request.param)}", {})
    if request.param == "transnet":
        return Family(request.param, {"frames": 2})
    if request.param == "apv":
        return Family(f"apv:{save_action_free(request.getfixturevalue('tmp_path_factory').mktemp('apv'))}", {"frames": 3})
    if not request.param.startswith("cogvideox"):
        return Family(request.param, {})
    checkpoints = request.getfixturevalue("checkpoints")
    folder = checkpoints.two if request.param.endswith("2b") else checkpoints.five
    return Family(f"cogvideox:{folder}", {"size": [32, 32], "frames": 5})


def save_action_free(folder: Path) -> Path:
    model = PretrainedModel(folder, APVModelConfig(size=16, stages=2, depth=2, latents=3, classes=4, deter=8, hidden=8), 5, {})
    module = new_action_free(model.sizes, 0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)  # as untrained, it takes nearly all frames for the same classes, and only classes pass through time
    save_weights(model, module)
    write_description(model)
    return folder


def random_clips(backbone: Backbone, count: int) -> torch.Tensor:
    shape = (count, len(backbone.clip.offsets), *backbone.clip.frame_shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_every_family_of_the_registry_is_held_to_the_laws():
    here = {name.partition("-2b")[0].partition("-5b")[0] for name in FAMILIES}
    assert here | set(ELSEWHERE) == set(registry.REGISTRY["backbone"])
    assert all((Path(__file__).parent / file).is_file() for file in ELSEWHERE.values())


def test_it_describes_itself_without_weights(family, monkeypatch):
    def poisoned(*arguments, **named):
        raise AssertionError("weights were loaded")

    for target, name in [
        (safetensors, "safe_open"),
        (safetensors.torch, "load"),
        (safetensors.torch, "load_file"),
        (torch, "load"),
        (tiny, "weights"),
        (tiny_network, "new_model"),
        (synthetic_network, "new_modules"),
        (cogvideox, "load_model"),
        (CheckpointWeights, "digest"),
        (encoder_network, "load_transformers"),
        (tensor_values, "read_tensor"),
        (transnet_network, "transnet_weights"),
        (looking, "read_weights"),
    ]:
        monkeypatch.setattr(target, name, poisoned)
    backbone = family.find()
    assert backbone.layers
    assert backbone.clip.offsets[-1] == 0
    with pytest.raises(AssertionError, match="weights were loaded"):
        backbone.load(CPU)


def test_names_widths_and_parameters_are_those_of_the_model(family):
    backbone = family.find()
    loaded = backbone.load(CPU)
    names = [layer.name for layer in backbone.layers]
    assert len(set(names)) == len(names)
    assert [layer.depth for layer in backbone.layers] == list(range(len(names)))
    seen = {}
    for layer in backbone.layers:
        module = loaded.module.get_submodule(layer.module)
        assert sum(parameter.numel() for parameter in module.parameters()) == layer.parameters
        module.register_forward_hook(lambda m, a, output, layer=layer: seen.update({layer.name: loaded.tokens(output, layer)}))
    with torch.no_grad():
        loaded.forward(random_clips(backbone, 2))
    for layer in backbone.layers:
        assert seen[layer.name].shape == (2, backbone.grid_of(layer).tokens, layer.width)
        assert seen[layer.name].dtype == torch.float32
        assert torch.isfinite(seen[layer.name]).all()


def test_the_model_is_frozen_and_in_evaluation_mode(family):
    loaded = family.find().load(CPU)
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())


def test_the_default_pooling_fits_and_gives_the_stated_width(family):
    backbone = family.find()
    parse_pooling(backbone.default_pooling, backbone.grid)
    pooled = family.capture()(random_clips(backbone, 2))
    for layer in backbone.layers:
        assert pooled[layer.name].shape == (2, pooled_width(backbone.default_pooling, backbone.grid_of(layer), layer.width))


@pytest.mark.numeric
def test_two_loads_give_the_same_bits_and_leave_the_random_state_alone(family):
    clips = random_clips(family.find(), 3)
    state = torch.random.get_rng_state()
    first, second = family.capture()(clips), family.capture()(clips)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert family.find().weights_digest() == family.find().weights_digest()


@pytest.mark.numeric
def test_a_row_does_not_depend_on_its_batch(family):
    capture, clips = family.capture(), random_clips(family.find(), 7)
    whole = capture(clips)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    shuffled = capture(clips[order])
    alone = [capture(clips[i : i + 1]) for i in range(7)]
    for name, values in whole.items():
        scale = float(values.abs().max())
        torch.testing.assert_close(shuffled[name], values[order], atol=1e-5 * scale, rtol=1e-4)
        torch.testing.assert_close(torch.cat([one[name] for one in alone]), values, atol=1e-5 * scale, rtol=1e-4)


def test_different_clips_give_different_activations(family):
    capture, clips = family.capture(), random_clips(family.find(), 2)
    pooled = capture(clips)
    assert all(not torch.allclose(values[0], values[1], atol=1e-4) for values in pooled.values())


def test_every_frame_of_the_clip_is_seen(family):
    capture, clips = family.capture(), random_clips(family.find(), 1)
    before = capture(clips)
    for slot in range(clips.shape[1]):
        changed = clips.clone()
        changed[:, slot] = 255 - changed[:, slot]
        after = capture(changed)
        assert any(not torch.allclose(after[name], before[name], atol=1e-5) for name in before), f"frame {slot} of the clip is not seen"


def test_an_unknown_layer_is_refused_with_the_nearest_name(family):
    backbone = family.find()
    with pytest.raises(UsageError, match="did you mean") as error:
        backbone.layer(backbone.layers[-1].name + "x")
    assert error.value.hint.startswith("layerscout layers")


def test_identities_are_plain_data_and_do_not_alias_the_module(family):
    identity = family.find().identity
    copied = copy.deepcopy(identity)
    assert identity == copied == family.find().identity
    assert not any("/" in str(value) for value in identity.values()), "a path is no part of an identity"


@pytest.mark.parametrize("name", ["tiny", "tiny-2"])
def test_the_untrained_twin_has_the_same_shape_and_other_weights(name):
    trained, untrained = find_backbone(name), find_backbone(f"{name}-untrained")
    assert trained.layers == untrained.layers
    assert (trained.clip, trained.grid, trained.default_pooling, trained.identity) == (
        untrained.clip,
        untrained.grid,
        untrained.default_pooling,
        untrained.identity,
    )
    assert trained.weights_digest() != untrained.weights_digest()
    first, second = (backbone.load(CPU).module.state_dict() for backbone in (trained, untrained))
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["tiny", "tiny-untrained", "tiny-2", "tiny-2-untrained", "synthetic"])
def test_families_without_options_refuse_them(name):
    for spec, options in [(f"{name}:folder", {}), (name, {"sigma": 0.5})]:
        with pytest.raises(UsageError, match="takes no source and no options"):
            find_backbone(spec, options)


def test_an_unknown_family_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="unknown backbone 'tyni'; did you mean 'tiny'") as error:
        find_backbone("tyni")
    assert "cogvideox" in error.value.hint


def test_noise_depends_on_seed_and_place_alone():
    torch.testing.assert_close(fixed_noise((2, 3), 5), fixed_noise((2, 3), 5), rtol=0, atol=0)
    assert not torch.equal(fixed_noise((2, 3), 5), fixed_noise((2, 3), 6))
    assert abs(float(fixed_noise((10_000,), 5).std()) - 1) < 0.05


# --- synthetic: the right answer is known


def planes_of(agent: tuple[int, int], goal: tuple[int, int]) -> np.ndarray:
    frame = np.zeros((8, 8, 2), dtype=np.uint8)
    frame[(*agent, 0)] = frame[(*goal, 1)] = 255
    return frame


def test_structured_mid_is_the_closed_form_on_planes():
    places = [((0, 0), (7, 7)), ((3, 5), (6, 1)), ((7, 2), (7, 3)), ((4, 4), (0, 4))]
    clips = np.stack([np.stack([planes_of((1, 1), (2, 2)), planes_of(*place)]) for place in places])
    backbone = find_backbone("synthetic")
    values = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "all/mean")(torch.from_numpy(clips))["structured_mid"]
    for row, (agent, goal) in zip(values, places, strict=True):
        ay, ax, gy, gx = (2 * cell / 7 - 1 for cell in (*agent, *goal))
        expected = [ax, ay, gx, gy, gx - ax, gy - ay, (gx - ax) ** 2, (gy - ay) ** 2]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_random_layers_are_the_tanh_of_a_fixed_map_of_both_frames():
    rng = np.random.default_rng(7)
    weights = {name: rng.normal(0, scale, (size, 256)) for name, (size, scale) in synthetic.RANDOM.items()}
    backbone = find_backbone("synthetic")
    clips = random_clips(backbone, 3)
    flat = clips.permute(0, 1, 4, 2, 3).flatten(1).double().numpy() / 255  # frame, plane, row, column
    values = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "all/mean")(clips)
    for name, weight in weights.items():
        np.testing.assert_allclose(values[name], np.tanh(flat @ weight.T), atol=1e-5)
