"""One block lifted out of its model: the same bits as inside, gradients to its tokens, none to its weights; of every family."""

from __future__ import annotations

import itertools
import json

import golden
import numpy as np
import passport_families as families
import pytest
import torch
from torch import nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.backbones.modules import from_module
from layerscout.extract.passports import harvest as harvesting
from layerscout.extract.passports.context import NoPassport
from layerscout.extract.passports.passport import FrozenLayer, Passport, harvest, harvest_layers
from layerscout.extract.passports.passport_files import from_bytes, to_bytes
from layerscout.extract.passports.ports import PORTS, laid_out, memory_axes


@pytest.fixture(scope="module", params=families.FAMILIES)
def saved(request, tmp_path_factory):
    return families.save(request.param, tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def one(saved):
    """Passports of a single clip, and what happened inside the model with that clip."""
    return saved.passports(1), saved.inside(1)


@pytest.mark.numeric
def test_a_block_gives_the_same_bits_alone_in_the_context_of_one_clip(saved, one):
    """In joint attention the text stream comes to depend on the video: with a single clip its mean is itself."""
    passports, inside = one
    assert list(passports) == [layer.name for layer in saved.backbone.layers]
    for name, passport in passports.items():
        before, after = inside[name]
        with torch.no_grad():
            assert torch.equal(FrozenLayer(passport)(before), after), name


def test_a_block_alone_finds_its_argument_in_memory_as_inside_its_model(saved, one):
    """Kernels choose their algorithm by the order in memory, so bits are equal on every processor only if the order is."""
    passports, inside = one[0], saved.inside(2)  # with one clip the order of the first axis means nothing
    for layer in saved.backbone.layers:
        passport, block, seen = passports[layer.name], saved.loaded.module.get_submodule(layer.module), []

        def note(module, positional, named, passport=passport, seen=seen):
            seen.append(positional[0] if positional else named[passport.argument])

        alone = FrozenLayer(passport)
        handle = block.register_forward_pre_hook(note, with_kwargs=True)
        with torch.no_grad():
            saved.loaded.forward(golden.clips(saved.backbone, 2))
            alone(inside[layer.name][0])
        handle.remove()
        within, without = seen
        assert memory_axes(without) == memory_axes(within), layer.name
        if within.numel() == 1 + sum((length - 1) * step for length, step in zip(within.shape, within.stride(), strict=True)):
            assert without.stride() == within.stride(), layer.name  # else it is a part of something larger


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 4), (2, 1, 4, 5), (1, 1, 3, 1), (2, 3, 1, 1, 4)])
def test_an_order_in_memory_is_told_and_restored_whatever_the_axes(shape):
    for order in itertools.permutations(range(len(shape))):
        lying = torch.randn([shape[axis] for axis in order]).permute(sorted(range(len(shape)), key=order.__getitem__))
        copied = laid_out(lying.clone(memory_format=torch.contiguous_format), memory_axes(lying))
        assert torch.equal(copied, lying)
        assert copied.stride() == lying.stride()
        assert laid_out(lying, memory_axes(lying)) is lying
        assert laid_out(lying).is_contiguous()


def test_a_passport_that_was_written_and_read_gives_the_same_bits(one):
    passports, inside = one
    for name, passport in passports.items():
        read = from_bytes(*to_bytes(passport), "here").with_block(passport.block)
        assert read.context.layout == passport.context.layout
        assert read.grid == passport.grid
        assert to_bytes(read) == to_bytes(passport)
        with torch.no_grad():
            assert torch.equal(FrozenLayer(read)(inside[name][0]), inside[name][1]), name


def test_rows_of_a_batch_do_not_see_each_other(saved, one):
    """Whatever an argument is per clip or per frame, it is repeated for every clip of a batch."""
    passports, inside = one
    for name, passport in passports.items():
        before, after = inside[name]
        layer = FrozenLayer(passport)
        others = torch.cat([before + 1.0, before, before.flip(1)])
        with torch.no_grad():
            torch.testing.assert_close(layer(others)[1:2], after, atol=saved.family.rounding, rtol=saved.family.rounding, msg=name)


def test_gradients_reach_the_tokens_and_not_the_weights(one):
    passports, inside = one
    for name, passport in passports.items():
        layer = FrozenLayer(passport)
        tokens = inside[name][0].clone().requires_grad_()
        layer(tokens).square().sum().backward()
        assert float(tokens.grad.abs().max()) > 0, name
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in layer.parameters())


def test_training_mode_never_wakes_up(one):
    for passport in one[0].values():
        layer = FrozenLayer(passport)
        assert layer.train() is layer
        nn.Sequential(layer).train()
        assert not any(module.training for module in layer.modules())
        assert set(layer.state_dict()) == {f"block.{name}" for name in passport.block.state_dict()}, "the context is no state"


