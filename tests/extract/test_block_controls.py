"""What a trained block is held against: other weights at the right scale, the same weights in no order, no block at all."""

from __future__ import annotations

import golden
import passport_families as families
import pytest
import torch
from torch import nn

from layerscout.errors import UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passports.passport import FrozenLayer, Passport, harvest, identity, reinitialised, shuffled

NAMES = [name for name in families.FAMILIES if name not in {"tiny", "wan-2.1-image", "wan-2.2-low-noise"}]


@pytest.fixture(scope="module")
def trained() -> tuple[Passport, torch.Tensor]:
    """A middle block of a model that was really trained, and tokens as it saw them."""
    backbone, loaded = find_backbone("tiny"), find_backbone("tiny").load(torch.device("cpu"))
    clips = golden.clips(backbone, 4)
    passport = harvest(backbone, "blocks.4", clips.numpy())
    seen = {}
    block = loaded.module.get_submodule("transformer_blocks.4")
    block.register_forward_pre_hook(lambda m, a, named: seen.update(before=named["hidden_states"]), with_kwargs=True)
    with torch.no_grad():
        loaded.forward(clips)
    return passport, seen["before"]


@pytest.mark.parametrize("make", [reinitialised, shuffled])
def test_a_control_depends_on_its_seed_alone_and_leaves_the_block_as_it_was(trained, make):
    passport, tokens = trained
    kept = {name: value.clone() for name, value in passport.block.state_dict().items()}
    first, again, other = (make(passport, seed) for seed in (0, 0, 1))
    assert all(torch.equal(value, kept[name]) for name, value in passport.block.state_dict().items())
    with torch.no_grad():
        original, *controls = (FrozenLayer(passport, block)(tokens) for block in (passport.block, first, again, other))
    assert torch.equal(controls[0], controls[1])
    assert not torch.allclose(controls[0], controls[2])
    assert not torch.allclose(controls[0], original)
    assert not any(parameter.requires_grad for parameter in first.parameters())


@pytest.mark.parametrize("make", [reinitialised, shuffled])
def test_a_control_puts_out_numbers_of_the_trained_blocks_size(trained, make):
    passport, tokens = trained
    with torch.no_grad():
        original, control = FrozenLayer(passport)(tokens), FrozenLayer(passport, make(passport, 0))(tokens)
    assert 0.1 < float(control.square().mean().sqrt() / original.square().mean().sqrt()) < 10


@pytest.mark.parametrize("name", NAMES)
def test_controls_of_every_family_stay_finite_and_in_range(name, tmp_path):
    saved = families.save(name, tmp_path)
    inside = saved.inside(1)
    for layer, passport in saved.passports(1).items():
        before, after = inside[layer]
        for block in (reinitialised(passport, 0), shuffled(passport, 0)):
            with torch.no_grad():
                control = FrozenLayer(passport, block)(before)
            assert 0.05 < float(control.square().mean().sqrt() / after.square().mean().sqrt()) < 20, layer


def test_a_shuffled_block_has_the_same_numbers_in_every_tensor(trained):
    passport, _ = trained
    for name, value in shuffled(passport, 0).state_dict().items():
        own = passport.block.state_dict()[name]
        assert torch.equal(value.flatten().sort().values, own.flatten().sort().values), name
        if own.unique().numel() > 2:
            assert not torch.equal(value, own), name


class Zoo(nn.Module):
    """One of everything that blocks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(256, 128)
        self.conv = nn.Conv3d(64, 128, (3, 3, 3), groups=2)
        self.up = nn.ConvTranspose2d(64, 128, 3)
        self.norm, self.rms, self.group = nn.LayerNorm(64), nn.RMSNorm(64), nn.GroupNorm(4, 64)
        self.batch = nn.BatchNorm3d(64)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, 256))
        self.positions = nn.Embedding(256, 64)
        self.mix_factor = nn.Parameter(torch.full((1,), 0.9))
        self.batch.running_mean += 5.0
        self.batch.running_var *= 7.0
        for parameter in self.parameters():
            parameter.data.add_(3.0)


def test_weights_are_drawn_at_the_scale_of_what_they_do():
    passport = harvest(find_backbone("tiny"), "blocks.0", golden.clips(find_backbone("tiny")).numpy())
    made = reinitialised(_holding(passport, Zoo()), seed=0)
    # product or convolution: 1/sqrt(numbers that one output sums up); table: 1/sqrt(width)
    expected = {"dense": 256, "conv": 32 * 27, "up": 64 * 9, "positions": 64, "scale_shift_table": 256}
    for name, fan_in in expected.items():
        parameter = made.get_parameter(name if name == "scale_shift_table" else f"{name}.weight")
        assert float(parameter.std()) * fan_in**0.5 == pytest.approx(1.0, abs=0.1), name
    for name in ("norm", "rms", "group", "batch"):
        assert torch.equal(made.get_parameter(f"{name}.weight"), torch.ones(64))
    for name in ("dense.bias", "conv.bias", "norm.bias", "batch.bias", "mix_factor"):
        assert float(made.get_parameter(name).abs().max()) == 0.0
    assert torch.equal(made.batch.running_mean, torch.zeros(64))
    assert torch.equal(made.batch.running_var, torch.ones(64))


def test_no_block_at_all_needs_tokens_that_stay_as_they_are(trained, tmp_path):
    passport, tokens = trained
    assert torch.equal(identity(passport)(tokens), tokens)
    halves = families.save("svd", tmp_path).passports(1)["down_blocks.0"]
    with pytest.raises(UsageError, match="the control without a block does not exist"):
        identity(halves)


def _holding(passport: Passport, block: nn.Module) -> Passport:
    """The passport as if it were of another block."""
    from dataclasses import replace

    return replace(passport, weights=block.requires_grad_(False))
