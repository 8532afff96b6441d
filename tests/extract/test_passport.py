"""One block lifted out of its model: the same bits as inside, gradients to its tokens, none to its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerscout.errors import DataError
from layerscout.extract import passport as passports
from layerscout.extract.backbones.base import find
from layerscout.extract.passport import FrozenLayer, harvest, reinitialised

FAMILIES = ["tiny", "tiny-untrained", "cogvideox-2b", "cogvideox-5b"]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    if not request.param.startswith("cogvideox"):
        return find(request.param)
    checkpoints = request.getfixturevalue("checkpoints")
    folder = checkpoints.two if request.param.endswith("2b") else checkpoints.five
    return find(f"cogvideox:{folder}", {"size": [32, 32], "frames": 5})


def random_clips(backbone, count: int, seed: int = 0) -> np.ndarray:
    shape = (count, len(backbone.clip.offsets), *backbone.clip.frame_shape)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def inside(backbone, layer: str, clips: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens before and after a block while the whole model runs."""
    loaded, seen = backbone.load(torch.device("cpu")), {}
    block = loaded.module.get_submodule(backbone.layer(layer).module)
    block.register_forward_pre_hook(lambda m, a, named: seen.update(before=named["hidden_states"]), with_kwargs=True)
    block.register_forward_hook(lambda m, a, output: seen.update(after=loaded.tokens(output)))
    with torch.no_grad():
        loaded.forward(torch.from_numpy(clips))
    return seen["before"], seen["after"]


def first(backbone) -> str:
    return backbone.layers[0].name


def middle(backbone) -> str:
    return backbone.layers[len(backbone.layers) // 2].name


@pytest.mark.parametrize("which", [first, middle])
def test_a_block_gives_the_same_bits_alone_in_the_context_of_one_clip(backbone, which):
    """In joint attention the text stream comes to depend on the video: with a single clip its mean is itself."""
    clips = random_clips(backbone, 1)
    before, after = inside(backbone, which(backbone), clips)
    with torch.no_grad():
        alone = FrozenLayer(harvest(backbone, which(backbone), clips))(before)
    assert torch.equal(alone, after)


def test_the_first_block_gives_the_same_alone_for_any_clips(backbone):
    """Before the first block the text stream is a constant, so the context does not depend on the clip (but on its rounding)."""
    clips = random_clips(backbone, 5)
    before, after = inside(backbone, first(backbone), clips)
    with torch.no_grad():
        alone = FrozenLayer(harvest(backbone, first(backbone), random_clips(backbone, 2, seed=9)))(before)
    torch.testing.assert_close(alone, after, atol=1e-5, rtol=1e-5)


def test_a_constant_context_does_not_depend_on_the_calibration_clips(backbone, monkeypatch):
    one = harvest(backbone, first(backbone), random_clips(backbone, 1, seed=1)).context
    monkeypatch.setattr(passports, "BATCH", 3)
    other = harvest(backbone, first(backbone), random_clips(backbone, 7, seed=2)).context
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other[name], atol=1e-6, rtol=1e-5)
            assert len(value) == len(other[name]) == 1


def test_statistics_are_those_of_the_tokens_whatever_the_batches(backbone, monkeypatch):
    clips = random_clips(backbone, 7)
    monkeypatch.setattr(passports, "BATCH", 3)
    passport = harvest(backbone, middle(backbone), clips)
    before, _ = inside(backbone, middle(backbone), clips)
    flat = before.double().flatten(0, 1)
    torch.testing.assert_close(passport.input_mean.double(), flat.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(passport.input_rms.double(), flat.square().mean(0).sqrt(), atol=1e-5, rtol=1e-4)
    varying = [name for name, value in passport.context.items() if isinstance(value, torch.Tensor)]
    whole = harvest(backbone, middle(backbone), clips)
    for name in varying:
        torch.testing.assert_close(passport.context[name], whole.context[name], atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_tokens_and_not_the_weights(backbone):
    layer = FrozenLayer(harvest(backbone, first(backbone), random_clips(backbone, 2)))
    before, _ = inside(backbone, first(backbone), random_clips(backbone, 2))
    tokens = before.clone().requires_grad_()
    layer(tokens).square().sum().backward()
    assert float(tokens.grad.abs().max()) > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in layer.parameters())


def test_training_mode_never_wakes_up(backbone):
    layer = FrozenLayer(harvest(backbone, first(backbone), random_clips(backbone, 1)))
    assert layer.train() is layer
    torch.nn.Sequential(layer).train()
    assert not any(module.training for module in layer.modules())


def test_a_fresh_block_has_other_weights_of_the_same_scale(backbone):
    clips = random_clips(backbone, 4)
    passport = harvest(backbone, middle(backbone), clips)
    kept = {name: value.clone() for name, value in passport.block.state_dict().items()}
    fresh = reinitialised(passport, seed=0)
    assert all(torch.equal(value, kept[name]) for name, value in passport.block.state_dict().items()), "the original is left alone"
    for name, parameter in fresh.named_parameters():
        if parameter.ndim >= 2:
            assert not torch.equal(parameter, kept[name])
            assert 0.8 < float(parameter.std()) * parameter.shape[-1] ** 0.5 < 1.2
        else:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))
    before, _ = inside(backbone, middle(backbone), clips)
    with torch.no_grad():
        original, drawn = FrozenLayer(passport)(before), FrozenLayer(passport, fresh)(before)
        again = FrozenLayer(passport, reinitialised(passport, seed=0))(before)
        other = FrozenLayer(passport, reinitialised(passport, seed=1))(before)
    assert torch.equal(drawn, again)
    assert not torch.allclose(drawn, other)
    assert not torch.allclose(drawn, original)
    assert 0.1 < float(drawn.std() / original.std()) < 10


def test_position_tables_fix_the_number_of_tokens(checkpoints):
    options = {"size": [32, 32], "frames": 5}
    rotary = find(f"cogvideox:{checkpoints.five}", options)
    assert harvest(rotary, first(rotary), random_clips(rotary, 1)).fixed_tokens == rotary.grid.tokens
    for free in (find(f"cogvideox:{checkpoints.two}", options), find("tiny")):
        assert harvest(free, first(free), random_clips(free, 1)).fixed_tokens is None


def test_a_block_that_takes_its_tokens_otherwise_has_no_passport():
    backbone = find("synthetic")
    with pytest.raises(DataError, match="random_wide of synthetic has no passport"):
        harvest(backbone, "random_wide", random_clips(backbone, 1))