def test_the_first_block_gives_the_same_alone_for_any_clips(saved):
    """Before the first block the text stream is a constant, so the context does not depend on the clip (but on its rounding)."""
    name = saved.backbone.layers[0].name
    before, after = saved.inside(3)[name]
    with torch.no_grad():
        torch.testing.assert_close(
            FrozenLayer(saved.passports(2)[name])(before), after, atol=saved.family.rounding, rtol=saved.family.rounding
        )


def test_statistics_and_context_are_those_of_all_clips_whatever_the_batches(saved):
    """Context that depends on the clip is the mean of what the clips have by themselves."""
    clips, backbone = golden.clips(saved.backbone, 3).numpy(), saved.backbone
    whole, parts, *alone = (
        harvest_layers(backbone, saved.loaded, backbone.layers, batches)
        for batches in ([clips], [clips[:2], clips[2:]], [clips[:1]], [clips[1:2]], [clips[2:]])
    )
    near = {"atol": saved.family.rounding, "rtol": 1e-4}
    for name, (before, _) in saved.inside(3).items():
        flat = before.double().flatten(0, 1)
        for passport in (whole[name], parts[name]):
            assert passport.clips == 3
            assert passport.context.layout == alone[0][name].context.layout
            torch.testing.assert_close(passport.input_mean.double(), flat.mean(0), **near)
            torch.testing.assert_close(passport.input_rms.double(), flat.square().mean(0).sqrt(), **near)
            assert passport.overall_rms == pytest.approx(float(flat.square().mean().sqrt()), rel=1e-4)
            for argument, value in passport.context.tensors.items():
                mean = torch.stack([single[name].context.tensors[argument].double() for single in alone]).mean(0)
                torch.testing.assert_close(value.double(), mean, **near, msg=f"{name} {argument}")


def test_position_tables_fix_the_number_of_tokens(one, saved):
    free = saved.folder.name in {"tiny", "cogvideox-2b", "videomae", "videomae-with-head", "vivit"}
    for passport in one[0].values():
        time, height, width = passport.input_shape
        assert passport.fixed_tokens == (None if free else time * height * width)


@pytest.mark.numeric
@pytest.mark.parametrize("name", ["wan-2.1", "cogvideox-5b"])
def test_a_block_of_a_bfloat16_model_computes_as_it_did(name, tmp_path):
    """Modules that the family keeps in float32 stay there; tokens come and go in the caller's own type."""
    saved = families.save(name, tmp_path, torch.bfloat16)
    inside = saved.inside(1)
    for layer, passport in saved.passports(1).items():
        assert passport.dtype == torch.bfloat16
        before, after = inside[layer]
        with torch.no_grad():
            assert torch.equal(FrozenLayer(passport)(before), after)
            assert torch.equal(FrozenLayer(passport)(before.float()), after.float())


def test_one_layer_is_harvested_with_its_block(monkeypatch):
    backbone = find_backbone("tiny")
    clips = golden.clips(backbone, 5).numpy()
    whole = harvest(backbone, "blocks.2", clips)
    monkeypatch.setattr(harvesting, "BATCH", 2)
    parts = harvest(backbone, "blocks.2", clips)
    assert whole.clips == parts.clips == 5
    torch.testing.assert_close(whole.input_rms, parts.input_rms, atol=1e-6, rtol=1e-5)
    assert whole.block_digest == parts.block_digest


def test_a_passport_takes_its_own_block_only():
    backbone = find_backbone("tiny")
    loaded = backbone.load(torch.device("cpu"))
    passport = harvest_layers(backbone, loaded, [backbone.layer("blocks.2")], [golden.clips(backbone).numpy()])["blocks.2"]
    with pytest.raises(DataError, match="is without its block"):
        FrozenLayer(passport)
    with pytest.raises(DataError, match="is not block transformer_blocks\\.2"):
        passport.with_block(loaded.module.get_submodule("transformer_blocks.3"))
    with pytest.raises(DataError, match="is not block transformer_blocks\\.2"):
        passport.with_block(nn.Linear(2, 2))
    assert passport.with_block(loaded.module.get_submodule("transformer_blocks.2")).block is not None


def test_a_block_that_takes_its_tokens_otherwise_has_no_passport():
    backbone = find_backbone("synthetic")
    for layer in backbone.layers:
        with pytest.raises(NoPassport, match=f"block {layer.name} of synthetic has no passport"):
            harvest(backbone, layer.name, golden.clips(backbone).numpy())


