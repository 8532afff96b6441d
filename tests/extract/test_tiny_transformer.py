"""The transformer of ``tiny`` and ``tiny-2`` against diffusers' class, bit for bit: weights drawn, weights loaded, every block, gradients, controls."""

from __future__ import annotations

import copy
import json
import threading

import golden
import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from safetensors.torch import load

from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.tiny import scratch
from layerscout.extract.backbones.networks.tiny.tiny import new_model, predict
from layerscout.extract.backbones.untrained import redraw, shuffle
from layerscout.extract.checkpoints.skeleton import configuration
from layerscout.extract.passes.capture import Capture

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["tiny", "tiny-2"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def oracle(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tiny.UNTRAINED_SEED)
        return CogVideoXTransformer3DModel(**tiny.ARCHITECTURES[name]).eval()


@pytest.fixture
def trained(name, oracle):
    model = copy.deepcopy(oracle)
    model.load_state_dict(load(tiny.weights(name)))
    return model


def frames(count: int = 3) -> torch.Tensor:
    return torch.from_numpy(golden.philox("tiny").standard_normal((count, 4, 3, 32, 32), dtype="float32"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def test_random_weights_controls_and_configuration_are_those_of_diffusers(name, oracle):
    own = new_model(tiny.UNTRAINED_SEED, name)
    assert same(own.state_dict(), oracle.state_dict())
    assert configuration(own) == configuration(oracle)
    assert json.loads(own.to_json_string())["_class_name"] == type(oracle).__name__
    for change in (redraw, shuffle):
        mine, theirs = copy.deepcopy(own), copy.deepcopy(oracle)
        change(mine, 3)
        change(theirs, 3)
        assert same(mine.state_dict(), theirs.state_dict()), change.__name__


@pytest.mark.numeric
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_predictions_are_the_same_bits(name, trained, count, dtype):
    own = new_model(1, name)
    own.load_state_dict(trained.state_dict())
    theirs = torch.nn.Module.to(trained, dtype)
    own.to(dtype)
    clean, times = frames(count).to(dtype), torch.linspace(1, 999, count).long()
    with torch.no_grad():
        expected = theirs(clean, clean.new_zeros(count, 1, tiny.TEXT_WIDTH), times).sample
        assert torch.equal(predict(own, clean, times), expected)


@pytest.mark.numeric
def test_gradients_are_those_of_diffusers(name, trained):
    own = new_model(1, name)
    own.load_state_dict(trained.state_dict())
    times = torch.tensor([5, 700, 999])
    predict(own, frames(), times).square().mean().backward()
    trained(frames(), torch.zeros(3, 1, tiny.TEXT_WIDTH), times).sample.square().mean().backward()
    for (part, mine), (_, theirs) in zip(own.named_parameters(), trained.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4 * float(theirs.grad.abs().max()), msg=part)


@pytest.mark.numeric
@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_a_pass_with_scratch_memory_gives_the_bits_of_a_plain_one_and_of_diffusers(name, trained, count):
    backbone = find_backbone(name)
    loaded, clips = backbone.load(CPU), golden.clips(backbone, count)
    plain = golden.activations(backbone, clips)  # without inference mode: no scratch memory
    captured = Capture(loaded, backbone.layers, backbone.grid, "all/tokens")(clips)
    seen = {}
    for layer in backbone.layers:
        block = trained.get_submodule(layer.module)
        block.register_forward_hook(lambda module, arguments, output, name=layer.name: seen.update({name: output[0].clone()}))
    past = clips.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
    noise = loaded._noise.expand(count, -1, -1, -1, -1)
    with torch.no_grad():
        trained(torch.cat([past, noise], 1), torch.zeros(count, 1, tiny.TEXT_WIDTH), torch.full((count,), tiny.PURE_NOISE))
    for block, tokens in seen.items():
        assert torch.equal(plain[block], tokens), block
        assert torch.equal(captured[block], tokens.flatten(1)), block


def test_what_a_block_put_out_is_not_written_over_by_later_passes():
    backbone = find_backbone("tiny")
    loaded, kept = backbone.load(CPU), []
    handle = loaded.module.get_submodule("transformer_blocks.3").register_forward_hook(lambda m, a, output: kept.append(output[0]))
    first, second = golden.clips(backbone, 2), golden.clips(backbone, 4)[2:]
    with torch.inference_mode():
        loaded.forward(first)
        before = kept[0].clone()
        loaded.forward(second)
        loaded.forward(second[:1])
    handle.remove()
    assert torch.equal(kept[0], before)
    assert not torch.equal(kept[1], before)


def test_scratch_memory_is_of_one_thread_and_given_back_with_it():
    memory = scratch.Scratch()
    tokens = torch.zeros(1, 2, 3)
    seen = []
    with torch.no_grad(), scratch.used(memory):
        assert scratch.of_this_pass(tokens) is memory
        thread = threading.Thread(target=lambda: seen.append(scratch.of_this_pass(tokens)))
        thread.start()
        thread.join()
        assert scratch.of_this_pass(tokens.double()) is None
        with torch.enable_grad():
            assert scratch.of_this_pass(tokens) is None
    assert seen == [None]
    assert scratch.of_this_pass(tokens) is None
    large = memory.piece("a", (4, 6))
    assert memory.piece("a", (2, 3)).data_ptr() == large.data_ptr()
    assert memory.piece("b", (2, 3)).data_ptr() != large.data_ptr()


def test_neighbours_in_memory_are_joined_without_a_copy():
    joint = torch.randn(3, 5, 4)
    text, video = joint[:, :2], joint[:, 2:]
    assert scratch.joined(text, video).data_ptr() == joint.data_ptr()
    assert torch.equal(scratch.joined(text, video), joint)
    for first, second in ((video, text), (text.clone(), video), (joint[:, :1], video), (text, torch.randn(3, 3, 4))):
        assert torch.equal(scratch.joined(first, second), torch.cat([first, second], dim=1))