@pytest.mark.numeric
@pytest.mark.parametrize("layer", ["0", "1", "2", "4"])
def test_modules_of_ones_own_have_passports_too(layer):
    """Convolutions that change the resolution, an activation in place, frames one by one; a pass that ends at the wanted layer."""

    def make() -> nn.Module:
        volume = nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv3d(4, 6, 3, padding=1, stride=(1, 2, 2))
        frames = Frames(), nn.Conv2d(6, 5, 3, padding=1)
        return nn.Sequential(*volume, *frames)

    backbone = from_module("own", make, [layer], frames=4, size=(8, 8))
    clips, loaded, seen = golden.clips(backbone, 2), backbone.load(torch.device("cpu")), {}
    block = loaded.module.get_submodule(layer)
    block.register_forward_pre_hook(lambda module, arguments: seen.update(before=arguments[0].clone()))
    block.register_forward_hook(lambda module, arguments, output: seen.update(after=loaded.tokens(output, backbone.layers[0]).clone()))
    with torch.no_grad():
        loaded.forward(clips)
    passport = harvest(backbone, layer, clips.numpy())
    time, height, width = passport.input_shape
    port = {5: "volume", 4: "frames"}[seen["before"].ndim]
    assert (passport.port, passport.fixed_tokens) == (port, time * height * width)
    tokens = PORTS[port].leave(seen["before"], time)
    assert tokens.shape == (2, time * height * width, len(passport.input_mean))
    read = from_bytes(*to_bytes(passport), "here").with_block(passport.block)
    assert read.memory_axes == passport.memory_axes
    with torch.no_grad():
        assert torch.equal(FrozenLayer(passport)(tokens), seen["after"])
        assert torch.equal(FrozenLayer(read)(tokens), seen["after"])


def test_passports_of_before_the_order_in_memory_are_read_and_those_in_c_order_are_the_same_bytes():
    text, tensors = to_bytes(harvest(find_backbone("tiny"), "blocks.0", golden.clips(find_backbone("tiny")).numpy()))
    assert b'"memory"' not in text
    backbone = from_module("own", lambda: nn.Sequential(nn.Conv3d(3, 4, 3, padding=1)), ["0"], frames=2, size=(4, 4))
    passport = harvest(backbone, "0", golden.clips(backbone, 2).numpy())
    assert passport.memory_axes == (0, 2, 3, 4, 1), "pixels come with their channels side by side"
    text, tensors = to_bytes(passport)
    fields = json.loads(text)
    assert fields.pop("memory") == {"argument": [0, 2, 3, 4, 1]}
    old = from_bytes(json.dumps(fields).encode(), tensors, "here").with_block(passport.block)
    tokens = torch.randn(2, 32, 3)
    torch.testing.assert_close(FrozenLayer(old)(tokens), FrozenLayer(passport)(tokens), atol=1e-6, rtol=1e-5)


class Frames(nn.Module):
    """[clip, feature, time, height, width] to [clip · time, feature, height, width]."""

    def forward(self, volume):
        return volume.transpose(1, 2).flatten(0, 1)


# --- models made for one point each


class Stack(LoadedBackbone):
    """One block on four tokens of width two; how it is called, and what its tokens are said to be, differ from case to case."""

    def __init__(self, block: nn.Module, call=None, tokens=None) -> None:
        self.device, self.module = torch.device("cpu"), nn.ModuleDict({"block": block})
        self._call = call or (lambda block, x: block(x))
        self._tokens = tokens or (lambda output: output)

    def forward(self, clip) -> None:
        self._call(self.module["block"], clip.flatten(1).float().unflatten(1, (4, 2)) / 255)

    def tokens(self, output, layer):
        return self._tokens(output)

    def truncate(self, last) -> None:
        """There is one block."""


def described(loaded: Stack) -> Backbone:
    layer = LayerInfo("block", "block", 0, 2, 0)
    spec = ClipSpec(offsets=(-1, 0), frame_shape=(2, 2, 1))
    return Backbone("stack", spec, TokenGrid(2, 1, 2, 2), (layer,), "all/mean", {}, lambda: "", lambda device, dtype=torch.float32: loaded)


def lifted(loaded: Stack, clips: int = 3) -> Passport | NoPassport:
    backbone = described(loaded)
    # eight pixels a clip are its four tokens of two features
    return harvest_layers(backbone, loaded, backbone.layers, [golden.clips(backbone, clips).numpy()])["block"]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((2,), 3.0))

    def forward(self, x, *others, shift=0.0, **more):
        return x * self.scale + shift + sum(others) + more.get("late", 0.0)


def test_arguments_of_every_kind_are_repeated():
    """Positional, named, beyond the signature, nested, per clip and per frame."""
    table = torch.arange(8.0).view(4, 2)

    def call(block, x):
        block(x, 0.5, torch.ones(len(x), 1, 1), shift=table, late=torch.full((len(x), 1, 1), 2.0), unused=({"a": [None, True, "b"]},))

    passport = lifted(Stack(Block(), call))
    assert passport.context.per_clip == {"*.1", "late"}
    layer = FrozenLayer(passport.with_block(Block()))
    tokens = torch.randn(5, 4, 2)
    torch.testing.assert_close(layer(tokens), tokens * 3.0 + 0.5 + 1.0 + table + 2.0)
    read = FrozenLayer(from_bytes(*to_bytes(passport), "here").with_block(Block()))
    assert torch.equal(read(tokens), layer(tokens))


def test_a_table_as_long_as_the_batch_is_not_taken_for_one_entry_a_clip():
    table = torch.arange(4.0).view(4, 1)  # of four tokens, in a batch of four clips
    passport = lifted(Stack(Block(), lambda block, x: block(x, shift=table)), clips=4)
    assert passport.context.per_clip == frozenset()
    assert torch.equal(passport.context.tensors["shift"], table)


def twice(block, x):
    block(x)
    block(x)


REFUSED = {
    "ran 2 times": (twice, None),
    "ran 0 times": (lambda block, x: None, None),
    "first argument is no tensor but list": (lambda block, x: block([x]), None),
    "first argument has 2 axes": (lambda block, x: block(x.flatten(1)), None),
    "not of tokens in its grid": (lambda block, x: block(x[:, :3]), None),
    "its output is not of tokens": (None, lambda output: output[:, :3]),
    "tokens leave in an order": (None, lambda output: output.flip(1)),
    "has an argument 'late' of type object": (lambda block, x: block(x, late_=1, late=object()), None),
    "has an argument 'shift' of shape": (lambda block, x: block(x, shift=torch.zeros(len(x), len(x))), None),
    "called with other arguments for other batches": (lambda block, x: block(x, shift=len(x)), None),
    "called with other arguments for other clips": (lambda block, x: block(x, shift=0.0 if len(x) < 3 else 1.0), None),
    "another 'unused' for other clips": (lambda block, x: block(x, unused=x[:, 0, 0] > 0.5), None),
}


@pytest.mark.parametrize("why", REFUSED)
def test_calls_that_cannot_be_repeated_are_refused(why):
    call, tokens = REFUSED[why]

    class Any(nn.Module):
        def forward(self, x, **others):
            return torch.zeros(3, 4, 2) if isinstance(x, list) else x

    found = lifted(Stack(Any(), call, tokens))
    assert isinstance(found, NoPassport)
    assert "block block of stack has no passport" in str(found)
    assert why in str(found)


# --- what a stranger's passport may say


def test_damaged_passports_are_refused():
    text, tensors = to_bytes(harvest(find_backbone("tiny"), "blocks.0", golden.clips(find_backbone("tiny")).numpy()))
    cases = [
        (text[:-9], tensors, "not valid JSON"),
        (text.replace(b'"port": "tokens"', b'"port": "magic"'), tensors, "'magic', which this version does not know"),
        (text.replace(b'"per_clip": "temb"', b'"per_clip": "other"'), tensors, "lacks the tensor other"),
        (text.replace(b'"input_width": 64', b'"input_width": 65'), tensors, "statistics are not of 65 features"),
        (text.replace(b'"clips": 1', b'"clips": "many"'), tensors, "clips"),
        (text.replace(b'"port"', b'"memory": {"argument": [0, 1, 1]}, "port"'), tensors, "order in memory of 'argument'"),
        (text.replace(b'"port"', b'"memory": {"nothing": [0, 1]}, "port"'), tensors, "order in memory of 'nothing'"),
        (text, tensors[:-5], "its tensors are damaged"),
        (text, b"", "its tensors are damaged"),
    ]
    for description, content, expected in cases:
        with pytest.raises(DataError, match=expected):
            from_bytes(description, content, "the store")
    assert isinstance(from_bytes(text, tensors, "the store"), Passport)


def test_statistics_hold_numbers_of_any_size():
    """Sums are in float64: a residual stream with a huge common offset keeps its spread."""
    moments = harvesting._Moments()
    values = np.random.default_rng(0).normal(1e4, 1e-1, (4, 1000, 3)).astype(np.float32)
    moments.add(torch.from_numpy(values))
    mean, rms = moments.mean_and_rms()
    np.testing.assert_allclose(mean.numpy(), values.astype(np.float64).mean((0, 1)), rtol=1e-7)
    np.testing.assert_allclose(rms.numpy(), np.sqrt(np.square(values.astype(np.float64)).mean((0, 1))), rtol=1e-7)
